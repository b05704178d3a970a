"""Annealed chains: from uniform directions to directions with the density r^n, with weights collected on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from landscape import distributed
from landscape.errors import ObjectiveError
from landscape.objective import Objective
from landscape.rays import basin_radii, make_metric
from landscape.rays.basin import check_basin
from landscape.results import Cost, OnProgress, Progress, Radii
from landscape.results.chains import Chains
from landscape.volume.annealing.budget import PILOTS, Budget
from landscape.volume.annealing.linear_map import LinearMap
from landscape.volume.annealing.pilot import PATHS
from landscape.volume.annealing.precondition import PRECONDITIONS
from landscape.volume.annealing.run import Run
from landscape.volume.ray_weights.measure import fine_rtol, make_measure

REFERENCE_RAYS = 512  # uniform rays measured first
LEAST_CHAINS = 4
_CHAINS, _TEMPERATURES = 32, 500  # by default, without a budget
_LEARNING = 1 / 4  # share of a budget that learning coordinates may cost


@dataclass(frozen=True)
class Stopped:
    """What is left of a run whose pilots have used up their share of the budget.

    Attributes:
        preconditioner: the one with which the basin of the smallest cutoff was roundest
            (:attr:`landscape.volume.annealing.precondition.Learnt.best_preconditioner`); None if none is worth it.
        rays: number of rays that the rest of the budget pays for.
    """

    preconditioner: LinearMap | None
    rays: int


def anneal(
    objective: Objective,
    cutoffs: Sequence[float],
    *,
    criterion: str = "loss",
    metric: str = "filter",
    chains: int | None = None,
    temperatures: int | None = None,
    budget: str | float | None = None,
    path: str = "auto",
    precondition: str = "auto",
    seed: int = 0,
    max_radius: float | None = None,
    rtol: float | None = None,
    step_ratio: float = 2.0,
    first_step: float | None = None,
    measure: str = "lebesgue",
    sigma: float | None = None,
    measure_centre: str = "zero",
    resume: Chains | None = None,
    on_progress: OnProgress[Chains] | None = None,
    on_stop: Callable[[Stopped], None] | None = None,
) -> Chains:
    """Return chains annealed from uniform directions to the basin of each cutoff, with their weights.

    A chain begins at a uniform direction, under a target that is constant on the sphere. At each target its log-weight
    gains the log-ratio of the next target to this one, at the place where the chain is. Then the chain moves without
    changing the distribution of the next target. The last target is r^n. By radius the targets are r^(t n), and a gain
    is n (t_{k+1} - t_k) log r(phi). The weight is unbiased for E[r^n] whatever the targets on the way, and however
    slowly the moves mix (Jarzynski 1997; Neal 2001).

    By growth, chains with little weight give way to copies of others, and all continue with their mean weight (Del
    Moral, Doucet & Jasra 2006). Then only that mean is unbiased, and the chains are one draw.

    1. The targets, the step sizes and the choice of move come from pilot chains with random numbers of their own. They
       are then frozen, which keeps the weights unbiased.

    Args:
        objective, cutoffs, criterion, metric, max_radius, step_ratio, first_step: as for :func:`landscape.basin_radii`.
        chains: number of chains, at least 4; 32 by default.
        temperatures: number of targets at full effort, at least 2; 500 by default. Half effort takes half of them.
        budget: what the run may cost, in place of chains and temperatures: a time (``300s``, ``5min``) or a number of
            full passes over the data. After the pilots it is turned into chains and temperatures (:meth:`Budget.plan`).
            These are in ``config`` and are kept if the run is continued. A run whose pilots use up the budget is
            returned unfinished.
        path: ``radius``, ``soft``, ``growth`` or ``auto`` (:mod:`landscape.volume.annealing.pilot`).
        precondition: ``slopes``: the chains walk in coordinates in which the basin is rounder, learnt before the pilots
            (:mod:`landscape.volume.annealing.precondition`). ``none``: in those of the metric. ``auto``: ``slopes``,
            but not if nearly all rays would then end at the cap.
        seed: keys all random numbers.
        rtol: relative tolerance of a radius; by default it moves log V by at most 0.1, from 1e-6 to 1e-3.
        measure, sigma, measure_centre: as for :func:`landscape.log_volume`. The mass of a ray under the Gaussian
            measure takes the place of r^n (:mod:`landscape.volume.ray_weights.measure`).
        resume: the partial result of an interrupted run with the same settings.
        on_progress: called after every temperature. The pilots' temperatures count neither as done nor as wanted.
        on_stop: called once, with what is left, if the pilots use up the budget. It hands over what no partial result
            holds, and it changes the run: if the basin was found rounder in other coordinates, the pilots stop at two
            thirds of the budget, since rays along those coordinates can take the place of chains.

    Raises:
        ObjectiveError: for too few chains or temperatures, and whatever :func:`landscape.basin_radii` raises.
        LandscapeError: if ``resume`` was measured with other settings, or is of another function.

    >>> import math, torch, numpy as np
    >>> bowl = Objective.from_function(lambda x: x.square().sum(-1), torch.zeros(3, dtype=torch.float64))
    >>> ball = anneal(bowl, [4.0], metric="identity", chains=4, temperatures=2)
    >>> bool(np.allclose(ball.log_weights, 3 * math.log(2.0)))
    True
    """
    _check_counts(chains, temperatures)
    limit = None if budget is None else Budget.parse(budget)
    if limit is None:
        chains, temperatures = chains or _CHAINS, temperatures or _TEMPERATURES
    elif chains is not None or temperatures is not None:
        raise ObjectiveError("a budget decides how many chains and temperatures there are. Pass either it or them.")
    _check_choices(path, precondition)
    check_basin(objective, cutoffs, criterion)
    metric_at_theta = make_metric(metric, objective.theta, objective.scope)
    basin_measure = make_measure(objective, metric_at_theta, measure, sigma, measure_centre)
    if rtol is None:
        rtol = fine_rtol(basin_measure.steepness)
    reference_rays = basin_radii(
        objective,
        cutoffs,
        criterion=criterion,
        metric=metric_at_theta,
        directions=REFERENCE_RAYS,
        seed=seed,
        max_radius=max_radius,
        rtol=rtol,
        step_ratio=step_ratio,
        first_step=first_step,
    )
    _check_room(reference_rays)
    most_precondition_evaluations = _precondition_evaluations(limit, reference_rays.cost, resume)
    run = Run.start(
        objective,
        metric_at_theta,
        reference_rays,
        basin_measure,
        chains,
        temperatures,
        path,
        precondition,
        most_precondition_evaluations,
    )
    if resume is not None:
        run.resume(resume)

    def report() -> None:
        if on_progress is not None:
            done = run.result().done
            on_progress(Progress(int(done.sum()), len(done), run.result))

    most_for_pilots = 1.0 if on_stop is None or run.best_preconditioner is None else PILOTS
    with objective.running():
        _advance(run, limit, most_for_pilots, report)
    if limit is not None and on_stop is not None and not run.finished:
        if not run.trace and resume is None:  # a clock decided to stop: a continued run must know it
            report()
        passes_per_ray = reference_rays.cost.evaluations / REFERENCE_RAYS
        on_stop(Stopped(run.best_preconditioner, limit.rays(run.cost, passes_per_ray)))
    return run.result()


def _advance(run: Run, limit: Budget | None, most_for_pilots: float, report: Callable[[], None]) -> None:
    """Advance the run to its end, or until its pilots have used up their share of the budget."""
    while not run.finished:
        if limit is not None and run.temperatures is None:
            if run.piloting and limit.used(run.cost) >= most_for_pilots:
                return
            if not run.piloting:
                run.set_effort(*limit.plan(run.result()))
        run.advance()
        report()


def _check_room(reference_rays: Radii) -> None:
    """Refuse a cutoff at which every ray ends at theta."""
    for cutoff, radii in zip(reference_rays.cutoffs, reference_rays.radii.T, strict=True):
        if not radii.any():
            raise ObjectiveError(
                f"all {REFERENCE_RAYS} rays end at theta itself at the cutoff {cutoff:g}: the criterion jumps there, "
                "and chains find no room to walk in.\n"
                "Pass a larger cutoff, or check that the loss is continuous at theta."
            )


def _precondition_evaluations(limit: Budget | None, spent: Cost, resume: Chains | None) -> int | None:
    """Return the evaluations that coordinates may cost, at the speed of the reference rays; None for no limit."""
    if limit is None:
        return None
    if resume is not None:  # a clock would not give the same number again
        stored: int | None = resume.config.get("precondition_evaluations")
        return stored
    return distributed.from_first(lambda: int(_LEARNING * spent.evaluations / limit.used(spent)))


def _check_choices(path: str, precondition: str) -> None:
    """Refuse an unknown path or precondition."""
    if path not in PATHS:
        raise ObjectiveError(f"the path {path!r} is not known. Pass one of {', '.join(PATHS)}.")
    if precondition not in PRECONDITIONS:
        raise ObjectiveError(f"precondition={precondition!r} is not known. Pass one of {', '.join(PRECONDITIONS)}.")


def _check_counts(chains: int | None, temperatures: int | None) -> None:
    """Refuse too few chains or temperatures."""
    for name, value, least in (("chains", chains, LEAST_CHAINS), ("temperatures", temperatures, 2)):
        if value is not None and value < least:
            raise ObjectiveError(f"{name} = {value} anneals nothing. Pass at least {least}.")
