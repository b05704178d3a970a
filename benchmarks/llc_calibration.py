"""How often `llc` is right, by what its chains say of themselves: runs of problems whose value is known.

    python -m benchmarks.llc_calibration [--seeds 0:8] [--out RUNS.csv]

Problems: quadratics (closed form), normal crossings on a box (quadrature), deep linear nets (a run of 32 chains of
4,000 gradients, next to Aoyagi's values). Each is run with four chains, the default, and with 20 to 640 gradients per
chain: too few, so that chains have not mixed, up to enough. A run is right if the known value is within two standard
errors. SGLD: a quadratic whose step biases the value by a known amount.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import landscape as ls
from benchmarks.llc_truths import CASES, linear_net
from benchmarks.page import command_line, seed_range
from landscape.results.table import percent

STEPS = (20, 40, 80, 160, 320, 640)
LONG: dict[str, Any] = {"steps": 4_000, "chains": 32}  #: of the runs that stand for the truth of deep linear nets
NBETA = 1e3
WITHIN = 2.0  #: standard errors
SPECTRA = {"quadratic, flat": np.ones(20), "quadratic, steep": np.geomspace(1e-3, 1.0, 20)}


@dataclass(frozen=True)
class Problem:
    """A loss whose value of `llc` is known.

    Attributes:
        name: for the table.
        objective: the loss around its minimum.
        truth, error: the value, and its standard error if it comes from a long run.
        options: of ``ls.sharpness``.
    """

    name: str
    objective: ls.Objective
    truth: float
    error: float
    options: dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One run: what the chains say of themselves, and whether they are right."""

    problem: str
    steps: int
    seed: int
    r_hat: float
    r_hat_distance: float
    ess: float
    starts_apart: float
    acceptance: float
    verdict: str
    score: float

    @property
    def right(self) -> bool:
        """Whether the known value is within two standard errors."""
        return abs(self.score) <= WITHIN


def problems() -> Iterator[Problem]:
    """Yield the problems, the cheap ones first."""
    for name, curvatures in SPECTRA.items():
        h = torch.from_numpy(curvatures)
        bowl = quadratic(h)
        for gamma in (1.0, 100.0):
            a = NBETA * h + gamma
            options: dict[str, Any] = {"nbeta": NBETA, "gamma": gamma}
            yield Problem(f"{name}, γ {gamma:g}", bowl, float((NBETA * h / a).sum()) / 2, 0.0, options)
        step = 1.0 / float(a.max())
        biased = float((NBETA * h / a / (1 - step * a / 4)).sum()) / 2
        more = {**options, "sampler": "sgld", "step_size": step}
        yield Problem(f"{name}, γ {gamma:g}, SGLD", bowl, biased, 0.0, more)
    for powers in ((1, 1), (1, 2), (2, 2)):
        options = {"nbeta": NBETA, "gamma": 0.0}
        yield Problem(f"crossing {powers}", crossing(*powers), by_quadrature(*powers), 0.0, options)
    for widths, rank, nbeta, gamma in CASES:
        objective, options = linear_net(widths, rank), {"nbeta": nbeta, "gamma": gamma, **LONG}
        long = ls.sharpness(objective, "llc", seed=10**6, budget=None, **options)["llc"]
        name = f"linear net {'-'.join(map(str, widths))}, rank {rank}"
        yield Problem(name, objective, long.value, long.standard_error, {"nbeta": nbeta, "gamma": gamma})


def quadratic(curvatures: Tensor) -> ls.Objective:
    """Return the loss ½ Σ h x² around 0."""
    return ls.Objective.from_function(lambda x: (x.square() * curvatures).sum(-1) / 2, torch.zeros_like(curvatures))


def crossing(first: int, second: int) -> ls.Objective:
    """Return w1^2k1 w2^2k2 on the box [-1, 1]²; it is infinite outside."""

    def loss(w: Tensor) -> Tensor:
        inside = (w.abs() <= 1).all(-1)
        return torch.where(inside, w[..., 0] ** (2 * first) * w[..., 1] ** (2 * second), math.inf)

    return ls.Objective.from_function(loss, torch.zeros(2, dtype=torch.float64))


def by_quadrature(first: int, second: int) -> float:
    """Return nβ E L of a crossing under exp(-nβ L) on its box: Gauss-Legendre on cells in log w."""
    edges = np.append(0.0, np.geomspace(1e-5, 1.0, 250))
    nodes, weights = np.polynomial.legendre.leggauss(4)
    half = np.diff(edges)[:, None] / 2
    w, dw = (edges[:-1, None] + half * (1 + nodes)).ravel(), (half * weights).ravel()
    loss = np.outer(w ** (2 * first), w ** (2 * second))
    density = np.outer(dw, dw) * np.exp(-NBETA * loss)
    return NBETA * float((loss * density).sum() / density.sum())


def run(problem: Problem, steps: int, seed: int) -> Run:
    """Return one run."""
    measure = ls.sharpness(problem.objective, "llc", steps=steps, seed=seed, budget=None, **problem.options)["llc"]
    about = {name: measure.config[name] for name in ("r_hat", "r_hat_distance", "ess", "starts_apart", "acceptance")}
    score = (measure.value - problem.truth) / math.hypot(measure.standard_error, problem.error)
    return Run(problem.name, steps, seed, **about, verdict=measure.verdict, score=score)


def report(runs: list[Run]) -> list[str]:
    """Return one row per problem: how many runs have each verdict, and how many of these are right."""
    lines = ["| problem | `estimate` | right | `not mixed` | right |", "|---|---|---|---|---|"]
    for name in (*dict.fromkeys(each.problem for each in runs), ""):
        own = [each for each in runs if name in ("", each.problem)]
        cells = [name or "all"]
        for mixed in (True, False):
            group = [each for each in own if (each.verdict == "estimate") == mixed]
            share = f" ({percent(sum(e.right for e in group) / len(group))})" if group else ""
            cells += [str(len(group)), f"{sum(each.right for each in group)}{share}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def main() -> None:
    """Read the command line."""
    parser = command_line(__doc__)
    parser.add_argument("--seeds", type=seed_range, default=range(8))
    parser.add_argument("--out", type=Path, help="also write every run")
    given = parser.parse_args()
    runs: list[Run] = []
    for problem in problems():
        runs += [run(problem, steps, seed) for steps in STEPS for seed in given.seeds]
        print(f"{problem.name}: truth {problem.truth:.4f} ± {problem.error:.2g}", flush=True)
        if given.out:
            names = [field.name for field in fields(Run)]
            with given.out.open("w", newline="") as file:
                csv.writer(file).writerows([names, *([getattr(each, name) for name in names] for each in runs)])
    print("\n".join(report(runs)))


if __name__ == "__main__":
    main()
