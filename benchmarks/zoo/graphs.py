"""Nets of PyTorch Geometric that classify the nodes of one graph."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.zoo.trial import Build, Trial

NODES, FEATURES, CLASSES = 24, 6, 3
LAYERS: dict[str, dict[str, Any]] = {
    "GCNConv": {},
    "SAGEConv": {},
    "GATConv": {"heads": 2, "concat": False},
    "GATv2Conv": {"heads": 2, "concat": False},
    "GraphConv": {},
    "TransformerConv": {"heads": 2, "concat": False},
    "ChebConv": {"K": 2},
    "TAGConv": {"K": 2},
    "ARMAConv": {},
    "LEConv": {},
    "ClusterGCNConv": {},
    "SGConv": {"K": 2},
}


def cases() -> dict[str, Build]:
    """Return a trial for each layer, and two on dense adjacency matrices."""
    found: dict[str, Build] = {name: lambda name=name: trial(name) for name in LAYERS}  # type: ignore[misc]
    return found | {"DenseGCNConv": dense, "data objects": objects}


class Net(nn.Module):
    """Two layers on a graph given by its edges."""

    def __init__(self, layer: Any, options: dict[str, Any]) -> None:
        super().__init__()
        self.first, self.second = layer(FEATURES, 8, **options), layer(8, CLASSES, **options)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(x, edges)), edges)


def ring() -> Tensor:
    """Return the edges of a ring with chords, both ways, shape (2, edges)."""
    here = torch.arange(NODES)
    pairs = torch.cat([torch.stack([here, (here + jump) % NODES]) for jump in (1, 5)], dim=1)
    return torch.cat([pairs, pairs.flip(0)], dim=1)


def trial(name: str) -> Trial:
    from torch_geometric import nn as layers

    model = Net(getattr(layers, name), LAYERS[name]).eval()
    batch = torch.randn(NODES, FEATURES), ring(), torch.arange(NODES) % CLASSES
    return Trial(model, batch, "cross_entropy", lambda m, b: F.cross_entropy(m(b[0], b[1]), b[2]))


def dense() -> Trial:
    from torch_geometric.nn import DenseGCNConv
    from torch_geometric.utils import to_dense_adj

    class Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = DenseGCNConv(FEATURES, CLASSES)

        def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
            return self.layer(x, adjacency)[0]

    batch = torch.randn(NODES, FEATURES), to_dense_adj(ring())[0], torch.arange(NODES) % CLASSES
    return Trial(Dense(), batch, "cross_entropy", lambda m, b: F.cross_entropy(m(b[0], b[1]), b[2]))


def objects() -> Trial:
    """A batch that is an object of the package, with a forward function."""
    from torch_geometric.data import Batch, Data
    from torch_geometric.nn import GCNConv

    def call(model: nn.Module, batch: Any) -> Any:
        return model(batch.x.to(next(model.parameters()).dtype), batch.edge_index)

    graphs = [
        Data(x=torch.randn(NODES, FEATURES), edge_index=ring(), y=torch.arange(NODES) % CLASSES) for _ in range(2)
    ]
    return Trial(
        Net(GCNConv, {}).eval(),
        Batch.from_data_list(graphs),
        lambda out, b: F.cross_entropy(out, b.y),
        lambda m, b: F.cross_entropy(call(m, b), b.y),
        forward=call,
    )
