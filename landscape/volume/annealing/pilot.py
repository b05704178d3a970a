"""Pilot chains, who learn the way from uniform directions to r^n for those whose weights count.

From target to target they go by gains of log density whose standard deviation over the chains is fixed: its square is
twice the divergence between neighbouring targets. At every target they try the moves and note a :class:`PilotStep`.

Three paths (:mod:`landscape.volume.annealing.targets`): by *radius*, r^(t n) with t from 0 to 1; *soft*, F_b with b
from 0 until the chains are inside, then F_b^(1-t) r^(t n); and *growth*, the same with b = n and an outer radius R
from where all rays are inside to where the walls, or the cap, stop the chains. Left to itself the pilot begins by
radius. If a gradient exists but trajectories along the radius get nowhere, as on nets, it turns to the soft path, or in
learnt coordinates to growth. The soft path's few points on a ray suit wide basins, which keep the metric's coordinates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from landscape.errors import ObjectiveError
from landscape.volume.annealing.moves import Moved, Trajectory, hmc_move, slice_move, tangent
from landscape.volume.annealing.points import Points, typical
from landscape.volume.annealing.star_body import StarBody
from landscape.volume.annealing.streams import Streams, normals, stream
from landscape.volume.annealing.targets import RadiusTarget, Ray, SoftTarget, Target, growing_ray, with_radii
from landscape.volume.ray_weights import statistics as weights

PATHS = ("auto", "radius", "soft", "growth")
PILOT_CHAINS = 16
_INCREMENT_SD = 1 / 25  # standard deviation of a gain on the way by radius, over sqrt(n)
_SOFT_STEPS = 25  # on the soft way it is 1, and after so many pilot steps their number over that: longer on a long way
_GIVE_UP = 3  # targets in a row at which flights were worse than slices by _WORSE
_WORSE = 10.0
_ARC = 5.0  # width of the arc over the mean angle
_INSIDE, _MOST_INSIDE = 0.8, 0.9  # rises over the cutoff's, and the share of chains below it, at which b is enough
_MOST_PENALTY = 1e7
_FIRST_OUTER_RADIUS, _FIRST_SPREAD = (
    0.3,
    1.0,
)  # of the shortest radius of the pilot's uniform rays, and of their log F there
_MOST_GROWTH, _LEAST_GROWTH = 1.25, 1.04  # factor of the outer radius from target to target
_HALVINGS = 40  # of the first outer radius
_CLEAR = 4.0  # wanted standard deviations that a pilot step by growth may count for
_MOST_STOPPED = 0.5  # share of chains that walls have stopped at which growth ends
_EVEN = 0.5  # effective sample size over the number of chains below which they are resampled
_LEAST_HARDENING = 0.1  # of t from target to target after it


@dataclass(frozen=True)
class TrajectorySettings:
    """How chains fly on a path.

    Attributes:
        most: leapfrog steps a flight may take; on some paths each costs several gradients.
        varied, kept: as for :func:`landscape.volume.annealing.moves.hmc_move`.
        accepted: share that step sizes aim at; kept velocities turn back where a proposal is refused.
    """

    most: int
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
    """What the pilot learnt at one target; the fields are columns of the trace."""

    inverse_temperature: float
    penalty: float  # NaN on the way by radius
    log_weight_increment_sd: float  # standard deviation of the gain that led here
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
    outer_radius: float = math.nan  # NaN but on the way by growth

    @property
    def path(self) -> str:
        """Of which path it is."""
        if not math.isnan(self.outer_radius):
            return "growth"
        return "radius" if math.isnan(self.penalty) else "soft"


def first_pilot_step(body: StarBody, points: Points, path: str) -> PilotStep:
    """Return what uniform rays say, and the sizes to start from.

    Raises:
        ObjectiveError: for a path that needs gradients where there are none.
    """
    quarter = math.pi / 2 / math.sqrt(body.dimension)
    step = 0.3 * quarter if body.has_gradient(points.phi[:1]) else 0.0
    if path != "radius" and step == 0:
        raise ObjectiveError(
            f"the path {path} needs gradients, and this function has none that torch can follow. Pass path='radius'."
        )
    penalty = {"radius": math.nan, "soft": 0.0, "growth": float(body.dimension)}[path]
    outer_radius = _first_outer_radius(body, points) if path == "growth" else math.nan
    guess = typical(points.log_radius)
    return PilotStep(
        0.0,
        penalty,
        0.0,
        *mean_log_density(body, points),
        step,
        quarter,
        2 * math.pi,
        0.0,
        0.0,
        *guess,
        outer_radius=outer_radius,
    )


def _first_outer_radius(body: StarBody, points: Points) -> float:
    """Return an outer radius up to which these rays are all inside, and from which their log F hardly differ yet."""
    known = points.log_radius[np.isfinite(points.log_radius)]
    n, outer_radius = body.dimension, _FIRST_OUTER_RADIUS * float(np.exp(known.min()))
    for _ in range(_HALVINGS):
        target = SoftTarget(body, growing_ray(n), n, 0.0, outer_radius)
        if _spread(target.log_density(target.complete(points))) <= _FIRST_SPREAD:
            break
        outer_radius /= 2
    return outer_radius


def mean_log_density(body: StarBody, points: Points) -> tuple[float, float]:
    """Return the mean of n log r over the chains, and its spread; rays that end at once are left out."""
    log_density = body.dimension * points.effective_log_radius[~np.isneginf(points.effective_log_radius)]
    return float(log_density.mean()) if len(log_density) else -math.inf, float(log_density.std(ddof=1)) if len(
        log_density
    ) > 1 else 0.0


def radius_step(
    body: StarBody, points: Points, pilot_steps: list[PilotStep], seed: int, stage: int
) -> tuple[Points, PilotStep]:
    """Go to the next temperature by radius and try both moves; return where the chains are and what was learnt."""
    last, n, before = pilot_steps[-1], body.dimension, body.evaluations
    gain = _INCREMENT_SD * math.sqrt(n) / last.log_density_spread if last.log_density_spread > 0 else 1.0
    t = min(last.inverse_temperature + gain, 1.0)
    target = RadiusTarget(body, t * n, typical(points.log_radius))
    slid = slice_move(
        body, points, target.power, last.width, _streams(points, seed, stage, 2 * len(pilot_steps)), target.guess
    )
    slice_gain = _gain(slid, body.evaluations - before)
    points, mean_angle = slid.points, float(np.arcsin(np.sin(slid.angle)).mean())
    width = float(np.clip(_ARC * mean_angle, last.width / 2, min(2 * last.width, 2 * math.pi)))
    step, time, hmc_gain, accepted = 0.0, 0.0, 0.0, math.nan
    if last.step > 0 and not hopeless(pilot_steps):
        streams = _streams(points, seed, stage, 2 * len(pilot_steps) + 1)
        points, step, time, hmc_gain, accepted = _hmc(body, target, points, last, streams)
    return points, PilotStep(
        t,
        math.nan,
        (t - last.inverse_temperature) * last.log_density_spread,
        *mean_log_density(body, points),
        step,
        time,
        width,
        hmc_gain,
        slice_gain,
        *typical(points.log_radius),
        accepted=accepted,
        evaluations=(body.evaluations - before) / len(points),
    )


def soft_step(
    body: StarBody, ray: Ray, points: Points, pilot_steps: list[PilotStep], seed: int, stage: int
) -> tuple[Points, PilotStep]:
    """Go to the next target of the soft path or of growth; return where the chains are and what was learnt."""
    last, before = pilot_steps[-1], body.evaluations
    most = _soft_increment_sd(len(pilot_steps))
    now = target_of(body, ray, last)
    density = now.log_density(points)
    target = None
    if last.inverse_temperature == 0:
        next_of = _wider if last.path == "growth" else _more_penalty
        target = next_of(now, points, most, pilot_steps)
    if target is None:
        points = with_radii(body, points)
        start, end = replace(now, inverse_temperature=0.0), replace(now, inverse_temperature=1.0)
        way = _spread(end.log_density(points) - start.log_density(points))
        further = most / way if way > 0 else 1.0
        if last.path == "growth":
            further = max(further, _LEAST_HARDENING)
        target = replace(now, inverse_temperature=min(last.inverse_temperature + further, 1.0))
    points = target.complete(points)
    gains = target.log_density(points) - density
    log_weight_increment_sd, streams = _spread(gains), _streams(points, seed, stage, 2 * len(pilot_steps))
    if last.path == "growth" and uneven(gains):
        points = points.take(weights.resample(gains, 0.5))
    points, step, time, gain, accepted = _hmc(body, target, points, last, streams)
    return points, PilotStep(
        target.inverse_temperature,
        target.penalty,
        log_weight_increment_sd,
        *mean_log_density(body, points),
        step,
        time,
        math.nan,
        gain,
        0.0,
        math.nan,
        math.nan,
        accepted=accepted,
        evaluations=(body.evaluations - before) / len(points),
        outer_radius=math.nan if target.outer_radius is None else target.outer_radius,
    )


def _soft_increment_sd(index: int) -> float:
    return max(1.0, index / _SOFT_STEPS)


def wanted(index: int, path: str) -> float:
    """Return what a pilot_step may count for in the length of the path, however far its gain spread.

    By growth some chains of the pilot are left behind walls, and what their gains spread by says nothing of the others.
    """
    return _CLEAR * _soft_increment_sd(index) if path == "growth" else math.inf


def target_of(body: StarBody, ray: Ray, pilot_step: PilotStep) -> SoftTarget:
    """Return the target of a pilot_step of the soft path or of growth."""
    outer_radius = pilot_step.outer_radius if pilot_step.path == "growth" else None
    return SoftTarget(body, ray, pilot_step.penalty, pilot_step.inverse_temperature, outer_radius)


def uneven(log_weights: np.ndarray) -> bool:
    """Whether so few chains carry the weights that the others should give way."""
    return 0 < weights.effective_sample_size(log_weights) < _EVEN * len(log_weights)


def hopeless(pilot_steps: list[PilotStep]) -> bool:
    """Whether flights have been far worse than slices for a while."""
    recent = pilot_steps[-_GIVE_UP:]
    return len(recent) == _GIVE_UP and all(
        pilot_step.slice_gain > 0 and pilot_step.hmc_gain * _WORSE < pilot_step.slice_gain for pilot_step in recent
    )


def _streams(points: Points, seed: int, stage: int, step: int) -> Streams:
    return [stream(seed, chain, stage, step) for chain in range(len(points))]


def _spread(values: np.ndarray) -> float:
    """Return half the width of the middle 68 %: a few chains that are lost should not hold up the others."""
    low, high = np.quantile(values, [0.16, 0.84])
    return float(high - low) / 2


def _more_penalty(
    now: SoftTarget, points: Points, log_weight_increment_sd: float, _: list[PilotStep]
) -> SoftTarget | None:
    """Return the next b: at most half as much again, less if the gains would spread by more than wanted.

    None where the chains are inside.
    """
    ray, rises, penalty = now.ray, points.rises, now.penalty
    if ray.inside(rises, penalty, _INSIDE).mean() >= _MOST_INSIDE or penalty >= _MOST_PENALTY:
        return None
    here, more = ray.log_soft(rises, penalty), max(0.5 * penalty, 1e-4)
    while _spread(ray.log_soft(rises, penalty + more) - here) > log_weight_increment_sd and more > 1e-12:
        more *= 0.8
    return replace(now, penalty=penalty + more)


def _wider(
    now: SoftTarget, points: Points, log_weight_increment_sd: float, pilot_steps: list[PilotStep]
) -> SoftTarget | None:
    """Return the next outer radius: less far where the gains would spread by more than ``log_weight_increment_sd``.

    None where it is beyond the cap for nearly all chains, or for half of them the shell that weighs most is no more the
    outermost one: points far apart make walls look nearer than they are.
    """
    assert now.outer_radius is not None
    stopped = now.ray.shares(points.rises, now.penalty).argmax(axis=1) < len(now.ray.shells) - 1
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
        if factor <= least or _spread(wider.log_density(wider.complete(points)) - here) <= log_weight_increment_sd:
            return wider
        factor = max(factor**0.6, least)


def _hmc(
    body: StarBody, target: Target, points: Points, last: PilotStep, streams: Streams
) -> tuple[Points, float, float, float, float]:
    """Find how long to fly, and fly; return the points, the next step and time, the gain and the acceptance."""
    how = TRAJECTORIES[last.path]
    if last.path == "growth":  # turning back is not waited for: steps are short
        time = min(math.pi / 2 / math.sqrt(body.dimension), how.most * last.step)
    else:
        time = _quarter_turn(target, points, last, streams, how.most)
    count = min(max(round(time / last.step), 1), how.most)
    before = body.evaluations
    moved = hmc_move(target, points, last.step, count, streams, how.varied, how.kept)
    accepted = float(moved.accepted.mean())
    step = min(last.step * math.exp(accepted - how.accepted), math.pi / 2 / math.sqrt(body.dimension))
    return moved.points, step, time, _gain(moved, body.evaluations - before), accepted


def _gain(moved: Moved, evaluations: float) -> float:
    """Return the squared sine of the angle gone an evaluation: on a symmetric body the antipode is no way off."""
    return float(np.square(np.sin(moved.angle)).sum()) / max(evaluations, 1.0)


def _quarter_turn(target: Target, points: Points, last: PilotStep, streams: Streams, most: int) -> float:
    """Return half the time after which the median flight turns back towards where it began."""
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
