"""The smallest study that draws every figure."""

from __future__ import annotations

from landscape.reproduce.study import Study

TINY = Study(
    factors=(0.0, 0.3),
    seeds=1,
    steps=60,
    natural=300,
    pixels=21,
    plane=5,
    frames=5,
    film=21,
    stations=3,
    tuning=20,
    rays=8,
    cutoffs=(0.1, 1.0),
    annealed=(),
    probes=4,
)
