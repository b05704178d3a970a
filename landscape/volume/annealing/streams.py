"""Random numbers of chains. Each chain has its own streams, so how it moves does not depend on the others."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from landscape.rays import streams
from landscape.rays.streams import Purpose

Streams = list[np.random.Generator]


def stream(seed: int, chain: int, stage: int, step: int, purpose: Purpose = Purpose.CHAIN) -> np.random.Generator:
    """Return the random numbers of one chain at one step of one stage of a run, used for one purpose.

    >>> stream(0, 3, 1, 9).random() == stream(0, 3, 1, 9).random()
    True
    """
    return streams.stream(purpose, seed, chain, step=step, stage=stage)


def normals(streams: Streams, like: Tensor) -> Tensor:
    """Return standard normals, one row per stream, with dtype and device of ``like``, shape (k, n)."""
    drawn = np.stack([random.standard_normal(like.shape[1], dtype=np.float32) for random in streams])
    return torch.from_numpy(drawn).to(like)


def uniforms(streams: Streams, rows: np.ndarray | None = None) -> np.ndarray:
    """Return a uniform number from each of these streams, above 0 and at most 1."""
    chosen = streams if rows is None else [streams[row] for row in rows]
    return np.array([1.0 - random.random() for random in chosen])
