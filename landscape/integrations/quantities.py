"""What is measured of a net in training: the loss, the accuracy, radii of the basin, and the sharpness measures."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from landscape.errors import LandscapeError, check_count
from landscape.measures import find_measures, sharpness
from landscape.measures.draws import Draws
from landscape.measures.reading import Reading
from landscape.measures.registry import Definition
from landscape.measures.run import cut_by_less
from landscape.measures.settings import CUTOFF, DRAWS, PROBES, VOLUME_BUDGET, Settings
from landscape.objective import Objective
from landscape.objective.objective import CRITERIA
from landscape.rays import METRICS, SCALES, basin_radii
from landscape.rays.basin import check_basin
from landscape.rays.budget import Budget, radii_within
from landscape.rays.directions import check_seed
from landscape.results import Progress, Radii, RayStatus, Result, SharpnessTable, Snapshot, require_same_config
from landscape.results.sharpness import ESTIMATE, FAILED, LOWER_BOUND

MEASURES = ("loss", "lambda-max", "trace")  #: by default
BUDGET = "30s"  #: for one net at one step
RAYS = 64  #: directions of a radius
_RTOL = 0.01  # of a radius: far below the spread of radii
_SHARE = 0.5  # of the time that is left, for rays
_WIDTH = 2 * 1.96  # of a 95 % interval, in standard errors
_AT_CUTOFF = ("log-volume", "effective-radius")  # measures that take one cutoff


@dataclass(frozen=True)
class Quantities:
    """What to measure of one net, and what it may cost. Checked when it is made.

    Attributes:
        measures: names, as a list or with commas: ``loss``, ``accuracy``, ``radius``, ``core``, ``all``, or any
            sharpness measure, such as ``lambda-max``, ``trace`` and ``log-volume``.
        cutoff: loss that bounds the basin, for ``radius`` and ``log-volume``; for ``radius`` also several.
        criterion: what reaches the cutoff, for ``radius``: ``loss``, ``rise`` or ``kl``.
        directions: number of rays of a radius.
        metric: scale of a perturbation and unit of a radius: ``identity``, ``filter``, ``layer`` or ``adaptive``.
        rho: size of perturbations; by default that of each measure's source.
        draws: number of random perturbations.
        probes: number of products with random vectors, for traces.
        volume_budget: what ``log-volume`` alone may cost.
        seed: of everything random, the same at every step.
        budget: what all of them together may cost at one step: a time such as ``30s``, or a number of passes over the
            data. A time is a deadline.
    """

    measures: str | Sequence[str] = MEASURES
    cutoff: float | Sequence[float] = CUTOFF
    criterion: str = "loss"
    directions: int = RAYS
    metric: str = "identity"
    rho: float | None = None
    draws: int = DRAWS
    probes: int = PROBES
    volume_budget: str | float = VOLUME_BUDGET
    seed: int = 0
    budget: str | float = BUDGET

    def __post_init__(self) -> None:
        Budget.parse(self.budget)
        check_count("directions", self.directions, 2)
        cutoffs = self.cutoffs
        if not cutoffs or not all(math.isfinite(cutoff) for cutoff in cutoffs):
            raise LandscapeError(f"`cutoff` must be a finite number, or several, not {self.cutoff!r}.")
        Settings(self.metric, self.rho, self.draws, self.probes, self.seed, cutoff=max(cutoffs[0], 1e-300))
        check_seed(self.seed)
        Budget.parse(self.volume_budget)
        for name, known in (("metric", SCALES), ("criterion", CRITERIA)):
            if (value := getattr(self, name)) not in known:
                raise LandscapeError(f"`{name}` must be one of {', '.join(known)}, not {value!r}.")
        names = [definition.name for definition in self.definitions()]
        single = [name for name in names if name in _AT_CUTOFF]
        if single and len(cutoffs) > 1:
            raise LandscapeError(f"{single[0]} takes one cutoff, and {len(cutoffs)} arrived. Pass one `cutoff=...`.")

    @property
    def cutoffs(self) -> tuple[float, ...]:
        """The cutoffs, ascending, each once."""
        try:
            return tuple(sorted({float(cutoff) for cutoff in np.atleast_1d(np.asarray(self.cutoff, dtype=float))}))
        except (TypeError, ValueError):
            raise LandscapeError(f"`cutoff` must be a finite number, or several, not {self.cutoff!r}.") from None

    def definitions(self) -> list[Definition]:
        """Return the measures that the names stand for, in their order.

        Raises:
            LandscapeError: for an unknown name, or none.
        """
        names = self.measures.split(",") if isinstance(self.measures, str) else self.measures
        if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
            raise LandscapeError(f"`measures` must be names such as {list(MEASURES)}, not {self.measures!r}.")
        own = self._own()
        chosen: dict[str, Definition] = {}
        for name in (name.strip() for name in names):
            found = own[name] if name in own else _registered(name, list(own))
            chosen |= {definition.name: definition for definition in found}
        if not chosen:
            raise LandscapeError(f"there is nothing to measure. Pass `measures={list(MEASURES)}`, for instance.")
        return list(chosen.values())

    def _own(self) -> dict[str, list[Definition]]:
        """Return what no measure of sharpness gives, by name."""
        several = len(self.cutoffs) > 1
        radii = [
            Definition(
                f"radius@{cutoff:g}" if several else "radius",
                partial(radius, cutoff=cutoff, quantities=self),
                "flatter",
            )
            for cutoff in self.cutoffs
        ]
        plain = [Definition("loss", loss, ""), Definition("accuracy", accuracy, "")]
        return {**{definition.name: [definition] for definition in plain}, "radius": radii}

    def settings(self) -> dict[str, Any]:
        """Return what determines the numbers, as plain values, without the names of the measures."""
        about = {**asdict(self), "cutoff": list(self.cutoffs)}
        del about["measures"]
        return about

    def measure(
        self,
        objective: Objective,
        *,
        step: int,
        epoch: float = math.nan,
        origin: Mapping[str, Any] | None = None,
        started: float | None = None,
        kept: Snapshot | None = None,
        start: Tensor | None = None,
        known: Sequence[Result] = (),
        on_measure: Callable[[Snapshot], None] | None = None,
    ) -> Snapshot:
        """Return the numbers of one net.

        Args:
            objective: the loss around the net's parameters.
            step, epoch: where in the training it is.
            origin: what goes into the configuration besides: the checkpoint, how the step is known.
            started: when the budget began, by ``time.perf_counter()``; by default now.
            kept: an earlier snapshot of the same net; its numbers stay, and what failed is tried again.
            start: the parameters at the start of training, shape (D,), for ``distance``.
            known: results that measures may use, such as eigenpairs.
            on_measure: called with the snapshot so far, after each measure.

        Raises:
            LandscapeError: if ``kept`` was measured with other settings.
        """
        config = {**objective.describe(), "dimension": objective.dimension, **self.settings()}
        if kept is not None:
            require_same_config(kept.config, {k: v for k, v in config.items() if k != "budget"}, "snapshot")
        config = {**config, **(origin or {})}
        done = dict(kept.measures) if kept else {}
        limit = Budget.parse(self.budget)
        known_already = {n for n, own in done.items() if own.verdict != FAILED and not cut_by_less(own.cut_by, limit)}
        wanted = [definition for definition in self.definitions() if definition.name not in known_already]
        names = dict.fromkeys([*(kept.names if kept else ()), *(each.name for each in self.definitions())])

        def snapshot() -> Snapshot:
            return Snapshot.of({name: done[name] for name in names if name in done}, step, epoch, config)

        def keep(now: Progress[SharpnessTable]) -> None:
            if now.news:
                done[now.words] = now.snapshot()[now.words]
            if now.news and on_measure is not None:
                on_measure(snapshot())

        if wanted:
            table = sharpness(
                objective, wanted, metric=self.metric, rho=self.rho, draws=self.draws, probes=self.probes,
                seed=self.seed, start=start, cutoff=self.cutoffs[0], volume_budget=self.volume_budget,
                budget=self._left(started), known=known, on_progress=keep,
            )  # fmt: skip
            done |= table
        return snapshot()

    def _left(self, started: float | None) -> str | float:
        """Return the budget without the seconds that are gone already."""
        budget = Budget.parse(self.budget)
        if started is None or not math.isfinite(budget.seconds):
            return self.budget
        return f"{max(budget.seconds - (time.perf_counter() - started), 0.001):.3f}s"


def loss(objective: Objective, draws: Draws) -> float:
    """Return the loss of the data, which is known already."""
    return objective.centre


def accuracy(objective: Objective, draws: Draws) -> float:
    """Return the share of right predictions."""
    share = objective.accuracy()
    draws.charge(1)
    if share is None:
        raise LandscapeError(
            "the loss does not tell which predictions are right. Pass `output='logits'`, or leave accuracy out."
        )
    return share


def radius(objective: Objective, draws: Draws, *, cutoff: float, quantities: Quantities) -> Reading:
    """Return the median radius of the basin over random rays; the rays serve every cutoff.

    The standard error is a quarter of the 95 % interval from order statistics, in units of 1.96. If half of the rays
    end at the cap, the cap is a lower bound.
    """
    if quantities.metric not in METRICS:
        raise LandscapeError(
            f"rays have no metric {quantities.metric!r}. Pass `metric='filter'`, `metric='layer'` or "
            "`metric='identity'` for radii."
        )
    check_basin(objective, [cutoff], quantities.criterion)
    radii = draws.once("tracked radii", lambda: _measured_radii(objective, draws, quantities))
    measured, column = radii.done, radii.cutoffs.index(cutoff)
    values, status = np.sort(radii.radii[measured, column]), radii.status[measured, column]
    about = {"rays": len(values), "criterion": quantities.criterion, "cutoff_of_radius": cutoff}
    reasons = [] if len(values) == quantities.directions else [_few_rays(len(values), quantities.directions)]
    value = float(np.median(values))
    if float(np.mean(status != RayStatus.CROSSED)) >= 1 / 2:
        reasons.append(f"half of the rays or more do not reach the cutoff up to r = {value:g}")
        return Reading(value, math.nan, LOWER_BOUND, tuple(reasons), values, about)
    low, high = median_interval(values)
    return Reading(value, (high - low) / _WIDTH, ESTIMATE, tuple(reasons), values, about)


def median_interval(values: np.ndarray) -> tuple[float, float]:
    """Return a 95 % interval of the median from sorted values, by order statistics (the normal approximation).

    >>> median_interval(np.arange(100.0))
    (39.0, 60.0)
    """
    count = len(values)
    half = 1.96 * math.sqrt(count) / 2
    low, high = math.floor(count / 2 - half) - 1, math.ceil(count / 2 + half)
    return float(values[max(low, 0)]), float(values[min(high, count - 1)])


def _measured_radii(objective: Objective, draws: Draws, quantities: Quantities) -> Radii:
    left = draws.rest()
    budget = Budget(max(left.seconds, 1e-3), max(left.passes, 1.0))
    centre = objective.centre_of(quantities.criterion)
    cutoffs = [cutoff for cutoff in quantities.cutoffs if cutoff > centre]
    radii = radii_within(
        budget,
        _SHARE,
        lambda report: basin_radii(
            objective, cutoffs, criterion=quantities.criterion, metric=quantities.metric,
            directions=quantities.directions, seed=quantities.seed, rtol=_RTOL, on_progress=report,
        ),
    )  # fmt: skip
    draws.charge(radii.cost.evaluations, radii.cost.calls)
    draws.cut = not radii.done.all() or radii.directions < quantities.directions
    return radii


def _few_rays(measured: int, wanted: int) -> str:
    return f"{measured} of {wanted} rays fitted into the budget; pass a larger `budget=...`"


def _registered(name: str, own: Sequence[str]) -> list[Definition]:
    try:
        return find_measures([name])
    except LandscapeError as error:
        raise LandscapeError(str(error).replace("Pass core, all,", f"Pass {', '.join(own)}, core, all,")) from None
