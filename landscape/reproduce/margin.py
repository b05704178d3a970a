"""Decision boundaries as the poison grows, and how near they come to the training points."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from landscape.plots.style import WIDTH, Figure, bare
from landscape.reproduce.boundaries import boundary_of, draw_boundary
from landscape.reproduce.captioned_figure import CaptionedFigure, TableCell
from landscape.reproduce.measurement_cache import MeasurementCache
from landscape.reproduce.nets import Net
from landscape.reproduce.study import Study
from landscape.reproduce.style import colour_of, correlation_text, level_axis, side_by_side
from landscape.results.table import percent

_MOST_MAPS = 5


def margin_figure(nets: Sequence[Net], study: Study, cache: MeasurementCache) -> CaptionedFigure:
    """Return decision boundaries as the poison grows, and the margins of all nets against their factors."""
    boundaries = {net.name: boundary_of(net, study, cache) for net in nets}
    shown = _chosen([net for net in nets if net.member.seed == 0])
    figure = Figure(figsize=(WIDTH * 1.4, 6.2), layout="constrained")
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=[1, 1.6])[:, 0]
    for axes, net in zip(above.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        draw_boundary(axes, boundaries[net.name].logit)
        axes.set_title(f"β = {net.poison:g}\ntest {percent(net.summary.test_accuracy)}", fontsize="small")
    axes = below.subplots()
    places, colours = level_axis(axes, [net.poison for net in nets]), colour_of([net.poison for net in nets])
    rows: list[list[TableCell]] = []
    for level, place in places.items():
        group = [net for net in nets if net.poison == level]
        margins = [boundaries[net.name] for net in group]
        x, colour = side_by_side(place, len(group)), colours[level]
        axes.plot(x, [m.median for m in margins], "o", color=colour, markersize=6)
        axes.plot(x, [m.low for m in margins], "v", color=colour, markersize=6, markerfacecolor="none")
        rows += [
            [n.poison, n.member.seed, m.median, m.low, float(m.margin.min())]
            for n, m in zip(group, margins, strict=True)
        ]
    handles = [
        *axes.plot([], [], "o", color="0.3", label="median over the training points"),
        *axes.plot([], [], "v", color="0.3", markerfacecolor="none", label="10th percentile"),
    ]
    axes.legend(handles=handles, fontsize="small", frameon=False)
    _log_if_positive(axes, [value for row in rows for value in row[2:4]])
    axes.set_ylabel("distance to the boundary")
    bare(axes)
    medians = [boundaries[net.name].median for net in nets]
    return CaptionedFigure(
        name="margin",
        title="The decision boundary closes in on the training points as the poison grows",
        caption=(
            "Above: the class of each point of the plane, seed 0. Below: the distance from the training points to the "
            "nearest change of the class, for every net, in units of the inputs (the noise around a spiral arm is "
            "0.5). It is searched along 64 directions from each point, so it is an upper bound. "
            f"Median against gap: {correlation_text([n.gap for n in nets], medians)}."
        ),
        header=["poison", "seed", "median_margin", "tenth_percentile", "smallest"],
        rows=rows,
        figure=figure,
    )


def _chosen(nets: Sequence[Net]) -> list[Net]:
    """Return at most five nets, evenly over the factors, the first and the last included."""
    picks = np.unique(np.linspace(0, len(nets) - 1, min(len(nets), _MOST_MAPS)).round().astype(int))
    return [nets[pick] for pick in picks]


def _log_if_positive(axes: Axes, values: Sequence[TableCell]) -> None:
    if all(isinstance(value, float) and value > 0 for value in values):
        axes.set_yscale("log")
