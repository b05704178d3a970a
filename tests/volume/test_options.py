"""The options of each estimator: their names are those of the signatures, and a typo is told at once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch

import landscape as ls
from landscape.rays import basin_radii
from landscape.volume.annealed import annealed_volume
from landscape.volume.annealing.run import run_islands
from landscape.volume.auto import auto_volume
from landscape.volume.count_hits import count_hits
from landscape.volume.counted import counted_volume
from landscape.volume.estimate import ESTIMATORS
from landscape.volume.importance import importance_volume
from landscape.volume.laplace import laplace_volume
from landscape.volume.options import BasinOptions
from landscape.volume.uniform import uniform_volume

#: what hands its other options on -> what takes them
FORWARDS: dict[Callable[..., Any], list[Callable[..., Any]]] = {
    uniform_volume: [basin_radii],
    counted_volume: [count_hits],
    annealed_volume: [run_islands],
    importance_volume: [],
    laplace_volume: [],
    auto_volume: [basin_radii],
}


def keywords(function: Callable[..., Any]) -> dict[str, Any]:
    """The names and defaults of the keywords that a function takes itself."""
    known = inspect.signature(function).parameters.values()
    return {each.name: each.default for each in known if each.kind is inspect.Parameter.KEYWORD_ONLY}


def defaults(estimator: str) -> dict[str, Any]:
    """The names and defaults of all keywords of an estimator."""
    function, _ = ESTIMATORS[estimator]
    inner = {name: value for each in FORWARDS[function] for name, value in keywords(each).items()}
    if function is auto_volume:
        inner = {name: inner[name] for name in BasinOptions.__annotations__}
    return inner | keywords(function)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_options_are_those_of_the_signature(estimator: str) -> None:
    named = set(ESTIMATORS[estimator][1].__annotations__)
    assert named == set(defaults(estimator)) - ({"measure"} if estimator == "counted" else set())


def test_estimators_share_their_defaults() -> None:
    """One default for each name; what differs is what each method needs."""
    differ = {
        "rtol",  # radii need 0.001 alone; weights need what moves log V by 0.1
        "directions",  # the most rays of a count, which ends with its hits
        "probes",  # of the diagonal, and of the log-determinant
    }
    known: dict[str, Any] = {}
    for estimator in ESTIMATORS:
        for name, default in defaults(estimator).items():
            if name not in differ:
                assert known.setdefault(name, default) == default, f"{estimator}: {name}"


@pytest.mark.parametrize(
    ("estimator", "option", "said"),
    [
        ("annealed", "buget", "log_volume(estimator='annealed') has no option `buget=...`. Did you mean `budget=...`?"),
        ("uniform", "dirctions", "Did you mean `directions=...`?"),
        ("laplace", "directions", "log_volume(estimator='laplace') has no option `directions=...`."),
        ("counted", "rtol", "Its options: adaptive, budget, criterion, cutoffs, directions, first_step, hits, "),
        ("auto", "hits", "log_volume(estimator='auto') has no option `hits=...`."),
    ],
)
def test_a_typo_is_one_error_before_anything_is_measured(estimator: str, option: str, said: str) -> None:
    def never(x: torch.Tensor) -> torch.Tensor:
        assert len(x) == 1, "nothing should be measured"
        return x.square().sum(-1)

    bowl = ls.Objective.from_function(never, torch.zeros(3, dtype=torch.float64), lanes=64)
    options: dict[str, Any] = {"estimator": estimator, option: 3}
    with pytest.raises(ls.LandscapeError) as caught:
        ls.log_volume(bowl, [1.0], **options)
    assert said in str(caught.value)
