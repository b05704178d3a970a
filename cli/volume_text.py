"""How log-volumes are printed: the numbers, how they were reached, the sentences to quote, and what to know of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from landscape.results import LaplaceVolume, Radii, Volume, VolumeEstimate
from landscape.results.best import best_volume, estimates_table
from landscape_cli.flags import in_flags
from landscape_cli.text import cost_text, duration, labelled, paragraph, settings_text

_MET = len("not met  ")


def volume_text(volume: Volume, radii: Radii | None = None, more: Sequence[str] = ()) -> str:
    """Return the text of one volume; arguments as for :func:`volumes_text`."""
    return volumes_text({volume.estimator: volume}, radii, more)


def volumes_text(volumes: Mapping[str, Volume], radii: Radii | None = None, more: Sequence[str] = ()) -> str:
    """Return what to report of the estimates of one basin: the best at each cutoff, with all that speaks for it.

    Args:
        volumes: by name, in the order in which they were measured.
        radii: uniform rays, if there are some.
        more: further notes.
    """
    best = best_volume(volumes, "this run")
    parts = [
        f"{paragraph(best.quantity)}\n{settings_text(best.config, best.dimension)}",
        report_text(volumes),
        _paragraphs([*best.notes, *more, *(radii.notes if radii is not None else ())]),
        _checks(best.results),
        *(volume.evidence() for volume in volumes.values()),
    ]
    return "\n\n".join(part for part in parts if part)


def report_text(volumes: Mapping[str, Volume]) -> str:
    """Return one line per cutoff with the numbers, then how they were reached, then the sentences to quote."""
    best = best_volume(volumes, "this run")
    quotes = "\n".join(paragraph(f"- {row.report}") for row in best.results)
    return f"{best.table()}\n\n{_reached(volumes)}\n\nto quote:\n{quotes}"


def _reached(volumes: Mapping[str, Volume]) -> str:
    """Return every estimate at each cutoff, that of the table first, and what each estimator cost."""
    others = ": the estimate above comes first, then what else was tried" if len(volumes) > 1 else ""
    return "\n".join([f"how it was reached{others}", estimates_table(volumes), *map(_cost, volumes.values())])


def _cost(volume: Volume) -> str:
    """Return what one estimator cost."""
    cost = volume.cost
    if isinstance(volume, LaplaceVolume):
        return f"{volume.estimator}: {cost.evaluations:,.0f} products with the curvature, {duration(cost.seconds)}"
    rays = volume.directions if volume.unit == "rays" else 0
    return paragraph(f"{volume.estimator}: {volume.count}, {cost_text(cost.evaluations, cost.seconds, rays)}")


def _checks(rows: Sequence[VolumeEstimate]) -> str:
    """Return how many conditions of each verdict hold, and those that do not."""
    parts = []
    for row in rows:
        if row.checks:
            met = sum(check.met for check in row.checks)
            parts.append(f"conditions at cutoff {row.cutoff:g}: {met} of {len(row.checks)} are met")
            parts += [labelled("  not met", in_flags(check.words), _MET + 2) for check in row.checks if not check.met]
    return "\n".join(parts)


def _paragraphs(notes: Sequence[str]) -> str:
    """Return what to know as paragraphs, in the words of the command line."""
    return "\n".join(paragraph(in_flags(note)) for note in notes)
