"""The library names keywords; the command line shows the flags of the same name."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from landscape.errors import LandscapeError
from landscape_cli.flags import in_flags
from landscape_cli.main import cli

STEPS = click.command()(click.option("--steps", type=int)(lambda steps: None))


@pytest.mark.parametrize(
    ("message", "typed"),
    [
        ("Pass `directions=1000`.", "Pass --directions 1000."),
        ("Pass a longer `budget=...`, or `estimator='laplace'`.", "Pass a longer --budget, or --estimator laplace."),
        ("Pass `max_radius=math.inf`.", "Pass --max-radius none."),
        ("Pass `cutoffs=...`, then `resume=True`.", "Pass --cutoff, then --resume."),
        ("Pass `steps=11`.", "Pass --steps 11."),
        ("Pass `scope=['weights', 'a b']`.", "Pass --scope weights --scope 'a b'."),
        # no keyword of a command
        ("Pass `n=5`.",) * 2,
        # a path, code to copy, words of a user
        ("the checkpoint seed=0/a.pt does not exist",) * 2,
        ("  def task(): return landscape.Task(model=..., data=(inputs, targets), loss='cross_entropy')",) * 2,
        ("task() failed: steps=3",) * 2,
    ],
)
def test_keywords_become_flags(message: str, typed: str) -> None:
    assert in_flags(message, STEPS) == typed


def test_an_option_of_another_command_is_left_alone() -> None:
    assert in_flags("Pass `steps=11`.") == "Pass `steps=11`."


def test_a_keyword_without_an_option_goes_to_set() -> None:
    with_set = click.command()(click.option("--set", "assigned")(lambda assigned: None))
    assert in_flags("Pass `weight_decay=0.1` or `seed=3`.", with_set) == "Pass --set weight-decay=0.1 or --seed 3."


def test_errors_of_the_library_are_shown_in_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> None:
        raise LandscapeError("Pass `max_radius=2`.")

    monkeypatch.setattr("landscape.store.Store", refuse)
    done = CliRunner().invoke(cli, ["show", "run.h5"], standalone_mode=False)
    assert str(done.exception) == "Pass --max-radius 2."
