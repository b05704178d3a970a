"""What ``landscape show`` prints: the file, then each result with its settings and its table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from landscape.results import Islands, Radii, Result, Snapshot, Volume, snapshots_text
from landscape.results.table import in_width
from landscape_cli.text import PERCENT, amount, byte_size, paragraph, radii_text, with_command
from landscape_cli.volume_text import report_text, volume_text

_HASH_DIGITS = 12
_UNITS = {
    "radii": "rays",
    "line": "points",
    "islands": PERCENT,
}  #: what a row of each kind is
_PRINTED_ELSEWHERE = ("command", "rays")
_OF_ONE_NET = ("theta_hash", "checkpoint", "step", "epoch")  # settings that differ within a run


def show_text(described: Mapping[str, Any], results: Mapping[str, Result | None]) -> str:
    """Return the description of a file, with one part per readable result."""
    head = (
        f"{described['path']}: format {described['format_version']}, {byte_size(described['bytes'])}, "
        f"written by {described['writer']}"
    )
    parts, shown = [], ""
    run = {name: result for name, result in results.items() if isinstance(result, Snapshot)}
    for name, result in results.items():
        if len(run) > 1 and name in run:
            continue
        about = described["results"][name]
        settings = config_text(about["config"])
        parts.append(part_text(name, about, result, "settings: as above" if settings == shown else settings))
        shown = settings
    if len(run) > 1:
        parts.append(run_text(run, described["results"]))
    volumes = {name: result for name, result in results.items() if isinstance(result, Volume) and result.results}
    if len(volumes) > 1:
        parts.append(f"== the best volume of this file ==\n{report_text(volumes)}")
    empty = f"It holds no results{' that can be read' if described['damaged'] else ''}."
    return "\n\n".join([paragraph(head), *(parts or [empty])])


def part_text(name: str, about: Mapping[str, Any], result: Result | None, settings: str) -> str:
    """Return the description of one result."""
    versions = ", ".join(f"{package} {version}" for package, version in about["versions"].items() if version)
    title = name if name == about["kind"] else f"{name} ({about['kind']})"
    lines = [f"== {title} ==", paragraph(f"written {about['created']} with {versions}")]
    if rows := about["rows"] or island_rows(result):
        lines.append(rows_text(rows, about["config"], _UNITS.get(about["kind"], "rows")))
    else:
        shapes = ", ".join(f"{key} {tuple(data['shape'])}" for key, data in about["datasets"].items())
        lines.append(paragraph(f"arrays: {shapes}"))
    return "\n".join([*lines, paragraph(settings), "", result_text(result)])


def run_text(run: Mapping[str, Snapshot], about: Mapping[str, Any]) -> str:
    """Return the description of the snapshots of a training run: settings of the last one, and one table of all."""
    last = max(run, key=lambda name: run[name].step)
    written = f"written {about[last]['created']}: {', '.join(run)}"
    shown = {key: value for key, value in run[last].config.items() if key not in _OF_ONE_NET}
    lines = [f"== training run, {len(run):,} snapshots ==", paragraph(written), paragraph(config_text(shown))]
    return "\n".join([*lines, "", snapshots_text(run.values())])


def island_rows(result: Result | None) -> dict[str, int] | None:
    """Return how much of the budget of annealed islands is spent: the file has no row for each."""
    if not isinstance(result, Islands):
        return None
    return {"done": int(result.done.sum()), "total": len(result.done)}


def result_text(result: Result | None) -> str:
    """Return a result's table."""
    if result is None:
        return "(this version of landscape does not know this kind: pip install --upgrade landscape-lab)"
    if isinstance(result, Volume):
        return volume_text(result)
    return radii_text(result) if isinstance(result, Radii) else in_width(str(result))


def rows_text(rows: Mapping[str, int], config: Mapping[str, Any], unit: str = "rays") -> str:
    """Say how many rays or other rows are measured, and what to type if some are missing.

    >>> print(rows_text({"done": 412, "total": 1000}, {"command": "landscape volume net.pt --out run.h5 --resume"}))
    412 of 1,000 rays; continue with: landscape volume net.pt --out run.h5 --resume
    """
    counted = amount(rows["done"], rows["total"], unit)
    if rows["done"] == rows["total"]:
        return counted
    return with_command(f"{counted}; continue with", config.get("command", "the command that began it, and --resume"))


def config_text(config: Mapping[str, Any]) -> str:
    """Return the settings in one paragraph, with the first digits of hashes.

    >>> config_text({"metric": "filter", "max_radius": None, "data_hash": "0123456789abcdef"})
    'settings: metric filter, max_radius none, data_hash 0123456789ab'
    """
    shown = []
    for key, value in config.items():
        if key in _PRINTED_ELSEWHERE:
            continue
        text = "none" if value is None else str(value)
        shown.append(f"{key} {text[:_HASH_DIGITS] if key.endswith('_hash') else text}")
    return "settings: " + ", ".join(shown)
