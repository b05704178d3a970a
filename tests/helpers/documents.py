"""Guides as programs: their blocks, and whether what they show is what a command printed.

A page shows output in two places: in a ``console`` block under the command, and in a ``text`` block right after a
``python`` block. Words must be the printed ones, line by line. Numbers must agree within a relative tolerance or in the
last digit that is shown. An indented line continues the one before it, since a wider number moves the line break.

- ``...`` stands for anything, a part of a line or many lines.
- Times (``220 ms``) and sizes (``39.5 KiB``) need only be a time and a size.
- A comment before the block loosens it: ``<!-- numbers within 20 % -->``. What a net has learnt depends on the
  processor: sums are rounded in another order, and training amplifies the difference.
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

TOLERANCE = 1e-3  #: of numbers, where a page says no other
_BLOCK = re.compile(
    r"(?:^<!-- numbers within (?P<percent>[\d.]+) % -->\n)?"
    r"^```(?P<language>\w+)(?: (?P<word>\w+))?\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_TIME = re.compile(r"(?<![\w.])\d[\d.,]*\s?(?:ms|s|min|h)\b(?:\s\d+\s(?:s|min)\b)?")
_SIZE = re.compile(r"(?<![\w.])\d[\d.,]*\s?(?:[KMG]i?)?B\b")
_NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?(?:[eE][-+]?\d+)?")
_BREAK, _ANYTHING = "\n", "..."


@dataclass(frozen=True)
class Block:
    """A fenced block. ``word`` follows the language: a file name, an optional package, ``skip`` or ``slow``."""

    language: str
    word: str | None
    body: str
    tolerance: float
    follows_python: bool  #: nothing but blank lines between this block and a python block


@dataclass(frozen=True)
class Command:
    """A line of a console block that begins with ``$``, and the output that is shown under it."""

    words: list[str]
    shown: str


def blocks(page: str) -> Iterator[Block]:
    python_end = -1
    for found in _BLOCK.finditer(page):
        tolerance = float(found["percent"]) / 100 if found["percent"] else TOLERANCE
        follows = python_end >= 0 and not page[python_end : found.start()].strip()
        yield Block(found["language"], found["word"], found["body"], tolerance, follows)
        python_end = found.end() if found["language"] == "python" else -1


def commands(body: str) -> Iterator[Command]:
    joined = body.replace("\\\n", " ")
    for part in re.split(r"^\$ ", joined, flags=re.MULTILINE)[1:]:
        line, _, shown = part.partition("\n")
        yield Command(shlex.split(line, comments=True), shown)


def difference(shown: str, printed: str, tolerance: float = TOLERANCE) -> str:
    """Say where the output that a page shows is not what was printed. An empty text: it is."""
    reason = _mismatch(_tokens(shown), _tokens(printed), tolerance)
    if not reason:
        return ""
    lines = difflib.unified_diff(shown.splitlines(), printed.splitlines(), "shown", "printed", lineterm="", n=99)
    return f"{reason} (numbers may differ by {100 * tolerance:g} %)\n" + "\n".join(lines)


def _tokens(text: str) -> list[str]:
    """The words of a text; a line that is not indented begins with a token of its own."""
    tokens: list[str] = []
    for line in _SIZE.sub("SIZE", _TIME.sub("TIME", text)).splitlines():
        if line.strip() != _ANYTHING and line[:1].strip():
            tokens.append(_BREAK)
        tokens += line.split()
    return tokens


def _mismatch(shown: list[str], printed: list[str], tolerance: float) -> str:
    """The pieces between ``...`` must follow one another. The first begins the output, the last ends it."""
    pieces: list[list[str]] = [[]]
    for token in shown:
        if token == _ANYTHING:
            pieces.append([])
        else:
            pieces[-1].append(token)
    first, *others = pieces
    agreed = _agreement(first, printed, tolerance)
    if agreed < len(first) or (not others and len(printed) > agreed):
        before, here, there = _words(first[:agreed][-4:]), _words(first[agreed:][:6]), _words(printed[agreed:][:6])
        return f"after {before} the page shows {here}, the command printed {there}"
    rest = printed[agreed:]
    for number, piece in enumerate(others, 1):
        last = number == len(others)
        starts = range(max(0, len(rest) - len(piece)), len(rest) + 1) if last else range(len(rest))
        fits = (start for start in starts if _agreement(piece, rest[start:], tolerance) == len(piece))
        if (start := next(fits, None)) is None:
            return f"the page shows {_words(piece)}, which was not printed" + " at the end" * last
        rest = rest[start + len(piece) :]
    return ""


def _agreement(piece: list[str], printed: list[str], tolerance: float) -> int:
    """How many words agree, from the first one on."""
    pairs = list(zip(piece, printed, strict=False))
    return next((count for count, pair in enumerate(pairs) if not _same(*pair, tolerance)), len(pairs))


def _words(tokens: list[str]) -> str:
    return repr(" ".join(tokens).replace(_BREAK, "/"))


def _same(shown: str, printed: str, tolerance: float) -> bool:
    if shown == printed:
        return True
    if _NUMBER.split(shown) != _NUMBER.split(printed):
        return False
    pairs = zip(_NUMBER.findall(shown), _NUMBER.findall(printed), strict=True)
    return all(_close(*pair, tolerance) for pair in pairs)


def _close(shown: str, printed: str, tolerance: float) -> bool:
    """Within the tolerance, or within one of the last digit that is shown."""
    one, other = (float(text.replace(",", "")) for text in (shown, printed))
    mantissa, _, power = shown.lower().partition("e")
    decimals = len(mantissa.partition(".")[2])
    unit = 10.0 ** (int(power or 0) - decimals) if decimals else 0.0
    return abs(one - other) <= max(tolerance * max(abs(one), abs(other)), 1.001 * unit)
