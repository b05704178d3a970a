"""Random numbers of rays from which a preconditioner is learnt: each ray has a stream of its own."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from landscape.rays import streams
from landscape.rays.streams import Purpose

Streams = list[np.random.Generator]


def stream(seed: int, ray: int, stage: int, step: int) -> np.random.Generator:
    """Return the random numbers of one ray in one round of learning.

    >>> stream(0, 3, 1, 9).random() == stream(0, 3, 1, 9).random()
    True
    """
    return streams.stream(Purpose.PRECONDITIONER, seed, ray, step=step, stage=stage)


def normals(streams: Streams, like: Tensor) -> Tensor:
    """Return standard normals, one row per stream, with dtype and device of ``like``, shape (k, n)."""
    drawn = np.stack([random.standard_normal(like.shape[1], dtype=np.float32) for random in streams])
    return torch.from_numpy(drawn).to(like)
