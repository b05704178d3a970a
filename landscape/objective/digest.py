"""Hashes of numbers: how a stored run knows that weights, data or directions are still the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor


def digest(*arrays: Tensor | np.ndarray) -> str:
    """Return the SHA-256, in hex, of the bytes of all arrays one after the other. Shapes and dtypes do not count.

    >>> digest(torch.tensor([1.0, 2.0])) == digest(np.ones(1, np.float32), np.full((1, 1), 2, np.float32))
    True
    """
    return digest_of(arrays)


def digest_of(arrays: Iterable[Tensor | np.ndarray]) -> str:
    """Return the same of arrays that come one by one and need not be in memory together."""
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(raw_bytes(array).data)
    return sha.hexdigest()


def raw_bytes(array: Tensor | np.ndarray) -> np.ndarray:
    """Return the bytes of an array in row-major order, shape (bytes,), without a copy if it lies so in memory.

    The bytes of a sparse tensor are those of its indices and values, and of a nested tensor those of its parts.
    """
    if not isinstance(array, Tensor):
        return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    array = array.detach()
    if array.is_nested:
        return np.concatenate([raw_bytes(part) for part in array.unbind()])
    if array.layout != torch.strided:
        coo = array.to_sparse_coo().coalesce()
        return np.concatenate([raw_bytes(coo.indices()), raw_bytes(coo.values())])
    if array.is_quantized:
        return raw_bytes(array.int_repr())
    if array.is_complex():
        array = torch.view_as_real(array.resolve_conj())
    # by torch, since numpy has no bfloat16
    return array.cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
