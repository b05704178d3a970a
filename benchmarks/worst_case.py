"""Worst-case sharpness: how close the search comes to the true maximum, next to Auto-PGD with as many gradients.

    python -m benchmarks.worst_case

Random quadratics have 50 dimensions and condition 1000. Their true maximum on a Euclidean ball comes from all
eigenvalues. On a box, and on nets, nobody knows it, so the two searches are compared with each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import product

import numpy as np
import torch

import landscape as ls
from benchmarks.auto_pgd import STEPS, auto_pgd
from benchmarks.clusters import clusters, trained
from benchmarks.page import print_section
from landscape.curvature import Hessian, top_eigenpairs
from landscape.measures.ascent import Ball, Function, Peak, climb, largest_on_ball
from landscape.measures.worst_case import GRADIENTS, loss_around

N, CONDITION, SEEDS, RHO = 50, 1e3, 200, 0.5
SPECTRA: dict[str, Callable[..., np.ndarray]] = {"geometric": np.geomspace, "uniform": np.linspace}
SIZES = {"l2": (0.25, 0.5, 1.0), "linf": (0.002, 0.008)}  #: on nets, in the identity metric
ADAPTIVE_SIZES = {"l2": (0.5, 1.0, 2.0), "linf": (0.008, 0.03)}
NETS, WIDTH, BATCH = 3, 64, 128


def section() -> list[str]:
    """Return the section."""
    return [
        f"## Worst-case sharpness next to Auto-PGD, {STEPS} gradients each",
        "",
        f"{SEEDS} random quadratics of {N} dimensions and condition {CONDITION:.0f} per row; value over the true",
        "maximum. Adaptive: scaled by |w|, w normal. Auto-PGD as in its paper, from a random point of the sphere.",
        "Top known: the search begins again along the top eigenvector with the gradients that are left at a peak.",
        "`python -m benchmarks.worst_case`",
        "",
        "| spectrum | metric | gradient at 0 | ours, median | worst | gradients "
        "| top known, median | worst | gradients | Auto-PGD, median | worst |",
        f"|{'---|' * 11}",
        *(_quadratics(*case) for case in product(SPECTRA, (False, True), (False, True))),
        "",
        "On a box the true maximum is not known: the value of ours over that of Auto-PGD.",
        "",
        "| spectrum | metric | gradient at 0 | median | smallest | largest |",
        "|---|---|---|---|---|---|",
        *(_boxes(*case) for case in product(SPECTRA, (False, True), (False, True))),
        "",
        f"{NETS} trained nets, 64-{WIDTH}-{WIDTH}-10, 4 batches of {BATCH} each: ours over Auto-PGD, batch by batch.",
        "The loss has many peaks on the ball, and either search may end on the higher one. Top known: the value with",
        "the top eigenvector of the loss on all batches over the value without it.",
        "",
        "| metric | norm | rho | median | smallest | largest | top known, mean | smallest | largest |",
        f"|{'---|' * 9}",
        *_nets(),
        "",
    ]


def problem(spectrum: str, adaptive: bool, sloped: bool, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return Hessian and gradient of a random quadratic in scaled coordinates."""
    generator = np.random.default_rng(seed)
    rotation = np.linalg.qr(generator.standard_normal((N, N)))[0]
    hessian = rotation * SPECTRA[spectrum](1 / CONDITION, 1.0, N) @ rotation.T
    scale = np.abs(generator.standard_normal(N)) if adaptive else np.ones(N)
    gradient = 0.1 * generator.standard_normal(N) if sloped else np.zeros(N)
    return scale[:, None] * hessian * scale, scale * gradient


def rises(hessian: np.ndarray, gradient: np.ndarray, norm: str, seed: int) -> tuple[Peak, Peak, float]:
    """Return what the searches find on a quadratic: ours without and with the top eigenvector, rise of Auto-PGD."""
    h, g = torch.from_numpy(hessian), torch.from_numpy(gradient)

    def value(u: torch.Tensor) -> float:
        return float(g @ u + u @ h @ u / 2)

    function = Function(value, lambda u: (value(u), g + h @ u))
    top = torch.linalg.eigh(h)[1][:, -1]
    return _all_searches(function, Ball(RHO, norm), torch.zeros(N, dtype=torch.float64), seed, top)


def _all_searches(
    function: Function, ball: Ball, zero: torch.Tensor, seed: int, top: torch.Tensor
) -> tuple[Peak, Peak, float]:
    def noise(index: int) -> torch.Tensor:
        return torch.randn(len(zero), generator=torch.Generator().manual_seed(1000 * seed + index)).to(zero)

    without, known = (climb(function, ball, zero, GRADIENTS, noise, each) for each in (None, top))
    return without, known, auto_pgd(function, ball, ball.farthest(noise(0))) - function.value(zero)


def _quadratics(spectrum: str, adaptive: bool, sloped: bool) -> str:
    shares, gradients = [], []
    for seed in range(SEEDS):
        hessian, gradient = problem(spectrum, adaptive, sloped, seed)
        best = largest_on_ball(hessian, gradient, RHO)
        truth = gradient @ best + best @ hessian @ best / 2
        without, known, other = rises(hessian, gradient, "l2", seed)
        shares.append((without.rise / truth, known.rise / truth, other / truth))
        gradients.append((without.gradients, known.gradients))
    medians, worst, taken = np.median(shares, axis=0), np.min(shares, axis=0), np.mean(gradients, axis=0)
    ours = (f"{medians[k]:.4f} | {worst[k]:.4f} | {taken[k]:.1f}" for k in (0, 1))
    return f"{_case(spectrum, adaptive, sloped)} | {' | '.join(ours)} | {medians[2]:.4f} | {worst[2]:.4f} |"


def _boxes(spectrum: str, adaptive: bool, sloped: bool) -> str:
    ratios = []
    for seed in range(SEEDS):
        peak, _, other = rises(*problem(spectrum, adaptive, sloped, seed), "linf", seed)
        ratios.append(peak.rise / other)
    return f"{_case(spectrum, adaptive, sloped)} | {_spread(ratios)} |"


def _case(spectrum: str, adaptive: bool, sloped: bool) -> str:
    return f"| {spectrum} | {'adaptive' if adaptive else 'identity'} | {'yes' if sloped else 'none'}"


def _spread(ratios: list[float]) -> str:
    return f"{np.median(ratios):.3f} | {min(ratios):.3f} | {max(ratios):.3f}"


def _nets() -> Iterable[str]:
    objectives = [ls.Objective(trained(WIDTH, seed), clusters(), batch_size=BATCH) for seed in range(NETS)]
    for metric, sizes in (("identity", SIZES), ("adaptive", ADAPTIVE_SIZES)):
        pairs = [top_eigenpairs(Hessian(objective, metric=metric), k=1) for objective in objectives]
        tops = [torch.from_numpy(pair.vectors[:, 0]) for pair in pairs]
        for norm, rho in ((norm, rho) for norm, values in sizes.items() for rho in values):
            ratios, gains = [], []
            for objective, top in zip(objectives, tops, strict=True):
                weights = objective.scope.gather(objective.theta)
                scale = weights.abs() if metric == "adaptive" else torch.ones_like(weights)
                for batch in range(objective.batches):
                    with objective.running():
                        function, zero = loss_around(objective, scale, [batch]), torch.zeros_like(weights)
                        peak, known, other = _all_searches(function, Ball(rho, norm), zero, batch, top)
                    ratios.append(peak.rise / other)
                    gains.append(known.rise / peak.rise)
            gain = f"{np.mean(gains):.3f} | {min(gains):.3f} | {max(gains):.3f}" if norm == "l2" else "- | - | -"
            yield f"| {metric} | {norm} | {rho:g} | {_spread(ratios)} | {gain} |"


if __name__ == "__main__":
    print_section(__doc__, section)
