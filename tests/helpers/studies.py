"""The smallest study that draws every figure."""

from __future__ import annotations

from landscape.reproduce.study import Study

TINY = Study(
    factors=(0.0, 0.3),
    seeds=1,
    poisoned_steps=60,
    plain_steps=300,
    map_pixels=21,
    plane_points=5,
    frames=3,
    frame_pixels=21,
    branch_points=3,
    fine_tuning_steps=20,
    rays=8,
    cutoffs=(0.1, 1.0),
    annealed=(),
    probes=4,
)
