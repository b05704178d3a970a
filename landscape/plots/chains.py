"""Traces of the chains behind a measure: what each draw said, by chain and by where the chain began."""

from __future__ import annotations

import numpy as np

from landscape.plots.style import SHORT_NUMBERS, WIDTH, Figure, bare, number, shades, with_checkpoint
from landscape.results import Measure

MOST_CHAINS = 8  #: whose traces are drawn; the histogram has all
_MOST_POINTS = 2_000  # of a trace; longer ones are thinned
_BINS = 30


def trace_figure(measure: Measure) -> Figure:
    """Return nβ (L - L*) of each draw against its number, and the histograms of the two kinds of start.

    Chains that have mixed look alike, from the first draw to the last, and so do the histograms.

    Args:
        measure: ``llc``, with draws of chains.
    """
    values = measure.chains
    assert values is not None
    inside = int(measure.config["inside"])
    groups = [(values[:inside], "from the trained point"), (values[inside:], "from outside")]
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    trace, side = figure.subplots(1, 2, sharey=True, width_ratios=[4, 1])
    each = max(1, MOST_CHAINS // len(groups))
    every = -(-values.shape[1] // _MOST_POINTS)
    bins = np.linspace(values.min(), values.max(), _BINS + 1)
    for (rows, label), colour, line in zip(groups, shades(2), ("-", "--"), strict=True):
        for row in rows[:each]:
            at = np.arange(1, len(row) + 1)[::every]
            trace.plot(at, row[::every], color=colour, linestyle=line, linewidth=0.6, label=label)
            label = ""
        side.hist(
            rows.ravel(), bins=bins, density=True, orientation="horizontal", histtype="step", color=colour, ls=line
        )
    for axes in (trace, side):
        axes.axhline(measure.value, color="0.0", linewidth=1.0, label="mean ± standard error")
        if np.isfinite(measure.standard_error):
            low, high = measure.value - measure.standard_error, measure.value + measure.standard_error
            axes.axhspan(low, high, color="0.0", alpha=0.15, linewidth=0)
        bare(axes)
    trace.set_xlabel("draw of the chain, after the burn-in")
    trace.set_ylabel("nβ (L − L*)")
    trace.yaxis.set_major_formatter(SHORT_NUMBERS)
    side.set_xlabel("density")
    side.set_xticks([])
    config = measure.config
    shown = f", {2 * each} drawn" if len(values) > 2 * each else ""
    figure.suptitle(
        with_checkpoint(f"Local learning coefficient {number(measure.value)}: {measure.verdict}", config) + "\n"
        f"{config['sampler_taken']}, {len(values)} chains{shown}, split R-hat {config['r_hat']:.3f}, "
        f"effective sample size {number(config['ess'])}",
        fontsize="medium",
    )
    figure.legend(
        *trace.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize="small", frameon=False
    )
    return figure
