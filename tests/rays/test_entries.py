"""Normals by entry: the published bits, the same number however an entry is reached, and the distribution."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from landscape.rays.entries import UNIT, _table, levels, levels_at, philox, square_sum

PI = (
    [0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89],
    "452821e638d01377be5466cf34e90c6c",
)


@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        ([0] * 4, [0, 0], "16554d9eca36314c db20fe9d672d0fdc d7e772cee186176b 7e68b68aec7ba23b"),
        ([2**64 - 1] * 4, [2**64 - 1] * 2, "87b092c3013fe90b 438c3c67be8d0224 9cc7d7c69cd777b6 a09caebf594f0ba0"),
        (
            PI[0],
            [int(PI[1][:16], 16), int(PI[1][16:], 16)],
            "a528f45403e61d95 38c72dbd566e9788 a5a1610e72fd18b5 57bd43b5e52b7fe6",
        ),
    ],
)
def test_bits_are_the_known_answers_of_random123(counter: list[int], key: list[int], answer: str) -> None:
    words = philox([torch.tensor(np.uint64(word).astype(np.int64)) for word in counter], key)
    assert " ".join(f"{int(word) % 2**64:016x}" for word in words) == answer


def test_entries_are_the_16_bit_parts_of_numpys_philox() -> None:
    key, counter = np.array([5, 7], dtype=np.uint64), np.array([0, 0, 0, 2**63 + 80], dtype=np.uint64)
    bits = np.random.Philox(key=key, counter=counter).random_raw(32).astype("<u8").view("<u2")
    assert levels(5, 7, 0, 128).tolist() == _table()[bits].tolist()


@pytest.mark.parametrize("seed", [0, 3, 2**63, 2**64 - 1])
def test_an_entry_is_the_same_however_it_is_reached(seed: int) -> None:
    whole = levels(seed, 2, 0, 3 * 2**16)
    for start, stop in ((0, 1), (15, 17), (1000, 1001), (2**16 - 3, 2**16 + 3), (5, 2**17 + 11)):
        assert torch.equal(levels(seed, 2, start, stop), whole[start:stop])
    strided = torch.arange(3, len(whole), 4097)
    assert torch.equal(levels_at(seed, 2, strided), whole[strided])
    block = torch.arange(40)[:, None] * 300 + torch.arange(100, 120)  # columns 100 to 120 of a matrix of 300 columns
    assert torch.equal(levels_at(seed, 2, block.flip(0)), whole[block.flip(0)])
    far = 2**40  # past the entries of any model
    assert torch.equal(levels(seed, 2, far + 3, far + 50), levels_at(seed, 2, torch.arange(far + 3, far + 50)))


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
def test_threads_make_the_same_entries() -> None:
    start, stop = 2**17 - 5, 13 * 2**17 + 7
    apart = [levels(3, 2, a, min(a + 2**17, stop)) for a in range(start, stop, 2**17)]
    assert torch.equal(levels(3, 2, start, stop), torch.cat(apart))
    assert levels(3, 2, start, start).shape == (0,)


def test_the_values_of_the_table_stay_what_they_are() -> None:
    """Stored rays are made from them again."""
    table = _table()
    assert hashlib.sha256(table.tobytes()).hexdigest() == (
        "4ed7179bfc91ace9a4452e2a90bb003319e43ceb8f4edd4bdc049e0ed2476a20"
    )
    values = table * UNIT
    assert (table == -table[::-1]).all()
    # the mean over a bin takes its spread from the variance: 2.2e-6 in all
    assert values.var() == pytest.approx(1.0, abs=2.5e-6)
    assert math.sqrt(1 - values.var()) < 0.0015
    assert (values**4).mean() == pytest.approx(3.0, abs=2e-4)


def test_values_are_standard_normal() -> None:
    n = 2**20
    z = levels(1, 4, 0, n).double() * UNIT
    for power, mean, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs(float((z**power).mean()) - mean) < 4 * math.sqrt(variance / n)
    empirical = torch.arange(1, n + 1) / n
    distance = float((torch.special.ndtr(z.sort().values) - empirical).abs().max())
    assert distance < 1.95 / math.sqrt(n)  # Kolmogorov: one in a thousand is larger


def test_neighbours_and_other_directions_are_independent() -> None:
    n = 2**18
    base = levels(0, 0, 0, n + 64).double() * UNIT
    others = [levels(0, 1, 0, n), levels(1, 0, 0, n)]
    shifted = [base[lag : lag + n] for lag in (1, 2, 3, 4, 8, 16, 64)]
    for other in (*shifted, *(level.double() * UNIT for level in others)):
        assert abs(float((base[:n] * other).mean())) < 4.5 / math.sqrt(n)
        assert abs(float(((base[:n] ** 2 - 1) * (other**2 - 1)).mean())) < 4.5 * 2 / math.sqrt(n)


def test_squares_add_up_exactly_in_any_order() -> None:
    values = levels(0, 3, 0, 200_001)
    truth = sum(int(level) ** 2 for level in values.tolist())
    assert square_sum(values) == truth
    assert sum(square_sum(values[i::7]) for i in range(7)) == truth
