"""The values behind a mean -> a figure: what each random draw said, and the mean with its standard error."""

from __future__ import annotations

import numpy as np
from matplotlib.ticker import MaxNLocator

from landscape.plots.style import SHORT_NUMBERS, WIDTH, Figure, bare, number, shades, with_checkpoint
from landscape.results import Diagonal, LogDeterminant, Measure, Trace
from landscape.results.curvature import matrix_name
from landscape.results.table import percent

_MOST_BINS = 60


def samples_figure(result: Trace | LogDeterminant | Measure) -> Figure:
    """Return the value of each draw as a dot, and their mean with its standard error as a line and a band.

    Dots that lie evenly around the line speak for the error. A few that lie far out carry the mean.

    Args:
        result: with at least one finite sample.
    """
    title, label, noun = _words(result)
    samples = result.samples.astype(float)
    known = np.isfinite(samples)
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.plot(np.arange(1, len(samples) + 1)[known], samples[known], "o", color=shades(1)[0], markersize=3.5)
    if np.isfinite(result.value):
        axes.axhline(result.value, color="0.0", linewidth=1.0, label="value ± standard error")
        if np.isfinite(result.standard_error):
            low, high = result.value - result.standard_error, result.value + result.standard_error
            axes.axhspan(low, high, color="0.0", alpha=0.15, linewidth=0)
        axes.legend(fontsize="small", frameon=False)
    axes.set_xlabel(noun)
    axes.set_ylabel(label)
    axes.yaxis.set_major_formatter(SHORT_NUMBERS)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    strange = int((~known).sum())
    dropped = f", {strange:,} not finite and left out" if strange else ""
    figure.suptitle(
        f"{with_checkpoint(title, result.config)}\n{_counted(len(samples), noun)}{dropped}", fontsize="medium"
    )
    bare(axes)
    return figure


def diagonal_figure(diagonal: Diagonal) -> Figure:
    """Return the histogram of the diagonal's finite entries, at least one; counts are on a log scale."""
    values = diagonal.values.astype(float)
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    axes = figure.subplots()
    bins = int(np.clip(2 * np.sqrt(len(values)), 12, _MOST_BINS))
    axes.hist(values[np.isfinite(values)], bins=bins, color=shades(1)[0], edgecolor="white", linewidth=0.3)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(SHORT_NUMBERS)
    axes.xaxis.set_major_formatter(SHORT_NUMBERS)
    axes.axvline(0, color="0.5", linewidth=0.8, linestyle=":")
    axes.set_xlabel("entry of the diagonal, loss per squared metric unit")
    axes.set_ylabel("entries, log scale")
    negative = float(np.mean(values < 0))
    how = "exact" if diagonal.exact else _counted(diagonal.probes, "probe")
    error = "" if diagonal.exact else f"; median standard error {number(float(np.median(diagonal.standard_errors)))}"
    figure.suptitle(
        with_checkpoint(f"Diagonal of the {matrix_name(diagonal.config)}: n = {len(values):,}", diagonal.config) + "\n"
        f"{how}{error}; {percent(negative)} of the entries are below 0",
        fontsize="medium",
    )
    bare(axes)
    return figure


def _words(result: Trace | LogDeterminant | Measure) -> tuple[str, str, str]:
    """Return the title, the label of the values and what one of them is."""
    match result:
        case Trace():
            return f"Trace of the {matrix_name(result.config)}: {_value(result)}", "trace of one probe", "probe"
        case LogDeterminant():
            name = f"Log-determinant of the {matrix_name(result.config)}"
            return f"{name}: {_value(result)} nats", "log |det| of one probe, nats", "probe"
    return f"{result.name}: {_value(result)} ({result.verdict})", f"{result.name}, one draw", "draw"


def _value(result: Trace | LogDeterminant | Measure) -> str:
    error = result.standard_error
    return f"{number(result.value)} ± {number(error)}" if np.isfinite(error) and error > 0 else number(result.value)


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
