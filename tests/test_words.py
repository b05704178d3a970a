"""Sentences are short and words are plain on every page that a person reads.

`python -m helpers.words PAGE...` in tests/ lists what to mend.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import click
import pytest

from helpers.words import AVERAGE, LONGEST, LONGEST_CHANGE, count, read, wrong
from landscape_cli.main import cli

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("docs/tutorials/*.py"))]


def words_of_cells(script: str) -> str:
    """The Markdown cells of a tutorial."""
    cells = re.split(r"^# %%", script, flags=re.MULTILINE)
    prose = [cell.partition("\n")[2] for cell in cells if cell.startswith(" [markdown]")]
    return "\n\n".join(re.sub(r"^# ?", "", cell, flags=re.MULTILINE) for cell in prose)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_sentences_of_a_page_are_short_and_plain(page: Path) -> None:
    text = page.read_text()
    if page.suffix == ".py":
        text = words_of_cells(text)
    mend = wrong(read(text), LONGEST_CHANGE if page.name == "CHANGELOG.md" else LONGEST)
    assert not mend, "\n".join(["to mend:", *mend])


def test_the_readme_is_one_screen() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 50
    assert max(map(len, lines)) <= 132  # as wide as a page of GitHub shows


@pytest.mark.parametrize("name", cli.list_commands(None))
def test_the_help_of_a_command_is_short_and_plain(name: str) -> None:
    command = cli.get_command(None, name)
    assert command is not None
    texts = [inspect.cleandoc(command.help or "").replace("\b\n", "    ")]
    texts += [parameter.help for parameter in command.params if isinstance(parameter, click.Option) and parameter.help]
    mend = [line for text in texts for line in wrong(read(text)) if "per sentence" not in line]
    assert not mend, "\n".join(["to mend:", *mend])


PAGE = """\
# A heading of a few words, which no one counts

The first sentence has `one piece of code` and a [link](to/some/page.md#with-words). The second
goes on in the next line. It cites Li et al. (2018), with 1 = 1.

<!-- a comment
of two lines -->
- An item without a stop
- Another one; it
  goes on

| a table | is left out. Always. |
|---|---|

    log V = a formula. Left out.

```python
print("Code. Left out.")
```
"""


def test_prose_is_told_from_code_tables_and_formulas() -> None:
    assert read(PAGE).sentences == [
        "The first sentence has CODE and a link.",
        "The second goes on in the next line.",
        "It cites Li et al (2018), with 1 = 1.",
        "An item without a stop",
        "Another one; it goes on",
    ]
    assert [count(words) for words in read(PAGE).sentences] == [8, 8, 9, 5, 5]


def test_what_is_to_mend_is_told() -> None:
    long = " ".join(["word"] * (LONGEST + 1))
    assert wrong(read(f"{long}.")) == [
        f"  {LONGEST + 1}.0 words per sentence: at most {AVERAGE}",
        f"  {LONGEST + 1} words: {long}.",
    ]
    assert wrong(read("Of two nets, the second is wide. It is a net beside the other.")) == [
        "  not plain: 'Of two nets, ' in: Of two nets, the second is wide.",
        "  not plain: 'beside' in: It is a net beside the other.",
    ]
    assert wrong(read("Of course, this is short. The belt is loose. The words `beside` and `lest` are code.")) == []
