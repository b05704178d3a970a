"""What a process of the zoo does: it measures one model after another."""

from __future__ import annotations

import warnings

import torch

from benchmarks.zoo.families import cases_of
from benchmarks.zoo.measure import Row, measured


def quiet() -> None:
    """Give a process one thread, and let packages warn of nothing."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")


def one(wanted: tuple[str, str]) -> Row:
    """Measure one model, named by its family and its name."""
    family, name = wanted
    return measured(name, cases_of(family)[name])
