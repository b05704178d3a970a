"""How log-volumes are printed: a table, what may be said of it, what it cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from landscape.results import AnnealedVolume, Caps, LaplaceVolume, Radii, Volume, VolumeEstimate
from landscape.results.table import columns, decimal, percent
from landscape.volume.ray_weights.mean import judged
from landscape_cli.text import cost_text, paragraph, ray_notes, settings_text


def volume_text(volume: Volume, radii: Radii | None = None, more: Sequence[str] = (), caps: Caps | None = None) -> str:
    """Return the table of log-volumes, what was measured, what it cost and what may be said of it."""
    count = f", {volume.directions:,} {_unit(volume)}" if volume.directions else ""
    head = f"log-volume of the basin: {volume.estimator} estimator{count}"
    parts = [head, settings_text(volume.config, volume.dimension), "", volume.table()]
    notes = [*more, *bound_notes(volume), *(ray_notes(radii) if radii is not None else [])]
    if notes:
        parts += ["", *map(paragraph, notes)]
    return "\n".join([*parts, *_evidence(volume), *_caps(caps), *_cost(volume)])


def volumes_text(
    volumes: Mapping[str, Volume],
    radii: Radii | None = None,
    more: Sequence[str] = (),
    caps: Caps | None = None,
) -> str:
    """Return the estimates side by side in one table, the best one last, and what may be said of that one."""
    *others, best = volumes.values()
    if not others:
        return volume_text(best, radii, more, caps)
    counts = " and ".join(f"{volume.estimator} ({volume.directions:,} {_unit(volume)})" for volume in volumes.values())
    parts = [
        f"log-volume of the basin: {counts}",
        settings_text(best.config, best.dimension),
        "",
        side_by_side(volumes),
        "",
    ]
    notes = [*more, *_gains(others[0], best), *bound_notes(best), *(ray_notes(radii) if radii is not None else [])]
    costs = [f"{name}: {_cost(volume)[-1]}" for name, volume in volumes.items()]
    return "\n".join([*parts, *map(paragraph, notes), *_evidence(best), *_caps(caps), "", *costs])


def side_by_side(volumes: Mapping[str, Volume]) -> str:
    """Return one table with a row for each cutoff and estimator."""
    rows = []
    for number, first in enumerate(next(iter(volumes.values())).results):
        for place, (name, volume) in enumerate(volumes.items()):
            row = volume.results[number]
            rows.append(
                [
                    f"{first.cutoff:g}" if place == 0 else "",
                    name,
                    row.quotable,
                    "[{}, {}]".format(*map(decimal, row.log10_interval)),
                    f"{row.ess:,.1f}",
                    row.verdict,
                ]
            )
    headers = ["cutoff", "estimator", "log10 V", "95 % interval", "ess", "verdict"]
    return columns(headers, rows, left=["estimator", "verdict"])


def _gains(plain: Volume, best: Volume) -> list[str]:
    """Say by how much the second estimate moves what may be quoted of the first, or that the first bound is higher."""
    above, below = [], []
    for old, new in zip(plain.results, best.results, strict=True):
        ends = [row.log_volume if row.verdict == "reliable" else row.interval[0] for row in (old, new)]
        gain = (ends[1] - ends[0]) / math.log(10)
        if new.verdict == "lower bound" and gain < 0:
            if best.estimator == "annealed":  # which was settled beforehand, and not chosen by its value
                below.append(f"log10 V {old.quotable} at cutoff {old.cutoff:g}")
        else:
            above.append(f"{decimal(gain)} orders of magnitude at cutoff {old.cutoff:g}")
    notes = [f"{best.estimator} above {plain.estimator}, in what may be quoted: {'; '.join(above)}."] if above else []
    if below:
        notes.append(f"The bound of {plain.estimator} is the higher one, and holds as well: {'; '.join(below)}.")
    return notes


def _unit(volume: Volume) -> str:
    return "chains" if isinstance(volume, AnnealedVolume) else "rays"


def _evidence(volume: Volume) -> list[str]:
    return ["", volume.evidence()] if isinstance(volume, AnnealedVolume | LaplaceVolume) else []


def _caps(caps: Caps | None) -> list[str]:
    return [] if caps is None else ["", "under smaller caps, and the share of rays that reach each:", str(caps)]


def _cost(volume: Volume) -> list[str]:
    if isinstance(volume, LaplaceVolume):
        return []
    rays = 0 if isinstance(volume, AnnealedVolume) else volume.directions
    return ["", cost_text(volume.cost.evaluations, volume.cost.seconds, rays)]


def bound_notes(volume: Volume) -> list[str]:
    """Return what a reader should know before quoting: a cap that is all that was measured, or a lower bound."""
    notes = [
        f"every ray reached the cap at cutoff {row.cutoff:g}, so V is that of the cap alone: pass --max-radius none"
        for row in volume.results
        if row.censored == 1 and not isinstance(volume, AnnealedVolume)
    ]
    notes += [
        f"{percent(row.censored_weight)} of the estimate at cutoff {row.cutoff:g} is on rays that reach the cap."
        for row in volume.results
        if row.censored_weight > 0 and (row.censored < 1 or isinstance(volume, AnnealedVolume))
    ]
    if any(row.verdict == "approximation" for row in volume.results):
        notes.append(
            "approximation: the volume of the quadratic that the curvature describes. Its interval holds the error of "
            "the log-determinant, and nothing says how far the basin is from that quadratic: compare with another "
            "--estimator."
        )
    bounds = [row for row in volume.results if row.verdict == "lower bound"]
    if not bounds:
        return notes
    quoted = "; ".join(f"log10 V {row.quotable} at cutoff {row.cutoff:g}" for row in bounds)
    each = ", each" if len(bounds) > 1 else ""
    if isinstance(volume, AnnealedVolume):
        reason = _unsettled(volume)
    else:
        worst = min(bounds, key=lambda row: row.ess)
        weights = volume.log_weights[:, volume.results.index(worst)]
        reason = _weakness(worst, *judged(volume.config, volume.dimension, weights), volume.directions)
    return [
        *notes,
        f"lower bound: {reason}.",
        f"May be quoted{each} with 95 % confidence: {quoted}.",
    ]


def _weakness(row: VolumeEstimate, log_weights: np.ndarray, resolution: float, rays: int) -> str:
    """Say in plain words why an estimate is no measurement."""
    from landscape.volume.ray_weights import statistics as weights

    if row.ess == 0:
        return "all rays end at the trained point itself: the criterion jumps there"
    least = 2 * weights.RELIABLE_ESS * rays / len(log_weights)  # half of them are judged, opposite rays as one
    # a censored ray weighs as much as any ray can
    capped = 0 < row.censored < 0.1
    unseen = "The cap bounds every weight, but too few rays reached it to measure V: pass more --directions"
    if rays < least and 2 * row.ess >= len(log_weights):
        return f"fewer than {least:.0f} rays: pass --directions 1000"
    if row.ess < weights.RELIABLE_ESS or row.largest_weight > weights.RELIABLE_SHARE:
        carrying = max(round(row.ess), 1)
        outweighed = "Rays that were not drawn probably outweigh it, so the mean does not measure V"
        return (
            f"an ess of {row.ess:.1f} means that about {carrying:,} of {rays:,} rays "
            f"carr{'ies' if carrying == 1 else 'y'} the mean (the largest alone "
            f"{percent(row.largest_weight)}). {unseen if capped else outweighed}"
        )
    if row.pareto_k > weights.RELIABLE_PARETO_K:
        tail = f"the rays' weights have a tail index of {row.pareto_k:.2f}, above {weights.RELIABLE_PARETO_K}"
        return f"{tail}. {unseen}" if capped else f"{tail}, so that rays that were not drawn may outweigh all that were"
    if not weights.is_reliable(log_weights, resolution):
        first = log_weights[: len(log_weights) // 2]
        return (
            f"the first half of the rays, on which the verdict rests, has an ess of "
            f"{weights.effective_sample_size(first):,.1f} (it takes {weights.RELIABLE_ESS:.0f}) and a tail index of "
            f"{weights.pareto_k(first, resolution):.2f} (at most {weights.RELIABLE_PARETO_K}): pass more --directions"
        )
    return "the search along some rays was given up, and their radii are the inner ends of their brackets"


def _unsettled(volume: AnnealedVolume) -> str:
    """Say in plain words why chains are no measurement."""
    from landscape.volume import annealed

    shared = [any(counts) for counts in volume.resampled]
    if any(shared) and all(shared[i] or row.verdict == "reliable" for i, row in enumerate(volume.results)):
        return (
            "the chains were resampled on their way, so they share ancestors and are one draw, whose mean is V and "
            "whose scatter is not known: compare half effort, and another --seed"
        )
    if volume.directions < annealed.RELIABLE_CHAINS:
        return f"fewer than {annealed.RELIABLE_CHAINS} chains: pass --chains 32"
    spread = float(volume.weight_spread[:, 0].max())
    if math.isinf(spread):
        return "some chains began on rays that end at the trained point itself, and count as nothing"
    if spread > annealed.RELIABLE_SPREAD:
        return (
            f"the log-weights of the chains spread by {spread:,.1f} nats at half effort, a measurement takes at most "
            f"{annealed.RELIABLE_SPREAD:g}: pass a longer --budget"
        )
    if float(volume.unseen.max()) > annealed.RELIABLE_UNSEEN:
        return "uniform rays found long rays that the chains did not: pass a longer --budget"
    if any(row.largest_weight > annealed.RELIABLE_LARGEST for row in volume.results):
        return "one chain carries much of the mean: pass a longer --budget"
    return "the runs of half and of full effort differ, or a search along a ray was given up: pass a longer --budget"
