"""The guides run: every python block, and every command in a console block, top to bottom, in one folder a page."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MADE_BY_A_COMMAND = {"benchmarks.md", "real-checkpoints.md"}  # their figures come from benchmarks/, not from here
BLOCK = re.compile(r"^```(\w+)(?: (\w+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands(block: str) -> list[list[str]]:
    """The lines of a console block that begin with ``$ landscape``."""
    joined = block.replace("\\\n", " ")
    return [shlex.split(line[2:], comments=True) for line in joined.splitlines() if line.startswith("$ landscape ")]


def run_page(text: str) -> int:
    """Run the blocks of one page in the current folder and return how many ran."""
    from landscape_cli.main import cli

    names: dict[str, object] = {"__name__": "__docs__"}
    ran = 0
    for language, word, body in BLOCK.findall(text):
        if word == "skip":
            continue
        if language == "python":
            exec(compile(body, "<docs>", "exec"), names)
            ran += 1
        elif language == "console":
            for arguments in commands(body):
                done = CliRunner().invoke(cli, arguments[1:], catch_exceptions=False)
                assert done.exit_code == 0, f"{shlex.join(arguments)}\n{done.output}"
                ran += 1
        elif language in ("toml", "py") and word:
            Path(f"{word}.{language}").write_text(body)
    return ran


@pytest.mark.parametrize("page", [p for p in PAGES if p.name not in MADE_BY_A_COMMAND], ids=lambda page: page.name)
def test_the_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_page(page.read_text())


def test_a_block_that_fails_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ZeroDivisionError):
        run_page("```python\n1 / 0\n```\n")
    with pytest.raises(AssertionError):
        run_page("```console\n$ landscape volume missing.pt\n```\n")


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
