"""A model that keeps what it has made of a weight, for its next pass, is measured at the point that is asked for."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import landscape as ls
from landscape.errors import ObjectiveError
from landscape.objective.moved_weights import flat_step
from landscape.rays import metric_of, random_directions


class Keeping(nn.Module):
    """Transposes its weight once, and keeps the result."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 4)
        self.where, self.kept = where, None
        self.by_name: dict[str, Tensor] = {}
        self.listed: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        made = self.first.weight.t().contiguous()
        if self.where == "attribute":
            self.kept = made if self.kept is None else self.kept
            made = self.kept
        elif self.where == "dict":
            made = self.by_name.setdefault("weight", made)
        elif not self.listed:
            self.listed.append(made)
        return self.last(torch.tanh(x @ (self.listed[0] if self.listed else made) + self.first.bias))


@pytest.mark.parametrize("lanes", [1, None])
@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("where", ["attribute", "dict", "list"])
def test_what_a_pass_keeps_is_not_there_in_the_next_one(where: str, flat: bool, lanes: int | None) -> None:
    torch.manual_seed(0)
    model, data = Keeping(where), (torch.randn(16, 6), torch.randint(0, 4, (16,)))
    of = ls.Objective(model, data, flat=flat, lanes=lanes, scope="all")
    directions = random_directions(of, metric_of(of, "layer"), 0).steps([0])
    step = directions[0] if isinstance(directions, Tensor) else flat_step(directions[0], of.layout.entries, of.device)
    radii, rows = np.array([0.3, 0.9, -0.5]), np.zeros(3, dtype=int)
    with of.running():
        values = of.along(directions, radii, rows=rows).values
        again = of.along(directions, radii[1:], rows=rows[1:]).values
    truths = []
    for radius in radii:
        moved = Keeping(where)
        nn.utils.vector_to_parameters(of.theta + float(radius) * step, moved.parameters())
        with torch.no_grad():
            truths.append(float(F.cross_entropy(moved(data[0]), data[1])))
    assert values == pytest.approx(truths, rel=1e-5)
    assert again == pytest.approx(truths[1:], rel=1e-5)
    assert (model.kept, model.by_name, model.listed) == (None, {}, [])


GLOBAL: dict[str, Tensor] = {}
LAST: Tensor | None = None


class Elsewhere(nn.Module):
    """Transposes its weight, and keeps the result where no module holds it."""

    shared: dict[str, Tensor] = {}  # noqa: RUF012 - of the class on purpose

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 4)

    def turned(self) -> Tensor:
        return self.first.weight.t().contiguous()

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(x @ self.turned() + self.first.bias))


class InGlobal(Elsewhere):
    def turned(self) -> Tensor:
        return GLOBAL.setdefault("weight", super().turned())


class InGlobalVariable(Elsewhere):
    def turned(self) -> Tensor:
        global LAST
        LAST = super().turned() if LAST is None else LAST
        return LAST


class InClass(Elsewhere):
    def turned(self) -> Tensor:
        return self.shared.setdefault("weight", super().turned())


class InDefault(Elsewhere):
    def turned(self, kept: list[Tensor] = []) -> Tensor:  # noqa: B006 - the fault that is meant
        if not kept:
            kept.append(super().turned())
        return kept[0]


class InCache(Elsewhere):
    @functools.lru_cache(4)  # noqa: B019 - the fault that is meant
    def turned(self) -> Tensor:
        return super().turned()


@functools.cache
def turned_by(model: Elsewhere) -> Tensor:
    return Elsewhere.turned(model)


class InCacheOfFunction(Elsewhere):
    def turned(self) -> Tensor:
        return turned_by(self)


def in_closure() -> Elsewhere:
    kept: dict[str, Tensor] = {}

    class InClosure(Elsewhere):
        def turned(self) -> Tensor:
            return kept.setdefault("weight", super().turned())

    return InClosure()


class Cache:
    def __init__(self) -> None:
        self.held: dict[str, Tensor] = {}

    def of(self, model: Elsewhere) -> Tensor:
        return self.held.setdefault("weight", Elsewhere.turned(model))


def in_object() -> Elsewhere:
    """A property asks an object."""
    cache = Cache()

    class InObject(Elsewhere):
        @property
        def made(self) -> Tensor:
            return cache.of(self)

        def turned(self) -> Tensor:
            return self.made

    return InObject()


KEEPING = [in_object, InGlobal, InGlobalVariable, InClass, InDefault, InCache, InCacheOfFunction, in_closure]


@pytest.mark.parametrize("seen_before", [False, True])
@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("make", KEEPING)
def test_what_code_keeps_of_a_weight_is_refused(
    make: Callable[[], Elsewhere], flat: bool, seen_before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "LAST", None)
    GLOBAL.clear(), Elsewhere.shared.clear(), turned_by.cache_clear()
    torch.manual_seed(0)
    model, data = make(), (torch.randn(16, 6), torch.randint(0, 4, (16,)))
    before = model(data[0]) if seen_before else None
    for _ in range(2):
        with pytest.raises(ObjectiveError, match="keeps what it made of its weights in"):
            ls.Objective(model, data, flat=flat, scope="all")
    if before is not None:
        assert torch.equal(model(data[0]), before)


SCALE = torch.tensor(2.0)
WORDS: dict[int, Tensor] = {}
SEEN: list[Tensor] = []


@functools.cache
def mask_of(width: int) -> Tensor:
    return torch.arange(width) % 2


class Constants(Elsewhere):
    """Its code keeps tensors that are made of no weight, and a log."""

    def turned(self) -> Tensor:
        turned = super().turned()
        SEEN.append(turned.sum())
        return turned * mask_of(8) * SCALE + WORDS.setdefault(8, torch.ones(8))


def weighted(output: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(output, target, weight=WEIGHTS)


WEIGHTS = torch.tensor([1.0, 2.0, 3.0, 4.0])


@pytest.mark.parametrize("flat", [True, False])
def test_what_code_keeps_of_other_things_is_left_alone(flat: bool) -> None:
    torch.manual_seed(0)
    model, data = Constants(), (torch.randn(16, 6), torch.randint(0, 4, (16,)))
    with torch.no_grad():
        truth = float(weighted(model(data[0]), data[1]))
    held = dict(WORDS)
    assert ls.Objective(model, data, weighted, flat=flat).centre == pytest.approx(truth, rel=1e-6)
    assert held == WORDS
    assert SCALE.item() == 2.0
