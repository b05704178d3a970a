"""The generalisation gap of every net against its poison factor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from landscape.plots.style import PERCENT, WIDTH, Figure, bare
from landscape.reproduce.captioned_figure import CaptionedFigure
from landscape.reproduce.study import SWISS_ROLL
from landscape.reproduce.style import colour_of, correlation_text, level_axis, side_by_side
from landscape.training import TrainingSummary


def gap_figure(families: Mapping[str, Sequence[TrainingSummary]]) -> CaptionedFigure:
    """Return the generalisation gap of every net against its poison factor, one chart per recipe."""
    figure = Figure(figsize=(WIDTH * (1 + 0.6 * (len(families) - 1)), 3.6), layout="constrained")
    charts = figure.subplots(1, len(families), squeeze=False, sharey=True)[0]
    sentences = []
    for axes, (recipe, summaries) in zip(charts, families.items(), strict=True):
        _draw_gaps(axes, summaries)
        axes.set_title(recipe, fontsize="medium")
        unfitted = [f"β = {n.poison:g}, seed {n.seed}" for n in summaries if n.train_accuracy < 1]
        sentences.append(
            f"{recipe}: gap against β {correlation_text([n.poison for n in summaries], [n.gap for n in summaries])}"
            + (f", some training samples wrong for {'; '.join(unfitted)}." if unfitted else ".")
        )
    charts[0].set_ylabel("training accuracy minus test accuracy")
    return CaptionedFigure(
        name="gap",
        title="The generalisation gap grows with the poison",
        caption="Each point is a net, each bar the mean of one poison factor. All trained seeds are shown. "
        + " ".join(sentences),
        header=["recipe", "poison", "seed", "train_accuracy", "test_accuracy", "gap", "train_loss"],
        rows=[
            [recipe, n.poison, n.seed, n.train_accuracy, n.test_accuracy, n.gap, n.train_loss]
            for recipe, summaries in families.items()
            for n in summaries
        ],
        figure=figure,
        commands=[sweep_command(summaries) for recipe, summaries in families.items() if recipe == SWISS_ROLL],
    )


def _draw_gaps(axes: Axes, summaries: Sequence[TrainingSummary]) -> None:
    factors = [n.poison for n in summaries]
    places, colours = level_axis(axes, factors), colour_of(factors)
    for level, place in places.items():
        gaps = [n.gap for n in summaries if n.poison == level]
        axes.plot(side_by_side(place, len(gaps)), gaps, "o", color=colours[level], markersize=6, clip_on=False)
        axes.plot([place - 0.25, place + 0.25], [np.mean(gaps)] * 2, color="0.3", linewidth=1.2)
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PERCENT)
    bare(axes)


def sweep_command(summaries: Sequence[TrainingSummary]) -> str:
    """Return the command that trains these nets of the swiss roll."""
    factors = ",".join(f"{factor:g}" for factor in sorted({n.poison for n in summaries}))
    return f"landscape sweep {SWISS_ROLL} --poison {factors} --seeds {1 + max(n.seed for n in summaries)} --out nets"
