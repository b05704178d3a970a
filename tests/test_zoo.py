"""The part of the zoo that needs no other package: every cell right, or a refusal that says what to type."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import nn

from benchmarks.zoo import layers, losses, small, variants
from benchmarks.zoo.measure import COLUMNS, RAYS, REFUSED, RIGHT, measured
from benchmarks.zoo.trial import Build, Trial, cross_entropy

SLOW = {"torch.compile"}  # a compiler runs for half a minute
OTHER_PACKAGES = {"LoRA"}
CASES: dict[str, Build] = {
    name: build
    for family in (layers, small, losses, variants)
    for name, build in family.cases().items()
    if name not in SLOW | OTHER_PACKAGES
}

pytestmark = pytest.mark.filterwarnings("ignore")  # of what is old in torch, which models still use

ABSTRACT = {"Module", "Container", "RNNBase", "RNNCellBase"}


@pytest.mark.parametrize("name", CASES)
def test_every_cell_is_right_or_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RAYS, "first_step", 0.3)  # a pilot run would take most of the passes
    row = measured(name, CASES[name])
    assert row.sound, row.cells
    assert list(row.cells) == list(COLUMNS)
    for outcome, words in row.cells.values():
        assert outcome == RIGHT or ("\n" in words and outcome == REFUSED), words  # a refusal says what to type


def test_every_layer_with_parameters_is_there() -> None:
    """A layer of torch that can be built without arguments, or is named in the zoo, is counted once."""
    named = {name for name, kind in inspect.getmembers(nn, inspect.isclass) if issubclass(kind, nn.Module)}
    parameterless = {name for name in named - set(CASES) - ABSTRACT if not _has_parameters(name)}
    assert named - set(CASES) - ABSTRACT - parameterless == set()


def _has_parameters(name: str) -> bool:
    """Whether a layer has parameters, from sizes that nearly every constructor takes."""
    for sizes in ((), (2,), (2, 2), (2, 2, 1), (1, 2, 2, 1)):
        try:
            return any(True for _ in getattr(nn, name)(*sizes).parameters())
        except (TypeError, ValueError, AssertionError, RuntimeError):
            continue
    return False


def test_a_wrong_number_is_noticed() -> None:
    """A framework that computes another loss than landscape is asked to measure."""

    def build() -> Trial:
        batch = torch.randn(9, 4), torch.arange(9) % 3
        return Trial(nn.Linear(4, 3), batch, "cross_entropy", lambda m, b: 1.1 * cross_entropy(m, b))

    cells = measured("wrong", build).cells
    assert [cells[column][0] for column in COLUMNS] == ["WRONG", "WRONG", "WRONG", "WRONG", "right", "right"]
