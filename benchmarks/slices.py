"""How long a plane of losses takes: landscape in several ways, loss-landscapes, a loop, and bare forward passes.

python -m benchmarks.slices
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

import landscape as ls
from benchmarks import nets
from benchmarks.page import print_section
from benchmarks.timing import Pair, paired, seconds
from landscape.objective import Layout
from landscape.slices.axes import make_axes
from landscape.slices.point_values import PointEvaluator

WIDTHS = [2, 32, 32, 32, 32, 24, 2]  #: six layers
STEPS = 51
POINTS_TOGETHER = (8, 26, 102)
IMAGES = 256

Data = tuple[Tensor, Tensor]


def small_net() -> tuple[nn.Sequential, Data]:
    """Return the MLP and its 400 points."""
    model = nets.mlp(WIDTHS)
    points = torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
    return model, (points, (points.norm(dim=1) > 1.2).long())


def peer(model: nn.Module, data: Data, steps: int) -> Callable[[], object] | None:
    """Return a call of loss-landscapes for a filter-normalised plane, or None if it is not installed."""
    if importlib.util.find_spec("loss_landscapes") is None:
        return None
    from loss_landscapes import random_plane
    from loss_landscapes.metrics import Loss

    loss = Loss(F.cross_entropy, *data)

    def measure() -> object:
        with torch.no_grad():
            return random_plane(model, loss, distance=1, steps=steps, normalization="filter", deepcopy_model=True)

    return measure


def plain_loop(model: nn.Module, data: Data) -> Callable[[], object]:
    """Return a Python loop over ``functional_call``, one point at a time, with the loss alone."""
    objective = ls.Objective(model, data)
    axes, layout = make_axes(objective, "random", 2), Layout.of(model)
    grid = np.linspace(-1, 1, STEPS)

    def measure() -> list[float]:
        with torch.no_grad():
            return [
                F.cross_entropy(
                    functional_call(
                        model,
                        layout.views(objective.theta + x * axes.vectors[0] + y * axes.vectors[1]),
                        (data[0],),
                    ),
                    data[1],
                ).item()
                for y in grid
                for x in grid
            ]

    return measure


_WORKER: list[tuple[ls.Objective, Tensor]] = []


def _start_worker() -> None:
    torch.set_num_threads(1)
    objective = ls.Objective(*small_net())
    _WORKER.append((objective, make_axes(objective, "random", 2).vectors))


def _rows(part: slice) -> float:
    """Measure some rows of the plane in a worker."""
    objective, vectors = _WORKER[0]
    x = np.linspace(-1, 1, STEPS)
    with objective.running():
        evaluator = PointEvaluator(objective)
        measured = [
            evaluator.measure(objective.theta + torch.from_numpy(x).float()[:, None] * vectors[0] + y * vectors[1])
            for y in x[part]
        ]
    return float(measured[0][0][0])


def ways(model: nn.Module, data: Data) -> list[str]:
    """Return a row for each way to measure the same plane, each timed in turn with landscape's defaults."""
    objective = ls.Objective(model, data)
    compiled = ls.Objective(model, data, compile=True)

    def ours() -> object:
        return ls.slice_2d(objective, steps=STEPS)

    def together(points: int) -> Callable[[], object]:
        other = ls.Objective(model, data)
        other.plan = replace(other.plan, lanes=points)
        return lambda: ls.slice_2d(other, steps=STEPS)

    rows = [("landscape", paired(ours, ours))]
    measure = peer(model, data, STEPS)
    if measure is not None:
        rows.append(("loss-landscapes 3.0.6, the loss alone", paired(ours, measure)))
    rows.append(
        ("a loop over functional_call, the loss alone", paired(ours, plain_loop(model, data), runs=3, warmup=1))
    )
    first = seconds(lambda: ls.slice_2d(compiled, steps=STEPS))
    label = f"landscape, compile=True, after a first plane of {first:.0f} s"
    rows.append((label, paired(ours, lambda: ls.slice_2d(compiled, steps=STEPS))))
    with ProcessPoolExecutor(2, get_context("spawn"), _start_worker) as pool:
        halves = [slice(0, STEPS // 2), slice(STEPS // 2, STEPS)]
        pair = paired(ours, lambda: list(pool.map(_rows, halves)))
    rows.append(("two processes of one thread, once they have started", pair))
    rows += [(f"landscape, {points} points together", paired(ours, together(points))) for points in POINTS_TOGETHER]
    return [row(label, pair) for label, pair in rows]


def row(label: str, pair: Pair) -> str:
    """Return a row: milliseconds of B, of A in the same pairs, and how many times faster A is."""
    ours, other = (1e3 * float(np.median(times)) for times in (pair.a, pair.b))
    low, high = (1 / ratio for ratio in reversed(pair.spread))
    return f"| {label} | {other:.0f} | {ours:.0f} | {1 / pair.ratio:.2f} ({low:.2f} to {high:.2f}) |"


def small() -> list[str]:
    """Return the section on the small net."""
    model, data = small_net()
    size = sum(parameter.numel() for parameter in model.parameters())
    return [
        f"## A plane of {STEPS} x {STEPS} points: an MLP of six layers, {size:,} parameters, 400 points",
        "",
        "Milliseconds for the plane, medians of paired runs. Each way is timed in turn with landscape's defaults,",
        "which record loss and accuracy. `python -m benchmarks.slices`",
        "",
        "| way | ms | landscape, ms | landscape is faster by (range over runs) |",
        "|---|---|---|---|",
        *ways(model, data),
        "",
    ]


def resnet(steps: int = 5) -> list[str]:
    """Return the section on ResNet-20: a plane next to the bare forward passes and to loss-landscapes."""
    checkpoint = nets.resnet20()
    if checkpoint is None:
        return []
    model, (images, classes) = checkpoint
    model.eval()
    data = (torch.cat([images] * 2)[:IMAGES], torch.cat([classes] * 2)[:IMAGES])
    objective = ls.Objective(model, data)
    size = max(batch.samples for batch in objective.program.batches)  # type: ignore[attr-defined]

    def ours() -> object:
        return ls.slice_2d(objective, steps=steps)

    def bare(pieces: int) -> Callable[[], object]:
        def measure() -> None:
            with torch.no_grad():
                for _ in range(steps**2):
                    for part in data[0].split(pieces):
                        model(part)

        return measure

    rows = [
        (f"bare forward passes of {pieces} images", paired(ours, bare(pieces), runs=9, warmup=1))
        for pieces in (size, IMAGES)
    ]
    measure = peer(model, data, steps)
    if measure is not None:
        rows.append(("loss-landscapes 3.0.6, the loss alone", paired(ours, measure, runs=5, warmup=1)))
    lines = []
    for label, pair in rows:
        low, high = pair.spread
        ours_ms, other = (1e3 * float(np.median(times)) for times in (pair.a, pair.b))
        lines.append(f"| {label} | {other:.0f} | {ours_ms:.0f} | {pair.ratio:.3f} ({low:.3f} to {high:.3f}) |")
    return [
        f"## A plane of {steps} x {steps} points: ResNet-20, {IMAGES} images",
        "",
        f"Milliseconds for all points; landscape runs {size} images at a time and records loss and accuracy.",
        "`python -m benchmarks.slices`",
        "",
        "| | ms | landscape, ms | ratio: landscape over it (range over runs) |",
        "|---|---|---|---|",
        *lines,
        "",
    ]


def section() -> list[str]:
    """Return the sections of the page."""
    return [*small(), *resnet()]


if __name__ == "__main__":
    print_section(__doc__, section)
