"""How log-volumes are printed: a table, what to know before reporting a number, and the cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from landscape.results import AnnealedVolume, Caps, LaplaceVolume, Radii, Volume
from landscape.results.table import columns, decimal
from landscape_cli.flags import in_flags
from landscape_cli.text import cost_text, paragraph, ray_notes, settings_text


def volume_text(volume: Volume, radii: Radii | None = None, more: Sequence[str] = (), caps: Caps | None = None) -> str:
    """Return the table of log-volumes, with what was measured, what to know about it and what it cost."""
    count = f", {volume.directions:,} {volume.unit}" if volume.directions else ""
    head = paragraph(f"{volume.quantity}: {volume.estimator} estimator{count}")
    parts = [head, settings_text(volume.config, volume.dimension), "", volume.table()]
    notes = _notes(volume, more, radii)
    if notes:
        parts += ["", *notes]
    return "\n".join([*parts, *_evidence(volume), *_caps(caps), *_cost(volume)])


def volumes_text(
    volumes: Mapping[str, Volume],
    radii: Radii | None = None,
    more: Sequence[str] = (),
    caps: Caps | None = None,
) -> str:
    """Return the estimates side by side in one table, and what to report: the best estimate at each cutoff."""
    if len(volumes) == 1:
        return volume_text(next(iter(volumes.values())), radii, more, caps)
    from landscape.volume import best_volume  # loads torch, which the text of a single volume does without

    best = best_volume(volumes, "this run")
    counts = " and ".join(f"{volume.estimator} ({volume.directions:,} {volume.unit})" for volume in volumes.values())
    parts = [
        paragraph(f"{best.quantity}: {counts}"),
        settings_text(best.config, best.dimension),
        "",
        side_by_side(volumes),
        "",
    ]
    first, *_, last = volumes.values()
    notes = _notes(best, [*more, *_gains(first, last)], radii)
    costs = [f"{name}: {_cost(volume)[-1]}" for name, volume in volumes.items()]
    return "\n".join([*parts, *notes, *_evidence(last), *_caps(caps), "", *costs])


def report_text(volumes: Mapping[str, Volume]) -> str:
    """Return what to report of several estimates of one basin."""
    from landscape.volume import best_volume  # loads torch, which the text of a single volume does without

    best = best_volume(volumes, "this file")
    return "\n".join([best.table(), "", *_notes(best, [], None)])


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


def _gains(first: Volume, last: Volume) -> list[str]:
    """Say by how much the last estimate moves the number to report."""
    gains = []
    for old, new in zip(first.results, last.results, strict=True):
        ends = [row.log_volume if row.verdict == "reliable" else row.interval[0] for row in (old, new)]
        gain = (ends[1] - ends[0]) / math.log(10)
        if gain >= 0 or new.verdict == "reliable":
            gains.append(f"{decimal(gain)} orders of magnitude at cutoff {old.cutoff:g}")
    return [f"{last.estimator} reports more than {first.estimator}: {'; '.join(gains)}."] if gains else []


def _notes(volume: Volume, more: Sequence[str], radii: Radii | None) -> list[str]:
    """Return what to know about a volume as paragraphs, in the words of the command line."""
    notes = [*volume.notes, *more, *(ray_notes(radii) if radii is not None else [])]
    return [paragraph(in_flags(note)) for note in notes]


def _evidence(volume: Volume) -> list[str]:
    return ["", volume.evidence()] if isinstance(volume, AnnealedVolume | LaplaceVolume) else []


def _caps(caps: Caps | None) -> list[str]:
    return [] if caps is None else ["", "under smaller caps, and the share of rays that reach each:", str(caps)]


def _cost(volume: Volume) -> list[str]:
    if isinstance(volume, LaplaceVolume):
        return []
    rays = 0 if isinstance(volume, AnnealedVolume) else volume.directions
    return ["", cost_text(volume.cost.evaluations, volume.cost.seconds, rays)]
