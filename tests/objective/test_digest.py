"""Hashes of numbers: of the bytes, whatever holds them."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from torch import Tensor

from landscape.objective.digest import digest

GRID = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (torch.from_numpy(GRID), GRID.tobytes()),
        (torch.from_numpy(GRID).T, GRID.T.tobytes()),
        (GRID.T, GRID.T.tobytes()),
        (GRID[:, ::2], GRID[:, ::2].tobytes()),
        (torch.tensor(3.0, dtype=torch.float64, requires_grad=True), np.float64(3.0).tobytes()),
        (torch.tensor([1.0, -2.0], dtype=torch.bfloat16), bytes.fromhex("803f00c0")),
        (torch.tensor([True, False]), b"\x01\x00"),
        (torch.zeros(0, 4), b""),
        (np.zeros((0, 4)), b""),
        (np.array(7, dtype=np.int16), b"\x07\x00"),
    ],
    ids=[
        "tensor",
        "turned-tensor",
        "turned",
        "strided",
        "scalar",
        "bfloat16",
        "bool",
        "no-tensor",
        "nothing",
        "number",
    ],
)
def test_a_digest_is_that_of_the_bytes_in_row_major_order(array: Tensor | np.ndarray, expected: bytes) -> None:
    assert digest(array) == hashlib.sha256(expected).hexdigest()
    assert digest(GRID, array) == hashlib.sha256(GRID.tobytes() + expected).hexdigest()
