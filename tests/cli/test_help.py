"""``--help`` of each command fits one screen and ends with an example; ``--help-all`` explains every option."""

from __future__ import annotations

import shlex

import click
import pytest
from click.testing import CliRunner

from landscape_cli.help import COMMON, EXAMPLES, SHORT
from landscape_cli.main import COMMANDS, cli

LINES, COLUMNS = 40, 80


def help_of(name: str, *more: str) -> str:
    done = CliRunner().invoke(cli, [name, *(more or ("--help",))], prog_name="landscape")
    assert done.exit_code == 0
    return done.output


def options_of(name: str) -> list[click.Option]:
    command = cli.get_command(None, name)
    assert command is not None
    return [each for each in command.params if isinstance(each, click.Option)]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_one_screen_and_ends_with_an_example(name: str) -> None:
    lines = help_of(name).splitlines()
    assert len(lines) <= LINES
    assert max(map(len, lines)) <= COLUMNS
    assert lines[-1].startswith(f"    landscape {name} ")
    assert "[]" not in help_of(name)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_names_every_option_and_help_all_explains_it(name: str) -> None:
    short = help_of(name)
    whole = help_of(name, "--help-all") if name in COMMON else short
    for option in options_of(name):
        assert option.opts[-1] in short
        assert option.help
        assert option.help.split()[0] in whole
    if name in COMMON:
        assert "--help-all explains them" in short
        assert "--help-all explains them" not in whole


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_are_commands(name: str) -> None:
    command = cli.get_command(None, name)
    assert command is not None
    for line in EXAMPLES[name]:
        command.make_context(name, shlex.split(line.replace("runs.csv", __file__)))


def test_what_help_explains_is_an_option() -> None:
    known = {name: {option.name for option in options_of(name)} for name in COMMANDS}
    for name, common in COMMON.items():
        assert set(common) <= known[name], name
    every = set().union(*known.values())
    assert {key.rpartition(" ")[2] for key in SHORT} <= every
    assert {key.rpartition(" ")[0] for key in SHORT if " " in key} <= set(COMMANDS)
