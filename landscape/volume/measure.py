"""What the basin is measured by: length, area, volume (Lebesgue), or the chance that a normal draw lands in it.

A star-shaped body is measured ray by ray. With f the density of a measure over parameter space,

    measure = |S| · n ω_n · E_phi[ m(phi) ],    m(phi) = integral from 0 to r(phi) of f(theta + s S phi) s^(n-1) ds,

over uniform phi. Lebesgue has f = 1 and m = r^n / n.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from landscape.directions import Directions
from landscape.errors import LandscapeError
from landscape.objective import Objective
from landscape.volume import weights as w

MEASURES = ("lebesgue", "gaussian")
CENTRES = ("zero", "theta")
_DEEP = 50.0  # nats below the peak from which on an integrand is left out
_BISECTIONS = 50
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(100)


class Measure(Protocol):
    """A measure of star-shaped bodies, known along the rays of one run."""

    @property
    def dimension(self) -> int:
        """n."""

    @property
    def log_constant(self) -> float:
        """What is added to the log of the mean of exp(:meth:`log_mass`)."""

    @property
    def log_raw(self) -> float:
        """What is added to that for parameter coordinates."""

    def log_mass(self, radii: np.ndarray) -> np.ndarray:
        """Return log of what each ray holds up to these radii, up to a constant, shape (rays, cutoffs)."""

    def ceiling(self, max_radius: float) -> float:
        """Return log of what all rays can hold."""

    def describe(self) -> dict[str, Any]:
        """Return what a stored result must say of it."""


@dataclass(frozen=True)
class Lebesgue:
    """Volume, in metric coordinates."""

    dimension: int
    log_raw: float

    @property
    def log_constant(self) -> float:
        return w.log_unit_ball(self.dimension)

    def log_mass(self, radii: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return self.dimension * np.log(radii)

    def ceiling(self, max_radius: float) -> float:
        return self.log_constant + self.dimension * math.log(max_radius)

    def describe(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True)
class Gaussian:
    """The probability under N(m, sigma^2) of each entry that moves; all others stay where they are.

    Along a ray |theta + s S phi - m|^2 = |theta - m|^2 + 2 s (theta - m)' S phi + s^2 |S phi|^2.

    Attributes:
        dimension: n.
        sigma: standard deviation of each entry, in parameter coordinates.
        centre: ``zero`` (m = 0) or ``theta``.
        quadratic: |S phi|^2 / sigma^2 of each ray, shape (rays,).
        linear: (theta - m)' S phi / sigma^2 of each ray, shape (rays,).
        log_constant: log of |S| n ω_n (2π sigma^2)^(-n/2) exp(-|theta - m|^2 / 2 sigma^2).
    """

    dimension: int
    sigma: float
    centre: str
    quadratic: np.ndarray
    linear: np.ndarray
    log_constant: float
    log_raw: float = 0.0

    @classmethod
    def along(cls, objective: Objective, rays: Directions, count: int, sigma: float, centre: str) -> Gaussian:
        """Return the measure along the first ``count`` of these rays."""
        metric = rays.metric
        scope, n, block = metric.scope, metric.scope.size, objective.plan.block
        offset = scope.gather(objective.theta).double()
        if centre == "theta":
            offset = offset.new_zeros(n)
        quadratic, linear = np.zeros(count), np.zeros(count)
        for start in range(0, count, block):
            part = slice(start, min(start + block, count))
            steps = scope.gather(rays.steps(range(part.start, part.stop))).double()
            quadratic[part] = steps.square().sum(1).cpu().numpy() / sigma**2
            linear[part] = (steps @ offset).cpu().numpy() / sigma**2
        constant = (
            metric.log_scale_sum
            + math.log(n)
            + w.log_unit_ball(n)
            - 0.5 * n * math.log(2 * math.pi * sigma**2)
            - 0.5 * float(offset.square().sum()) / sigma**2
        )
        return cls(n, sigma, centre, quadratic, linear, constant)

    def log_mass(self, radii: np.ndarray) -> np.ndarray:
        columns = (log_radial_mass(self.dimension, self.quadratic, self.linear, column) for column in radii.T)
        return np.stack(list(columns), axis=1)

    def ceiling(self, max_radius: float) -> float:
        return 0.0

    def describe(self) -> dict[str, Any]:
        return {"measure": "gaussian", "sigma": self.sigma, "measure_centre": self.centre}


def log_radial_mass(n: int, quadratic: np.ndarray, linear: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Return log of the integral from 0 to r of s^(n-1) exp(-a s^2 / 2 - b s) ds, shape (k,).

    The integrand is log-concave with its peak at p = min(r, mode). Gauss-Legendre nodes lie where it is within 50 nats
    of the peak, and all of it is taken relative to the peak, so that nothing overflows or cancels in any dimension.

    Args:
        n: dimension.
        quadratic: a > 0, shape (k,).
        linear: b, shape (k,).
        radius: r, shape (k,); may be infinite.

    >>> a, b, r = np.ones(1), np.zeros(1), np.array([math.inf])
    >>> round(float(log_radial_mass(1, a, b, r)[0]), 12) == round(0.5 * math.log(math.pi / 2), 12)
    True
    """
    a, b, r, m = quadratic, linear, np.maximum(radius, 0.0), n - 1
    root = np.sqrt(b * b + 4 * a * m)
    # of the two forms of the root of a quadratic the one without cancellation
    with np.errstate(divide="ignore", invalid="ignore"):
        mode = np.where(b > 0, 2 * m / (b + root), (root - b) / (2 * a))
    peak = np.minimum(mode, r)

    def fall(s: np.ndarray) -> np.ndarray:
        """Return the log of the integrand at s over that at the peak."""
        with np.errstate(divide="ignore", invalid="ignore"):
            power = m * np.log(s / peak) if m else 0.0
            return power - (s - peak) * (a * (s + peak) / 2 + b)

    def reach(inner: np.ndarray, outer: np.ndarray) -> np.ndarray:
        """Return where between the peak and ``outer`` the integrand has fallen deep enough; else ``outer``."""
        far = outer
        for _ in range(_BISECTIONS):
            middle = (inner + far) / 2
            deep = fall(middle) < -_DEEP
            far, inner = np.where(deep, middle, far), np.where(deep, inner, middle)
        return np.where(fall(outer) < -_DEEP, far, outer)

    low = reach(peak, np.zeros_like(peak))
    high = reach(peak, np.minimum(r, peak + np.sqrt(2 * _DEEP / a)))
    half = (high - low) / 2
    values = np.stack([fall((low + high) / 2 + half * node) for node in _NODES])
    with np.errstate(divide="ignore", invalid="ignore"):
        top = (m * np.log(peak) if m else 0.0) - peak * (a * peak / 2 + b)
        found = top + np.log(half) + np.log((_WEIGHTS[:, None] * np.exp(values)).sum(0))
    return np.where(r > 0, found, -np.inf)


def check_measure(measure: str, sigma: float | None, measure_centre: str) -> None:
    """Refuse a measure that makes no sense.

    Raises:
        LandscapeError: for an unknown name, and for a sigma that is missing or of no use.
    """
    for what, value, known in (("measure", measure, MEASURES), ("measure_centre", measure_centre, CENTRES)):
        if value not in known:
            raise LandscapeError(f"the {what} {value!r} is not known. Pass one of {', '.join(known)}.")
    if measure == "gaussian" and (sigma is None or not 0 < sigma < math.inf):
        raise LandscapeError(
            f"a gaussian measure needs the standard deviation of each parameter, and sigma = {sigma} arrived.\n"
            "Pass sigma=..., for instance that of the initialisation (--sigma on the command line)."
        )
    if measure == "lebesgue" and sigma is not None:
        raise LandscapeError("sigma is that of a gaussian measure. Pass measure='gaussian' too, or leave sigma out.")


def measure_along(
    objective: Objective,
    rays: Directions,
    count: int,
    measure: str = "lebesgue",
    sigma: float | None = None,
    measure_centre: str = "zero",
) -> Measure:
    """Return a measure along the first ``count`` rays.

    Raises:
        LandscapeError: as for :func:`check_measure`.
    """
    check_measure(measure, sigma, measure_centre)
    if measure == "gaussian":
        assert sigma is not None
        return Gaussian.along(objective, rays, count, float(sigma), measure_centre)
    return Lebesgue(rays.metric.scope.size, rays.metric.log_scale_sum)
