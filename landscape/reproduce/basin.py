"""The radius of the basin along random rays, of a good and a bad net."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from landscape.plots.style import CLASSES, WIDTH, Figure
from landscape.rays import basin_radii
from landscape.reproduce.captioned_figure import CaptionedFigure, TableCell
from landscape.reproduce.measurement_cache import MeasurementCache
from landscape.reproduce.nets import Net
from landscape.reproduce.study import Study
from landscape.results import Radii
from landscape.results.table import percent

_MOST_SPOKES = 200


def radii_of(net: Net, study: Study, cache: MeasurementCache) -> Radii | None:
    """Return the radii along the study's rays, at the cutoffs above the net's loss; None if it has no basin."""
    cutoffs = [cutoff for cutoff in study.cutoffs if net.summary.train_loss < cutoff]
    if not net.fitted or not cutoffs:
        return None
    settings = {"cutoffs": cutoffs, "metric": "filter", "directions": study.rays, "seed": 0}
    return cache.get("radii", net, settings, basin_radii)


def basin_figure(nets: Sequence[Net], study: Study, cache: MeasurementCache) -> CaptionedFigure | None:
    """Return the radius of the basin of a good and a bad net along the same rays; None if one of them has no basin."""
    measured = [radii_of(net, study, cache) for net in nets]
    radii = [each for each in measured if each is not None and each.cutoffs[0] == study.cutoffs[0]]
    if len(radii) < len(nets):
        return None
    figure = Figure(figsize=(WIDTH * 1.3, 4.7), layout="constrained")
    both, alone = figure.subplots(1, 2, subplot_kw={"projection": "polar"})
    for net, each, colour in zip(nets, radii, CLASSES, strict=True):
        _ring(both, each.radii[:, 0], colour, f"β = {net.poison:g}, test {percent(net.summary.test_accuracy)}")
    _ring(alone, radii[1].radii[:, 0], CLASSES[1], "")
    medians = [float(np.median(each.radii[:, 0])) for each in radii]
    ratio = medians[0] / medians[1]
    both.set_title("one scale for both", fontsize="medium")
    alone.set_title(f"the bad net alone, enlarged {ratio:.3g} times", fontsize="medium")
    figure.legend(loc="outside lower center", ncols=2, fontsize="small", frameon=False)
    rows: list[list[TableCell]] = [
        [ray, *(float(each.radii[ray, 0]) for each in radii)] for ray in range(radii[0].directions)
    ]
    return CaptionedFigure(
        name="basin",
        title="The basin along random directions",
        caption=(
            f"The distance at which the training loss first reaches {study.cutoffs[0]:g}, along {study.rays:,} random "
            "filter-normalised rays, the same ones for both nets. The drawing shows at most the first "
            f"{_MOST_SPOKES}, at even angles; the angle itself means nothing. A distance of 1 would move every filter "
            f"by its own norm. Median radius {medians[0]:.3g} and {medians[1]:.3g}: a ratio of {ratio:.3g}."
        ),
        header=["ray", *(net.name for net in nets)],
        rows=rows,
        figure=figure,
        commands=[_radius_command(net, study) for net in nets],
    )


def _radius_command(net: Net, study: Study) -> str:
    return (
        f"landscape radius nets/{net.path.name} --cutoff {study.cutoffs[0]:g} --directions {study.rays} --seed 0 --csv"
        + study.options
    )


def _ring(axes: Any, radii: np.ndarray, colour: str, label: str) -> None:
    radii = radii[:_MOST_SPOKES]
    turn = np.linspace(0, 2 * np.pi, len(radii), endpoint=False)
    axes.fill(turn, radii, color=colour, alpha=0.35, linewidth=0)
    axes.plot(np.r_[turn, 0.0], np.r_[radii, radii[0]], color=colour, linewidth=0.9, label=label or None)
    axes.set_xticklabels([])
    axes.set_ylim(0, None)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
    axes.tick_params(labelsize="small")
