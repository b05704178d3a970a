"""The mass of a ray under a normal density: the integral from 0 to r of s^(n-1) exp(-a s^2 / 2 - b s) ds, for any n.

Its logarithm, its derivatives, and the radius up to which a ray has a given mass. The integrand is log-concave, and
everything is taken relative to its peak, in logs, so that nothing overflows or cancels.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import wrightomega

_DEEP = 50.0  # nats below its peak the integrand is left out
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(100)
_NEAR = 1e-3  # nats that the mass up to an inverse may be short of the level
_MOST_STEPS = 200  # of Newton's method; from below it needs far fewer
_LEAST_RATE = 1e-300  # stands for b = 0 in a logarithm


def log_radial_mass(n: int, quadratic: np.ndarray, linear: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Return log of the integral from 0 to r of s^(n-1) exp(-a s^2 / 2 - b s) ds, shape (k,).

    Args:
        n: dimension.
        quadratic: a > 0, shape (k,).
        linear: b, shape (k,).
        radius: r, shape (k,); may be infinite.

    >>> a, b, r = np.ones(1), np.zeros(1), np.array([math.inf])
    >>> round(float(log_radial_mass(1, a, b, r)[0]), 12) == round(0.5 * math.log(math.pi / 2), 12)
    True
    """
    _, values, top = _terms(n, quadratic, linear, radius)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(radius <= 0, -np.inf, top + np.log(values.sum(0)))


def radial_moments(
    n: int, quadratic: np.ndarray, linear: np.ndarray, radius: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return E[s], E[s^2] under the integrand up to r > 0, and the derivative of the log integral by log r, shape (k,).

    The log integral changes by -E[s^2] / 2 for each unit of a and by -E[s] for each unit of b.

    >>> [round(float(x[0]), 9) for x in radial_moments(3, np.array([1e-12]), np.zeros(1), np.ones(1))]
    [0.75, 0.6, 3.0]
    """
    places, values, top = _terms(n, quadratic, linear, radius)
    whole = values.sum(0)
    at_end = n * np.log(radius) - radius * (quadratic * radius / 2 + linear)
    slope = np.exp(at_end - top - np.log(whole))
    return (places * values).sum(0) / whole, (places**2 * values).sum(0) / whole, slope


def log_radius_holding(
    n: int, quadratic: np.ndarray, linear: np.ndarray, log_mass: np.ndarray, most: np.ndarray
) -> np.ndarray:
    """Return log of the radius up to which a ray has this mass, shape (k,); infinite if it has less up to ``most``.

    Newton's method from below. The log integral L is concave in s, and for b >= 0 also in u = log s. So its tangent
    meets the level no further out than L does, and no step goes too far. The mass up to the result is the level or up
    to a thousandth less, never more.

    Args:
        n, quadratic, linear: as for :func:`log_radial_mass`.
        log_mass: the level, shape (k,).
        most: largest radius, shape (k,); may be infinite.

    >>> a, b, r = np.full(2, 3.0), np.array([-2.0, 5.0]), np.array([0.5, 2.0])
    >>> level = log_radial_mass(40, a, b, r)
    >>> np.exp(log_radius_holding(40, a, b, level, np.full(2, 3.0))).round(3)
    array([0.5, 2. ])
    >>> log_radius_holding(40, a, b, level + 1e-9, r)
    array([inf, inf])
    """
    a, b = quadratic, linear
    reached = log_radial_mass(n, a, b, most) >= log_mass
    # Start: for b < 0 the exponential up to s is at most exp(rise), and at most exp(|b| s). So s^n / n times the
    # smaller of them is at least the mass. The Wright omega function inverts s^n exp(|b| s).
    rise, rate = np.where(b < 0, b * b / (2 * a), 0.0), np.maximum(-b, _LEAST_RATE) / n
    u = (log_mass + math.log(n)) / n
    u = np.maximum(u - rise / n, u - wrightomega(u + np.log(rate)))
    for _ in range(_MOST_STEPS):
        s = np.exp(u)
        mass = log_radial_mass(n, a, b, s)
        with np.errstate(invalid="ignore"):  # a level of minus infinity
            lacking = log_mass - mass
        short = reached & (lacking > _NEAR)
        if not short.any():
            break
        with np.errstate(over="ignore", invalid="ignore"):
            ratio = lacking * np.exp(mass - n * u + s * (a * s / 2 + b))  # over dL / du
            # for b < 0 a step in s, or one by the largest dL / du, n + max(-a s^2 - b s)
            step = np.where(b >= 0, ratio, np.maximum(np.log1p(ratio), lacking / (n + rise / 2)))
        u = np.where(short, u + step, u)
    with np.errstate(divide="ignore"):
        return np.where(reached, np.minimum(u, np.log(most)), np.inf)


def _terms(n: int, a: np.ndarray, b: np.ndarray, radius: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return Gauss-Legendre nodes, their terms of the integral over its peak, and the log of the peak.

    The nodes are where the integrand can be within 50 nats of its peak p = min(r, mode). Let g be its logarithm, with
    g'' = -(n-1) / s^2 - a. At p - x it has fallen by at least g'(p) x + (-g''(p)) x^2 / 2. At p + y it has fallen by at
    least a y^2 / 2, and by (n-1) (z - log(1 + z)) >= (n-1) z^2 / (2 + 2 z) with z = y / p.
    """
    r, m = np.maximum(radius, 0.0), n - 1
    root = np.sqrt(b * b + 4 * a * m)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        # two forms of the root of a quadratic: each is used where it has no cancellation
        mode = np.where(b > 0, 2 * m / (b + root), (root - b) / (2 * a))
        peak = np.minimum(mode, r)
        slope = np.maximum((m / peak if m else 0.0) - a * peak - b, 0.0)
        bend = a + (m / peak**2 if m else 0.0)
        low = np.maximum(peak - 2 * _DEEP / (slope + np.sqrt(slope**2 + 2 * _DEEP * bend)), 0.0)
        fall = np.maximum(b, 0.0) if m == 0 else 0.0
        far = 2 * _DEEP / (fall + np.sqrt(fall**2 + 2 * _DEEP * a))
        if m:
            c = 2 * _DEEP / m
            far = np.minimum(far, peak * (c / 2 + math.sqrt(c * c / 4 + c)))
        half = (np.minimum(r, peak + far) - low) / 2
        places = low + half * (1 + _NODES[:, None])
        logs = (m * np.log(places / peak) if m else 0.0) - (places - peak) * (a * (places + peak) / 2 + b)
        top = (m * np.log(peak) if m else 0.0) - peak * (a * peak / 2 + b) + np.log(half)
        return places, _WEIGHTS[:, None] * np.exp(logs), top
