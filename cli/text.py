"""What the commands print, as pure functions: results -> text for a terminal 80 columns wide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from landscape.results import Comparison, Radii
from landscape.results.progress import PERCENT as PERCENT
from landscape.results.table import WIDTH, wrapped
from landscape.results.table import duration as duration
from landscape_cli.flags import in_flags

_UNITS = {
    "filter": "r = 1 moves every filter by about its own norm",
    "layer": "r = 1 moves every layer by about its own norm",
    "identity": "r is Euclidean length in parameter space",
}


def paragraph(text: str) -> str:
    """Return ``text`` in lines of at most 80 characters; names and quantities such as ``r = 1`` stay whole."""
    return wrapped(text)


def labelled(label: str, words: str, width: int) -> str:
    """Return ``words`` to the right of a label, wrapped in a column of their own.

    >>> print(labelled("data", "400 samples", 8))
    data    400 samples
    """
    return wrapped(words, label.ljust(width), " " * width)


def with_command(words: str, command: str) -> str:
    """Return words and what to type: on a line of its own if both do not fit a terminal, so that it can be pasted.

    >>> with_command("continue with", "landscape volume net.pt")
    'continue with: landscape volume net.pt'
    """
    line = f"{words}: {command}"
    return line if len(line) <= WIDTH else f"{paragraph(words)}:\n  {command}"


def amount(done: float, total: float, unit: str) -> str:
    """Return how much is done; a share is given in per cent.

    >>> amount(400, 1000, "rays"), amount(40, 100, PERCENT)
    ('400 of 1,000 rays', '40 % of the budget')
    """
    return f"{done:.0f} {unit}" if unit == PERCENT else f"{done:,} of {total:,} {unit}"


def byte_size(size: float) -> str:
    """Return a number of bytes in a binary unit.

    >>> byte_size(900), byte_size(3 * 2**20)
    ('900 B', '3.0 MiB')
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:,.1f} {unit}" if unit != "B" else f"{size:,.0f} B"
        size /= 1024
    return f"{size:,.1f} TiB"


def settings_text(config: Mapping[str, Any], dimension: int) -> str:
    """Return what was measured, from a result's configuration."""
    metric, cap, dead = config.get("metric", "?"), config.get("max_radius"), config.get("dead_filters", 0)
    left_out = f" (without {dead:,} filter{'s' * (dead > 1)} of norm zero)" if dead else ""
    settings = [
        *(f"{key} {config.get(key, '?')}" for key in ("criterion", "scope", "seed")),
        f"n = {dimension:,}{left_out}",
        "no cap" if cap is None else f"cap r = {cap:g}",
        f"metric {metric} ({_UNITS.get(metric, 'metric units')})",
    ]
    return paragraph(", ".join(settings))


def comparison_text(comparison: Comparison, paths: tuple[str, str]) -> str:
    """Return which basin is larger at each cutoff, the sentences to quote, and what to know about the answer."""
    head = [
        f"first: {paths[0]} ({comparison.estimators[0]})",
        f"second: {paths[1]} ({comparison.estimators[1]}), n = {comparison.dimension:,}",
        "difference: log V(first) - log V(second)",
    ]
    head = [paragraph(line) for line in head]
    quotes = [paragraph(f"- {row.report}") for row in comparison.rows]
    notes = [paragraph(in_flags(f"note: {note}")) for note in comparison.notes]
    return "\n".join([*head, "", comparison.table(), "", "to quote:", *quotes, *(["", *notes] if notes else [])])


def radii_text(radii: Radii) -> str:
    """Return the table of radii over the rays measured so far."""
    done = int(radii.done.sum())
    rays = f"{done:,} rays" if done == radii.directions else f"{done:,} of {radii.directions:,} rays measured so far"
    parts = [f"basin radii along {rays}", settings_text(radii.config, radii.dimension), ""]
    if not done:
        return "\n".join(parts[:2])
    parts.append(radii.table())
    if radii.notes:
        parts += ["", *map(paragraph, radii.notes)]
    return "\n".join([*parts, "", cost_text(radii.cost.evaluations, radii.cost.seconds, done)])


def cost_text(evaluations: float, seconds: float, rays: int) -> str:
    """Return what the rays cost together."""
    each = f" ({evaluations / rays:.1f} per ray)" if rays else ""
    return f"{evaluations:,.0f} passes over the data{each}, {duration(seconds)}"
