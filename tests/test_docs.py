"""The guides run: every python block, and every command in a console block, top to bottom, in one folder a page.

What a page shows as output is what is printed: helpers/documents.py says how closely.
"""

from __future__ import annotations

import io
import re
import shlex
import warnings
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path

import pytest

from helpers.commands import landscape
from helpers.documents import Block, blocks, commands, difference

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OPTIONAL = ("pandas", "xarray", "arviz")  # a block of this word runs if the package is installed
MADE_BY_A_COMMAND = {
    "benchmarks.md",
    "compatibility.md",
    "real-checkpoints.md",
}  # their figures come from benchmarks/, not from here
TRAINED: dict[tuple[str, ...], bytes] = {}  # checkpoints by the command, which begins several pages


def run_page(text: str, *, slow: bool = False) -> list[str]:
    """Run the blocks of a page in the current folder, and return where what they print is not what the page shows."""
    names: dict[str, object] = {"__name__": "__docs__"}
    printed, wrong = "", list[str]()
    for block in blocks(text):
        if block.word == "skip" or (block.word == "slow" and not slow):
            continue
        if block.word in OPTIONAL and find_spec(block.word) is None:
            continue
        if block.language == "python":
            with redirect_stdout(io.StringIO()) as out:
                exec(compile(block.body, "<docs>", "exec"), names)
            printed = out.getvalue()
        elif block.language == "text" and block.follows_python:
            wrong.append(difference(block.body, printed, block.tolerance))
        elif block.language == "console":
            wrong += run_commands(block)
        elif block.language in ("toml", "py") and block.word:
            Path(f"{block.word}.{block.language}").write_text(block.body)
    return [words for words in wrong if words]


def run_commands(block: Block) -> list[str]:
    wrong = []
    for command in commands(block.body):
        line = shlex.join(command.words)
        assert command.words[0] == "landscape", f"a page runs no other command than landscape: {line}"
        if tuple(command.words) in TRAINED:
            Path("ckpt.pt").write_bytes(TRAINED[tuple(command.words)])
            continue
        done = landscape(*command.words[1:])
        if done.exit_code == 0 and line.startswith("landscape train swiss-roll --out ckpt.pt") and line.endswith("-q"):
            TRAINED[tuple(command.words)] = Path("ckpt.pt").read_bytes()
        if done.exit_code != 0:
            raise AssertionError(f"$ {line}\n{done.output}") from done.exception
        if command.shown.strip():
            words = difference(command.shown, done.stdout, block.tolerance)
            wrong.append(words and f"$ {line}\n{words}")
    return wrong


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in MADE_BY_A_COMMAND], ids=lambda p: p.name)
def test_the_page_runs_and_shows_what_is_printed(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It warns of nothing either. The process of xdist would import the class of a warning, which may take seconds."""
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings(record=True) as said:
        wrong = run_page(page.read_text())
    assert [str(warning.message) for warning in said] == []
    assert not wrong, "\n\n".join([f"{page.name} shows something else than is printed", *wrong])


def test_a_block_that_fails_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ZeroDivisionError):
        run_page("```python\n1 / 0\n```\n")
    with pytest.raises(AssertionError, match="does not exist"):
        run_page("```console\n$ landscape volume missing.pt\n```\n")


PRINTED = """\
loss along a line, 3 points
     x      loss
     0  0.000379
     1     1.384
2 points in 47 ms, 39.5 KiB
"""


@pytest.mark.parametrize(
    ("shown", "told"),
    [
        (PRINTED, ""),
        (PRINTED.replace("47 ms", "2 min 06 s").replace("39.5 KiB", "3 MB"), ""),
        (PRINTED.replace("1.384", "1.3842"), ""),
        ("loss along a line, 3 points\n...\n     1     1.384\n...\n", ""),
        ("loss along ... points\n     x  loss 0\n ...", ""),
        (PRINTED.replace("1.384", "1.395"), "after 'loss 0 0.000379 1' the page shows '1.395 / 2 points"),
        (PRINTED.replace("3 points", "4 points"), "after 'loss along a line,' the page shows '4 points"),
        (PRINTED.replace("loss along", "Loss along"), "after '/' the page shows 'Loss along"),
        (PRINTED + "more\n", "shows '/ more'"),
        ("loss along a line, 3 points\n", "the page shows '', the command printed 'x loss"),
        ("loss along a line, 3 points\n...\n     1     1.384\n", "which was not printed at the end"),
        ("...\n     2     1.384\n...\n", "shows '2 1.384', which was not printed"),
        (PRINTED.replace("\n2 points", " 2 points"), "after '0 0.000379 1 1.384' the page shows '2 points"),
    ],
)
def test_output_that_is_not_what_is_printed_is_noticed(shown: str, told: str) -> None:
    found = difference(shown, PRINTED)
    assert told in found
    assert bool(found) == bool(told)


def test_a_page_says_how_closely_numbers_must_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    block = "```python\nprint(1.25, 40)\n```\n"
    loose, strict = (f"{block}\n{words}```text\n1.1 36\n```\n" for words in ("<!-- numbers within 20 % -->\n", ""))
    assert run_page(loose) == []
    assert "numbers may differ by 0.1 %" in run_page(strict)[0]


def test_links_between_pages_lead_somewhere() -> None:
    broken = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            if not (page.parent / target).exists():
                broken.append(f"{page.name}: {target}")
    assert not broken


def test_every_command_and_option_is_documented() -> None:
    """Each command has a section in docs/commands.md, and each of its options stands there."""
    from landscape_cli.main import cli

    text = (ROOT / "docs" / "commands.md").read_text()
    missing = []
    for name in cli.list_commands(None):
        command = cli.get_command(None, name)
        section = re.search(rf"^## `landscape {name}`$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
        if section is None:
            missing.append(name)
            continue
        for parameter in command.params:
            long = [option for option in parameter.opts if option.startswith("--")]
            missing += [f"{name} {option}" for option in long if option not in section[1] and option != "--help"]
    assert not missing
