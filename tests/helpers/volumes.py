"""Volumes of bodies of known volume, measured along uniform rays."""

from __future__ import annotations

import numpy as np

import landscape as ls
from helpers.bodies import ellipsoid


def ball(n: int, curvature: float, directions: int = 100, cap: float | None = None, **options) -> ls.Volume:
    body = ellipsoid(np.full(n, curvature))
    options = {"estimator": "uniform", "max_radius": cap, **options}
    return ls.log_volume(body, [0.5], metric="identity", directions=directions, **options)


def collapsed(n: int = 300, cap: float = 40.0) -> ls.Volume:
    """Curvatures 1/i in n dimensions: far more than uniform rays can see."""
    body = ellipsoid(1 / np.arange(1, n + 1))
    return ls.log_volume(body, [0.5], estimator="uniform", metric="identity", directions=100, max_radius=cap)
