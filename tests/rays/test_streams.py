"""Random streams: the bits of each purpose, and that no two purposes share a stream."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from landscape.rays.streams import Purpose, stream, words

TRAINING = {
    Purpose.TRAIN_DATA,
    Purpose.TEST_DATA,
    Purpose.NETWORK,
    Purpose.JITTER,
    Purpose.FRESH,
    Purpose.ORDER,
    Purpose.AUGMENT,
}
WORD = 2**64


def share(first: Purpose, second: Purpose) -> bool:
    """Whether two purposes own a stream in common: then their ranges meet in every word."""
    return all(
        max(one.start, other.start) < min(one.stop, other.stop)
        for one, other in zip(first.value, second.value, strict=True)
    )


def test_no_two_purposes_share_a_stream() -> None:
    for family in (TRAINING, set(Purpose) - TRAINING):
        assert [(a.name, b.name) for a, b in combinations(family, 2) if share(a, b)] == []


def test_what_trainings_share_with_measurements_is_known() -> None:
    """Other streams for either would change every trained net, or every radius of a seed."""
    shared = {other for purpose in TRAINING for other in set(Purpose) - TRAINING if share(purpose, other)}
    assert shared == {Purpose.DIRECTION, Purpose.CHAIN}


@pytest.mark.parametrize("purpose", Purpose)
def test_every_stream_of_a_purpose_fits_its_words(purpose: Purpose) -> None:
    for corner in (0, -1):
        offsets = [(span.stop - 1 - span.start) if corner else 0 for span in purpose.value]
        key, counter = words(purpose, WORD - 1, *offsets)
        assert [int(key[1]), *map(int, counter[1:])] == [span[corner] for span in purpose.value]
        assert (int(key[0]), int(counter[0])) == (WORD - 1, 0)


def test_a_place_outside_the_range_is_refused() -> None:
    for place in ({"index": -1}, {"index": WORD - 2}, {"step": 2**32}, {"stage": -1}, {"part": 1}):
        with pytest.raises(ValueError, match="CHAIN has no stream at"):
            stream(Purpose.CHAIN, 0, **place)


@pytest.mark.parametrize(
    ("purpose", "place", "key", "counter"),
    [
        (Purpose.DIRECTION, {"index": 7}, [5, 7], [0, 0, 0, 0]),
        (Purpose.ENTRY, {"index": 7}, [5, 7], [0, 0, 0, 2**63 + 80]),
        (Purpose.CHAIN, {"index": 7, "step": 9, "stage": 2}, [5, 7], [0, 0, 9, 3]),
        (Purpose.PRECONDITIONER, {"index": 7, "step": 4, "stage": 3}, [5, 7], [0, 0, 2**33 + 4, 4]),
        (Purpose.PRECONDITIONED_RAY, {"index": 7}, [5, 7], [0, 0, 2**34, 1]),
        (Purpose.SIGN_PROBE, {"index": 7, "part": 2}, [5, 7], [0, 2, 0, 2**63]),
        (Purpose.NORMAL_PROBE, {"index": 7}, [5, 7], [0, 0, 1, 2**63]),
        (Purpose.PERTURBATION, {"index": 7, "part": 1}, [5, 7], [0, 1, 2, 2**63]),
        (Purpose.POSTERIOR, {"index": 7, "part": 3}, [5, 7], [0, 3, 0, 2**63 + 16]),
        (Purpose.TRAIN_DATA, {}, [5, 0], [0, 0, 0, 0]),
        (Purpose.TEST_DATA, {}, [5, 1], [0, 0, 0, 0]),
        (Purpose.NETWORK, {}, [5, 2], [0, 0, 0, 0]),
        (Purpose.JITTER, {"stage": 6}, [5, 100], [0, 0, 0, 6]),
        (Purpose.FRESH, {"stage": 6}, [5, 101], [0, 0, 0, 6]),
        (Purpose.ORDER, {"stage": 6}, [5, 102], [0, 0, 0, 6]),
        (Purpose.AUGMENT, {"stage": 6}, [5, 103], [0, 0, 0, 6]),
        (Purpose.RESAMPLE, {"index": 7}, [5, 7], [0, 0, 0, 2**63 + 40]),
        (Purpose.PERMUTATION, {"index": 7}, [5, 7], [0, 1, 0, 2**63 + 40]),
        (Purpose.RANDOM_MEASURE, {"index": 7}, [5, 7], [0, 2, 0, 2**63 + 40]),
    ],
)
def test_the_words_of_each_purpose_stay_what_they_are(
    purpose: Purpose, place: dict[str, int], key: list[int], counter: list[int]
) -> None:
    """Other words would give other rays, chains and nets for the same seed."""
    expected = np.random.Philox(key=np.array(key, dtype=np.uint64), counter=np.array(counter, dtype=np.uint64))
    assert stream(purpose, 5, **place).bit_generator.random_raw() == expected.random_raw()
