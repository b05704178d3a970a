"""A ranking as one HTML page that needs no other file. What it looks like is in templates/."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from markupsafe import Markup

from landscape.pages import environment
from landscape.plots.style import shades
from landscape.ranking.charts import cost_chart, distributions, interval_bar, number, scatter
from landscape.ranking.configurations import sorted_levels
from landscape.ranking.rank import RankingSettings, ranked_table
from landscape.results.ranking import Ranking, ends, share, signed
from landscape.results.runs import Runs
from landscape.results.sharpness import INVARIANCES

_TEMPLATES = environment("landscape.ranking")
_MOST_COLOURS = 8  #: levels of an axis that get a colour each; further ones share the last
_MOST_LEVELS_NAMED = 12


@dataclass(frozen=True)
class Row:
    """One measure of the table: texts as the page shows them.

    Attributes:
        name: of the measure.
        bar: Psi with its interval on the band of chance.
        chance: the band of chance.
        cells: value and small print of each column, in the order of :func:`heads`.
    """

    name: str
    bar: Markup
    chance: str
    cells: Sequence[tuple[str, str]]


def ranking_page(runs: Runs, ranking: Ranking) -> str:
    """Return the page of a ranking.

    Args:
        runs: the table that was ranked.
        ranking: its statistics.
    """
    return _TEMPLATES.get_template("page.html.jinja").render(
        **_parts(runs, ranking), level=2, prefix="", most_axes=len(ranking.axes)
    )


def ranking_section(runs: Runs, ranking: Ranking, *, level: int, prefix: str) -> Markup:
    """Return what the page of a ranking shows as a part of another page, which has :func:`ranking_style`.

    Args:
        runs, ranking: as for :func:`ranking_page`.
        level: of its headings.
        prefix: what its identifiers begin with.
    """
    template = _TEMPLATES.get_template("ranking.html.jinja")
    return Markup(template.render(**_parts(runs, ranking), level=level, prefix=prefix))


def is_of(ranking: Ranking, runs: Runs) -> bool:
    """Return whether a ranking may be of this table: it has its settings, its target, its axes and its measures."""
    known = {*runs.measures, *ranking.baselines}
    return (
        {each.name for each in fields(RankingSettings)} <= ranking.config.keys()
        and ranking.target in runs.target_names
        and set(ranking.axes) <= runs.axes.keys()
        and set(ranking.measures) <= known
    )


def ranking_style(most_axes: int) -> Markup:
    """Return the style of the sections of rankings with so many axes at most."""
    return Markup(_TEMPLATES.get_template("ranking.css.jinja").render(most_axes=most_axes, colours=_colours()))


def _colours() -> list[str]:
    return [_css(colour) for colour in shades(_MOST_COLOURS, lightest=0.92)]


def _parts(runs: Runs, ranking: Ranking) -> dict[str, Any]:
    """Return what the template of a ranking needs."""
    table = ranked_table(runs, ranking)
    order = ranking.order
    own = [place for place in order if ranking.measures[place] not in ranking.baselines]
    others = [place for place in order if ranking.measures[place] in ranking.baselines]
    invariances = [name for name in INVARIANCES if any(name in known for known in ranking.invariances.values())]
    return {
        "ranking": ranking,
        "heads": heads(ranking, invariances),
        "groups": [
            ("", [_row(ranking, place, invariances) for place in own]),
            ("Baselines", [_row(ranking, place, invariances) for place in others]),
        ],
        "facts": facts(table, ranking),
        "axes": [(axis, _legend(table.axes[axis])) for axis in ranking.axes],
        "colours": _colours(),
        "scatters": [(ranking.measures[place], _scatter(table, ranking, place)) for place in order],
        "distributions": _distributions(ranking, order),
        "costs": _costs(ranking, order),
    }


def heads(ranking: Ranking, invariances: Sequence[str]) -> list[tuple[str, str]]:
    """Return the columns after the bar: title, and what it means."""
    return [
        ("Ψ", "granulated Kendall coefficient, with its interval of 95 %"),
        ("over baselines", "Ψ minus that of the baseline that is hardest to beat, and its simultaneous lower bound"),
        ("τ", "Kendall's τ-b over configurations"),
        *((f"ψ {axis}", f"mean τ along {axis}, all other axes fixed") for axis in ranking.axes),
        ("CMI", "signed normalised conditional mutual information above its null"),
        ("partial", "rank correlation given axes and cheap baselines"),
        ("sign error", "robust sign error, mean over environments"),
        ("90th", "its 90th percentile"),
        ("worst", "its maximum"),
        ("passes", "full passes over the data for each net"),
        ("seconds", "seconds for each net"),
        ("noise", "share of the variance between nets that is the measure's standard error"),
        *((name, f"invariant: {name}") for name in invariances),
        *([("closed form", "agrees with its closed form")] if ranking.closed_forms else []),
        ("cells", "cells in which Ψ is defined, of all cells"),
        ("τ nets", "Kendall's τ-b over all nets"),
        ("Spearman", "rank correlation over configurations"),
    ]


def _row(ranking: Ranking, place: int, invariances: Sequence[str]) -> Row:
    name = ranking.measures[place]

    def statistic(label: str) -> tuple[str, str]:
        return signed(ranking.estimate(label, name)), ends(*ranking.interval(label, name))

    psi = [
        (signed(ranking.psi[axis, place]), ends(ranking.psi_lower[axis, place], ranking.psi_upper[axis, place]))
        for axis in range(len(ranking.axes))
    ]
    chance = ranking.null_lower[0, place], ranking.null_upper[0, place]
    margin, lower = ranking.margin[place], ranking.margin_lower[place]
    over = (signed(margin), f"≥ {signed(lower)}: {ranking.hardest[place]}" if np.isfinite(lower) else "")
    claims = ranking.invariances.get(name)
    ticks = [("" if claims is None else "✓" if each in claims else "–", "") for each in invariances]
    closed_form = {True: "✓", False: "✗", None: ""}[ranking.closed_forms.get(name)]
    null = f"null {signed(ranking.cmi_null[place])}" if np.isfinite(ranking.cmi_null[place]) else ""
    cmi, cmi_ends = statistic("cmi")
    cells = [
        statistic("Psi"),
        over,
        statistic("tau"),
        *psi,
        (cmi, f"{cmi_ends} {null}"),
        *(statistic(label) for label in ("partial", "sign-error", "sign-error-90")),
        (signed(ranking.sign_error_largest[place]), ""),
        (_known(ranking.passes[place]), ""),
        (_known(ranking.seconds[place]), ""),
        (share(ranking.noise[place]), ""),
        *ticks,
        *([(closed_form, "")] if ranking.closed_forms else []),
        (f"{ranking.cells_defined[:, place].sum()}/{ranking.cells.sum()}", ""),
        *(statistic(label) for label in ("tau-nets", "spearman")),
    ]
    bar = interval_bar(ranking.estimate("Psi", name), ranking.interval("Psi", name), chance)
    return Row(
        name,
        bar,
        "" if np.isnan(chance[0]) else f"chance {ends(*chance)}",
        [(value, "" if small.strip() == "-" else small) for value, small in cells],
    )


def facts(table: Runs, ranking: Ranking) -> list[tuple[str, str]]:
    """Return what the family is: names and texts."""
    rows = [("nets", f"{ranking.nets} of {ranking.configurations} configurations")]
    for axis in ranking.axes:
        levels = sorted_levels(table.axes[axis])
        more = ", ..." if len(levels) > _MOST_LEVELS_NAMED else ""
        rows.append((axis, ", ".join(map(_text, levels[:_MOST_LEVELS_NAMED])) + more))
    values = table.target(ranking.target)
    rows.append((ranking.target, f"{number(float(values.min()))} to {number(float(values.max()))} (larger is worse)"))
    resamples = f"{ranking.config['bootstrap']:,} resamples of configurations"
    rows.append(("intervals", f"95 %, {resamples}; {ranking.config['permutations']:,} permutations for chance"))
    if "table" in ranking.config:
        rows.append(("table", str(ranking.config["table"])))
    return rows


def _text(level: Any) -> str:
    """Return a level as text: 0.0 is 0."""
    return f"{level:g}" if isinstance(level, float) else str(level)


def _legend(values: Sequence[Any]) -> list[tuple[int, str]]:
    """Return number of the colour and text of each level."""
    levels = sorted_levels(values)
    return [(_colour(place, len(levels)), _text(level)) for place, level in enumerate(levels[:_MOST_LEVELS_NAMED])]


def _colour(place: int, count: int) -> int:
    return round(place * (_MOST_COLOURS - 1) / max(1, count - 1))


def _css(colour: tuple[float, float, float, float]) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in colour[:3])


def _scatter(table: Runs, ranking: Ranking, place: int) -> Markup:
    name, classes = ranking.measures[place], []
    levels = {axis: sorted_levels(table.axes[axis]) for axis in ranking.axes}
    titles = []
    values, target = table.value(name), table.target(ranking.target)
    for net in range(len(table.nets)):
        at = [levels[axis].index(table.axes[axis][net]) for axis in ranking.axes]
        counts = [len(levels[axis]) for axis in ranking.axes]
        classes.append(" ".join(f"a{k}c{_colour(*pair)}" for k, pair in enumerate(zip(at, counts, strict=True))))
        where = ", ".join(f"{axis} {_text(table.axes[axis][net])}" for axis in ranking.axes)
        titles.append(f"{table.nets[net]}: {values[net]:.4g}, {ranking.target} {target[net]:.4g} ({where})")
    return scatter(values, target, classes, titles, ranking.target)


def _distributions(ranking: Ranking, order: Sequence[int]) -> list[tuple[str, Markup]]:
    """Return sign errors over all environments, and along each axis that has any."""
    if not len(ranking.sign_errors):
        return []
    shown = [place for place in order if np.isfinite(ranking.sign_errors[:, place]).any()]
    names, errors = [ranking.measures[place] for place in shown], ranking.sign_errors[:, shown]
    charts = [(f"all environments ({len(errors)})", distributions(names, errors, "all"))]
    for number_of, axis in enumerate(ranking.axes):
        rows = ranking.sign_error_axis == number_of
        if rows.any():
            charts.append((f"along {axis} ({rows.sum()})", distributions(names, errors[rows], f"along {axis}")))
    return charts


def _costs(ranking: Ranking, order: Sequence[int]) -> Markup | None:
    """Return the chart of cost against Psi; None if no measure has a cost."""
    own = [place for place in order if ranking.measures[place] not in ranking.baselines]
    psi, names = ranking.estimates[0, own], [ranking.measures[place] for place in own]
    for cost, label in ((ranking.passes[own], "passes for each net"), (ranking.seconds[own], "seconds for each net")):
        if (np.isfinite(cost) & np.isfinite(psi) & (cost > 0)).any():
            return cost_chart(names, np.where(cost > 0, cost, np.nan), psi, label)
    return None


def _known(value: float) -> str:
    return "-" if np.isnan(value) else number(float(value))
