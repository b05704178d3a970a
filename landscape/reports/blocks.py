"""The blocks that a part of a report consists of, and how the text of a result turns into them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup, escape

from landscape.results.shown import Shown
from landscape.results.table import Table

_NOTE = "note: "
_ALIGNED = re.compile(r"\S {3,}\S")  # text whose columns would be lost in a paragraph


@dataclass(frozen=True)
class Claim:
    """What may be quoted: a sentence and the verdict that it rests on."""

    verdict: str
    sentence: str


@dataclass(frozen=True)
class Picture:
    """A figure of the page: its SVG, a caption, whether it can be enlarged, and whether it takes the whole width."""

    svg: Markup
    caption: str
    zoom: bool = False
    broad: bool = False


@dataclass(frozen=True)
class Block:
    """One block: exactly one of these is given, apart from ``label``, which names a table or a group of figures."""

    text: str = ""
    aligned: str = ""
    table: Table | None = None
    notes: Sequence[str] = ()
    claims: Sequence[Claim] = ()
    pictures: Sequence[Picture] = ()
    html: Markup = field(default_factory=Markup)
    label: str = ""


@dataclass(frozen=True)
class Part:
    """One section of a report.

    Attributes:
        title: what was measured.
        brief: what came out, in a few words.
        names: the results in the file that it shows.
        blocks: its contents.
        verdict: what the numbers may claim; empty if that differs from row to row.
        claims: the sentences to quote, which stand at the beginning of the report.
    """

    title: str
    brief: str
    names: Sequence[str]
    blocks: Sequence[Block]
    verdict: str = ""
    claims: Sequence[Claim] = ()


def text_blocks(text: str) -> list[Block]:
    """Return the lines of a printed text as paragraphs and notes; lines in columns stay as they are.

    A line that begins with two spaces continues the one before it.

    >>> [block.text or block.notes for block in text_blocks("5 rays,\\n  n = 3\\nnote: few")]
    ['5 rays, n = 3', ['few']]
    """
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("  ") and lines and lines[-1] and not _ALIGNED.search(line):
            lines[-1] += " " + line.strip()
        else:
            lines.append(line.rstrip())
    blocks: list[Block] = []
    notes = [line.removeprefix(_NOTE) for line in lines if line.startswith(_NOTE)]
    columns = [line for line in lines if _ALIGNED.search(line)]
    if columns:
        return [Block(aligned=text.strip("\n"))]
    blocks += [Block(text=line) for line in lines if line and not line.startswith(_NOTE)]
    return [*blocks, *([Block(notes=notes)] if notes else [])]


def shown_blocks(result: Shown, label: str) -> list[Block]:
    """Return what a result prints as blocks.

    Args:
        result: any result; it need not be of a kind known here.
        label: the accessible name of its table.
    """
    before, table, after = result.parts()
    middle = [] if table is None else [Block(table=table, label=label)]
    return [*text_blocks(before), *middle, *text_blocks(after)]


def table_blocks(text: str, label: str) -> list[Block]:
    """Return a text that is a table, or ends in one, as blocks."""
    if isinstance(text, Table):
        return [Block(table=text, label=label)]
    return [Block(aligned=text)] if text else []


def with_code(text: str) -> Markup:
    """Return a text with what stands between backticks as code.

    >>> with_code("Pass `rho=0.1` < 1.")
    Markup('Pass <code>rho=0.1</code> &lt; 1.')
    """
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))
