"""Weights of rays in a volume -> a figure: how many rays carry the mean."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.figure import FigureBase

from landscape.errors import LandscapeError
from landscape.plots.style import ALL_DIGITS, WIDTH, Figure, bare, cutoff_styles, with_checkpoint
from landscape.results import Volume, VolumeEstimate
from landscape.results.table import percent


def sorted_weights(volume: Volume) -> Figure:
    """Return the rays' weights in the volume, from the largest down, with what they say about its mean."""
    if not len(volume.log_weights):
        raise LandscapeError(f"the estimator {volume.estimator} measures no rays, so there are no weights to draw.")
    figure = Figure(figsize=(WIDTH, weights_height(volume)), layout="constrained")
    draw_weights(figure, volume)
    return figure


def weights_height(volume: Volume) -> float:
    """Return the height in inches that the weights take; the legend has a line for each cutoff."""
    return 3.4 + 0.2 * len(volume.results)


def draw_weights(figure: FigureBase, volume: Volume) -> None:
    """Draw the weights into a figure or a part of one."""
    axes = figure.subplots()
    styles = cutoff_styles([row.cutoff for row in volume.results])
    for column, (row, (_, colour, line)) in enumerate(zip(volume.results, styles, strict=True)):
        weights = np.sort(volume.log_weights[:, column])[::-1]
        weights = weights[np.isfinite(weights)]
        relative = (weights - weights[:1]) / math.log(10)
        rank = np.arange(1, len(weights) + 1)
        label = _weight_label(row, volume.directions, volume.directions - len(weights))
        axes.plot(rank, relative, color=colour, linestyle=line, marker=".", markevery=slice(0, 9), label=label)
    below = "weights below this line are together less than the largest one"
    axes.axhline(-math.log10(volume.directions), color="0.6", linewidth=0.8, zorder=0, label=below)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(ALL_DIGITS)
    axes.yaxis.set_major_formatter(ALL_DIGITS)
    axes.set_xlabel("rays, from the largest weight down (rank, log scale)")
    axes.set_ylabel("weight over the largest,\norders of magnitude")
    title = f"Weights in the {volume.estimator} estimate, n = {volume.dimension:,}"
    figure.suptitle(with_checkpoint(title, volume.config), fontsize="medium")
    figure.legend(loc="outside lower center", fontsize="small", frameon=False)
    bare(axes)


def _weight_label(row: VolumeEstimate, rays: int, weightless: int) -> str:
    """Say what the weights are worth.

    Args:
        row: the estimate.
        rays: number of rays.
        weightless: how many of them have weight 0, and so no place on a log scale.
    """
    dropped = f" ({weightless:,} weigh 0)" if weightless else ""
    share = percent(row.largest_weight)
    return f"cutoff {row.cutoff:g}: ess {row.ess:.1f} of {rays:,} rays{dropped}, largest weight {share}: {row.verdict}"
