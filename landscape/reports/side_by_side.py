"""Several files side by side: which numbers may be compared, which may not, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from landscape.errors import LandscapeError
from landscape.plots import figures_of
from landscape.reports.blocks import Block, Claim
from landscape.reports.contents import Contents
from landscape.reports.parts import TITLES
from landscape.reports.pictures import Pictures
from landscape.reports.settings import LABELS, setting_text, shared_settings
from landscape.results import Measure, Result, Volume
from landscape.results.best import best_volume, bodies
from landscape.results.sharpness import ESTIMATE, EXACT
from landscape.results.table import columns
from landscape.volume import compare_volumes

#: settings that decide what a number is of; seeds, probes and budgets only decide its error
DECISIVE = (
    "loss", "criterion", "samples", "data_hash", "output", "training", "scope", "dimension", "operator", "metric",
    "max_radius", "measure", "sigma", "measure_centre", "directions", "span", "rho", "cutoff", "layer", "shift",
    "normalise_logits", "recalibrate_bn", "target",
)  # fmt: skip
#: kinds of products with a matrix, which in the identity metric depend on the scale of the weights
SCALED = ("eigenpairs", "trace", "layer_traces", "diagonal", "spectral_density", "log_determinant")
_ABSENT = "-"


@dataclass(frozen=True)
class Quantity:
    """One number of a file, or a few: in words, and what determined it."""

    label: str
    text: str
    result: Result
    config: Mapping[str, Any]


def side_by_side(files: Sequence[Contents]) -> list[Block]:
    """Return the blocks that compare several files."""
    names = [contents.path for contents in files]
    pictures = Pictures("side-")
    tables = [_quantities(contents) for contents in files]
    keys = list(dict.fromkeys(key for table in tables for key in table))
    rows = []
    for key in keys:
        found = [table.get(key) for table in tables]
        known = [quantity for quantity in found if quantity is not None]
        rows.append([known[0].label, *(_ABSENT if each is None else each.text for each in found), _comparable(known)])
    heads = ["what", *names, "may be compared"]
    return [
        Block(table=columns(heads, rows, left=heads), label="The numbers of all files"),
        *(block for other in files[1:] for block in _compared(files[0], other, pictures)),
        *_settings(files),
    ]


def _quantities(contents: Contents) -> dict[str, Quantity]:
    """Return what a file holds by a key that agrees between files: each volume at its best, else name by name."""
    found = {}
    for volumes in bodies(contents.results):
        best = best_volume(volumes, contents.path)
        title = TITLES["volume"] if best.density is None else f"Log-probability under {best.density}"
        found[f"{title} {best.body.criterion} {best.body.max_radius}"] = Quantity(title, best.brief, best, best.config)
    for name, result in contents.results.items():
        if isinstance(result, Volume) and result.results:
            continue
        config: Mapping[str, Any] = getattr(result, "config", {})
        text = result.said if isinstance(result, Measure) else result.brief
        found[name] = Quantity(name, text, result, config)
    return found


def _comparable(known: Sequence[Quantity]) -> str:
    """Say whether the numbers of a row mean the same thing."""
    if len(known) < 2:
        return "only one file has it"
    differing = [key for key in DECISIVE if any(each.config.get(key) != known[0].config.get(key) for each in known[1:])]
    if differing:
        told = (f"{LABELS.get(key, key)}: {' and '.join(_values(known, key))}" for key in differing)
        return f"no: {'; '.join(told)}"
    if known[0].config.get("theta_hash") is not None and len({each.config.get("theta_hash") for each in known}) == 1:
        return "yes: the same weights, so any difference is an error of measurement"
    result = known[0].result
    if isinstance(result, Volume):
        return "yes: the answer stands below"
    verdicts = dict.fromkeys(each.result.verdict for each in known if isinstance(each.result, Measure))
    if any(verdict not in (EXACT, ESTIMATE) for verdict in verdicts):
        return f"only as far as the verdicts go: {', '.join(verdicts)}"
    scaled = result.kind in SCALED and known[0].config.get("metric") == "identity"
    if scaled or (isinstance(result, Measure) and "relu-rescaling" not in result.invariances):
        return "with care: it changes if the weights are rescaled and the function stays"
    return "yes"


def _values(known: Sequence[Quantity], key: str) -> list[str]:
    texts = [setting_text(key, each.config.get(key)) for each in known]
    return [text[:12] if key.endswith("_hash") else text for text in texts]


def _settings(files: Sequence[Contents]) -> list[Block]:
    """Return the settings of each file as one table, which says where they differ."""
    tables = [dict(shared_settings(contents)) for contents in files]
    labels = list(dict.fromkeys(label for table in tables for label in table))
    rows = []
    for label in labels:
        texts = [table.get(label, _ABSENT) for table in tables]
        shown = [text[:12] if label.startswith("hash") else text for text in texts]
        rows.append([label, *shown, "" if len(set(texts)) == 1 else "differs"])
    heads = ["setting", *(contents.path for contents in files), " "]
    table = columns(heads, rows, left=heads)
    return [Block(table=table, label="Settings; a dash: the results of the file do not agree")]


def _compared(first: Contents, second: Contents, pictures: Pictures) -> list[Block]:
    """Return which basin of two files is larger, or why that cannot be said."""
    if not (bodies(first.results) and bodies(second.results)):
        return []
    title = f"Volumes of {first.path} (first) and {second.path} (second)"
    try:
        comparison = compare_volumes(first.results, second.results, names=(first.path, second.path))
    except LandscapeError as error:
        return [Block(notes=[f"{title} are not compared: {error}"])]
    return [
        Block(claims=[Claim(row.verdict, row.report) for row in comparison.rows]),
        Block(table=comparison.table(), label=title),
        Block(notes=comparison.notes),
        Block(pictures=[pictures.draw(figure, short, title) for short, figure in figures_of(comparison).items()]),
    ]
