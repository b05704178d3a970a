"""The log-volume of the basin of every net against its generalisation gap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from landscape.plots.style import WIDTH, Figure, bare
from landscape.reproduce.basin import radii_of
from landscape.reproduce.captioned_figure import CaptionedFigure
from landscape.reproduce.measurement_cache import MeasurementCache
from landscape.reproduce.nets import Net
from landscape.reproduce.study import Study
from landscape.reproduce.style import colour_of, correlation_text, legend
from landscape.results import Radii, Volume, VolumeEstimate
from landscape.results.comparison import says
from landscape.volume import compare_volumes, log_volume, volume_from_radii


@dataclass(frozen=True)
class NetVolume:
    """The log-volume of one net at one cutoff by one estimator."""

    net: Net
    estimator: str
    row: VolumeEstimate


def volumes_of(net: Net, study: Study, cache: MeasurementCache) -> list[Volume]:
    """Return the log-volumes of a net: from the study's rays, and annealed for seed 0 of the chosen factors."""
    radii = radii_of(net, study, cache)
    if radii is None:
        return []
    volumes: list[Volume] = [
        cache.get("volume", net, {"rays": study.rays, "cutoffs": radii.cutoffs}, _from_radii(radii))
    ]
    chosen = net.member.seed == 0 and net.poison in study.annealed
    if chosen and net.summary.train_loss < study.cutoffs[0]:
        settings = {
            "cutoffs": [study.cutoffs[0]],
            "estimator": "annealed",
            "metric": "filter",
            "budget": study.annealing_passes,
            "seed": 0,
        }
        volumes.append(cache.get("annealed", net, settings, log_volume))
    return volumes


def _from_radii(radii: Radii) -> Any:
    return lambda objective, **settings: volume_from_radii(radii)


def volume_figure(nets: Sequence[Net], study: Study, cache: MeasurementCache) -> CaptionedFigure:
    """Return the log-volume of every net that has a basin against its generalisation gap, one panel per cutoff."""
    measured = {net.name: volumes_of(net, study, cache) for net in nets}
    points = [
        NetVolume(net, volume.estimator, row) for net in nets for volume in measured[net.name] for row in volume.results
    ]
    figure = Figure(figsize=(WIDTH * 1.4, 4.4), layout="constrained")
    panels = figure.subplots(1, len(study.cutoffs), sharey=True, squeeze=False)[0]
    correlations = []
    for axes, cutoff in zip(panels, study.cutoffs, strict=True):
        chosen = [point for point in points if math.isclose(point.row.cutoff, cutoff)]
        correlations.append(_draw_volumes(axes, chosen, nets, cutoff))
    panels[0].set_ylabel("log10 of the volume, metric coordinates")
    marks = [
        Line2D(
            [], [], linestyle="", marker="o", color="0.3", markerfacecolor="none", label="lower bound, uniform rays"
        ),
        Line2D([], [], linestyle="", marker="s", color="0.3", markerfacecolor="none", label="lower bound, annealed"),
        Line2D([], [], linestyle="", marker="s", color="0.3", label="reliable or settled"),
    ]
    legend(figure, nets, marks)
    return CaptionedFigure(
        name="volume",
        title="The volume of the basin against the generalisation gap",
        caption=(
            "The volume of the set of weights around the trained point where the training loss stays below the cutoff, "
            "in filter-normalised units, radius capped at 1. An open mark is a lower bound. Its line is the interval, "
            f"which ends at what the cap alone allows. {' '.join(correlations)} {_left_out(nets, study)}"
            f"{_ends(nets, measured)} Rank correlations of lower bounds rank the bounds."
        ),
        header=["net", "gap", "cutoff", "estimator", "log10_volume", "low", "high", "ess", "verdict"],
        rows=[
            [
                p.net.name,
                p.net.gap,
                p.row.cutoff,
                p.estimator,
                p.row.log10_volume,
                *p.row.log10_interval,
                p.row.ess,
                p.row.verdict,
            ]
            for p in points
        ],
        figure=figure,
    )


def _draw_volumes(axes: Axes, points: Sequence[NetVolume], nets: Sequence[Net], cutoff: float) -> str:
    """Draw the volumes at one cutoff; return their rank correlations with the gap in words."""
    colours = colour_of([net.poison for net in nets])
    for point in points:
        bound = point.row.verdict == "lower bound"
        low, high = point.row.log10_interval
        at, colour = point.row.log10_reported, colours[point.net.poison]
        mark = "o" if point.estimator == "uniform" else "s"
        axes.plot([point.net.gap] * 2, [low, high], color=colour, linewidth=1, alpha=0.35 if bound else 1.0, zorder=1)
        face = "white" if bound else colour
        axes.plot(point.net.gap, at, mark, color=colour, markerfacecolor=face, markeredgewidth=1.5, zorder=2)
    axes.set_title(f"cutoff {cutoff:g}", fontsize="medium")
    axes.set_xlabel("generalisation gap")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    bare(axes)
    words = []
    for estimator in dict.fromkeys(point.estimator for point in points):
        chosen = [point for point in points if point.estimator == estimator]
        values = [point.row.log10_reported for point in chosen]
        words.append(f"{estimator} {correlation_text([point.net.gap for point in chosen], values)}")
    return f"Cutoff {cutoff:g}: {'; '.join(words)}." if words else f"Cutoff {cutoff:g}: no net lies below it."


def _left_out(nets: Sequence[Net], study: Study) -> str:
    out = [net for net in nets if not net.fitted or net.summary.train_loss >= study.cutoffs[0]]
    if not out:
        return "No net is left out."
    listed = "; ".join(f"β = {n.poison:g}, seed {n.member.seed} (loss {n.summary.train_loss:.2g})" for n in out)
    return f"Left out, because their loss is above the cutoff or a training point is not fitted: {listed}."


def _ends(nets: Sequence[Net], measured: dict[str, list[Volume]]) -> str:
    """Compare the first and the last net that were measured, by their best estimators."""
    measured_nets = [net for net in nets if measured[net.name] and net.member.seed == 0]
    if len(measured_nets) < 2:
        return ""
    first, last = measured_nets[0], measured_nets[-1]
    row = compare_volumes(measured[first.name][-1], measured[last.name][-1]).rows[0]
    words = (
        says(*row.interval, row.larger)
        .replace("first", f"β = {first.poison:g}")
        .replace("second", f"β = {last.poison:g}")
    )
    return f" Larger basin at cutoff {row.cutoff:g}, β = {first.poison:g} or {last.poison:g}: {words}."
