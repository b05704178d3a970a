"""A budget for annealed chains: read once, turned once into chains and temperatures, and kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import landscape as ls
from helpers.bodies import ellipsoid
from helpers.moments import some
from landscape.results import Chains
from landscape.volume import anneal, volume_from_chains
from landscape.volume.annealing.budget import FEW_CHAINS, FEWEST, MANY_CHAINS, Budget

CURVATURES = np.array([0.3, 1.0, 2.0, 9.0])


def annealed(budget: str | float | None, cutoffs: tuple[float, ...] = (0.1,), **options: Any) -> Chains:
    return anneal(ellipsoid(CURVATURES), cutoffs, **{"metric": "identity", "seed": 8, "budget": budget, **options})


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("300s", Budget(seconds=300)),
        ("5min", Budget(seconds=300)),
        ("1.5 h", Budget(seconds=5400)),
        ("20000", Budget(passes=20000)),
        (2e4, Budget(passes=20000)),
        ("2e4", Budget(passes=20000)),
    ],
)
def test_budgets_are_read(text: str | float, budget: Budget) -> None:
    assert Budget.parse(text) == budget


@pytest.mark.parametrize("text", ["0", "0s", "-5", "-5min", "nan", "inf", "plenty", "", "5 parsecs", "1e999"])
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(ls.LandscapeError, match="5min"):
        Budget.parse(text)


def test_the_cost_stays_near_the_budget() -> None:
    """What moves will cost is guessed from what trying them cost, and rather too much than too little."""
    temperatures = []
    for passes in (40_000, 80_000):
        chains = annealed(passes)
        temperatures.append(chains.config["temperatures"])
        assert chains.done.all()
        assert 0.25 * passes < chains.cost.evaluations < 1.1 * passes
    assert temperatures[1] > 1.5 * temperatures[0]


def test_the_chains_are_those_of_the_temperatures_that_it_chose() -> None:
    given = annealed(30_000, (0.1, 0.4))
    asked = annealed(None, (0.1, 0.4), chains=given.config["chains"], temperatures=given.config["temperatures"])
    assert given.done.all()
    assert asked.log_weights.tobytes() == given.log_weights.tobytes()
    assert asked.config == {**given.config, "precondition_evaluations": None}


def test_a_run_stopped_anywhere_keeps_what_the_budget_chose() -> None:
    blocks: list[Chains] = []
    whole = annealed(20_000, on_progress=lambda progress: blocks.append(progress.snapshot()))
    assert whole.done.all()
    assert blocks[0].config["temperatures"] is None
    for at in some(len(blocks) - 1):
        again = annealed(20_000, resume=blocks[at])
        assert again.log_weights.tobytes() == whole.log_weights.tobytes()
        assert again.config == whole.config
    # once they are chosen a clock has nothing to say
    assert annealed("0.001s", resume=blocks[-2]).log_weights.tobytes() == whole.log_weights.tobytes()


def test_a_budget_that_the_pilots_use_up_leaves_a_run_to_continue() -> None:
    short = annealed(3_600)
    assert not short.done.any()
    assert short.config["temperatures"] is None
    assert "pilots" in str(short)
    with pytest.raises(ls.LandscapeError, match="the budget was used up before the chains began"):
        volume_from_chains(short)
    more, whole = annealed(30_000, resume=short), annealed(30_000)
    assert whole.done.all()
    assert more.log_weights.tobytes() == whole.log_weights.tobytes()


def test_a_budget_that_ends_with_the_pilots_makes_the_fewest_temperatures() -> None:
    blocks: list[Chains] = []
    annealed(20_000, on_progress=lambda progress: blocks.append(progress.snapshot()))
    pilot = [block for block in blocks if block.config["temperatures"] is None][-1]
    assert Budget(passes=pilot.cost.evaluations).plan(pilot) == (FEW_CHAINS, FEWEST)
    assert Budget(passes=1e7).plan(pilot)[0] == MANY_CHAINS


def test_a_budget_and_temperatures_are_either_or() -> None:
    with pytest.raises(ls.LandscapeError, match="either"):
        annealed("5min", temperatures=20)
