"""Curvature -> figures: what they were made from, and how far to trust each number."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, SymmetricalLogLocator

from landscape.plots.style import SHORT_NUMBERS, WIDTH, Figure, bare, number, short_name
from landscape.results import Eigenpairs, LayerTraces, SpectralDensity
from landscape.results.curvature import matrix_name

MOST_BARS = 60  #: of the block traces; the smallest are left out
_FAR = 10.0  # times the bulk: from here on an axis of eigenvalues is linear around 0 and logarithmic beyond
_LOG_FROM = 10.0  # largest over smallest value from which a log scale shows more


def density_figure(density: SpectralDensity, pairs: Eigenpairs | None = None) -> Figure:
    """Return the density of the eigenvalues on a log axis, with its error and, if given, the outermost eigenvalues.

    Args:
        density: the spectral density.
        pairs: eigenpairs of the same operator; those that did not converge are drawn hollow.
    """
    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
    axes = figure.subplots()
    width, grid = density.width, density.grid()
    smooth, error = density.density(grid, width), density.density_error(grid, width)
    single = 1 / (density.dimension * width * math.sqrt(2 * math.pi))
    floor = 0.2 * min(single, float(smooth.max()))
    axes.set_yscale("log", nonpositive="clip")
    axes.set_ylim(floor, 3 * float((smooth + error).max()))
    if not density.exact:
        low, high = np.maximum(smooth - error, floor / 10), smooth + error
        axes.fill_between(grid, low, high, color="0.75", linewidth=0, label="± standard error between probes")
    axes.plot(grid, smooth, color="0.1", linewidth=1.2)
    axes.axhline(single, color="0.5", linestyle=":", linewidth=1, label="height of a single eigenvalue")
    peak = float(grid[smooth.argmax()])
    kernel = f"width of the kernel that smooths the curve, ± {number(width)}"
    axes.axvspan(peak - width, peak + width, color="0.9", linewidth=0, zorder=0, label=kernel)
    if pairs is not None:
        _mark(axes, pairs)
    _eigenvalue_axis(axes, density)
    axes.yaxis.set_major_formatter(SHORT_NUMBERS)
    axes.set_ylabel("share of eigenvalues\nper unit of eigenvalue, log scale")
    axes.yaxis.set_major_locator(LogLocator(numticks=8))
    axes.yaxis.set_minor_locator(NullLocator())
    probes, steps = density.nodes.shape
    how = f"{probes} unit vectors" if density.exact else f"{probes} probes"
    figure.suptitle(
        f"Spectral density of the {matrix_name(density.config)}\n{_about(density.config, density.dimension)}\n"
        f"{how} of {steps} Lanczos steps",
        fontsize="medium",
    )
    axes.set_title(density.around_zero, fontsize="small", loc="right")
    figure.legend(loc="outside lower center", ncols=2, fontsize="small", frameon=False)
    bare(axes)
    return figure


def layer_figure(traces: LayerTraces) -> Figure:
    """Return the trace of each parameter tensor's block and its mean eigenvalue as bars, with standard errors."""
    shown = np.sort(np.argsort(-np.abs(traces.values), kind="stable")[:MOST_BARS])
    figure = Figure(figsize=(WIDTH, 1.7 + 0.2 * max(len(shown), 4)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    at = np.arange(len(shown))
    sizes = traces.sizes[shown]
    for axes, scale, label in ((panels[0], 1.0, "trace"), (panels[1], sizes, "trace / entries")):
        values, errors = traces.values[shown] / scale, traces.standard_errors[shown] / scale
        style: dict[str, Any] = {} if traces.exact else {"xerr": errors, "ecolor": "0.0", "capsize": 2}
        axes.barh(at, values, color="0.7", edgecolor="0.3", linewidth=0.5, error_kw={"elinewidth": 1}, **style)
        logarithmic = bool((values - errors > 0).all()) and values.max() > _LOG_FROM * values.min()
        if logarithmic:
            axes.set_xscale("log")
            axes.set_xlim(left=float((values - errors).min()) / 2)
            axes.xaxis.set_major_locator(LogLocator(numticks=5))
            axes.xaxis.set_minor_locator(NullLocator())
        else:
            axes.axvline(0, color="0.3", linewidth=0.8)
            axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
            axes.xaxis.set_major_formatter(SHORT_NUMBERS)
        axes.set_xlabel(f"{label}, log scale" if logarithmic else label)
        bare(axes)
    panels[0].set_yticks(at, [short_name(traces.names[i]) for i in shown], fontsize="small")
    panels[0].set_ylim(len(shown) - 0.4, -0.6)
    left_out = len(traces.values) - len(shown)
    how = "exact, by unit vectors" if traces.exact else f"{len(traces.samples)} probes, bars ± standard error"
    dropped = f"; the {left_out} smallest left out" if left_out else ""
    total, error = traces.total
    within = "" if traces.exact else f" ± {number(float(f'{error:.2g}'))}"
    figure.suptitle(
        f"Trace of the {matrix_name(traces.config)} by parameter tensor\n"
        f"{_about(traces.config, traces.dimension)}\n{how}{dropped}; all {number(total)}{within}",
        fontsize="medium",
    )
    return figure


def eigenvalue_figure(pairs: Eigenpairs) -> Figure:
    """Return the eigenvalues in order, with their residuals as bars; those that did not converge are hollow."""
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    axes = figure.subplots()
    values, rank = pairs.values, np.arange(1, len(pairs.values) + 1)
    for mask, style in ((pairs.converged, _SOLID), (~pairs.converged, _HOLLOW)):
        if mask.any():
            bars = pairs.residuals[mask]
            axes.errorbar(rank[mask], values[mask], yerr=bars, linestyle="", capsize=4, ecolor="0.4", **style)
    low, high = float((values - pairs.residuals).min()), float(values.max())
    if low > 0 and high > _LOG_FROM * low:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(SHORT_NUMBERS)
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_ylabel("eigenvalue, log scale")
    else:
        axes.set_ylabel("eigenvalue")
        axes.yaxis.set_major_formatter(SHORT_NUMBERS)
        if low <= 0 <= high:
            axes.axhline(0, color="0.6", linewidth=0.8, zorder=0)
    axes.set_xlabel("rank, from the largest down")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(0.5, len(values) + 0.5)
    done = int(pairs.converged.sum())
    count = "all converged" if done == len(values) else f"{len(values) - done} of {len(values)} NOT converged"
    figure.suptitle(
        f"{len(values)} {pairs.wanted} of the {matrix_name(pairs.config)}: {count}\n"
        f"{_about(pairs.config, pairs.dimension)}",
        fontsize="medium",
    )
    figure.legend(loc="outside lower center", ncols=2, fontsize="small", frameon=False)
    bare(axes)
    return figure


_SOLID: dict[str, Any] = {"marker": "o", "color": "0.1", "label": "converged, ± residual"}
_HOLLOW: dict[str, Any] = {
    "marker": "o",
    "color": "0.1",
    "markerfacecolor": "white",
    "label": "not converged: an eigenvalue lies within the bar",
}


def _mark(axes: Axes, pairs: Eigenpairs) -> None:
    """Mark eigenvalues along the upper edge."""
    what = f"the {len(pairs.values)} {pairs.wanted}"
    named = ((pairs.converged, "0.1", what), (~pairs.converged, "white", f"{what}: not converged"))
    for mask, face, label in named:
        if mask.any():
            axes.plot(
                pairs.values[mask],
                np.full(int(mask.sum()), 0.97),
                linestyle="",
                marker="v",
                markersize=6,
                color="0.1",
                markerfacecolor=face,
                markeredgewidth=0.5 if face == "white" else 0,
                label=label,
                transform=axes.get_xaxis_transform(),
                clip_on=False,
            )


def _eigenvalue_axis(axes: Axes, density: SpectralDensity) -> None:
    """Scale the axis of eigenvalues so that both the bulk and outliers can be seen."""
    bulk = max(abs(density.quantile(0.05)), abs(density.quantile(0.95)), density.width)
    if max(map(abs, density.extremes)) <= _FAR * bulk:
        axes.set_xlabel("eigenvalue")
        axes.xaxis.set_major_formatter(SHORT_NUMBERS)
        return
    linear = 10.0 ** math.ceil(math.log10(bulk))
    axes.set_xscale("symlog", linthresh=linear, linscale=1.5)
    axes.xaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=linear))
    axes.xaxis.set_major_formatter(SHORT_NUMBERS)
    axes.set_xlabel(f"eigenvalue (linear up to ±{number(linear)}, log scale beyond)")


def _about(config: Mapping[str, Any], dimension: int) -> str:
    """Return which net this is, as far as it is known: the checkpoint that a command read, the scope, and n."""
    net = [short_name(str(config["checkpoint"]))] if "checkpoint" in config else []
    scope = [f"scope {short_name(str(config['scope']))}"] if "scope" in config else []
    return ", ".join([*net, *scope, f"n = {dimension:,}"])
