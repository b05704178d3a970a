"""What a ray holds of a normal density: against adaptive quadrature, its inverse and its derivatives."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad, trapezoid
from scipy.special import gammainc, gammaln

from landscape.volume.ray_weights.radial_integral import log_radial_mass, log_radius_holding, radial_moments


def mass(n: int, a: float, b: float, r: float) -> float:
    return float(log_radial_mass(n, np.array([a]), np.array([b]), np.array([r]))[0])


def rays(n: int, count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """a, b and r over many orders of magnitude, b of both signs."""
    rng = np.random.default_rng(seed)
    a = np.exp(2 * rng.normal(size=count))
    b = rng.normal(size=count) * np.exp(2 * rng.normal(size=count)) * math.sqrt(n)
    return a, b, np.exp(2 * rng.normal(size=count))


@pytest.mark.parametrize("n", [1, 2, 5, 200])
@pytest.mark.parametrize("r", [1.0, 3.0, 30.0, math.inf])
def test_centred_rays_against_the_incomplete_gamma_function(n: int, r: float) -> None:
    a = 2.0
    whole = (n / 2 - 1) * math.log(2) - n / 2 * math.log(a) + float(gammaln(n / 2))
    assert mass(n, a, 0.0, r) == pytest.approx(whole + math.log(gammainc(n / 2, a * r * r / 2)), abs=1e-11)


@pytest.mark.parametrize("n", [1, 2, 7])
@pytest.mark.parametrize("b", [-9.0, -1.0, 2.0, 40.0])
@pytest.mark.parametrize("r", [0.2, 1.0, 5.0])
def test_rays_off_the_centre_against_adaptive_quadrature(n: int, b: float, r: float) -> None:
    truth = quad(lambda s: s ** (n - 1) * math.exp(-s * s / 2 - b * s), 0, r, epsabs=0, epsrel=1e-11, limit=200)[0]
    assert mass(n, 1.0, b, r) == pytest.approx(math.log(truth), abs=1e-10)


@pytest.mark.parametrize("n", [2, 400])
@pytest.mark.parametrize("b", [-1e4, -30.0, 30.0, 1e4])
def test_far_off_the_centre_against_a_fine_grid(n: int, b: float) -> None:
    """The peak is anywhere on the way and narrow: a coarse grid finds it, a fine one adds up what is 45 nats around."""

    def integrand(s: np.ndarray) -> np.ndarray:
        return (n - 1) * np.log(s) - 1.5 * s * s - b * s

    for r in (0.01, 0.3, 40.0):
        coarse = np.unique(np.concatenate([np.linspace(0, r, 200_001)[1:], r * np.geomspace(1e-12, 1, 200_001)]))
        logs = integrand(coarse)
        near = np.flatnonzero(logs > logs.max() - 45)
        ends = coarse[max(near[0] - 1, 0)], coarse[min(near[-1] + 1, len(coarse) - 1)]
        fine = np.linspace(*ends, 400_001)
        total = trapezoid(np.exp(integrand(fine) - logs.max()), fine)
        assert mass(n, 3.0, b, r) == pytest.approx(logs.max() + math.log(total), abs=1e-6)


def test_where_the_incomplete_gamma_function_underflows() -> None:
    """The series of γ(n/2, x) for small x, in logs: x^(n/2) e^-x times the sum of x^k / (n/2)(n/2 + 1)...(n/2 + k)."""
    n, a, r = 100_000, 1.0, 30.0
    x, term, total = a * r * r / 2, 2 / n, 0.0
    for k in range(1, 60):
        total += term
        term *= x / (n / 2 + k)
    truth = n / 2 * math.log(x) - x + math.log(total) + (n / 2 - 1) * math.log(2) - n / 2 * math.log(a)
    assert mass(n, a, 0.0, r) == pytest.approx(truth, rel=1e-13)


def test_a_ray_of_no_length_holds_nothing() -> None:
    assert mass(3, 1.0, 0.5, 0.0) == -math.inf


@pytest.mark.parametrize("n", [1, 2, 50, 4000])
def test_the_radius_that_holds_so_much(n: int) -> None:
    """Never more than was asked for, and at most a thousandth of a nat less."""
    a, b, r = rays(n, 500, n)
    level = log_radial_mass(n, a, b, r) - np.random.default_rng(1).exponential(size=500)
    held = log_radial_mass(n, a, b, np.exp(log_radius_holding(n, a, b, level, r)))
    assert (held <= level + 1e-9 * np.abs(level) + 1e-9).all()
    assert (held >= level - 1.01e-3).all()


def test_a_radius_that_nothing_holds_so_much_up_to_is_infinite() -> None:
    a, b, r = rays(30, 200, 5)
    level = log_radial_mass(30, a, b, r)
    assert np.isinf(log_radius_holding(30, a, b, level + 1e-6, r)).all()
    whole = log_radial_mass(30, a, b, np.full(200, math.inf))
    assert np.isfinite(log_radius_holding(30, a, b, whole - 0.01, np.full(200, math.inf))).all()
    assert np.isinf(log_radius_holding(30, a, b, whole + 0.01, np.full(200, math.inf))).all()


@pytest.mark.parametrize("n", [1, 2, 50, 1000])
def test_its_derivatives_against_differences(n: int) -> None:
    rng = np.random.default_rng(n)
    a, b, r = n * np.exp(rng.normal(size=60)), math.sqrt(n) * rng.normal(size=60), np.exp(0.5 * rng.normal(size=60))
    first, second, slope = radial_moments(n, a, b, r)
    step = 1e-5

    def derivative(da: float, db: float, dr: float) -> np.ndarray:
        ends = [log_radial_mass(n, a * (1 + x * da), b + x * db, r * np.exp(x * dr)) for x in (step, -step)]
        return (ends[0] - ends[1]) / (2 * step)

    assert derivative(1, 0, 0) == pytest.approx(-a * second / 2, rel=1e-5, abs=1e-6)
    assert derivative(0, 1, 0) == pytest.approx(-first, rel=1e-5, abs=1e-6)
    assert derivative(0, 0, 1) == pytest.approx(slope, rel=1e-5, abs=1e-6)
