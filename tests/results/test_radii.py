"""Radii print as a short table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

import landscape as ls


def test_radii_print_the_rays_measured_so_far() -> None:
    bowl = ls.Objective.from_function(lambda x: x.square().sum(-1), torch.zeros(3, dtype=torch.float64))
    radii = ls.basin_radii(bowl, [1.0], metric="identity", directions=4)
    assert str(radii).splitlines()[-1].split() == ["1", "1", "1", "1", "1", "1", "0.0", "%"]
    nothing = replace(radii, status=np.full_like(radii.status, ls.RayStatus.PENDING))
    assert str(nothing).startswith("basin radii along 0 of 4 rays measured so far")
    assert str(nothing).splitlines()[-1].split() == ["1", *"------"]
