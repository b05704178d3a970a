"""Figures of sharpness measures: each against the training step, over the checkpoints of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from landscape.plots.style import WIDTH, Figure, bare, shades
from landscape.results import Measure, Result, Snapshot
from landscape.results.sharpness import FAILED
from landscape.results.snapshot import ORDER

_COLUMNS = 3
_HEIGHT = 1.7  # inches of a panel


def measures_by_step(results: Mapping[str, Result]) -> Figure | None:
    """Return one panel per measure, its value against the training step; None for fewer than two checkpoints.

    Bars are standard errors; a hollow point is a lower bound or a value whose error is not known. The line is broken at
    a step whose value could not be measured.

    Args:
        results: by any name; only measures and snapshots are drawn. Their configuration says the step.
    """
    rows: dict[str, list[Measure]] = {}
    for measure in _measures(results):
        rho = measure.config.get("rho")
        rows.setdefault(measure.name if rho is None else f"{measure.name}, rho = {rho:g}", []).append(measure)
    rows = {name: own for name, own in rows.items() if len({_net(measure) for measure in own if _known(measure)}) > 1}
    if not rows:
        return None
    lines = -(-len(rows) // _COLUMNS)
    figure = Figure(figsize=(1.5 * WIDTH, _HEIGHT * lines + 0.5), layout="constrained")
    panels = figure.subplots(lines, _COLUMNS, squeeze=False, sharex=True).flat
    for axes, (name, own) in zip(panels, rows.items(), strict=False):
        own = sorted(own, key=lambda measure: measure.config["step"])
        steps = np.array([measure.config["step"] for measure in own])
        values = np.array([measure.value if _known(measure) else np.nan for measure in own])
        errors = np.array([measure.standard_error for measure in own])
        known = np.isfinite(errors)
        axes.plot(steps, values, color=shades(1)[0], linewidth=0.8)
        axes.errorbar(steps[known], values[known], errors[known], color=shades(1)[0], fmt="o", markersize=3)
        axes.plot(steps[~known], values[~known], "o", color=shades(1)[0], fillstyle="none", markersize=4)
        axes.set_title(name, fontsize="small", loc="left")
        bare(axes)
    for axes in list(figure.axes)[len(rows) :]:
        axes.set_visible(False)
    for axes in list(figure.axes)[max(0, len(rows) - _COLUMNS) : len(rows)]:
        axes.tick_params(labelbottom=True)
        axes.set_xlabel(_unit_of_steps(rows), fontsize="small")
    return figure


def _measures(results: Mapping[str, Result]) -> Iterator[Measure]:
    for result in results.values():
        if isinstance(result, Measure):
            yield result
        elif isinstance(result, Snapshot):
            yield from result.measures.values()


def _known(measure: Measure) -> bool:
    return measure.verdict != FAILED and bool(np.isfinite(measure.value))


def _net(measure: Measure) -> tuple[object, object]:
    """Return which net of the run a measure is of."""
    return measure.config.get("checkpoint"), measure.config.get("step")


def _unit_of_steps(rows: Mapping[str, list[Measure]]) -> str:
    """Return what the horizontal axis shows: the step, or only the order if no file names a step."""
    configs = [measure.config for own in rows.values() for measure in own]
    if all("step_from" in config for config in configs):
        typed = any(config["step_from"] == ORDER for config in configs)
    else:
        steps = {int(config["step"]) for config in configs}
        typed = steps == set(range(len(steps)))
    return "checkpoint, in the order typed" if typed else "training step"
