"""One set of defaults: each option of a command has the default of the keyword that it sets in the library."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any

import click
import pytest

import landscape as ls
from landscape.integrations.quantities import Quantities
from landscape.ranking import RankingSettings, rank_measures, read_table
from landscape.rays import basin_radii
from landscape.volume.annealing.run import run_islands
from landscape.volume.auto import auto_volume
from landscape.volume.estimate import ESTIMATORS, log_volume
from landscape.volume.importance import importance_volume
from landscape.volume.laplace import laplace_volume
from landscape.volume.uniform import uniform_volume
from landscape_cli.commands.volume import _APPLIES_TO

CHECKPOINT: list[Callable[..., Any]] = [ls.Objective.from_checkpoint]
VOLUME = [log_volume, auto_volume, basin_radii, run_islands, importance_volume, laplace_volume, uniform_volume]
#: by command, what it calls with its options
CALLS: dict[str, list[Callable[..., Any]]] = {
    "volume": [*CHECKPOINT, *VOLUME],
    "radius": [*CHECKPOINT, basin_radii],
    "doctor": [*CHECKPOINT, basin_radii],
    "slice": [*CHECKPOINT, ls.slice_1d, ls.slice_2d],
    "curvature": [
        *CHECKPOINT, ls.Hessian, ls.top_eigenpairs, ls.trace, ls.layer_traces, ls.spectral_density, ls.log_determinant,
    ],
    "sharpness": [*CHECKPOINT, ls.sharpness],
    "benchmark": [*CHECKPOINT, ls.sharpness, RankingSettings, rank_measures, read_table],
    "track": [*CHECKPOINT, Quantities],
}  # fmt: skip
#: options that say what to do with results, or choose between functions: no keyword has their name
ONLY_OPTIONS = {
    "out", "outs", "overwrite", "resume", "as_json", "as_csv", "quiet", "exports", "dim", "operator", "trace", "layers",
    "density", "table", "jobs", "processes", "step", "figure",
}  # fmt: skip
#: where an option is another word for a keyword, or one keyword has another default in each function
RENAMED = {"slice directions": "direction"}
OWN = {
    "slice scope": "weights, and with other checkpoints all parameters: no other path leads to them",
    "sharpness start": "the command reads a file, the library takes parameters",
    "benchmark start": "as for sharpness",
    "track start": "as for sharpness",
    "benchmark axes": "auto stands for None",
    "benchmark measures": "core for a family, every column for a table: each the default of its function",
    "curvature scope": "a Hessian takes that of its objective",
    "curvature shift": "it asks for the determinant",
    "curvature k": "it asks for eigenpairs; the help says 5",
    "doctor directions": "the number that it estimates the time for",
}


def keywords(command: str, name: str) -> set[Any]:
    """The defaults that the functions of a command give to a keyword."""
    found = []
    for function in CALLS[command]:
        parameter = inspect.signature(function).parameters.get(name)
        if parameter is not None and parameter.default is not inspect.Parameter.empty:
            found.append(parameter.default)
    return {tuple(each) if isinstance(each, list) else each for each in found}


def shown(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


@pytest.mark.parametrize("command", CALLS)
def test_the_defaults_are_those_of_the_library(command: str) -> None:
    wrong = []
    options = import_module(f"landscape_cli.commands.{command}").command.params
    for option in options:
        name = str(option.name)
        if not isinstance(option, click.Option) or name in ONLY_OPTIONS or f"{command} {name}" in OWN:
            continue
        library = keywords(command, RENAMED.get(f"{command} {name}", name))
        own = option.default if option.multiple is False or option.default is None else tuple(option.default)
        own = None if str(own) == "Sentinel.UNSET" else own
        own = own[0] if isinstance(own, tuple) and len(own) == 1 and own not in library else own
        if not library:
            wrong.append(f"--{name}: no function of {command} has such a keyword")
        elif own in library and len(library) == 1:
            continue
        elif own is None and all(each is None or f"{shown(each)}" in (option.help or "") for each in library):
            continue  # the library's default, which the help tells
        elif option.is_flag and not own and library == {False}:
            continue
        else:
            wrong.append(f"--{name}: {own!r}, in the library {library}")
    assert not wrong


def test_an_option_applies_to_the_estimators_that_have_its_keyword() -> None:
    for name, estimators in _APPLIES_TO.items():
        known = {each for each, (_, options) in ESTIMATORS.items() if name in options.__annotations__}
        if name in ("directions", "measure"):  # the command leaves the limit of counted to the library
            known -= {"counted"}
        assert set(estimators) == known, name
