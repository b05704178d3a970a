"""Conditional mutual information: against mbe-eval, against a plain count, and its sign."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from helpers.families import shared_case
from landscape.ranking import Configurations
from landscape.ranking.information import PairTable, conditional_information
from landscape.ranking.resamples import resample_weights

SUBSETS = ((), ("a",), ("b",), ("c",), ("a", "b"), ("a", "c"), ("b", "c"))
#: mbe-eval 0.5.0: jiang_normalized_cmi(shared_case() as a DataFrame, ..., group_col="config"), by set of axes
MBE_EVAL = [
    [
        0.6295211643783435, 0.5194863187098845, 0.6513289635890114, 0.6057876226299318, 0.6332593738921612,
        0.440899682520642, 0.727976263350555,
    ],
    [
        0.001317786626526267, 0.1831914646782151, 0.004464210513045635, 0.17211927620039902, 0.428951009533957,
        0.08651158292600855, 0.2568084284259838,
    ],
]  # fmt: skip


def counted(values: np.ndarray, target: np.ndarray, levels: np.ndarray, copies: np.ndarray) -> float:
    """I / H by counting ordered pairs one by one."""
    counts: dict[tuple[object, ...], float] = {}
    for i, j in permutations(range(len(values)), 2):
        key = (tuple(levels[:, i]), tuple(levels[:, j])), np.sign(values[i] - values[j]), np.sign(target[i] - target[j])
        counts[key] = counts.get(key, 0.0) + copies[i] * copies[j]

    def margin(*kept: int) -> dict[tuple[object, ...], float]:
        sums: dict[tuple[object, ...], float] = {}
        for key, number in counts.items():
            part = tuple(key[place] for place in kept)
            sums[part] = sums.get(part, 0.0) + number
        return sums

    cells, left, right = margin(0), margin(0, 1), margin(0, 2)
    information = sum(
        n * np.log(n * cells[(u,)] / (left[(u, v)] * right[(u, g)])) for (u, v, g), n in counts.items() if n
    )
    return float(information / -sum(n * np.log(n / cells[(u,)]) for (u, _), n in right.items() if n))


def test_the_shares_are_those_of_mbe_eval() -> None:
    runs = shared_case()
    design = Configurations.of(runs.axes)
    table = PairTable.of(design)
    values, target = design.mean(runs.values), design.mean(runs.targets)[0]
    result = conditional_information(values, target, np.ones((1, 27)), design, table)
    assert table.subsets == SUBSETS
    assert result.shares[0] == pytest.approx(np.array(MBE_EVAL))
    assert result.smallest[0] == pytest.approx([0.440899682520642, 0.001317786626526267])


def test_ties_and_copies_are_those_of_a_plain_count() -> None:
    random = np.random.default_rng(0)
    fourth = [number // 6 for number in range(24)]
    design = Configurations.of({"a": [0, 1, 2] * 8, "b": fourth, "c": [0, 0, 0, 1, 1, 1] * 4})
    values, target = random.integers(3, size=24).astype(float), random.integers(4, size=24).astype(float)
    weights = resample_weights(24, 2, 0)
    table = PairTable.of(design)
    result = conditional_information(values[None], target, weights, design, table)
    for place, subset in enumerate(table.subsets):
        levels = design.levels[[design.axes.index(axis) for axis in subset]]
        expected = [counted(values, target, levels, copies) for copies in weights]
        assert result.shares[:, 0, place] == pytest.approx(expected, rel=1e-5)


def test_axes_that_settle_the_order_leave_nothing_to_say() -> None:
    """With two axes, a cell of both holds one pair: its order is known, and the share is undefined."""
    design = Configurations.of({"a": [0, 1, 2] * 3, "b": [0, 0, 0, 1, 1, 1, 2, 2, 2]})
    values = np.random.default_rng(0).normal(size=(1, 9))
    result = conditional_information(values, np.arange(9.0), np.ones((1, 9)), design, PairTable.of(design))
    assert np.isfinite(result.shares[0, 0]).tolist() == [True, True, True, False]


def test_the_sign_tells_agreement_from_inversion() -> None:
    runs = shared_case()
    design = Configurations.of(runs.axes)
    target = design.mean(runs.targets)[0]
    result = conditional_information(
        np.array([target, -target, np.ones(27)]), target, np.ones((1, 27)), design, PairTable.of(design)
    )
    assert result.smallest[0] == pytest.approx([1.0, 1.0, 0.0])
    assert result.sign[0].tolist() == [1.0, -1.0, 0.0]


def test_an_axis_in_disguise_says_nothing_once_it_is_known() -> None:
    """The target moves with axis a alone but for noise; given a, a measure that reflects a alone says nothing."""
    random = np.random.default_rng(0)
    design = Configurations.of(shared_case().axes)
    target = design.levels[0] + 0.1 * random.random(27)
    result = conditional_information(
        design.levels[:1].astype(float), target, np.ones((1, 27)), design, PairTable.of(design)
    )
    assert result.shares[0, 0, SUBSETS.index(())] > 0.5
    assert result.smallest[0, 0] == pytest.approx(0.0, abs=1e-9)


def test_a_measure_with_gaps_uses_the_pairs_that_it_has() -> None:
    runs = shared_case()
    design = Configurations.of(runs.axes)
    values, target = design.mean(runs.values), design.mean(runs.targets)[0]
    values[0, :3] = np.nan
    weights = np.ones((2, 27))
    weights[1, :3] = 0.0
    gaps = conditional_information(values[:1], target, weights[:1], design, PairTable.of(design))
    without = conditional_information(design.mean(runs.values)[:1], target, weights[1:], design, PairTable.of(design))
    assert gaps.shares == pytest.approx(without.shares)
