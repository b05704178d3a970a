"""Curvature at the trained point against the generalisation gap."""

from __future__ import annotations

from collections.abc import Sequence

from landscape.curvature import Hessian, top_eigenpairs, trace
from landscape.objective import Objective
from landscape.plots.style import WIDTH, Figure, bare
from landscape.reproduce.captioned_figure import CaptionedFigure, TableCell
from landscape.reproduce.measurement_cache import MeasurementCache
from landscape.reproduce.nets import Net
from landscape.reproduce.study import Study
from landscape.reproduce.style import colour_of, correlation_text, legend
from landscape.results import Eigenpairs, Trace


def eigenpairs_of(net: Net, cache: MeasurementCache) -> Eigenpairs:
    """Return the largest eigenvalue of the Hessian in filter-normalised coordinates, with its vector."""

    def measure(objective: Objective, metric: str, k: int) -> Eigenpairs:
        return top_eigenpairs(Hessian(objective, metric=metric), k=k)

    return cache.get("eigenpairs", net, {"metric": "filter", "k": 1}, measure)


def trace_of(net: Net, study: Study, cache: MeasurementCache) -> Trace:
    """Return the trace of the same Hessian."""

    def measure(objective: Objective, metric: str, probes: int) -> Trace:
        return trace(Hessian(objective, metric=metric), probes=probes)

    return cache.get("trace", net, {"metric": "filter", "probes": study.probes}, measure)


def curvature_figure(nets: Sequence[Net], study: Study, cache: MeasurementCache) -> CaptionedFigure:
    """Return the top eigenvalue and the trace of every net against its generalisation gap."""
    pairs, traces = [eigenpairs_of(net, cache) for net in nets], [trace_of(net, study, cache) for net in nets]
    eigenvalues, trace_values = [float(pair.values[0]) for pair in pairs], [each.value for each in traces]
    gaps, colours = [net.gap for net in nets], colour_of([net.poison for net in nets])
    figure = Figure(figsize=(WIDTH * 1.25, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    for net, pair, own_trace in zip(nets, pairs, traces, strict=True):
        colour = colours[net.poison]
        face = colour if pair.converged[0] else "white"
        left.plot(net.gap, pair.values[0], "o", color=colour, markerfacecolor=face)
        right.errorbar(net.gap, own_trace.value, 2 * own_trace.standard_error, fmt="o", color=colour, capsize=2)
    for axes, name, values in ((left, "largest eigenvalue", eigenvalues), (right, "trace", trace_values)):
        if min(values) > 0:
            axes.set_yscale("log")
        axes.set_title(name, fontsize="medium")
        axes.set_xlabel("generalisation gap")
        bare(axes)
    left.set_ylabel("of the filter-normalised Hessian")
    legend(figure, nets)
    unconverged = sum(not bool(pair.converged[0]) for pair in pairs)
    rows: list[list[TableCell]] = [
        [n.name, n.gap, float(p.values[0]), float(p.residuals[0]), int(p.converged[0]), t.value, t.standard_error]
        for n, p, t in zip(nets, pairs, traces, strict=True)
    ]
    return CaptionedFigure(
        name="curvature",
        title="Curvature at the trained point against the generalisation gap",
        caption=(
            "The Hessian of the training loss at every net, in coordinates in which 1 moves every filter by its own "
            f"norm. Largest eigenvalue: {correlation_text(gaps, eigenvalues)}"
            + (f", {unconverged} of them not converged (open marks)" if unconverged else ", all converged")
            + f". Trace, with two standard errors from {study.probes} probes: {correlation_text(gaps, trace_values)}."
        ),
        header=["net", "gap", "top_eigenvalue", "residual", "converged", "trace", "trace_standard_error"],
        rows=rows,
        figure=figure,
        commands=[f"landscape curvature nets/{nets[0].path.name} --metric filter --top 1 --trace{study.options}"],
    )
