"""Pilot run: chooses inverse temperatures and step sizes. Its samples are discarded, so the weights stay unbiased.

From target to target the pilot chains go so far that their gains in log-weight have a fixed standard deviation, whose
square is twice the divergence between the two targets. At every target they try the moves and note a
:class:`PilotStep`.

There are three paths (:mod:`landscape.volume.annealing.targets`):

- *radius*: r^(t n) with t from 0 to 1;
- *soft*: F_b with b from 0 until the chains are inside, then F_b^(1-t) r^(t n);
- *growth*: the same with b = n, and an outer radius R that grows from where all rays are inside until the walls, or the
  cap, stop the chains.

By default the pilot begins by radius. On nets Hamiltonian trajectories along the radius get nowhere; then it turns to
the soft path, or in learnt coordinates to growth. The soft path reads few points per ray, which suits wide basins, and
those keep the coordinates of the metric.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from landscape.errors import ObjectiveError
from landscape.volume.annealing.coordinates import tangent
from landscape.volume.annealing.moves import Moved, Trajectory, hmc_move, slice_move
from landscape.volume.annealing.points import Points, typical
from landscape.volume.annealing.star_body import StarBody
from landscape.volume.annealing.streams import Streams, normals, stream
from landscape.volume.annealing.targets import RadiusTarget, Ray, SoftTarget, Target, growing_ray, with_radii
from landscape.volume.annealing.wall import has_gradient
from landscape.volume.ray_weights import statistics as weights

PATHS = ("auto", "radius", "soft", "growth")
PILOT_CHAINS = 16
_FIRST_LEAPFROG = 0.3  # first leapfrog step over the time of a quarter turn
_INCREMENT_SD = 1 / 25  # standard deviation of a gain by radius, over sqrt(n)
_SOFT_STEPS = 25  # on the soft paths it is 1, or the number of the pilot step over this, so that long paths end
_GIVE_UP = 3  # so many targets in a row at which HMC was worse than slices by _WORSE end its trials
_WORSE = 10.0
_ARC = 5.0  # width of a slice's arc over the mean angle moved
_INSIDE, _MOST_INSIDE = 0.8, 0.9  # b is enough if so large a share of chains has rises below the first value
_MOST_PENALTY = 1e7
_FIRST_PENALTY, _LEAST_PENALTY_STEP = 1e-4, 1e-12  # first and smallest increase of b
_SHORTER = 0.8  # factor of an increase of b that would make the gains spread too far
_FIRST_OUTER_RADIUS = 0.3  # over the shortest radius of the pilot's uniform rays
_FIRST_SPREAD = 1.0  # of their log F there, at most
_MOST_GROWTH, _LEAST_GROWTH = 1.25, 1.04  # factor of the outer radius from target to target
_SHORTER_POWER = 0.6  # of a factor that would make the gains spread too far
_HALVINGS = 40  # of the first outer radius
_CLEAR = 4.0  # a pilot step by growth counts for at most so many wanted standard deviations
_MOST_STOPPED = 0.5  # growth ends if walls have stopped this share of chains
_EVEN = 0.5  # chains are resampled if the effective sample size over their number is below
_LEAST_T_STEP = 0.1  # of t from target to target once growth has ended


@dataclass(frozen=True)
class TrajectorySettings:
    """How HMC trajectories run on a path.

    Attributes:
        most_steps: limit on leapfrog steps; on some paths each costs several gradients.
        varied, kept: as for :func:`landscape.volume.annealing.moves.hmc_move`.
        accepted: acceptance that step sizes aim at; higher if velocities are kept, since a refused proposal turns back.
    """

    most_steps: int
    varied: float = 1.0
    kept: float = 0.0
    accepted: float = 0.8


TRAJECTORIES = {
    "radius": TrajectorySettings(1000),
    "soft": TrajectorySettings(20),
    "growth": TrajectorySettings(6, varied=0.25, kept=0.9, accepted=0.9),
}


@dataclass(frozen=True)
class PilotStep:
    """What the pilot learnt at one target. The fields are columns of the trace (:class:`landscape.results.Chains`)."""

    inverse_temperature: float
    penalty: float  # NaN by radius
    log_weight_increment_sd: float  # of the gain that led here, over the chains
    log_density: float
    log_density_spread: float
    step: float
    time: float
    width: float
    hmc_gain: float
    slice_gain: float
    log_radius: float
    log_radius_spread: float
    accepted: float = math.nan
    evaluations: float = math.nan
    outer_radius: float = math.nan  # NaN except by growth

    @property
    def path(self) -> str:
        """The path that it is on."""
        if not math.isnan(self.outer_radius):
            return "growth"
        return "radius" if math.isnan(self.penalty) else "soft"


def first_pilot_step(body: StarBody, points: Points, path: str) -> PilotStep:
    """Return what uniform rays show, and the sizes to start from.

    Raises:
        ObjectiveError: if the path needs gradients and there are none.
    """
    quarter = math.pi / 2 / math.sqrt(body.dimension)
    step = _FIRST_LEAPFROG * quarter if has_gradient(body, points.phi[:1]) else 0.0
    if path != "radius" and step == 0:
        raise ObjectiveError(
            f"the path {path} needs gradients, and this function has none that torch can follow.\n"
            "Take another path or estimator."
        )
    penalty = {"radius": math.nan, "soft": 0.0, "growth": float(body.dimension)}[path]
    outer_radius = _first_outer_radius(body, points) if path == "growth" else math.nan
    log_density, log_density_spread = mean_log_density(body, points)
    log_radius, log_radius_spread = typical(points.log_radius)
    return PilotStep(
        inverse_temperature=0.0,
        penalty=penalty,
        log_weight_increment_sd=0.0,
        log_density=log_density,
        log_density_spread=log_density_spread,
        step=step,
        time=quarter,
        width=2 * math.pi,
        hmc_gain=0.0,
        slice_gain=0.0,
        log_radius=log_radius,
        log_radius_spread=log_radius_spread,
        outer_radius=outer_radius,
    )


def _first_outer_radius(body: StarBody, points: Points) -> float:
    """Return an outer radius within which these rays are all inside, and at which their log F hardly differ yet."""
    known = points.log_radius[np.isfinite(points.log_radius)]
    n, outer_radius = body.dimension, _FIRST_OUTER_RADIUS * float(np.exp(known.min()))
    for _ in range(_HALVINGS):
        target = SoftTarget(body, growing_ray(n), n, 0.0, outer_radius)
        if _spread(target.log_density(target.complete(points))) <= _FIRST_SPREAD:
            break
        outer_radius /= 2
    return outer_radius


def mean_log_density(body: StarBody, points: Points) -> tuple[float, float]:
    """Return the mean and standard deviation of n log r over the chains, without rays that end at once."""
    log_radius = points.effective_log_radius
    log_density = body.dimension * log_radius[~np.isneginf(log_radius)]
    spread = float(log_density.std(ddof=1)) if len(log_density) > 1 else 0.0
    return float(log_density.mean()) if len(log_density) else -math.inf, spread


def radius_step(
    body: StarBody, points: Points, pilot_steps: list[PilotStep], seed: int, stage: int
) -> tuple[Points, PilotStep]:
    """Go to the next temperature by radius and try both moves. Return where the chains are and what was learnt."""
    last, n, before = pilot_steps[-1], body.dimension, body.spent.evaluations
    gain = _INCREMENT_SD * math.sqrt(n) / last.log_density_spread if last.log_density_spread > 0 else 1.0
    t = min(last.inverse_temperature + gain, 1.0)
    target = RadiusTarget(body, t * n, typical(points.log_radius))
    streams = _streams(points, seed, stage, 2 * len(pilot_steps))
    moved = slice_move(body, points, target.power, last.width, streams, target.guess)
    slice_gain = _gain(moved, body.spent.evaluations - before)
    points, mean_angle = moved.points, float(np.arcsin(np.sin(moved.angle)).mean())
    width = float(np.clip(_ARC * mean_angle, last.width / 2, min(2 * last.width, 2 * math.pi)))
    step, time, hmc_gain, accepted = 0.0, 0.0, 0.0, math.nan
    if last.step > 0 and not hopeless(pilot_steps):
        streams = _streams(points, seed, stage, 2 * len(pilot_steps) + 1)
        points, step, time, hmc_gain, accepted = _hmc(body, target, points, last, streams)
    log_density, log_density_spread = mean_log_density(body, points)
    log_radius, log_radius_spread = typical(points.log_radius)
    return points, PilotStep(
        inverse_temperature=t,
        penalty=math.nan,
        log_weight_increment_sd=(t - last.inverse_temperature) * last.log_density_spread,
        log_density=log_density,
        log_density_spread=log_density_spread,
        step=step,
        time=time,
        width=width,
        hmc_gain=hmc_gain,
        slice_gain=slice_gain,
        log_radius=log_radius,
        log_radius_spread=log_radius_spread,
        accepted=accepted,
        evaluations=(body.spent.evaluations - before) / len(points),
    )


def soft_step(
    body: StarBody, ray: Ray, points: Points, pilot_steps: list[PilotStep], seed: int, stage: int
) -> tuple[Points, PilotStep]:
    """Go to the next target of the soft path or of growth. Return where the chains are and what was learnt."""
    last, before = pilot_steps[-1], body.spent.evaluations
    now = target_of(body, ray, last)
    log_density_before = now.log_density(points)
    target = _next_target(now, points, pilot_steps)
    if target is None:
        points = with_radii(body, points)
        target = _next_soft_target(now, points, pilot_steps)
    points = target.complete(points)
    gains = target.log_density(points) - log_density_before
    if last.path == "growth" and uneven(gains):
        points = points.take(weights.resample(gains, 0.5))
    streams = _streams(points, seed, stage, 2 * len(pilot_steps))
    points, step, time, hmc_gain, accepted = _hmc(body, target, points, last, streams)
    log_density, log_density_spread = mean_log_density(body, points)
    return points, PilotStep(
        inverse_temperature=target.inverse_temperature,
        penalty=target.penalty,
        log_weight_increment_sd=_spread(gains),
        log_density=log_density,
        log_density_spread=log_density_spread,
        step=step,
        time=time,
        width=math.nan,
        hmc_gain=hmc_gain,
        slice_gain=0.0,
        log_radius=math.nan,
        log_radius_spread=math.nan,
        accepted=accepted,
        evaluations=(body.spent.evaluations - before) / len(points),
        outer_radius=math.nan if target.outer_radius is None else target.outer_radius,
    )


def _next_target(now: SoftTarget, points: Points, pilot_steps: list[PilotStep]) -> SoftTarget | None:
    """Return the next target at t = 0; None once t begins to rise."""
    if now.inverse_temperature > 0:
        return None
    wanted_sd = _soft_increment_sd(len(pilot_steps))
    if pilot_steps[-1].path == "growth":
        return _wider(now, points, wanted_sd, pilot_steps)
    return _more_penalty(now, points, wanted_sd)


def _next_soft_target(now: SoftTarget, points: Points, pilot_steps: list[PilotStep]) -> SoftTarget:
    """Return the target with the next t, on the way from F_b to r^n; the points have radii."""
    start, end = replace(now, inverse_temperature=0.0), replace(now, inverse_temperature=1.0)
    spread = _spread(end.log_density(points) - start.log_density(points))
    further = _soft_increment_sd(len(pilot_steps)) / spread if spread > 0 else 1.0
    if pilot_steps[-1].path == "growth":
        further = max(further, _LEAST_T_STEP)
    return replace(now, inverse_temperature=min(now.inverse_temperature + further, 1.0))


def _soft_increment_sd(index: int) -> float:
    """Return the wanted standard deviation of the gains at the pilot step of this index on the soft paths."""
    return max(1.0, index / _SOFT_STEPS)


def wanted(index: int, path: str) -> float:
    """Return the most that a pilot step may count for in the length of the path, however far its gains spread.

    By growth some pilot chains are left behind walls, and the spread of their gains says nothing of the others.
    """
    return _CLEAR * _soft_increment_sd(index) if path == "growth" else math.inf


def target_of(body: StarBody, ray: Ray, pilot_step: PilotStep) -> SoftTarget:
    """Return the target of a pilot step of the soft path or of growth."""
    outer_radius = pilot_step.outer_radius if pilot_step.path == "growth" else None
    return SoftTarget(body, ray, pilot_step.penalty, pilot_step.inverse_temperature, outer_radius)


def uneven(log_weights: np.ndarray) -> bool:
    """Return whether so few chains carry the weights that the others should give way."""
    return 0 < weights.effective_sample_size(log_weights) < _EVEN * len(log_weights)


def hopeless(pilot_steps: list[PilotStep]) -> bool:
    """Return whether HMC has been far worse than slices at the last few targets."""
    recent = pilot_steps[-_GIVE_UP:]
    return len(recent) == _GIVE_UP and all(
        step.slice_gain > 0 and step.hmc_gain * _WORSE < step.slice_gain for step in recent
    )


def _streams(points: Points, seed: int, stage: int, step: int) -> Streams:
    return [stream(seed, chain, stage, step) for chain in range(len(points))]


def _spread(values: np.ndarray) -> float:
    """Return half the width of the middle 68 %, so that a few lost chains do not hold up the others."""
    low, high = np.quantile(values, [0.16, 0.84])
    return float(high - low) / 2


def _more_penalty(now: SoftTarget, points: Points, wanted_sd: float) -> SoftTarget | None:
    """Return the target with the next b, or None if the chains are inside.

    b grows by at most half, and by less if the gains would spread by more than wanted.
    """
    ray, rises, penalty = now.ray, points.rises, now.penalty
    if ray.inside(rises, penalty, _INSIDE).mean() >= _MOST_INSIDE or penalty >= _MOST_PENALTY:
        return None
    here, more = ray.log_soft(rises, penalty), max(0.5 * penalty, _FIRST_PENALTY)
    while _spread(ray.log_soft(rises, penalty + more) - here) > wanted_sd and more > _LEAST_PENALTY_STEP:
        more *= _SHORTER
    return replace(now, penalty=penalty + more)


def _wider(now: SoftTarget, points: Points, wanted_sd: float, pilot_steps: list[PilotStep]) -> SoftTarget | None:
    """Return the target with the next outer radius, or None if growth ends.

    It grows by less if the gains would spread by more than wanted. Growth ends if the cap stops nearly all chains, or
    walls stop half of them, so that their heaviest shell is no longer the outermost one. Not all: points far apart make
    walls look nearer than they are.
    """
    assert now.outer_radius is not None
    stopped = now.ray.log_terms(points.rises, now.penalty).argmax(axis=1) < len(now.ray.shells) - 1
    capped = now.body.cap_along(points.phi) <= now.outer_radius
    if (stopped & ~capped).mean() >= _MOST_STOPPED or (stopped | capped).mean() >= _MOST_INSIDE:
        return None
    here, least = now.log_density(points), _LEAST_GROWTH
    last = (
        now.outer_radius / pilot_steps[-2].outer_radius
        if len(pilot_steps) > 1 and pilot_steps[-2].path == "growth"
        else _MOST_GROWTH
    )
    factor = max(min(last**2, _MOST_GROWTH), least)
    while True:
        wider = replace(now, outer_radius=now.outer_radius * factor)
        if factor <= least or _spread(wider.log_density(wider.complete(points)) - here) <= wanted_sd:
            return wider
        factor = max(factor**_SHORTER_POWER, least)


def _hmc(
    body: StarBody, target: Target, points: Points, last: PilotStep, streams: Streams
) -> tuple[Points, float, float, float, float]:
    """Choose a length for trajectories and move. Return the points, the next step and time, gain and acceptance."""
    how = TRAJECTORIES[last.path]
    if last.path == "growth":  # steps are short, so waiting for the turn would take too long
        time = min(math.pi / 2 / math.sqrt(body.dimension), how.most_steps * last.step)
    else:
        time = _quarter_turn(target, points, last, streams, how.most_steps)
    count = min(max(round(time / last.step), 1), how.most_steps)
    before = body.spent.evaluations
    moved = hmc_move(target, points, last.step, count, streams, how.varied, how.kept)
    accepted = float(moved.accepted.mean())
    step = min(last.step * math.exp(accepted - how.accepted), math.pi / 2 / math.sqrt(body.dimension))
    return moved.points, step, time, _gain(moved, body.spent.evaluations - before), accepted


def _gain(moved: Moved, evaluations: float) -> float:
    """Return the squared sine of the angle moved per evaluation: on a symmetric body the antipode is no new place."""
    return float(np.square(np.sin(moved.angle)).sum()) / max(evaluations, 1.0)


def _quarter_turn(target: Target, points: Points, last: PilotStep, streams: Streams, most: int) -> float:
    """Return half the time after which the median trajectory turns back towards its start."""
    velocity = tangent(normals(streams, points.phi), points.phi)
    trajectory = Trajectory(target, points.phi, velocity, last.step)
    limit = min(max(50, 4 * round(last.time / last.step)), 2 * most)
    turned = np.full(len(points), limit)
    for count in range(1, limit):
        trajectory.advance()
        back = ((trajectory.phi - points.phi) * trajectory.velocity).sum(1).cpu().numpy() < 0
        turned[back & (turned == limit)] = count
        if np.median(turned) <= count:
            break
    return float(np.median(turned)) * last.step / 2
