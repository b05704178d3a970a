"""Hashes of numbers: how a stored run knows that weights, data or directions are still the same."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor


def digest(*arrays: Tensor | np.ndarray) -> str:
    """Return the SHA-256, in hex, of the bytes of all arrays one after the other. Shapes and dtypes do not count.

    >>> digest(torch.tensor([1.0, 2.0])) == digest(np.ones(1, np.float32), np.full((1, 1), 2, np.float32))
    True
    """
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(raw_bytes(array).data)
    return sha.hexdigest()


def raw_bytes(array: Tensor | np.ndarray) -> np.ndarray:
    """Return the bytes of an array in row-major order, shape (bytes,), without a copy if it lies so in memory."""
    if isinstance(array, Tensor):  # by torch, since numpy has no bfloat16
        return array.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
