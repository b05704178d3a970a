"""Islands: groups of particles that go along a frozen schedule, forwards and back, without knowing of each other."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from landscape.rays.streams import Purpose, stream
from landscape.volume.annealing.moves import move
from landscape.volume.annealing.particles import Particles
from landscape.volume.annealing.party import SETTLING
from landscape.volume.annealing.path import Path, gains, spread, start_gains, start_of
from landscape.volume.annealing.schedule import Level
from landscape.volume.body.star_body import StarBody
from landscape.volume.ray_weights import statistics as w

_UNEVEN = 0.5  # particles are resampled if their effective number falls below this share
_LONGER = 3.0  # standard deviations by which a ray is clearly longer than all others
_OF_MEDIAN = 1.2533  # standard error of a median over that of a mean, for normal values


@dataclass(frozen=True)
class Key:
    """What the random numbers of some islands depend on: the seed, a stage, and which islands of it they are."""

    seed: int
    stage: int
    index: int

    def random(self, step: int) -> np.random.Generator:
        """Return the random numbers of one step."""
        return stream(Purpose.CHAIN, self.seed, self.index, step=step, stage=self.stage)


@dataclass(frozen=True)
class Arrived:
    """Islands at the end of a schedule.

    Attributes:
        log_means: log of the mean weight of each island, shape (islands,): unbiased for the ratio of the two densities'
            integrals, before the logarithm.
        particles: with equal weights, in order of the islands.
        accepted: mean acceptance of the moves.
    """

    log_means: np.ndarray
    particles: Particles
    accepted: float


def forwards(
    body: StarBody, path: Path, levels: list[Level], islands: int, each: int, key: Key, check: Callable[[], None]
) -> Arrived:
    """Take islands of ``each`` particles from the start of a path to the last density (Del Moral, Doucet & Jasra 2006).

    At each level a particle's log-weight gains the log-ratio of the two densities where it is; then it moves. Particles
    of an island with little weight give way to copies of others of the same island.

    Args:
        body, path, levels: where they go.
        islands, each: how many islands, and particles in each.
        key: of their random numbers.
        check: called before every leapfrog step; it may raise to stop.
    """
    particles = start_of(path, body, islands * each, key.random(0))
    log_weights = start_gains(path, particles).reshape(islands, each)
    return _along(path, levels, particles, log_weights, key, check, forwards=True)


def backwards(
    path: Path, levels: list[Level], particles: Particles, islands: int, key: Key, check: Callable[[], None]
) -> Arrived:
    """Take particles from the last density back to the start of the path, by the same levels.

    If they began with draws of the last density, minus the log of the mean weight would be an upper bound of the log
    ratio in the mean, as the forward one is a lower bound (bidirectional Monte Carlo, Grosse, Ghahramani & Adams 2015).
    """
    random = key.random(0)
    for _ in range(SETTLING):
        particles = move(path, levels[-1], particles, random, check).particles
    log_weights = np.zeros((islands, len(particles) // islands))
    return _along(path, levels, particles, log_weights, key, check, forwards=False)


def second_start(
    path: Path, levels: list[Level], particles: Particles, islands: int, key: Key, check: Callable[[], None]
) -> np.ndarray:
    """Return log m of particles that were led to the last density from another start, shape (k,).

    They go through the second half of the schedule as islands do, and move a little more under the last density. If
    they end elsewhere than the islands, one of the two has not mixed.
    """
    rest = levels[len(levels) // 2 :]
    random = key.random(0)
    nearer = [replace(rest[0], stretch=stretch) for stretch in path.approach() for _ in range(SETTLING)]
    for level in [*nearer, *[rest[0]] * SETTLING]:
        particles = move(path, level, particles, random, check).particles
    ends = _along(path, rest, particles, np.zeros((islands, len(particles) // islands)), key, check, forwards=True)
    particles = path.complete(ends.particles, levels[-1].place)
    for _ in range(SETTLING):
        particles = move(path, levels[-1], particles, random, check).particles
    return particles.log_mass


def difference(late: np.ndarray, own: np.ndarray) -> tuple[float, float]:
    """Return how far the log masses of a second start lie from those of the islands, and the error of that.

    It is the distance of the medians: a particle that has not got past a wall counts no more than others. If the second
    start has found rays that are clearly longer than all of the islands, it is what they are longer by.
    """
    scatter = [spread(masses[np.isfinite(masses)]) if np.isfinite(masses).sum() > 1 else 0.0 for masses in (late, own)]
    errors = [size / math.sqrt(len(masses)) for size, masses in zip(scatter, (late, own), strict=True)]
    longer = float(late.max() - own.max())
    if longer > _LONGER * max(scatter[1], 1.0):
        return longer, 0.0
    shift = float(np.median(late) - np.median(own))
    return shift, _OF_MEDIAN * math.hypot(*errors)


def _along(
    path: Path,
    levels: list[Level],
    particles: Particles,
    log_weights: np.ndarray,
    key: Key,
    check: Callable[[], None],
    *,
    forwards: bool,
) -> Arrived:
    """Take particles along levels; ``log_weights`` are those that they begin with, shape (islands, each)."""
    order = levels if forwards else levels[::-1]
    islands = len(log_weights)
    log_means, accepted = np.zeros(islands), []
    for step, (here, there) in enumerate(pairwise(order), start=1):
        random = key.random(step)
        if not forwards:
            moved = move(path, here, particles, random, check)
            particles = moved.particles
            accepted.append(float(moved.accepted.mean()))
        complete = path.complete(particles, there.place)
        log_weights += gains(path, here.place, particles, there.place, complete).reshape(log_weights.shape)
        particles = _resampled(complete, log_weights, log_means, random)
        if forwards:
            moved = move(path, there, particles, random, check)
            particles = moved.particles
            accepted.append(float(moved.accepted.mean()))
    if not forwards:
        log_weights -= start_gains(path, particles).reshape(log_weights.shape)
    random = key.random(len(order))
    log_means += [w.log_mean(row) for row in log_weights]
    return Arrived(log_means, _evened(particles, log_weights, random), float(np.mean(accepted)))


def _resampled(
    particles: Particles, log_weights: np.ndarray, log_means: np.ndarray, random: np.random.Generator
) -> Particles:
    """Resample the islands whose weights are uneven; their weights and means are changed in place."""
    count = log_weights.shape[1]
    rows = np.arange(log_weights.size).reshape(log_weights.shape)
    for island, weights in enumerate(log_weights):
        place = float(random.random())
        if w.effective_sample_size(weights) < _UNEVEN * count:
            if np.isfinite(weights).any():
                rows[island] = island * count + w.resample(weights, place)
            log_means[island] += w.log_mean(weights)
            log_weights[island] = 0.0
    return particles.take(rows.ravel())


def _evened(particles: Particles, log_weights: np.ndarray, random: np.random.Generator) -> Particles:
    """Return particles of equal weight."""
    count, rows = log_weights.shape[1], []
    for island, weights in enumerate(log_weights):
        place = float(random.random())
        known = np.isfinite(weights).any()
        rows.append(island * count + (w.resample(weights, place) if known else np.arange(count)))
    return particles.take(np.concatenate(rows))
