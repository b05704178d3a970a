"""From results files to one page, which needs no other file and no network. What it looks like is in templates/."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

from markupsafe import Markup

from landscape.errors import LandscapeError, StoreError
from landscape.pages import environment, script_hash
from landscape.ranking.page import ranking_style
from landscape.reports.blocks import with_code
from landscape.reports.commands import reproduction
from landscape.reports.contents import Contents, read_contents
from landscape.reports.parts import parts_of
from landscape.reports.settings import all_settings, own_settings, shared_settings, written_by
from landscape.reports.side_by_side import SCALED, side_by_side
from landscape.results import NOTHING, Cost, Ranking, Volume
from landscape.results.table import duration
from landscape.store import Store
from landscape.store.atomic import write_atomically

_ENDINGS = (".html", ".htm")
Source = str | os.PathLike[str] | Store
_TEMPLATES = environment("landscape.reports")
_SCRIPT = resources("landscape.reports").joinpath("templates/zoom.js").read_text("utf-8")


def report(source: Source | Sequence[Source], *, out: str | os.PathLike[str]) -> Path:
    """Write one HTML page about everything that results files hold, and return its path.

    The page names the sentences to quote with their verdicts, what was measured and how, tables, figures, notes, and
    the commands that measure it again. It is one file: it opens without a network. A result that is damaged, or of a
    kind that this version does not know, is named on the page. For several files, a table compares them first.

    Args:
        source: a results file, or several, or opened stores.
        out: the page to write, such as ``report.html``. Its folder must exist.

    Raises:
        StoreError: if a file is missing or is no results file, or the page cannot be written.

    >>> import tempfile
    >>> import numpy as np
    >>> from landscape.results import Cost, Trace
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     trace = Trace(2.0, 0.0, np.array([2.0]), True, "hutchinson", 1, {"operator": "hessian"}, Cost(1, 1, 0.1))
    ...     Store(f"{folder}/run.h5")["trace"] = trace
    ...     report(f"{folder}/run.h5", out=f"{folder}/report.html").name
    'report.html'
    """
    target = check_page(out)
    several = isinstance(source, Iterable) and not isinstance(source, str | Store)
    sources: list[Any] = list(source) if several else [source]  # type: ignore[arg-type]
    return write_page(report_page([read_contents(each) for each in sources]), target)


def check_page(out: str | os.PathLike[str]) -> Path:
    """Return the path if a page may be written there: it never takes the place of a results file.

    Raises:
        StoreError: for another ending, or a folder that does not exist.
    """
    try:
        target = Path(out)
    except TypeError as error:
        raise StoreError(f"a report is written to a path such as report.html, got {out!r}. Pass `out=...`.") from error
    if target.suffix.lower() not in _ENDINGS:
        raise StoreError(
            f"{target} has the wrong ending: a report is a page such as report.html. Pass such an `out=...`."
        )
    if not os.path.isdir(target.parent):
        raise StoreError(f"there is no folder {target.parent} for {target.name}. Make it, or pass another `out=...`.")
    return target


def write_page(page: str, out: str | os.PathLike[str]) -> Path:
    """Write a page.

    Raises:
        StoreError: if it cannot be written.
    """
    try:
        write_atomically(out, page.encode("utf-8", "replace"))
    except OSError as error:
        raise StoreError(
            f"{os.fspath(out)} cannot be written ({error.strerror or error}). Pass another `out=...`."
        ) from error
    return Path(out)


def report_page(contents: Sequence[Contents], reword: Callable[[str], str] = str) -> str:
    """Return the page about some files.

    Args:
        contents: at least one file.
        reword: turns the keywords of notes into words of the caller, such as the flags of the command line.
    """
    if not contents:
        raise LandscapeError("a report needs at least one results file, such as run.h5.")
    rankings = [result for each in contents for result in each.results.values() if isinstance(result, Ranking)]
    return _TEMPLATES.get_template("report.html.jinja").render(
        title=f"Report on {', '.join(each.path for each in contents)}",
        files=[_file(each, f"p{number}-") for number, each in enumerate(contents)],
        side_by_side=side_by_side(contents) if len(contents) > 1 else [],
        ranking_style=ranking_style(max(len(ranking.axes) for ranking in rankings)) if rankings else "",
        words=lambda text: with_code(reword(text)),
        script=Markup(_SCRIPT),
        script_hash=Markup(script_hash(_SCRIPT)),
    )


def _file(contents: Contents, prefix: str) -> Mapping[str, Any]:
    """Return what the template needs of one file."""
    parts = parts_of(contents, prefix)
    return {
        "path": contents.path,
        "about": contents.about,
        "prefix": prefix,
        "claims": [claim for part in parts for claim in part.claims],
        "parts": parts,
        "shared": [*shared_settings(contents), *written_by(contents)],
        "own": [own_settings(contents, part.names) for part in parts],
        "costs": [_costs(contents, part.names) for part in parts],
        "all": [(name, all_settings(contents, name)) for name in contents.results],
        "again": reproduction(contents),
        "unknown": contents.unknown,
        "damaged": contents.damaged,
    }


def _costs(contents: Contents, names: Sequence[str]) -> str:
    """Return what the results of a part cost."""
    costs = {name: cost for name in names if isinstance(cost := getattr(contents.results[name], "cost", None), Cost)}
    unit = "products with all the data" if contents.results[names[0]].kind in SCALED else "passes over the data"
    if not costs:
        return "unknown"
    if isinstance(contents.results[names[0]], Volume):
        return "; ".join(f"{name}: {_cost(cost, unit)}" for name, cost in costs.items())
    return _cost(sum(costs.values(), NOTHING), unit)


def _cost(cost: Cost, unit: str) -> str:
    return f"{cost.evaluations:,.0f} {unit}, {duration(cost.seconds)}"
