"""The log-volume of a basin by any estimator, chosen by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Unpack, overload

from landscape.errors import LandscapeError
from landscape.objective import Objective
from landscape.rays.basin import CUTOFFS, check_objective
from landscape.results import AnnealedVolume, CountedVolume, LaplaceVolume, Volume
from landscape.volume.annealed import annealed_volume
from landscape.volume.auto import auto_volume
from landscape.volume.counted import counted_volume
from landscape.volume.importance import importance_volume
from landscape.volume.laplace import laplace_volume
from landscape.volume.options import (
    AutoOptions,
    CountOptions,
    ImportanceOptions,
    IslandOptions,
    LaplaceOptions,
    UniformOptions,
    refuse_unknown,
)
from landscape.volume.uniform import uniform_volume

#: what measures, and its options
ESTIMATORS: dict[str, tuple[Callable[..., Volume], type]] = {
    "uniform": (uniform_volume, UniformOptions),
    "counted": (counted_volume, CountOptions),
    "annealed": (annealed_volume, IslandOptions),
    "importance": (importance_volume, ImportanceOptions),
    "laplace": (laplace_volume, LaplaceOptions),
    "auto": (auto_volume, AutoOptions),
}
MEASURING = ("uniform", "importance", "annealed", "auto")  # estimators that know other measures than volume


@overload
def log_volume(
    objective: Objective,
    cutoffs: Sequence[float] = CUTOFFS,
    *,
    estimator: Literal["auto"] = "auto",
    **options: Unpack[AutoOptions],
) -> Volume: ...


@overload
def log_volume(
    objective: Objective,
    cutoffs: Sequence[float] = CUTOFFS,
    *,
    estimator: Literal["uniform"],
    **options: Unpack[UniformOptions],
) -> Volume: ...


@overload
def log_volume(
    objective: Objective,
    cutoffs: Sequence[float] = CUTOFFS,
    *,
    estimator: Literal["counted"],
    **options: Unpack[CountOptions],
) -> CountedVolume: ...


@overload
def log_volume(
    objective: Objective,
    cutoffs: Sequence[float] = CUTOFFS,
    *,
    estimator: Literal["annealed"],
    **options: Unpack[IslandOptions],
) -> AnnealedVolume: ...


@overload
def log_volume(
    objective: Objective,
    cutoffs: Sequence[float] = CUTOFFS,
    *,
    estimator: Literal["importance"],
    **options: Unpack[ImportanceOptions],
) -> Volume: ...


@overload
def log_volume(
    objective: Objective,
    cutoffs: Sequence[float] = CUTOFFS,
    *,
    estimator: Literal["laplace"],
    **options: Unpack[LaplaceOptions],
) -> LaplaceVolume: ...


def log_volume(
    objective: Objective, cutoffs: Sequence[float] = CUTOFFS, *, estimator: str = "auto", **options: Any
) -> Volume:
    """Return the log-volume of the basin for each cutoff, with an interval, an effective sample size and a verdict.

        log V = log ω_n + log E[r(phi)^n]

    over uniform directions phi, in metric coordinates (Huang et al. 2019). In high dimension the mean is carried by
    rays that no sample of uniform rays contains. The estimators deal with that differently:

    - ``auto`` is ``uniform`` if that is reliable; otherwise it counts hits under the cap, and then takes ``annealed``,
      all within a budget (:func:`landscape.volume.auto.auto_volume`).
    - ``uniform`` takes the mean over uniform rays. It then gives the verdict ``lower bound`` and no more
      (:func:`landscape.volume_from_radii`).
    - ``counted`` draws points in the ball of the cap and counts those that the basin contains
      (:func:`landscape.volume.count_hits.count_hits`).
    - ``annealed`` lets islands of particles walk to the long rays, within a budget
      (:func:`landscape.volume.annealing.run.run_islands`).
    - ``importance`` draws more of the long rays, along the curvature
      (:func:`landscape.volume.importance.importance_volume`).
    - ``laplace`` measures no rays and takes the basin of a quadratic (:func:`landscape.volume.laplace.laplace_volume`).

    Args:
        objective: the loss around the trained point.
        cutoffs: values of the criterion that bound the basin.
        estimator: ``auto``, ``uniform``, ``counted``, ``annealed``, ``importance`` or ``laplace``.
        options: criterion, metric, seed, max_radius, progress and on_progress of every estimator, and those of its own:
            directions, rtol, step_ratio, first_step and resume (:func:`landscape.basin_radii`); hits; a budget;
            proposal, rank, curvature, probes, check and derivative. An unknown one is refused with the list.

    All but ``counted`` and ``laplace`` also take ``measure="gaussian"`` with ``sigma`` and ``measure_centre``
    (``zero`` or ``theta``): then the result is log of the probability that parameters drawn from N(0, sigma^2) or
    N(theta, sigma^2) are in the basin, with those out of scope fixed (Scherlis & Belrose 2025). Its upper end is at
    most 0.

    Raises:
        LandscapeError: for an unknown estimator or option, and whatever the estimator raises.

    >>> import math, torch
    >>> bowl = Objective.from_function(lambda x: x.square().sum(-1), torch.zeros(2, dtype=torch.float64))
    >>> disc = log_volume(bowl, [4.0], metric="identity", directions=100).results[0]
    >>> round(math.exp(disc.log_volume) / math.pi, 6), disc.verdict
    (4.0, 'reliable')
    """
    if estimator not in ESTIMATORS:
        raise LandscapeError(f"the estimator {estimator!r} is not known. Pass one of {', '.join(ESTIMATORS)}.")
    estimate, known = ESTIMATORS[estimator]
    if options.get("measure", "lebesgue") != "lebesgue" and estimator not in MEASURING:
        raise LandscapeError(
            f"the estimator {estimator!r} measures only volumes, not a {options['measure']} measure. "
            f"Pass {' or '.join(f'`estimator={name!r}`' for name in MEASURING)}."
        )
    if estimator not in MEASURING:
        options.pop("measure", None)  # a volume, which is what it measures
    check_objective(objective)
    refuse_unknown(f"log_volume(estimator={estimator!r})", options, ["cutoffs", *known.__annotations__])
    return estimate(objective, cutoffs, **options)
