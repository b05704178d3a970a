"""How long the sentences of a page are, and which words on it are not plain English.

Prose counts: paragraphs, quotes and the items of lists. Code, tables, headings, formulas and comments do not. Inline
code is one word. The address of a link is no word, and nor is a sign without a letter or a digit.

    python -m helpers.words docs/*.md     what is wrong, page by page, the worst first (from tests/)
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

AVERAGE = 20  #: most words per sentence on a page, on average
LONGEST = 25  #: most words in one sentence
LONGEST_CHANGE = 35  #: the same in the list of changes, which name many things at once

#: phrases that the house style bans, as patterns
BANNED = (
    r"\blest\b",
    r"\banew\b",
    r"\bbeside\b",
    r"(?<!there )\b(?:is|are) (?-i:none)\b",
    r"\bof no matter\b",
    r"\bwhat arrived\b",
    r"\ba row a cutoff\b",
    r"\bmay be quoted with\b",
)
INVERTED = re.compile(r"^Of (?!course)[^.]*?, ")  #: "Of X, ...", the opening that names its object first

_FENCE = re.compile(r"^(?P<indent> *)(?P<mark>```+|~~~+).*?^(?P=indent)(?P=mark)[ ]*$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_TAG = re.compile(r"</?[a-zA-Z][^>\n]*>")
_IMAGE = re.compile(r"!\[[^\]]*\](?:\([^)]*\)|\[[^\]]*\])(?:\{[^}\n]*\})?")
_LINK = re.compile(r"\[([^\]]*)\](?:\([^)]*\)|\[[^\]]*\])(?:\{[^}\n]*\})?")
_QUOTED = re.compile(r"\b[A-Z]\w*Error: [^\n\\]*")  #: what another library says in its error
_CODE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)", re.DOTALL)
_MARK = re.compile(r"^\s*(?:[-*+]|\d+[.)])\s+")
_NO_PROSE = re.compile(r"[|#]|!!!|[?]{3}|[-=*_ ]+$")  #: tables, headings, titles of boxes, rules
_EMPHASIS = re.compile(r"[*_]{1,3}(?=\S)|(?<=\S)[*_]{1,3}")
_SHORT = re.compile(r"\b(al|e\.g|i\.e|etc|vs|cf|Fig|Eq|No|approx)\.")
_END = re.compile(r"(?<=[.!?])\s+(?=[\"“(]*(?:[A-Z0-9]|[a-z-]+: ))|(?<=[.!?][)\"”])\s+(?=[\"“(]*[A-Z0-9])")


@dataclass(frozen=True)
class Words:
    """The sentences of a page, and what is wrong with them."""

    sentences: list[str]

    @property
    def average(self) -> float:
        """Words per sentence."""
        return sum(map(count, self.sentences)) / max(len(self.sentences), 1)

    def longer_than(self, limit: int) -> list[str]:
        """Return the sentences with more words than the limit, the longest first."""
        return sorted((words for words in self.sentences if count(words) > limit), key=count, reverse=True)

    def not_plain(self) -> list[str]:
        """Return each banned phrase with its sentence."""
        found = []
        for sentence in self.sentences:
            hits = [hit[0] for pattern in BANNED if (hit := re.search(pattern, sentence, re.IGNORECASE))]
            hits += [hit[0] for hit in [INVERTED.search(sentence)] if hit]
            found += [f"{hit!r} in: {sentence}" for hit in hits]
        return found


def count(sentence: str) -> int:
    """Words of a sentence: pieces between spaces that hold a letter or a digit."""
    return sum(any(letter.isalnum() for letter in piece) for piece in sentence.split())


def read(page: str) -> Words:
    """Take the prose of a Markdown page apart into sentences."""
    text = _QUOTED.sub("CODE", _COMMENT.sub("", _CODE.sub("CODE", _FENCE.sub("\n", page))))
    text = _LINK.sub(r"\1", _IMAGE.sub("", text))
    text = _TAG.sub("", text)
    return Words([sentence for paragraph in _paragraphs(text) for sentence in _sentences(paragraph)])


def _paragraphs(text: str) -> list[str]:
    """Join the lines of each paragraph and of each item. Tables, headings, rules and indented formulas end one."""
    paragraphs: list[str] = []
    open_ = False
    in_list = False
    for line in text.splitlines():
        bare = line.strip().removeprefix("> ").strip()
        formula = line.startswith("    ") and not (open_ or in_list)
        if (
            not bare
            or bare[0] in "|#"
            or set(bare) <= set("-=*_ ")
            or bare.startswith(("!!!", "???", "==="))
            or formula
        ):
            open_ = False
            in_list = in_list and not bare
            continue
        if item := _MARK.match(line):
            in_list = True
            paragraphs.append(line[item.end() :])
        elif open_:
            paragraphs[-1] += " " + bare
        else:
            in_list = in_list and line.startswith(" ")
            paragraphs.append(bare)
        open_ = not bare.endswith("\\")  # a backslash breaks the line
    return paragraphs


def _sentences(paragraph: str) -> list[str]:
    plain = _SHORT.sub(r"\1", _EMPHASIS.sub("", paragraph.rstrip("\\")))
    return [sentence.strip() for sentence in _END.split(plain) if count(sentence) > 0]


def report(pages: list[Path]) -> str:
    """Return what is wrong with each page, the page with the most to mend first."""
    lines = []
    worst_first = sorted(((page, read(page.read_text())) for page in pages), key=lambda pair: -len(wrong(pair[1])))
    for page, words in worst_first:
        lines += [f"{page}: {len(words.sentences)} sentences of {words.average:.1f} words", *wrong(words)]
    return "\n".join(lines)


def wrong(words: Words, longest: int = LONGEST) -> list[str]:
    """Return one line for each thing to mend."""
    found = [f"  {count(sentence)} words: {sentence}" for sentence in words.longer_than(longest)]
    if words.average > AVERAGE:
        found.insert(0, f"  {words.average:.1f} words per sentence: at most {AVERAGE}")
    return found + [f"  not plain: {phrase}" for phrase in words.not_plain()]


if __name__ == "__main__":
    print(report([Path(name) for name in sys.argv[1:]]))
