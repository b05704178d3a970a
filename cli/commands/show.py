"""``landscape show``: what is in a results file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from landscape_cli import options

if TYPE_CHECKING:
    from landscape.results import Result
    from landscape.store import Store

_HASH_DIGITS = 12
_UNITS = {"radii": "rays", "line": "points", "chains": "temperatures"}  #: what a row is; any other kind has plain rows
_SAID_ELSEWHERE = ("command", "rays")


@click.command("show")
@options.results_path
@options.json_flag
def command(run: str, as_json: bool) -> None:
    """Show what the results file RUN holds: settings, counts, versions and tables."""
    from landscape.store import Store
    from landscape_cli import text

    store = Store(run)
    described, results = store.describe(), known_results(store)
    click.echo(text.strict_json(show_object(described, results)) if as_json else show_text(described, results))


def known_results(store: Store) -> dict[str, Result | None]:
    """Return the results in the file; None for those of a kind that this version does not know."""
    from landscape.errors import LandscapeError
    from landscape.results import result_class

    found: dict[str, Result | None] = {}
    for name, about in store.describe()["results"].items():
        try:
            result_class(about["kind"])
        except LandscapeError:
            found[name] = None
        else:
            found[name] = store[name]
    return found


def show_object(described: Mapping[str, Any], results: Mapping[str, Result | None]) -> dict[str, Any]:
    """Return the JSON object: the file's own description, and a summary of each result where there is one."""
    groups = {}
    for name, about in described["results"].items():
        told = summary(results[name])
        groups[name] = {**about, **({"summary": told} if told else {})}
    return {**described, "results": groups}


def summary(result: Result | None) -> dict[str, Any]:
    """Return what the command that measured it prints as JSON; nothing for what consists of rays or points."""
    from landscape.results import Eigenpairs, LayerTraces, LogDeterminant, SpectralDensity, Trace, Volume
    from landscape_cli.commands.curvature import result_object

    if isinstance(result, Eigenpairs | LayerTraces | LogDeterminant | SpectralDensity | Trace):
        return result_object(result)
    return result.summary() if isinstance(result, Volume) else {}


def show_text(described: Mapping[str, Any], results: Mapping[str, Result | None]) -> str:
    """Return the file's description, one part a result."""
    from landscape_cli.text import byte_size

    head = (
        f"{described['path']}: format {described['format_version']}, {byte_size(described['bytes'])}, "
        f"written by {described['writer']}"
    )
    parts, shown = [], ""
    for name, about in described["results"].items():
        settings = config_text(about["config"])
        parts.append(part_text(name, about, results[name], "settings: as above" if settings == shown else settings))
        shown = settings
    return "\n\n".join([head, *(parts or ["It holds no results."])])


def part_text(name: str, about: Mapping[str, Any], result: Result | None, settings: str) -> str:
    """Return the description of one result."""
    from landscape_cli.text import paragraph

    versions = ", ".join(f"{package} {version}" for package, version in about["versions"].items() if version)
    title = name if name == about["kind"] else f"{name} ({about['kind']})"
    lines = [f"== {title} ==", paragraph(f"written {about['created']} with {versions}")]
    if rows := about["rows"] or chain_rows(result):
        lines.append(rows_text(rows, about["config"], _UNITS.get(about["kind"], "rows")))
    else:
        held = ", ".join(f"{key} {tuple(data['shape'])}" for key, data in about["datasets"].items())
        lines.append(paragraph(f"arrays: {held}"))
    return "\n".join([*lines, paragraph(settings), "", result_text(result)])


def chain_rows(result: Result | None) -> dict[str, int] | None:
    """Return how many temperatures of annealed chains are done; the file has no row for each."""
    from landscape.results import Chains

    if not isinstance(result, Chains):
        return None
    return {"done": int(result.done.sum()), "total": len(result.done)}


def result_text(result: Result | None) -> str:
    """Return a result's table."""
    from landscape.results import Radii, Volume
    from landscape_cli.text import radii_text
    from landscape_cli.volume_text import volume_text

    if result is None:
        return "(this version of landscape does not know this kind: pip install --upgrade landscape-lab)"
    if isinstance(result, Volume):
        return volume_text(result)
    return radii_text(result) if isinstance(result, Radii) else str(result)


def rows_text(rows: Mapping[str, int], config: Mapping[str, Any], unit: str = "rays") -> str:
    """Say how many rays, or other rows, are measured and, where some are missing, what to type.

    >>> print(rows_text({"done": 412, "total": 1000}, {"command": "landscape volume net.pt --out run.h5 --resume"}))
    412 of 1,000 rays; continue with: landscape volume net.pt --out run.h5 --resume
    """
    counted = f"{rows['done']:,} of {rows['total']:,} {unit}"
    if rows["done"] == rows["total"]:
        return counted
    return f"{counted}; continue with: {config.get('command', 'the command that began it, and --resume')}"


def config_text(config: Mapping[str, Any]) -> str:
    """Return the settings in one paragraph; hashes are cut to their first digits.

    >>> config_text({"metric": "filter", "max_radius": None, "data_hash": "0123456789abcdef"})
    'settings: metric filter, max_radius none, data_hash 0123456789ab'
    """
    shown = []
    for key, value in config.items():
        if key in _SAID_ELSEWHERE:
            continue
        told = "none" if value is None else str(value)
        shown.append(f"{key} {told[:_HASH_DIGITS] if key.endswith('_hash') else told}")
    return "settings: " + ", ".join(shown)
