"""What determined the numbers, in words: the settings that all results of a file share, and those of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from landscape.reports.contents import Contents

#: keys of a configuration -> what a reader calls them, in the order of the page; all other keys stand in the details
LABELS = {
    "checkpoint": "checkpoint",
    "step": "training step",
    "loss": "loss",
    "criterion": "criterion",
    "samples": "samples",
    "output": "output of the net",
    "scope": "scope",
    "operator": "operator",
    "metric": "metric",
    "max_radius": "cap on the radius",
    "step_ratio": "resolution q",
    "directions": "directions",
    "seed": "seed",
    "dtype": "computed in",
    "recalibrate_bn": "BatchNorm estimated again",
    "normalise_logits": "logits normalised",
    "training": "training mode",
    "budget": "budget",
    "table": "table",
    "theta_hash": "hash of the weights",
    "data_hash": "hash of the data",
}
_ONLY_IF_SO = (
    "recalibrate_bn",
    "normalise_logits",
    "training",
    "output",
    "step",
)  #: said only if they differ from usual
_SIZES = ("dimension", "parameters")


def shared_settings(contents: Contents) -> list[tuple[str, str]]:
    """Return the settings on which all results of a file agree, as far as they have them."""
    configs = [contents.config(name) for name in contents.results]
    rows = [
        (label, setting_text(key, values[0]))
        for key, label in LABELS.items()
        if (values := [config[key] for config in configs if key in config])
        and all(value == values[0] for value in values)
        and not (key in _ONLY_IF_SO and not values[0])
    ]
    sizes = [{config[key] for config in configs if config.get(key) is not None} for key in _SIZES]
    if len(sizes[0]) == 1:
        rows.append(("entries that move", size_text(sizes[0].pop(), sizes[1].pop() if len(sizes[1]) == 1 else None)))
    return rows


def written_by(contents: Contents) -> list[tuple[str, str]]:
    """Return when the results of a file were written, and by which versions."""
    described = [contents.about["results"][name] for name in contents.results]
    if not described:
        return []
    dates = sorted(about["created"] for about in described)
    versions = dict.fromkeys(versions_text(about["versions"]) for about in described)
    when = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    return [("written", when), ("versions", "; ".join(versions))]


def own_settings(contents: Contents, names: Sequence[str]) -> list[tuple[str, str]]:
    """Return the settings of some results that the whole file does not share, if these results agree on them."""
    shared = {label for label, _ in shared_settings(contents)}
    own = Contents(contents.path, contents.about, {name: contents.results[name] for name in names}, {}, {})
    return [(label, text) for label, text in shared_settings(own) if label not in shared]


def all_settings(contents: Contents, name: str) -> list[tuple[str, str]]:
    """Return everything that the file says of one result, key by key."""
    about = contents.about["results"][name]
    rows = [("written", about["created"]), ("versions", versions_text(about["versions"]))]
    rows += [(key, setting_text(key, value, whole=True)) for key, value in about["config"].items()]
    arrays = ", ".join(f"{key} {tuple(data['shape'])}" for key, data in about["datasets"].items())
    return [*rows, ("arrays", arrays or "none")]


def size_text(dimension: Any, parameters: Any) -> str:
    """Return n of D.

    >>> size_text(3457, 3614), size_text(5, None)
    ('n = 3,457 of D = 3,614 parameters', 'n = 5')
    """
    of = f" of D = {parameters:,} parameters" if isinstance(parameters, int) else ""
    return f"n = {dimension:,}{of}" if isinstance(dimension, int) else f"n = {dimension}{of}"


def versions_text(versions: Mapping[str, Any]) -> str:
    """Return the versions of all packages that were installed."""
    return ", ".join(f"{package} {version}" for package, version in versions.items() if version)


def setting_text(key: str, value: Any, *, whole: bool = False) -> str:
    """Return one value of a configuration as text.

    >>> setting_text("max_radius", None), setting_text("check", True), setting_text("seed", 3)
    ('none', 'yes', '3')
    """
    if key == "max_radius" and not whole and value is not None:
        return f"r = {value:g}"
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(setting_text(key, each, whole=whole) for each in value)
    return f"{value:,}" if isinstance(value, int) and key in ("samples", *_SIZES) else str(value)
