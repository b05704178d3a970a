"""Measures of a basin: its volume (Lebesgue), or the probability that a normal draw lands in it (Gaussian).

A star-shaped body is measured ray by ray. With f the density of a measure over parameter space,

    measure = ω_n · E_phi[ m(phi) ],    m(phi) = |S| n · integral from 0 to r(phi) of f(theta + s S phi) s^(n-1) ds,

over uniform phi. m is the *mass* of the ray. Lebesgue measure, in metric coordinates, has f = 1/|S| and m = r^n. The
*effective log radius* of a ray is log m / n: the log of the radius at which Lebesgue measure has the same mass. So
whatever is said of r^n holds for exp(n · effective log radius).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from landscape.errors import LandscapeError
from landscape.objective import Objective
from landscape.objective.shards.whole import require_whole
from landscape.rays import AnyMetric, Directions, EntryMetric, Metric, random_directions
from landscape.results import Radii
from landscape.volume.ray_weights import statistics as w
from landscape.volume.ray_weights.radial_integral import log_radial_mass, log_radius_holding, radial_moments

_MOST_MOVED = 0.1  # nats that the tolerance of the radii may move log m
_FINEST, _COARSEST = 1e-6, 1e-3  # limits of that tolerance
_SMALLEST_SIGMA, _LARGEST_SIGMA = 1e-100, 1e100  # float64 must hold sigma^2 and its inverse
MEASURES = ("lebesgue", "gaussian")
CENTRES = ("zero", "theta")


class Measure(Protocol):
    """A measure of star-shaped bodies around theta."""

    @property
    def dimension(self) -> int:
        """n."""

    @property
    def log_raw(self) -> float:
        """What log_volume_raw adds to the log of the measure, for parameter coordinates."""

    @property
    def terms(self) -> int:
        """Number of coefficients that describe the measure along a ray."""

    @property
    def steepness(self) -> float:
        """A bound on the derivative of log m by log r."""

    def coefficients(self, steps: Tensor) -> np.ndarray:
        """Return the coefficients of rays along these steps for r = 1, shape (k, D): shape (k, terms)."""

    def effective_log_radius(self, coefficients: np.ndarray, radii: np.ndarray) -> np.ndarray:
        """Return (log m) / n of rays of these radii, shape (k,)."""

    def log_radius(self, coefficients: np.ndarray, effective_log_radius: np.ndarray, most: np.ndarray) -> np.ndarray:
        """Return log of the radii at which rays have this effective log radius, shape (k,).

        Infinite for rays whose effective log radius at the radius ``most`` is still smaller.
        """

    def ceiling(self, max_radius: float) -> float:
        """Return the log of the largest measure of a body under this cap."""

    def describe(self) -> dict[str, Any]:
        """Return the settings of the measure that a stored result keeps; none for volume."""


@dataclass(frozen=True)
class Lebesgue:
    """Volume, in metric coordinates: the effective log radius is log r."""

    dimension: int
    log_raw: float
    terms: int = 0

    @property
    def steepness(self) -> float:
        return float(self.dimension)

    def coefficients(self, steps: Tensor) -> np.ndarray:
        return np.zeros((len(steps), 0))

    def effective_log_radius(self, coefficients: np.ndarray, radii: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return np.log(radii)

    def log_radius(self, coefficients: np.ndarray, effective_log_radius: np.ndarray, most: np.ndarray) -> np.ndarray:
        return effective_log_radius

    def ceiling(self, max_radius: float) -> float:
        return w.log_unit_ball(self.dimension) + self.dimension * math.log(max_radius)

    def describe(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True)
class Gaussian:
    """The probability under N(m, sigma^2) of each entry that moves; all others stay fixed.

    Along a ray |theta + s S phi - m|^2 = |theta - m|^2 + 2 s (theta - m)' S phi + s^2 |S phi|^2, so that its
    coefficients are a = |S phi|^2 / sigma^2 and b = (theta - m)' S phi / sigma^2
    (:mod:`landscape.volume.ray_weights.radial_integral`).

    Attributes:
        metric: what moves, and its scale.
        sigma: standard deviation of each entry, in parameter coordinates.
        centre: ``zero`` (m = 0) or ``theta``.
        offset: theta - m, shape (n,), float64.
        log_factor: log of |S| n (2π sigma^2)^(-n/2) exp(-|theta - m|^2 / 2 sigma^2).
    """

    metric: Metric
    sigma: float
    centre: str
    offset: Tensor
    log_factor: float
    log_raw: float = 0.0
    terms: int = 2

    @classmethod
    def around(cls, objective: Objective, metric: Metric, sigma: float, centre: str) -> Gaussian:
        """Return the measure for bodies around the objective's theta."""
        require_whole(objective.program, "a gaussian measure")
        offset, n = metric.scope.gather(objective.theta).double(), metric.scope.size
        if centre == "theta":
            offset = offset.new_zeros(n)
        factor = (
            metric.log_scale_sum
            + math.log(n)
            - 0.5 * n * math.log(2 * math.pi * sigma**2)
            - 0.5 * float(offset.square().sum()) / sigma**2
        )
        return cls(metric, sigma, centre, offset, factor)

    @property
    def dimension(self) -> int:
        return self.metric.scope.size

    @property
    def steepness(self) -> float:
        """n + max over s and the rays of -a s^2 - b s: n + |theta - m|^2 / 4 sigma^2."""
        return self.dimension + float(self.offset.square().sum()) / (4 * self.sigma**2)

    def coefficients(self, steps: Tensor) -> np.ndarray:
        moves = self.metric.scope.gather(steps).double()
        unscaled = moves.square().sum(1), moves @ self.offset
        return np.stack([column.cpu().numpy() for column in unscaled], axis=1) / self.sigma**2

    def effective_log_radius(self, coefficients: np.ndarray, radii: np.ndarray) -> np.ndarray:
        a, b = coefficients.T
        return (log_radial_mass(self.dimension, a, b, radii) + self.log_factor) / self.dimension

    def log_radius(self, coefficients: np.ndarray, effective_log_radius: np.ndarray, most: np.ndarray) -> np.ndarray:
        a, b = coefficients.T
        return log_radius_holding(self.dimension, a, b, effective_log_radius * self.dimension - self.log_factor, most)

    def log_mass_gradient(self, steps: Tensor, radii: float | np.ndarray) -> tuple[np.ndarray, Tensor]:
        """Return how log m changes for rays that end at one radius, or at one of their own each, shape (k,).

        Returns:
            its derivative by log r, shape (k,), and by the entries in scope of the step for r = 1, shape (k, n).
        """
        a, b = self.coefficients(steps).T
        first, second, slope = radial_moments(self.dimension, a, b, np.broadcast_to(radii, (len(steps),)))
        moves = self.metric.scope.gather(steps).double()
        first_s, second_s = (moves.new_tensor(moment / self.sigma**2)[:, None] for moment in (first, second))
        return slope, -second_s * moves - first_s * self.offset

    def ceiling(self, max_radius: float) -> float:
        return 0.0

    def describe(self) -> dict[str, Any]:
        return {"measure": "gaussian", "sigma": self.sigma, "measure_centre": self.centre, "steepness": self.steepness}


@dataclass(frozen=True)
class MeasureOnRays:
    """A measure along some rays.

    Attributes:
        measure: the measure.
        coefficients: its coefficients along each ray, shape (rays, terms).
    """

    measure: Measure
    coefficients: np.ndarray

    @classmethod
    def rays(cls, measure: Measure, objective: Objective, rays: Directions, count: int) -> MeasureOnRays:
        """Return the measure along the first ``count`` of these rays."""
        block = objective.plan.block
        parts = (range(start, min(start + block, count)) for start in range(0, count, block)) if measure.terms else ()
        steps = (rays.steps(part) for part in parts)
        blocks = [measure.coefficients(each) for each in steps if isinstance(each, Tensor)]
        return cls(measure, np.concatenate([np.zeros((0, 2)), *blocks]) if measure.terms else np.zeros((count, 0)))

    def effective_log_radius(self, radii: np.ndarray) -> np.ndarray:
        """Return effective log radii for several radii of each ray, shape (rays, cutoffs) both."""
        return np.stack([self.measure.effective_log_radius(self.coefficients, column) for column in radii.T], axis=1)

    def table(self, radii: np.ndarray) -> np.ndarray:
        """Return effective log radius and coefficients for several radii of each ray, shape (rays, cutoffs, 1 + terms).

        Volume needs none of them: shape (rays, cutoffs, 0).
        """
        if not self.measure.terms:
            return np.zeros((*radii.shape, 0))
        coefficients = np.broadcast_to(self.coefficients[:, None], (*radii.shape, self.measure.terms))
        return np.concatenate([self.effective_log_radius(radii)[:, :, None], coefficients], axis=2)

    def log_mass(self, radii: np.ndarray) -> np.ndarray:
        """Return log m for several radii of each ray, shape (rays, cutoffs) both."""
        return self.measure.dimension * self.effective_log_radius(radii)


def fine_rtol(steepness: float) -> float:
    """Return the relative tolerance of radii that moves log m by at most 0.1 nats, from 1e-6 to 1e-3.

    >>> fine_rtol(10), fine_rtol(1000), fine_rtol(1e9)
    (0.001, 0.0001, 1e-06)
    """
    return min(max(_MOST_MOVED / steepness, _FINEST), _COARSEST)


def check_measure(measure: str, sigma: float | None, measure_centre: str) -> None:
    """Refuse a measure that makes no sense.

    Raises:
        LandscapeError: for an unknown name, and for a sigma that is missing or not needed.
    """
    for name, value, known in (("measure", measure, MEASURES), ("measure_centre", measure_centre, CENTRES)):
        if value not in known:
            raise LandscapeError(f"the {name} {value!r} is not known. Pass one of {', '.join(known)}.")
    if measure == "gaussian" and (sigma is None or not _SMALLEST_SIGMA <= sigma <= _LARGEST_SIGMA):
        raise LandscapeError(
            "a gaussian measure needs the standard deviation of each parameter, sigma from "
            f"{_SMALLEST_SIGMA:g} to {_LARGEST_SIGMA:g}; got sigma = {sigma}.\n"
            "Pass `sigma=...`, for instance that of the initialisation."
        )
    if measure == "lebesgue" and sigma is not None:
        raise LandscapeError("sigma belongs to a gaussian measure. Pass `measure='gaussian'` too, or leave sigma out.")


def make_measure(
    objective: Objective,
    metric: AnyMetric,
    measure: str = "lebesgue",
    sigma: float | None = None,
    measure_centre: str = "zero",
) -> Measure:
    """Return the measure called ``measure`` for bodies around the objective's theta.

    Raises:
        LandscapeError: as for :func:`check_measure`.
    """
    check_measure(measure, sigma, measure_centre)
    if measure == "gaussian":
        assert sigma is not None
        if isinstance(metric, EntryMetric):
            raise LandscapeError(
                "a gaussian measure needs the steps of rays as flat vectors, and this model is too large for them.\n"
                "Pass `flat=True` to Objective if the machine has room for them, or `measure='lebesgue'`."
            )
        return Gaussian.around(objective, metric, float(sigma), measure_centre)
    return Lebesgue(metric.scope.size, metric.log_scale_sum)


def measure_on_uniform_rays(measure: Measure, objective: Objective, metric: AnyMetric, radii: Radii) -> MeasureOnRays:
    """Return a measure along the uniform rays that these radii were measured along, in this metric."""
    rays = random_directions(objective, metric, radii.config["seed"])
    return MeasureOnRays.rays(measure, objective, rays, radii.directions)
