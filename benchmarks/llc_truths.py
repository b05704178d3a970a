"""The local learning coefficient of deep linear nets against Aoyagi's values, by exact chains.

    python -m benchmarks.llc_truths [--steps 8000] [--chains 32]

The loss is |W_L ... W_1 - A|² / 2, the mean squared error for inputs of unit covariance, with A of the rank r. The
chains start at a balanced factorisation of A. Known values: Aoyagi 2024, "Consideration on the learning efficiency of
multiple-layered neural networks with linear units". The values that chains find are those at a finite nβ.
"""

from __future__ import annotations

import argparse
import math
from itertools import combinations, pairwise

import numpy as np
import torch
from torch import Tensor

import landscape as ls
from landscape.results.table import percent

#: widths, rank, nβ, γ: nβ so large that the value is within a few percent of its limit
CASES = (
    ((5, 3, 5), 0, 1e3, 1.0),
    ((5, 4, 5), 0, 1e3, 1.0),
    ((4, 3, 8), 0, 1e3, 1.0),
    ((10, 20, 20, 10), 5, 1e6, 100.0),
)


def aoyagi(widths: tuple[int, ...], rank: int) -> float:
    """Return the learning coefficient of a deep linear net at a true matrix of this rank.

    >>> [aoyagi((5, 3, 5), 0), aoyagi((5, 4, 5), 0), aoyagi((4, 3, 8), 0), aoyagi((10, 20, 20, 10), 5)]
    [6.5, 8.0, 6.0, 50.0]
    """
    spare = [width - rank for width in widths]
    for count in range(2, len(spare) + 1):
        for chosen in combinations(range(len(spare)), count):
            inside = [spare[i] for i in chosen]
            rest = [spare[i] for i in range(len(spare)) if i not in chosen]
            ell, total = count - 1, sum(inside)
            if max(inside) < min(rest, default=math.inf) and total >= ell * max(inside):
                if rest and total >= ell * min(rest):
                    continue
                a = total - (math.ceil(total / ell) - 1) * ell
                pairs = sum(one * other for one, other in combinations(inside, 2))
                regular = (rank * (widths[0] + widths[-1]) - rank**2) / 2
                return regular + a * (ell - a) / (4 * ell) - ell * (ell - 1) / 4 * (total / ell) ** 2 + pairs / 2
    raise ValueError(f"no set of layers fits the widths {widths} at rank {rank}")


def linear_net(widths: tuple[int, ...], rank: int) -> ls.Objective:
    """Return the loss of a deep linear net around a balanced factorisation of a matrix of this rank."""
    generator = torch.Generator().manual_seed(0)

    def frame(width: int) -> Tensor:
        return torch.linalg.qr(torch.randn(width, width, generator=generator, dtype=torch.float64))[0][:, :rank]

    frames = [frame(width) for width in widths]
    shapes = [(rows, columns) for columns, rows in pairwise(widths)]
    theta = torch.cat([(after @ before.T).reshape(-1) for before, after in pairwise(frames)])
    target = frames[-1] @ frames[0].T
    sizes = [rows * columns for rows, columns in shapes]

    def loss(points: Tensor) -> Tensor:
        product: Tensor | None = None
        for piece, shape in zip(points.split(sizes, -1), shapes, strict=True):
            weight = piece.unflatten(-1, shape)
            product = weight if product is None else weight @ product
        assert product is not None
        return (product - target).square().sum((-2, -1)) / 2

    return ls.Objective.from_function(loss, theta)


def main() -> None:
    """Print one row per net: the known value, what the chains find, and how far off it is."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=8_000)
    parser.add_argument("--chains", type=int, default=32)
    asked = parser.parse_args()
    print(f"{'widths':20} {'rank':>4} {'known':>6} {'found':>8} {'±':>6} {'off':>6}  verdict     R-hat  leaps seconds")
    off = []
    for widths, rank, nbeta, gamma in CASES:
        options = {"nbeta": nbeta, "gamma": gamma, "steps": asked.steps, "chains": asked.chains}
        measure = ls.sharpness(linear_net(widths, rank), "llc", **options)["llc"]
        known = aoyagi(widths, rank)
        off.append(abs(measure.value / known - 1))
        print(
            f"{'-'.join(map(str, widths)):20} {rank:4} {known:6.2f} {measure.value:8.3f} {measure.standard_error:6.3f} "
            f"{measure.value / known - 1:6.1%}  {measure.verdict:10} {measure.config['r_hat']:6.3f} "
            f"{measure.config['leaps']:6} {measure.cost.seconds:7.1f}",
            flush=True,
        )
    print(f"largest deviation {percent(max(off))}, median {percent(float(np.median(off)))}")


if __name__ == "__main__":
    main()
