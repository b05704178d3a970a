"""The basin: its radius along random rays, and its log-volume against the generalisation gap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from landscape.plots.style import WIDTH, bare
from landscape.rays import basin_radii
from landscape.reproduce.figure import Cell, Panel
from landscape.reproduce.study import Keep, Net, Study
from landscape.reproduce.style import CLASSES, colour_of, correlation_text, legend
from landscape.results import Radii, Volume, VolumeEstimate
from landscape.results.comparison import says
from landscape.volume import compare_volumes, log_volume, volume_from_radii

_LOG10 = math.log(10.0)
_MOST_SPOKES = 200


@dataclass(frozen=True)
class Point:
    """The log-volume of one net at one cutoff by one estimator."""

    net: Net
    estimator: str
    row: VolumeEstimate


def radii_of(net: Net, study: Study, keep: Keep) -> Radii | None:
    """Return the radii along the study's rays at the cutoffs that a net lies below; None where it has no basin."""
    cutoffs = [cutoff for cutoff in study.cutoffs if net.summary.train_loss < cutoff]
    if not net.fitted or not cutoffs:
        return None
    settings = {"cutoffs": cutoffs, "metric": "filter", "directions": study.rays, "seed": 0}
    return keep.get("radii", net, settings, basin_radii)


def volumes_of(net: Net, study: Study, keep: Keep) -> list[Volume]:
    """Return the log-volumes of a net: from the study's rays, and for the first seeds annealed."""
    radii = radii_of(net, study, keep)
    if radii is None:
        return []
    found: list[Volume] = [keep.get("volume", net, {"rays": study.rays, "cutoffs": radii.cutoffs}, _from(radii))]
    wanted = net.member.seed == 0 and net.poison in study.annealed
    if wanted and net.summary.train_loss < study.cutoffs[0]:
        settings = {
            "cutoffs": [study.cutoffs[0]],
            "estimator": "annealed",
            "metric": "filter",
            "chains": study.chains,
            "temperatures": study.temperatures,
            "seed": 0,
        }
        found.append(keep.get("annealed", net, settings, log_volume))
    return found


def _from(radii: Radii) -> Any:
    return lambda objective, **settings: volume_from_radii(radii)


def polar_figure(nets: Sequence[Net], study: Study, keep: Keep) -> Panel | None:
    """Return the radius of the basin of a good and a bad net along the same rays; None where one has no basin."""
    found = [radii_of(net, study, keep) for net in nets]
    radii = [each for each in found if each is not None and each.cutoffs[0] == study.cutoffs[0]]
    if len(radii) < len(nets):
        return None
    figure = Figure(figsize=(WIDTH * 1.3, 4.7), layout="constrained")
    both, alone = figure.subplots(1, 2, subplot_kw={"projection": "polar"})
    for net, each, colour in zip(nets, radii, CLASSES, strict=True):
        _ring(both, each.radii[:, 0], colour, f"β = {net.poison:g}, test {net.summary.test_accuracy:.0%}")
    _ring(alone, radii[1].radii[:, 0], CLASSES[1], "")
    medians = [float(np.median(each.radii[:, 0])) for each in radii]
    ratio = medians[0] / medians[1]
    both.set_title("one scale for both", fontsize="medium")
    alone.set_title(f"the bad one alone, {ratio:.3g} times enlarged", fontsize="medium")
    figure.legend(loc="outside lower center", ncols=2, fontsize="small", frameon=False)
    rows: list[list[Cell]] = [
        [ray, *(float(each.radii[ray, 0]) for each in radii)] for ray in range(radii[0].directions)
    ]
    return Panel(
        name="basin",
        title="The basin along random directions",
        caption=(
            f"The distance at which the training loss first reaches {study.cutoffs[0]:g}, along {study.rays:,} random "
            f"filter-normalised rays, the same ones for both nets; the first {_MOST_SPOKES} at most are drawn, at even "
            "angles (the angle itself means nothing). 1 would move every filter by its own norm. Median radius "
            f"{medians[0]:.3g} and {medians[1]:.3g}: a ratio of {ratio:.3g}."
        ),
        header=["ray", *(net.name for net in nets)],
        rows=rows,
        figure=figure,
        commands=[_radius_command(net, study) for net in nets],
    )


def _radius_command(net: Net, study: Study) -> str:
    return (
        f"landscape radius nets/{net.path.name} --cutoff {study.cutoffs[0]:g} --directions {study.rays} --seed 0 --csv"
        + study.flags
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


def volume_figure(nets: Sequence[Net], study: Study, keep: Keep) -> Panel:
    """Return the log-volume of every net that has a basin against its generalisation gap, a panel a cutoff."""
    measured = {net.name: volumes_of(net, study, keep) for net in nets}
    points = [
        Point(net, volume.estimator, row) for net in nets for volume in measured[net.name] for row in volume.results
    ]
    figure = Figure(figsize=(WIDTH * 1.4, 4.4), layout="constrained")
    panels = figure.subplots(1, len(study.cutoffs), sharey=True, squeeze=False)[0]
    told = []
    for axes, cutoff in zip(panels, study.cutoffs, strict=True):
        chosen = [point for point in points if math.isclose(point.row.cutoff, cutoff)]
        told.append(_draw_volumes(axes, chosen, nets, cutoff))
    panels[0].set_ylabel("log10 of the volume, metric coordinates")
    marks = [
        Line2D(
            [], [], linestyle="", marker="o", color="0.3", markerfacecolor="none", label="lower bound, uniform rays"
        ),
        Line2D([], [], linestyle="", marker="s", color="0.3", markerfacecolor="none", label="lower bound, annealed"),
        Line2D([], [], linestyle="", marker="s", color="0.3", label="reliable"),
    ]
    legend(figure, nets, marks)
    return Panel(
        name="volume",
        title="The volume of the basin against the generalisation gap",
        caption=(
            "The volume of the set of weights around the trained point where the training loss stays below the cutoff, "
            "in filter-normalised units, radius capped at 1. An open mark is a lower bound and its line the interval, "
            f"which ends at what the cap alone allows. {' '.join(told)} {_left_out(nets, study)}"
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


def _draw_volumes(axes: Axes, points: Sequence[Point], nets: Sequence[Net], cutoff: float) -> str:
    """Draw the volumes at one cutoff, and return their rank correlations with the gap in words."""
    colours = colour_of([net.poison for net in nets])
    for point in points:
        bound = point.row.verdict == "lower bound"
        low, high = point.row.log10_interval
        at, colour = low if bound else point.row.log10_volume, colours[point.net.poison]
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
        values = [_quoted(point.row) for point in chosen]
        words.append(f"{estimator} {correlation_text([point.net.gap for point in chosen], values)}")
    return f"Cutoff {cutoff:g}: {'; '.join(words)}." if words else f"Cutoff {cutoff:g}: no net lies below it."


def _quoted(row: VolumeEstimate) -> float:
    """Return what to report: the bound of a lower bound, else the estimate."""
    return row.log10_interval[0] if row.verdict == "lower bound" else row.log10_volume


def _left_out(nets: Sequence[Net], study: Study) -> str:
    out = [net for net in nets if not net.fitted or net.summary.train_loss >= study.cutoffs[0]]
    if not out:
        return "No net is left out."
    listed = "; ".join(f"β = {n.poison:g}, seed {n.member.seed} (loss {n.summary.train_loss:.2g})" for n in out)
    return f"Left out, as their loss is above the cutoff or a training point is not fitted: {listed}."


def _ends(nets: Sequence[Net], measured: dict[str, list[Volume]]) -> str:
    """Compare the first and the last net that were measured by the best estimator of both."""
    have = [net for net in nets if measured[net.name] and net.member.seed == 0]
    if len(have) < 2:
        return ""
    first, last = have[0], have[-1]
    row = compare_volumes(measured[first.name][-1], measured[last.name][-1]).rows[0]
    words = (
        says(*row.interval, row.larger)
        .replace("first", f"β = {first.poison:g}")
        .replace("second", f"β = {last.poison:g}")
    )
    return f" Larger basin at cutoff {row.cutoff:g}, β = {first.poison:g} or {last.poison:g}: {words}."
