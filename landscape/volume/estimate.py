"""The log-volume of a basin by any estimator, chosen by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from landscape.errors import LandscapeError
from landscape.objective import Objective
from landscape.results import Volume
from landscape.volume.annealed import annealed_volume
from landscape.volume.auto import auto_volume
from landscape.volume.counted import counted_volume
from landscape.volume.importance import importance_volume
from landscape.volume.laplace import laplace_volume
from landscape.volume.uniform import uniform_volume

ESTIMATORS: dict[str, Callable[..., Volume]] = {
    "uniform": uniform_volume,
    "counted": counted_volume,
    "annealed": annealed_volume,
    "importance": importance_volume,
    "laplace": laplace_volume,
    "auto": auto_volume,
}
MEASURING = ("uniform", "importance", "annealed", "auto")  # estimators that know other measures than volume


def log_volume(objective: Objective, cutoffs: Sequence[float], *, estimator: str = "uniform", **options: Any) -> Volume:
    """Return the log-volume of the basin for each cutoff, with an interval, an effective sample size and a verdict.

        log V = log ω_n + log E[r(phi)^n]

    over uniform directions phi, in metric coordinates (Huang et al. 2019). In high dimension the mean is carried by
    rays that no sample of uniform rays contains. The estimators deal with that differently:

    - ``uniform`` takes the mean over uniform rays. It then gives the verdict ``lower bound`` and no more
      (:func:`landscape.volume_from_radii`).
    - ``counted`` draws points in the ball of the cap and counts those that the basin contains.
    - ``annealed`` lets islands of particles walk to the long rays, within a budget.
    - ``importance`` draws more of the long rays, along the curvature.
    - ``laplace`` measures no rays and takes the basin of a quadratic.
    - ``auto`` is ``uniform`` if that is reliable; otherwise it counts hits under the cap, and then takes ``annealed``,
      all within a budget.

    Args:
        objective: the loss around the trained point.
        cutoffs: values of the criterion that bound the basin.
        estimator: ``uniform``, ``counted``, ``annealed``, ``importance``, ``laplace`` or ``auto``.
        options: ``uniform`` takes those of :func:`landscape.basin_radii` (criterion, metric, directions, seed,
            max_radius, rtol, step_ratio, first_step, resume, on_progress); ``counted`` takes hits, a budget and a limit
            on directions (:func:`landscape.volume.count_hits.count_hits`); ``annealed`` takes a budget in place of
            directions (:func:`landscape.volume.annealing.run.run_islands`); ``importance`` adds proposal, curvature,
            rank and probes (:func:`landscape.volume.importance.importance_volume`); ``laplace`` takes curvature, probes
            and steps (:func:`landscape.volume.laplace.laplace_volume`); ``auto`` takes directions and a budget
            (:func:`landscape.volume.auto.auto_volume`).

    All but ``counted`` and ``laplace`` also take ``measure="gaussian"`` with ``sigma`` and ``measure_centre``
    (``zero`` or ``theta``): then the result is log of the probability that parameters drawn from N(0, sigma^2) or
    N(theta, sigma^2) are in the basin, with those out of scope fixed (Scherlis & Belrose 2025). Its upper end is at
    most 0.

    Raises:
        LandscapeError: for an unknown estimator, and whatever the estimator raises.

    >>> import math, torch
    >>> bowl = Objective.from_function(lambda x: x.square().sum(-1), torch.zeros(2, dtype=torch.float64))
    >>> disc = log_volume(bowl, [4.0], metric="identity", directions=100).results[0]
    >>> round(math.exp(disc.log_volume) / math.pi, 6), disc.verdict
    (4.0, 'reliable')
    """
    if estimator not in ESTIMATORS:
        raise LandscapeError(f"the estimator {estimator!r} is not known. Pass one of {', '.join(ESTIMATORS)}.")
    if options.get("measure", "lebesgue") != "lebesgue" and estimator not in MEASURING:
        raise LandscapeError(
            f"the estimator {estimator!r} measures only volumes, not a {options['measure']} measure. "
            f"Pass {' or '.join(f'`estimator={name!r}`' for name in MEASURING)}."
        )
    return ESTIMATORS[estimator](objective, cutoffs, **options)
