"""The options that commands share: their choices, ranges and help, and how they are typed again."""

from __future__ import annotations

import inspect
import shlex
from importlib import import_module
from pathlib import Path

import click
import pytest

import landscape as ls
from helpers.commands import SMALL, landscape, run, stored
from landscape.measures import settings
from landscape.objective.losses.predictions import OUTPUTS
from landscape.objective.objective import CRITERIA
from landscape.rays import METRICS
from landscape.volume.estimate import ESTIMATORS
from landscape_cli import options, sharpness_options
from landscape_cli.commands.sharpness import command as sharpness


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--memory plenty", "512MB"),
        ("--max-radius wide", "none for no cap"),
        ("--directions 0", "0"),
        ("--rtol 1", "rtol"),
    ],
)
def test_options_out_of_range(here: Path, flags: str, words: str) -> None:
    assert words in run(f"volume {SMALL} --estimator uniform {flags}", code=2).stderr


def test_the_choices_are_those_of_the_library() -> None:
    assert options.CRITERIA == CRITERIA
    assert options.METRICS == METRICS
    assert options.OUTPUTS == OUTPUTS
    assert set(options.ESTIMATORS) <= set(ESTIMATORS)  # the others are reached from Python


def test_the_options_of_sharpness_are_those_of_the_library() -> None:
    assert sharpness_options.SAMPLERS == settings.SAMPLERS
    defaults = {option.name: option.default for option in sharpness.params}
    library = inspect.signature(ls.sharpness).parameters
    for name in ("measures", "metric", "draws", "probes", "seed", "sampler", "chains", "cutoff", "budget"):
        assert defaults[name] == library[name].default, name


def test_typed_options_come_back_as_they_must_be_typed(here: Path) -> None:
    """What ``landscape show`` tells a user to type parses to the same settings."""
    line = f"{SMALL} --cutoff 0.5 --cutoff 2 --max-radius none --memory 2GiB --metric identity --dtype float64"
    line += " --scope 0.weight --scope bias"
    run(f"volume {line} --estimator uniform --criterion rise --out run.h5")
    again = stored().config["command"]
    assert again.startswith("landscape volume ckpt.pt ")
    assert again.endswith("--resume")
    assert "--max-radius none" in again
    assert "--scope '0.weight | bias'" in again
    before = Path("run.h5").read_bytes()
    assert landscape(*shlex.split(again)[1:]).exit_code == 0
    assert Path("run.h5").read_bytes() == before


def test_every_option_has_a_help_text() -> None:
    for name in ("volume", "radius", "show", "plot", "doctor"):
        command = import_module(f"landscape_cli.commands.{name}").command
        assert isinstance(command, click.Command)
        assert command.help
        assert all(option.help for option in command.params if isinstance(option, click.Option))
