"""What grows with the poison: the generalisation gap, and how near the decision boundary comes to the points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from landscape.plots.style import WIDTH, bare
from landscape.reproduce.boundaries import boundary_of, draw_boundary
from landscape.reproduce.figure import Cell, Panel
from landscape.reproduce.study import SWISS_ROLL, Keep, Net, Study
from landscape.reproduce.style import colour_of, correlation_text, level_axis
from landscape.training import TrainingSummary

_MOST_MAPS = 5


def gap_figure(families: Mapping[str, Sequence[TrainingSummary]]) -> Panel:
    """Return the generalisation gap of every net against its poison factor, a chart for each recipe."""
    figure = Figure(figsize=(WIDTH * (1 + 0.6 * (len(families) - 1)), 3.6), layout="constrained")
    charts = figure.subplots(1, len(families), squeeze=False, sharey=True)[0]
    told = []
    for axes, (recipe, numbers) in zip(charts, families.items(), strict=True):
        _draw_gaps(axes, numbers)
        axes.set_title(recipe, fontsize="medium")
        unfitted = [f"β = {n.poison:g}, seed {n.seed}" for n in numbers if n.train_accuracy < 1]
        told.append(
            f"{recipe}: gap against β {correlation_text([n.poison for n in numbers], [n.gap for n in numbers])}"
            + (f", not all training samples right for {'; '.join(unfitted)}." if unfitted else ".")
        )
    charts[0].set_ylabel("training accuracy less test accuracy")
    return Panel(
        name="gap",
        title="The generalisation gap grows with the poison",
        caption="Each point is a net, each bar the mean of a factor. All seeds that were trained are shown. "
        + " ".join(told),
        header=["recipe", "poison", "seed", "train_accuracy", "test_accuracy", "gap", "train_loss"],
        rows=[
            [recipe, n.poison, n.seed, n.train_accuracy, n.test_accuracy, n.gap, n.train_loss]
            for recipe, numbers in families.items()
            for n in numbers
        ],
        figure=figure,
        commands=[sweep_command(numbers) for recipe, numbers in families.items() if recipe == SWISS_ROLL],
    )


def _draw_gaps(axes: Axes, numbers: Sequence[TrainingSummary]) -> None:
    factors = [n.poison for n in numbers]
    places, colours = level_axis(axes, factors), colour_of(factors)
    for level, place in places.items():
        gaps = [n.gap for n in numbers if n.poison == level]
        axes.plot(_spread(place, len(gaps)), gaps, "o", color=colours[level], markersize=6, clip_on=False)
        axes.plot([place - 0.25, place + 0.25], [np.mean(gaps)] * 2, color="0.3", linewidth=1.2)
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    bare(axes)


def margin_figure(nets: Sequence[Net], study: Study, keep: Keep) -> Panel:
    """Return decision boundaries as the poison grows, and the margins of all nets against their factors."""
    found = {net.name: boundary_of(net, study, keep) for net in nets}
    shown = _chosen([net for net in nets if net.member.seed == 0])
    figure = Figure(figsize=(WIDTH * 1.4, 6.2), layout="constrained")
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=[1, 1.6])[:, 0]
    for axes, net in zip(above.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        draw_boundary(axes, found[net.name].logit)
        axes.set_title(f"β = {net.poison:g}\ntest {net.summary.test_accuracy:.0%}".replace("%", " %"), fontsize="small")
    axes = below.subplots()
    places, colours = level_axis(axes, [net.poison for net in nets]), colour_of([net.poison for net in nets])
    rows: list[list[Cell]] = []
    for level, place in places.items():
        group = [net for net in nets if net.poison == level]
        margins = [found[net.name] for net in group]
        spread, colour = _spread(place, len(group)), colours[level]
        axes.plot(spread, [m.median for m in margins], "o", color=colour, markersize=6)
        axes.plot(spread, [m.low for m in margins], "v", color=colour, markersize=6, markerfacecolor="none")
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
    medians = [found[net.name].median for net in nets]
    return Panel(
        name="margin",
        title="The decision boundary closes in on the training points as the poison grows",
        caption=(
            "Above: the class given to each point of the plane, seed 0. Below: the distance from the training points "
            "to the nearest place where the class changes, in units of the inputs (the noise around a spiral arm is "
            "0.5), for every net. It is searched along 64 directions from each point, so it is an upper bound. "
            f"Median against gap: {correlation_text([n.gap for n in nets], medians)}."
        ),
        header=["poison", "seed", "median_margin", "tenth_percentile", "smallest"],
        rows=rows,
        figure=figure,
    )


def sweep_command(numbers: Sequence[TrainingSummary]) -> str:
    """Return what trains these nets of the swiss roll by itself."""
    factors = ",".join(f"{factor:g}" for factor in sorted({n.poison for n in numbers}))
    return f"landscape sweep {SWISS_ROLL} --poison {factors} --seeds {1 + max(n.seed for n in numbers)} --out nets"


def _spread(place: int, count: int) -> np.ndarray:
    return place + (np.linspace(-0.15, 0.15, count) if count > 1 else np.zeros(1))


def _chosen(nets: Sequence[Net]) -> list[Net]:
    """Return at most five nets, evenly over the factors, the ends among them."""
    picks = np.unique(np.linspace(0, len(nets) - 1, min(len(nets), _MOST_MAPS)).round().astype(int))
    return [nets[pick] for pick in picks]


def _log_if_positive(axes: Axes, values: Sequence[Cell]) -> None:
    if all(isinstance(value, float) and value > 0 for value in values):
        axes.set_yscale("log")
