"""How results print themselves: aligned columns, log-volumes and shares."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Collection, Sequence
from html import escape

from tabulate import tabulate

WIDTH = 80  #: columns of a terminal
_NARROWEST = 12  # characters to which a column of words may shrink
_COLUMNS = re.compile(r"\S {2,}\S")  # a line of a table
_NO_BREAK = "\u00a0"


class Table(str):
    """The text of an aligned table that still knows its cells.

    Attributes:
        headers: one per column.
        rows: the cells.
        left: the headers of the columns that are aligned to the left.
    """

    headers: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    left: Collection[str] = ()

    def html(self) -> str:
        """Return the same cells as an HTML table, escaped.

        >>> columns(["x"], [["<1"]]).html()
        '<table>\\n<thead><tr><th style="text-align:right">x</th></tr></thead>\\n<tbody>\\n<tr><td
        style="text-align:right">&lt;1</td></tr>\\n</tbody>\\n</table>'
        """
        aligned = ["left" if header in self.left else "right" for header in self.headers]

        def line(tag: str, cells: Sequence[str]) -> str:
            told = (
                f'<{tag} style="text-align:{side}">{escape(cell.strip()).replace(chr(10), "<br>")}</{tag}>'
                for cell, side in zip(cells, aligned, strict=True)
            )
            return f"<tr>{''.join(told)}</tr>"

        body = "\n".join(line("td", row) for row in self.rows)
        return f"<table>\n<thead>{line('th', self.headers)}</thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def columns(
    headers: Sequence[str], rows: Sequence[Sequence[str]], *, left: Collection[str] = (), fit: bool = True
) -> Table:
    """Return an aligned table: cells to the right, but to the left under the headers named in ``left``.

    Args:
        headers, rows: the cells.
        left: the headers of columns of words.
        fit: break long words if a line would be wider than a terminal. The table keeps its cells whole.

    >>> print(columns(["cutoff", "ess", "verdict"], [["0.1", "812.0", "reliable"], ["10", "1", "-"]], left=["verdict"]))
    cutoff    ess  verdict
       0.1  812.0  reliable
        10      1  -
    """
    align = ["left" if header in left else "right" for header in headers]
    shown = [list(headers), *map(list, rows)]
    words = [column for column, header in enumerate(headers) if header in left]
    text = _aligned(shown, align)
    while fit and (over := _width(text) - WIDTH) > 0:
        widest = max(words, key=lambda column: _column_width(shown, column), default=None)
        if widest is None or (now := _column_width(shown, widest)) <= _NARROWEST:
            break
        for row in shown[1:]:
            row[widest] = _broken(row[widest], max(now - over, _NARROWEST))
        words.remove(widest)
        text = _aligned(shown, align)
    if fit and _width(text) > WIDTH:
        shown[0] = [_broken(head, max(_column_width(shown[1:], i), _NARROWEST)) for i, head in enumerate(shown[0])]
        text = _aligned(shown, align)
    table = Table(text)
    table.headers, table.rows, table.left = headers, rows, left
    return table


def columns_in_blocks(
    headers: Sequence[str], rows: Sequence[Sequence[str]], *, fixed: int = 1, left: Collection[str] = ()
) -> str:
    """Return a table as several, one under the other, each as wide as a terminal allows.

    Args:
        headers, rows, left: as for :func:`columns`.
        fixed: number of columns at the left that each block begins with.
    """

    def block(start: int, stop: int, *, fit: bool) -> Table:
        chosen = [*range(fixed), *range(start, stop)]
        return columns([headers[i] for i in chosen], [[row[i] for i in chosen] for row in rows], left=left, fit=fit)

    blocks: list[str] = []
    start = fixed
    while start < len(headers):
        stop, shown = start + 1, block(start, start + 1, fit=True)
        while stop < len(headers):
            wider = block(start, stop + 1, fit=False)
            if max(map(len, wider.splitlines())) > WIDTH:
                break
            stop, shown = stop + 1, wider
        blocks.append(shown)
        start = stop
    return "\n\n".join(blocks)


def _aligned(rows: Sequence[Sequence[str]], align: Sequence[str]) -> str:
    # the header goes in as a row: tabulate would indent a header of its own by two
    return str(tabulate(rows, tablefmt="plain", colalign=align, disable_numparse=True))


def _width(text: str) -> int:
    return max(map(len, text.splitlines()), default=0)


def _column_width(rows: Sequence[Sequence[str]], column: int) -> int:
    return max((_width(row[column]) for row in rows), default=0)


def _broken(cell: str, width: int) -> str:
    """Return a cell in lines of at most so many characters, broken after a space or one of ``-_./@`` if possible.

    >>> _broken("features.denseblock4.norm", 14)
    'features.\\ndenseblock4.\\nnorm'
    """
    if "\n" in cell:
        return "\n".join(_broken(line, width) for line in cell.split("\n"))
    pieces = re.findall(rf"[^ \-_./@]{{1,{width - 1}}}[ \-_./@]?|[ \-_./@]", cell)
    lines = [""]
    for piece in pieces:
        if len((lines[-1] + piece).rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines)


def in_width(text: str) -> str:
    """Return a text whose lines of words fit a terminal; lines in columns stay as they are.

    >>> print(in_width("a  b\\n" + "word " * 20))
    a  b
    word word word word word word word word word word word word word word word word
      word word word word
    """
    lines = text.split("\n")
    return "\n".join(wrapped(line) if len(line) > WIDTH and not _COLUMNS.search(line) else line for line in lines)


def decimal(value: float) -> str:
    """Return a log-volume with two decimals, or none from 10,000 on, where they carry nothing.

    >>> decimal(-3593.551), decimal(-125493.2), decimal(float("inf"))
    ('-3,593.55', '-125,493', 'inf')
    """
    return f"{value:,.2f}" if abs(value) < 1e4 else f"{value:,.0f}"


def percent(share: float, digits: int = 1) -> str:
    """Return a share in per cent, never rounding a rare case to nothing or all.

    >>> percent(0.25), percent(0.0), percent(0.0001), percent(0.9999)
    ('25.0 %', '0.0 %', '<0.1 %', '>99.9 %')
    >>> percent(0.25, 0), percent(1.0, 0), percent(0.999, 0)
    ('25 %', '100 %', '>99 %')
    """
    least = 10.0**-digits  # per cent
    if 0 < 100 * share < least / 2:
        return f"<{least:.{digits}f} %"
    if 100 - least / 2 <= 100 * share < 100:
        return f">{100 - least:.{digits}f} %"
    return f"{100 * share:.{digits}f} %"


def at_least(share: float) -> str:
    """Return a share in whole per cent, rounded down: never more than it is.

    >>> at_least(0.899), at_least(0.9)
    ('89 %', '90 %')
    """
    return f"{math.floor(100 * share + 1e-9)} %"


def duration(seconds: float) -> str:
    """Return a time in the two units that matter.

    >>> duration(0.0042), duration(0.25), duration(3.25), duration(250), duration(7500), duration(200000)
    ('4.2 ms', '250 ms', '3.2 s', '4 min 10 s', '2 h 05 min', '2 d 7 h')
    """
    if seconds < 0.01:
        return f"{seconds * 1000:.2g} ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def wrapped(text: str, first: str = "", rest: str = "  ") -> str:
    """Return ``text`` in lines of at most 80 characters; quantities such as ``r = 1`` stay whole.

    Args:
        text: one paragraph.
        first, rest: what the first line and the others begin with.
    """
    for joined in (" = ", " >= ", " %", " nats", "log10 V"):
        text = text.replace(joined, joined.replace(" ", _NO_BREAK))
    wrapper = textwrap.TextWrapper(WIDTH, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)
    wrapper.break_long_words = False
    return wrapper.fill(text).replace(_NO_BREAK, " ")
