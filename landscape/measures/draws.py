"""Random perturbations of one net, drawn once and shared by all measures, and the curvature that they share.

Perturbation k is std · z_k with z_k fixed by (seed, k): the same for every size and every measure (common random
numbers). They come in antithetic pairs, z_(2j+1) = -z_(2j), which cancels odd terms of the loss.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from landscape import distributed
from landscape.curvature import Hessian
from landscape.errors import LandscapeError
from landscape.measures.settings import Settings
from landscape.objective import Objective
from landscape.objective.evaluate import GRADIENT_COST
from landscape.objective.shards.whole import require_whole
from landscape.rays import Metric, make_metric
from landscape.rays.budget import Budget
from landscape.rays.directions import check_seed
from landscape.rays.streams import Purpose, stream
from landscape.results import NOTHING, Cost, Result
from landscape.slices.point_values import PointEvaluator

PRODUCT_COST = 2 * GRADIENT_COST  #: cost of a product with the Hessian, in evaluations
Kept = TypeVar("Kept")
UNLIMITED = Budget()
SHAPES = ("normal", "uniform")
_ROUNDING_DRAWS = 4
_KEPT_ENTRIES = 2**24  # of all perturbations together, up to which they stay in memory: 64 MiB
_FAR = 2**40  # index of the first draw that only probes rounding


class Draws:
    """What the measures of one net share: perturbed losses, the metric, the Hessian, and the count of passes.

    Args:
        objective: the loss around the trained point.
        settings: metric, sizes, seed.
        budget: what all measures together may cost; the time counts from now.
        known: results of other measurements, which are used if they are of this net.
        paid: shared work that measures of an earlier run have paid for, with the passes that were spent before it. If
            it is done again it costs nothing, so that a run which was killed counts what an unbroken one counts.

    Attributes:
        objective, settings: as given.
        metric: the scale c of perturbations and the entries that move.
        rho: size of the perturbation for the measure that runs now.
        spent: what everything so far has cost.
        cut: whether the budget ended the measure that runs now; each measure that stops early says so here.
        pays: shared work that the measure that runs now pays for, as in ``paid``.
    """

    def __init__(
        self,
        objective: Objective,
        settings: Settings,
        budget: Budget = UNLIMITED,
        known: Iterable[Result] = (),
        paid: Mapping[str, float] | None = None,
    ) -> None:
        require_whole(objective.program, "the sharpness")
        check_seed(settings.seed)
        self.objective = objective
        self.settings = settings
        self.metric: Metric = make_metric(settings.metric, objective.theta, objective.scope)
        self.rho = settings.rho
        self.spent = NOTHING
        self.cut = False
        self.budget = budget
        self.known = tuple(known)
        self.paid, self.pays = dict(paid or {}), dict[str, float]()
        self._clock = stopwatch()
        self._kept: dict[Any, Any] = {}
        self._kept_cut: set[Any] = set()

    @property
    def count(self) -> int:
        """Number of perturbations."""
        return self.settings.draws

    def left(self) -> float:
        """Return the share of the budget that is left, alike on all ranks; 0 or less if it is spent."""
        return distributed.from_first(lambda: 1 - self.budget.used(replace(self.spent, seconds=self._clock())))

    def rest(self) -> Budget:
        """Return what is left of the budget, as a budget of its own."""
        share = max(self.left(), 0.0)
        seconds, passes = (
            share * limit if math.isfinite(limit) else limit for limit in (self.budget.seconds, self.budget.passes)
        )
        return Budget(seconds, passes)

    def needed_rho(self) -> float:
        """Return rho; a measure that calls this was registered with a default."""
        if self.rho is None:
            raise LandscapeError("this measure needs the size of the perturbation. Pass `rho=0.1`, for instance.")
        return self.rho

    def charge(self, evaluations: float, calls: int = 1) -> None:
        """Count passes that a measure has made by itself: 1 for each loss, 3 for a gradient, 6 for a product."""
        self.spent += Cost(evaluations, calls, 0.0)

    def once(self, key: Any, compute: Callable[[], Kept]) -> Kept:
        """Return what ``compute`` returns, computed only once for all measures that ask with this key."""
        if key not in self._kept:
            before, self.cut = self.cut, False
            self._kept[key] = self._counted(_name(key), compute)
            if self.cut:
                self._kept_cut.add(key)
            self.cut = before
        self.cut |= key in self._kept_cut
        kept: Kept = self._kept[key]
        return kept

    def has(self, key: Any) -> bool:
        """Whether ``once`` with this key costs nothing: it is computed, or an earlier run has paid for it."""
        return key in self._kept or _name(key) in self.paid

    def _counted(self, name: str, compute: Callable[[], Kept]) -> Kept:
        """Return what ``compute`` returns. Work that is paid for is done with the budget of then, and costs nothing."""
        now = self.spent
        if name in self.paid:
            self.spent = replace(now, evaluations=self.paid[name])
        begun = self.spent
        result = compute()
        if name in self.paid:
            self.spent = now
        elif self.spent != begun:
            self.pays[name] = begun.evaluations
        return result

    def noise(self, index: int, shape: str = "normal") -> Tensor:
        """Return z of one perturbation, for the entries in scope of the objective, shape (n,), float32."""
        half, sign = index // 2, -1.0 if index % 2 else 1.0
        source = stream(Purpose.PERTURBATION, self.settings.seed, half, part=SHAPES.index(shape))
        size = self.objective.dimension
        if shape == "normal":
            values = source.standard_normal(size, dtype=np.float32)
        else:
            values = 2 * source.random(size, dtype=np.float32) - 1
        return torch.from_numpy(values).mul_(sign)

    def _block(self, indices: range, shape: str) -> Tensor:
        """Return z of some perturbations, shape (k, n), in the dtype of theta; kept if all of them are small."""
        keep = self.count * self.objective.dimension <= _KEPT_ENTRIES
        rows = [
            self.once(("noise", k, shape), partial(self.noise, k, shape)) if keep else self.noise(k, shape)
            for k in indices
        ]
        return torch.stack(rows).to(self.objective.theta)

    @cached_property
    def scale(self) -> Tensor:
        """The scale c of the metric for the entries in scope of the objective, shape (n,); 0 for those left out."""
        theta, scope = self.objective.theta, self.objective.scope
        own = self.metric.scope
        values = self.metric.scale if self.metric.scale is not None else theta.new_ones(own.size)
        return scope.gather(own.scatter(values, torch.zeros_like(theta)))

    def points(
        self, std: float | Tensor, shape: str = "normal", which: range | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return loss and accuracy at theta + std · z_k for each draw k, shape (draws,) each, float64.

        A loss of NaN counts as infinity. The accuracy is NaN if there is none.

        Args:
            std: of each entry in scope, one number or shape (n,). Losses for a single number times the metric are kept
                and shared: call ``draws.at(sigma)`` for these.
            shape: of z: ``normal``, or ``uniform`` on [-1, 1].
            which: the draws, a range of step 1; by default all.
        """
        which = range(self.count) if which is None else which
        objective = self.objective
        scale = torch.as_tensor(std, dtype=objective.theta.dtype, device=objective.theta.device)

        def at(indices: range) -> tuple[np.ndarray, np.ndarray]:
            return self._evaluator.measure(self._moved(self._block(indices, shape) * scale))

        lanes = self._evaluator.lanes
        parts = [which[start : start + lanes] for start in range(0, len(which), lanes)]
        with objective.running():
            pieces = distributed.each(parts, at, lambda: distributed.sample(objective.theta))
        self.charge(len(which), len(which))
        loss, accuracy = (np.concatenate(column) for column in zip(*pieces, strict=True))
        return np.where(np.isnan(loss), np.inf, loss), accuracy

    def rises(self, sigma: float, scale: str = "metric", shape: str = "normal") -> np.ndarray:
        """Return L(theta + sigma · c · z_k) - L(theta) for every draw, shape (draws,).

        Args:
            sigma: size of the perturbation.
            scale: ``metric`` for the scale c of the metric, ``identity`` for 1.
            shape: of z: ``normal``, or ``uniform`` on [-1, 1].
        """
        return self.at(sigma, scale, shape)[0] - self.objective.centre

    def at(self, sigma: float, scale: str = "metric", shape: str = "normal") -> tuple[np.ndarray, np.ndarray]:
        """Return losses and accuracies at theta + sigma · c · z_k, evaluated once for all measures."""
        plain = scale == "identity" or self.metric.name == "identity"
        key = (float(sigma), plain, shape)
        return self.once(key, lambda: self.points(sigma if plain else sigma * self.scale, shape))

    def some(self, sigma: float, which: range) -> tuple[np.ndarray, np.ndarray]:
        """Return losses and accuracies of some draws at theta + sigma · z_k. Once all are known they are kept."""
        if not self.has((float(sigma), True, "normal")) and len(which) < self.count:
            return self.points(sigma, which=which)
        losses, accuracies = self.at(sigma, "identity")
        return losses[which.start : which.stop], accuracies[which.start : which.stop]

    @cached_property
    def accuracy(self) -> float:
        """The accuracy at theta; NaN if there is none."""
        return self._evaluator.accuracy

    @cached_property
    def hessian(self) -> Hessian:
        """The Hessian in the metric: one operator, so that measures share its graphs."""
        return Hessian(self.objective, metric=self.settings.metric)

    @property
    def rounding(self) -> float:
        """How much the loss moves if each weight moves by its own rounding: smaller differences mean nothing.

        The largest change over four draws of w (1 + eps · sign), with eps of the dtype.
        """
        return self.once("rounding", self._rounding)

    def _rounding(self) -> float:
        theta = self.objective.scope.gather(self.objective.theta)
        eps = torch.finfo(theta.dtype).eps
        signs = torch.stack([self.noise(_FAR + 2 * k).sign() for k in range(_ROUNDING_DRAWS)]).to(theta)
        self.charge(_ROUNDING_DRAWS, _ROUNDING_DRAWS)
        losses = self.objective.loss_at(self._moved(signs * (eps * theta.abs())))
        return max(float(np.max(np.abs(losses - self.objective.centre))), eps * abs(self.objective.centre))

    @property
    def pass_seconds(self) -> float:
        """Seconds of one pass over the data at a single point."""
        return self.once("pass", self._pass_seconds)

    def _pass_seconds(self) -> float:
        clock = stopwatch()
        self.objective.loss_at(self.objective.theta[None])
        self.charge(1)
        return clock()

    def _moved(self, steps: Tensor) -> Tensor:
        """Return theta + steps for steps of the entries in scope, (k, n) -> (k, D)."""
        objective = self.objective
        whole = objective.scope.scatter(steps, objective.theta.new_zeros(len(steps), objective.layout.size))
        return whole.add_(objective.theta)

    @cached_property
    def _evaluator(self) -> PointEvaluator:
        with self.objective.running():
            return PointEvaluator(self.objective)


def _name(key: Any) -> str:
    """Return the name of shared work in a results file.

    >>> _name("products"), _name((0.1, True, "normal"))
    ('products', '0.1 True normal')
    """
    return " ".join(map(str, key)) if isinstance(key, tuple) else str(key)


def mean_and_error(samples: np.ndarray) -> tuple[float, float]:
    """Return the mean of antithetic draws and its standard error, from the means of the pairs.

    >>> mean_and_error(np.array([1.0, 3.0, 2.0, 4.0, 0.0, 2.0, 4.0, 4.0, 1.0, 3.0]))
    (2.4, 0.7211102550927979)
    """
    pairs = samples[: len(samples) // 2 * 2].reshape(-1, 2).mean(1)
    if not np.isfinite(samples).all():
        return math.inf, math.nan
    return float(samples.mean()), student_factor(len(pairs)) * float(pairs.std(ddof=1) / math.sqrt(len(pairs)))


def student_factor(count: int) -> float:
    """Return the standard deviation of Student's t for a mean of ``count`` samples, by which its error is multiplied.

    The spread s of ten samples is itself uncertain: the error of their mean, over s / √10, is 1.13 in the root mean
    square. With this factor (value - truth) / error has the standard deviation 1 for normal samples. It is
    √((m - 1) / (m - 3)); three samples or fewer, whose t has no variance, get the factor of four.

    >>> round(student_factor(10), 3), round(student_factor(100), 3)
    (1.134, 1.01)
    """
    count = max(count, 4)
    return math.sqrt((count - 1) / (count - 3))


def stopwatch() -> Callable[[], float]:
    """Return a function that returns the seconds since now."""
    started = time.perf_counter()
    return lambda: time.perf_counter() - started
