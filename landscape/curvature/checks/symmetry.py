"""Whether products of a sharded model are those of a symmetric matrix, as second derivatives are.

Up to torch 2.10 the backward pass of tensor parallelism cannot be differentiated: autograd takes it for a constant, and
gives other numbers without a word. No rank holds all of a sharded model, so differences are not compared. Yet
u . A v = v . A u holds to rounding for any second derivative, and fails for what torch gives there.
"""

from __future__ import annotations

import torch
from torch import Tensor

from landscape.curvature.autograd.graphs import Graph, Graphs
from landscape.curvature.operator import column_products
from landscape.errors import CurvatureError
from landscape.objective.holding import Holding
from landscape.results.table import percent

_ASYMMETRIC = 0.02  # of the size of u . A v: far above the rounding of 32 bits
_COARSE = 1e-6  # dtypes that round more than this are not checked


def require_symmetric(graphs: Graphs, held: int, holding: Holding, like: Tensor) -> None:
    """Compare u . A v with v . A u for two random vectors, on the first batch. Every rank must call it.

    Args:
        graphs: the graphs of the batches.
        held: length of the vectors on this rank.
        holding: adds up over ranks.
        like: a tensor with the dtype and the device of the vectors.

    Raises:
        CurvatureError: if they differ by more than rounding.
    """
    if torch.finfo(like.dtype).eps > _COARSE:
        return
    generator = torch.Generator().manual_seed(torch.distributed.get_rank())
    pair = torch.randn((2, held), generator=generator, dtype=torch.float64).to(like)
    graph = next(iter(graphs.each([0], keep=False)))
    products = torch.stack([_product(graph, graphs, vector) for vector in pair])
    inner = torch.stack([column_products(a[:, None], b[:, None])[0] for a in pair for b in products])
    sizes = torch.stack([column_products(a[:, None], a[:, None])[0] for a in products])
    totals = holding.total(torch.cat([inner, sizes])).tolist()
    uv, vu, size = totals[1], totals[2], max(*map(abs, totals[:4]), max(totals[4:]) ** 0.5)
    if abs(uv - vu) > _ASYMMETRIC * size:
        raise CurvatureError(
            f"the second derivative of this sharded model is not symmetric: u . A v and v . A u differ by "
            f"{percent(abs(uv - vu) / size, 0)} of their size. torch {torch.__version__} cannot differentiate it "
            "twice. Up to torch 2.10 that is so under tensor parallelism.\n"
            "Use torch 2.11 or later, or `Hessian` with `derivative='difference'`, which needs gradients only."
        )


def _product(graph: Graph, graphs: Graphs, vector: Tensor) -> Tensor:
    """Return the product with a vector, both flat and of this rank's entries; 0 for tensors out of scope."""
    out = torch.zeros_like(vector)
    pieces = zip(graphs.split(out), graph.product(graphs.split(vector), together=False), strict=True)
    for piece, value in pieces:
        if value is not None:
            piece += value
    return out
