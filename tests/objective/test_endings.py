"""Code of a user's that would end the program is one error with file and line; Ctrl-C passes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset

import landscape as ls
from landscape.errors import LandscapeError

DATA = (torch.linspace(-1, 1, 40).reshape(10, 4), torch.arange(10) % 3)


class Halt(BaseException):
    """Not an Exception, as some frameworks have it."""


def raised(error: BaseException) -> Callable[..., NoReturn]:
    def ending(*_: Any) -> NoReturn:
        raise error

    return ending


class Ending(nn.Linear):
    error: BaseException

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise self.error


class Samples(Dataset[Any]):
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> NoReturn:
        raise self.error


def of_model(error: BaseException) -> None:
    model = Ending(4, 3)
    model.error = error
    ls.Objective(model, DATA)


def of_loss_on_the_way(error: BaseException) -> None:
    objective = ls.Objective(nn.Linear(4, 3), DATA, lambda output, target: function[0](output, target))
    function[0] = raised(error)
    try:
        ls.slice_1d(objective, steps=3)
    finally:
        function[0] = F.cross_entropy


function: list[Callable[..., Any]] = [F.cross_entropy]
PLACES: dict[str, Callable[[BaseException], Any]] = {
    "model": of_model,
    "forward": lambda error: ls.Objective(nn.Linear(4, 3), DATA, forward=raised(error)),
    "loss": lambda error: ls.Objective(nn.Linear(4, 3), DATA, raised(error)),
    "loss on the way": of_loss_on_the_way,
    "dataset": lambda error: ls.Objective(nn.Linear(4, 3), Samples(error)),
    "count": lambda error: ls.Objective(nn.Linear(4, 3), [DATA], count_samples=raised(error)),
    "function": lambda error: ls.Objective.from_function(raised(error), torch.zeros(3)),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("error", "shown"), [(SystemExit(3), r"SystemExit\(3\)"), (Halt("off"), r"Halt\('off'\)")])
def test_what_would_end_the_program_is_an_error(place: str, error: BaseException, shown: str) -> None:
    with pytest.raises(
        LandscapeError, match=rf"{shown}, which would end the whole program \(test_endings.py, line \d+\)"
    ):
        PLACES[place](error)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("error", [KeyboardInterrupt(), asyncio.CancelledError()])
def test_an_interrupt_passes(place: str, error: BaseException) -> None:
    with pytest.raises(type(error)):
        PLACES[place](error)


def test_an_error_of_the_data_says_where() -> None:
    with pytest.raises(LandscapeError, match=r"batch 1 of the data cannot be read: ValueError: torn \(test_endings.py"):
        ls.Objective(nn.Linear(4, 3), Samples(ValueError("torn")))
    batches = (DATA if i < 2 else sys.exit("no more") for i in range(3))
    with pytest.raises(LandscapeError, match=r"batch 3 of the data cannot be read: .*SystemExit\('no more'\)"):
        ls.Objective(nn.Linear(4, 3), batches)
