"""The ``annealed`` estimator: islands of particles that walk from uniform rays to the rays that hold the volume."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Unpack

import numpy as np

from landscape.errors import LandscapeError
from landscape.objective import Objective
from landscape.objective.shards.whole import require_whole
from landscape.results import AnnealedVolume, Check, Cost, Islands, OnProgress, VolumeEstimate
from landscape.results.ball import log_ball
from landscape.results.progress import PERCENT, telling
from landscape.volume.annealing.run import run_islands
from landscape.volume.annealing.verdict import FINER_GRID, Round, checks_of, rounds_of
from landscape.volume.options import RunOptions
from landscape.volume.ray_weights import statistics as w


class NoWholeRound(LandscapeError):
    """The budget was spent before any round of islands was whole.

    Attributes:
        cost: what was spent.
    """

    def __init__(self, cutoff: float, cost: Cost) -> None:
        super().__init__(
            f"the budget was used up before a first round was whole at the cutoff {cutoff:g} "
            f"({cost.evaluations:,.0f} passes).\nPass a longer `budget=...`."
        )
        self.cost = cost


def annealed_volume(
    objective: Objective,
    cutoffs: Sequence[float],
    *,
    progress: bool = False,
    on_progress: OnProgress[Islands] | None = None,
    **options: Unpack[RunOptions],
) -> AnnealedVolume:
    """Return the log-volume of the basin for each cutoff by sequential Monte Carlo on the sphere.

    Args:
        objective, cutoffs: as for :func:`landscape.basin_radii`.
        progress: show a bar of the budget.
        on_progress: as for :func:`landscape.volume.annealing.run.run_islands`.
        options: the other ones of that function.

    Raises:
        LandscapeError: if no round is whole when the budget is spent, and whatever that function raises.

    >>> import torch
    >>> bowl = Objective.from_function(lambda x: x.square().sum(-1), torch.zeros(2, dtype=torch.float64))
    >>> disc = annealed_volume(bowl, [4.0], metric="identity", budget=60_000).results[0]
    >>> round(math.exp(disc.log_volume) / math.pi, 4), disc.verdict
    (4.0, 'settled')
    """
    require_whole(objective.program, "the estimator annealed")
    with telling(progress, on_progress, PERCENT, 100) as tell:
        return volume_from_islands(run_islands(objective, cutoffs, **options, on_progress=tell))


def volume_from_islands(islands: Islands) -> AnnealedVolume:
    """Return log V = log ω_n + log of the mean weight of the islands of the last whole round, at each cutoff.

    Each island's mean weight is unbiased for E[r^n], so the mean over islands is too. By Markov's inequality V is at
    least 0.05 of the estimate with 95 % confidence, however badly the particles mixed. That bound is always given.

    The verdict is ``settled`` if all of these hold (:mod:`landscape.volume.annealing.verdict`), else ``lower bound``:

    - there are at least 8 islands, and their log V has a standard deviation of at most 1;
    - the way back, from the ends of the way out, gives between 0 and 3 nats more, within its error;
    - log V has moved by no more than that, or by chance, since a round of a fourth of the effort;
    - chains that begin at the longest uniform rays end where the particles end, within the error of log m;
    - at least 90 % of V is left on a finer grid;
    - the uniform rays do not show more than the estimate, unless it may be the chance of a few rays whose length the
      particles reach too.

    Its interval runs from the lower end of :func:`landscape.volume.ray_weights.statistics.interval_of` the islands to
    its upper end, to the way back, or to the mean over the uniform rays, whichever is highest. It is widened by the
    tolerance of the radii.

    Failure mode: a part of the basin that no particle and no uniform ray has met is not in the estimate, and leaves no
    trace.

    A cutoff without a whole round has no estimate.

    Raises:
        NoWholeRound: if no round is whole at any cutoff.
    """
    known = [cutoff for cutoff in range(len(islands.cutoffs)) if len(islands.whole(cutoff))]
    if not known:
        raise NoWholeRound(islands.cutoffs[0], islands.cost)
    rounds = [rounds_of(islands, cutoff) for cutoff in known]
    most = max(len(each[-1].out) for each in rounds)
    trail = [
        [
            row,
            entry.effort,
            entry.levels,
            _base(islands) + entry.value,
            w.spread(entry.out),
            _base(islands) + entry.value_back,
            entry.start_shift,
            entry.survives,
        ]
        for row, each in enumerate(rounds)
        for entry in each
    ]
    return AnnealedVolume(
        results=tuple(_estimate(islands, cutoff, each) for cutoff, each in zip(known, rounds, strict=True)),
        log_weights=np.stack([_filled(each[-1].out, most) for each in rounds], axis=1),
        estimator="annealed",
        dimension=islands.dimension,
        directions=most,
        config=islands.config,
        cost=islands.cost,
        trail=np.array(trail),
    )


def _filled(out: np.ndarray, count: int) -> np.ndarray:
    """Return log-weights with NaN in the places of islands that a round of fewer does not have."""
    return np.append(out, np.full(count - len(out), np.nan))


def _base(islands: Islands) -> float:
    """Return what log V is more than the log of a mean mass: log ω_n."""
    return w.log_unit_ball(islands.dimension)


def _estimate(islands: Islands, cutoff: int, rounds: list[Round]) -> VolumeEstimate:
    """Return the estimate at the cutoff of this index from its whole rounds."""
    last, base = rounds[-1], _base(islands)
    tolerance = islands.steepness * float(islands.config["rtol"])
    value = base + last.value
    longest = float(np.log(islands.reference_radii[:, cutoff].max()))
    masses = islands.reference_masses[:, cutoff]
    checks = checks_of(rounds, masses, longest)
    ceiling = _ceiling(islands)
    bound = value + math.log(1 - w.CONFIDENCE) - tolerance
    settled = all(check.met for check in checks)
    interval = (bound, ceiling)
    if settled:
        low, high = w.interval_of(last.out)
        high = max(high, last.value_back, w.log_mean(masses))
        interval = (base + low - tolerance, min(base + high + tolerance, ceiling))
    return VolumeEstimate(
        cutoff=islands.cutoffs[cutoff],
        log_volume=value,
        log_volume_raw=value + (0.0 if islands.of_probability else islands.log_scale_sum),
        interval=interval,
        ess=w.effective_sample_size(last.out),
        largest_weight=w.largest_share(last.out),
        censored=last.censored,
        censored_weight=last.censored,
        pareto_k=math.nan,
        verdict="settled" if settled else "lower bound",
        reasons=() if settled else (_why(checks),),
        resolution=float(islands.config["step_ratio"]),
        survives=last.survives,
        bound=bound,
        upper_bound=ceiling,
        checks=checks,
    )


def _why(checks: Sequence[Check]) -> str:
    """Return in words why an estimate is not settled: the conditions that fail, and what to do."""
    failed = [check for check in checks if not check.met]
    remedy = "a longer `budget=...`"
    if [check.name for check in failed] == [FINER_GRID]:
        remedy = "a smaller `step_ratio=...`"
    words = ". ".join(check.words[0].upper() + check.words[1:] for check in failed)
    return f"{words}. If that may be lack of effort, pass {remedy}"


def _ceiling(islands: Islands) -> float:
    """Return log of the largest V that the cap allows. A probability is at most 1."""
    return 0.0 if islands.of_probability else log_ball(islands.dimension, islands.max_radius)
