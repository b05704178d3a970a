"""Spectral densities and log-determinants: closed forms, moments, and errors that hold over seeds."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.integrate import trapezoid
from torch import Tensor

from helpers.spectra import Spectrum, dense, outliers, rotated
from landscape.curvature import Dense, Operator, log_determinant, quadrature, spectral_density, trace
from landscape.errors import LandscapeError

N = 200
SEEDS = 100
Z = 4.0
POSITIVE = {
    "narrow": np.linspace(1.0, 3.0, N),
    "outliers": np.concatenate([[50.0, 20.0, 9.0], np.random.default_rng(0).uniform(0.1, 1.0, N - 3)]),
    "decades": np.geomspace(1e-2, 1e2, N),
}


# The density: closed forms


@pytest.mark.parametrize("probes", [10, 60])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_few_atoms(probes: int, dtype: torch.dtype) -> None:
    """Random signs see a diagonal matrix exactly, and so do unit vectors: half at 0, a third at 2, the rest at -1."""
    values = np.repeat([0.0, 2.0, -1.0], [30, 20, 10])
    density = spectral_density(Spectrum(values, dtype), probes, 40)
    assert density.exact == (probes == 60)
    assert density.ended
    assert density.cost.evaluations <= 5 * probes, "the chains end after three steps"
    np.testing.assert_allclose(
        density.cdf(np.array([-1.1, -0.9, 0.1, 1.9, 2.1])), [0, 1 / 6, 4 / 6, 4 / 6, 1], atol=1e-5
    )
    assert density.zero_share == pytest.approx(0.5, abs=1e-5)
    assert density.negative_share == pytest.approx(1 / 6, abs=1e-5)
    assert density.trace[0] == pytest.approx(30.0, rel=1e-5)
    np.testing.assert_allclose(density.extremes, [-1.0, 2.0], atol=1e-5)
    assert density.cdf(density.extremes[1]) == pytest.approx(1.0), "a node counts as reached"


@pytest.mark.parametrize("value", [0.0, -3.0, 1e-12])
def test_a_multiple_of_the_identity(value: float) -> None:
    density = spectral_density(Spectrum(np.full(50, value)), 5)
    grid = density.grid()
    assert trapezoid(density.density(), grid) == pytest.approx(1.0, abs=1e-3)
    assert grid[np.argmax(density.density())] == pytest.approx(value, abs=density.width)
    assert density.trace[0] == pytest.approx(50 * value, abs=1e-12)


def test_the_semicircle() -> None:
    """Wigner: the eigenvalues of a large symmetric matrix of normal entries fill sqrt(4 - x^2) / 2 π."""
    n = 600
    entries = np.random.default_rng(0).standard_normal((n, n))
    density = spectral_density(Dense(torch.as_tensor((entries + entries.T) / math.sqrt(2 * n))), 20, 60)
    x = np.linspace(-1.6, 1.6, 41)
    off = np.abs(density.density(x, 0.1) - np.sqrt(4 - x**2) / (2 * math.pi))
    assert (off < Z * density.density_error(x, 0.1) + 0.005).all()
    assert off.mean() < 0.015
    assert density.moment(2)[0] == pytest.approx(1.0, abs=0.03)


# The density: normalisation, moments, errors


@pytest.mark.parametrize("width", [None, 0.01, 0.2])
@pytest.mark.parametrize("name", ["outliers", "normal", "1/i"])
def test_the_density_integrates_to_one_and_to_the_trace(name: str, width: float | None) -> None:
    values = {
        "outliers": outliers(N),
        "normal": np.random.default_rng(5).standard_normal(N),
        "1/i": 1 / np.arange(1, N + 1),
    }
    op = dense(values[name])
    density = spectral_density(op, 10, 40)
    grid = density.grid(width)
    smooth = density.density(grid, width)
    assert smooth.dtype == np.float64
    assert smooth.shape == grid.shape
    assert (smooth >= 0).all()
    assert (np.diff(grid) > 0).all()
    assert trapezoid(smooth, grid) == pytest.approx(1.0, abs=2e-4)
    assert N * trapezoid(smooth * grid, grid) == pytest.approx(density.trace[0], rel=2e-3, abs=2e-3)
    # the first moment is that of the same probes' trace
    same = trace(op, 10)
    assert density.trace == (pytest.approx(same.value), pytest.approx(same.standard_error))
    assert abs(density.trace[0] - values[name].sum()) < Z * density.trace[1]
    assert density.density(np.linspace(-1, 1, 7)).shape == (7,)


def test_the_distribution_is_that_of_a_dense_solver() -> None:
    matrix = rotated(outliers(N))
    density = spectral_density(Dense(torch.as_tensor(matrix)), 200, 60)
    assert density.exact
    eigenvalues = np.linalg.eigvalsh(matrix)
    for share in (0.25, 0.5, 0.9):
        assert density.cdf(np.quantile(eigenvalues, share)) == pytest.approx(share, abs=1 / 60)
        assert density.quantile(share) == pytest.approx(np.quantile(eigenvalues, share), abs=0.02)
    # every outlier is a node, and nothing lies beyond the spectrum
    for value in eigenvalues[-9:]:
        assert np.abs(density.nodes - value).min() < 1e-6
    assert eigenvalues[0] - 1e-9 <= density.extremes[0] <= density.extremes[1] <= eigenvalues[-1] + 1e-9


def test_its_errors_hold_over_seeds() -> None:
    """Second moment, and the smoothed density at three points, against the truth."""
    values, points, width = outliers(N), np.array([-0.3, 0.0, 5.0]), 0.25
    kernel = np.exp(-0.5 * ((points[:, None] - values) / width) ** 2) / (width * math.sqrt(2 * math.pi))
    truth = np.append(kernel.mean(1), np.square(values).mean())
    op = dense(values)
    found, errors = [], []
    for seed in range(SEEDS):
        density = spectral_density(op, 8, 30, seed=seed)
        second, error = density.moment(2)
        found.append([*density.density(points, width), second])
        errors.append([*density.density_error(points, width), error])
    scatter = np.std(found, axis=0, ddof=1)
    assert (np.abs(np.mean(found, axis=0) - truth) < Z * scatter / math.sqrt(SEEDS)).all()
    said = np.sqrt(np.mean(np.square(errors), axis=0))
    np.testing.assert_allclose(scatter, said, rtol=Z / math.sqrt(2 * SEEDS) * 1.5)


def test_without_room_the_three_terms_give_the_same_density(monkeypatch: pytest.MonkeyPatch) -> None:
    op = dense(outliers(N))
    kept = spectral_density(op, 4, 60)
    monkeypatch.setattr(quadrature, "BASIS_BYTES", 0)
    short = spectral_density(op, 4, 60)
    assert (kept.config["reorthogonalised"], short.config["reorthogonalised"]) == (True, False)
    x = np.linspace(-1, 31, 60)
    np.testing.assert_allclose(short.density(x, 0.25), kept.density(x, 0.25), atol=2e-3)
    assert short.trace[0] == pytest.approx(kept.trace[0], rel=1e-9)
    # an outlier that comes twice has its weight divided, not doubled
    at = np.array([20.0, 31.0])
    np.testing.assert_allclose(np.diff(short.cdf(at)), np.diff(kept.cdf(at)), rtol=1e-6)


def test_probes_are_keyed_and_advance_together() -> None:
    op = dense(outliers(N))
    few, many = spectral_density(op, 3, 20), spectral_density(op, 6, 20)
    np.testing.assert_allclose(few.nodes, many.nodes[:3], rtol=1e-9, atol=1e-12)
    assert many.cost.calls == 20, "one block product a step"
    assert many.cost.evaluations == 120


# The log-determinant


@pytest.mark.parametrize("shift", [0.0, 2.5])
def test_a_diagonal_matrix(shift: float) -> None:
    values = np.random.default_rng(2).uniform(0.5, 4, 300)
    found = log_determinant(Spectrum(values), shift, probes=4, steps=40)
    assert found.value == pytest.approx(np.log(values + shift).sum(), abs=1e-8)
    assert found.error < 1e-3
    assert found.definite
    assert (found.shift, found.zero, found.negative) == (shift, 0.0, 0.0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_few_rows_are_exact(dtype: torch.dtype) -> None:
    matrix = torch.tensor([[4.0, 1.0, 0.0], [1.0, 3.0, -1.0], [0.0, -1.0, 2.0]], dtype=dtype)
    found = log_determinant(Dense(matrix))
    assert found.value == pytest.approx(math.log(18.0), rel=1e-6)
    assert (found.exact, found.error) == (True, 0.0)


@pytest.mark.parametrize("name", POSITIVE)
def test_it_is_right_within_its_error_over_seeds(name: str) -> None:
    truth = float(np.log(POSITIVE[name]).sum())
    op = dense(POSITIVE[name])
    found = [log_determinant(op, probes=10, steps=30, seed=seed) for seed in range(SEEDS)]
    values = np.array([one.value for one in found])
    scatter = values.std(ddof=1)
    said = math.sqrt(np.mean([one.standard_error**2 for one in found]))
    assert scatter == pytest.approx(said, rel=Z / math.sqrt(2 * SEEDS) * 1.5)
    bias = max(one.quadrature_error for one in found)
    assert abs(values.mean() - truth) < Z * scatter / math.sqrt(SEEDS) + bias
    # a standard error from ten probes has the tails of Student's t with nine degrees of freedom
    z = np.abs(values - truth) / [one.error for one in found]
    assert np.mean(z > 3.25) <= 0.01 + Z * math.sqrt(0.01 * 0.99 / SEEDS)
    assert all(one.definite for one in found)
    # in float32 the same probes give the same numbers
    for seed in range(3):
        rounded = log_determinant(dense(POSITIVE[name], torch.float32), probes=10, steps=30, seed=seed)
        assert rounded.value == pytest.approx(found[seed].value, abs=1e-2 * found[seed].standard_error)
        assert rounded.standard_error == pytest.approx(found[seed].standard_error, rel=1e-2)
        assert rounded.quadrature_error == pytest.approx(found[seed].quadrature_error, rel=0.1, abs=1e-3)
        assert rounded.definite


def test_too_few_steps_show_in_the_quadrature_error() -> None:
    values = np.geomspace(1e-6, 1e2, N)
    truth = float(np.log(values).sum())
    errors = []
    for steps in (10, 20, 40, 80):
        found = log_determinant(dense(values), probes=N, steps=steps)
        assert found.standard_error == 0.0
        errors.append(abs(found.value - truth))
        assert errors[-1] < found.quadrature_error, steps
    assert errors[0] > 5 * errors[-1]


def test_negative_eigenvalues_are_counted() -> None:
    values = np.concatenate([np.full(20, -2.0), np.linspace(1, 3, N - 20)])
    found = log_determinant(dense(values), probes=40, steps=30)
    assert not found.definite
    assert abs(found.negative - 20) < Z * found.negative_error
    assert abs(found.value - np.log(np.abs(values)).sum()) < Z * found.error
    assert "not positive definite: about" in str(found)
    lifted = log_determinant(dense(values), 2.5, probes=40, steps=30)
    assert lifted.definite
    assert abs(lifted.value - np.log(values + 2.5).sum()) < Z * lifted.error


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_singular_matrix_has_no_logarithm(dtype: torch.dtype) -> None:
    values = np.concatenate([np.zeros(50), np.linspace(1, 3, N - 50)])
    found = log_determinant(dense(values, dtype), probes=40, steps=30)
    assert found.value == -math.inf
    assert not found.definite
    assert found.zero == pytest.approx(50, abs=10)
    assert "Pass a shift" in str(found)
    assert log_determinant(dense(values, dtype), 0.1, probes=40).definite


# Misuse


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda op: spectral_density(op, 1), "standard error needs a second"),
        (lambda op: spectral_density(op, 10, 1), "`steps` must be a whole number of at least 2"),
        (lambda op: log_determinant(op, math.nan), "shift must be a finite number"),
        (lambda op: log_determinant(op, steps=0), "`steps` must be a whole number"),
        (lambda op: log_determinant(op, seed="a"), "seed"),
    ],
)
def test_misuse_is_one_clear_error(call: Callable[[Operator], object], told: str) -> None:
    with pytest.raises(LandscapeError, match=told):
        call(dense(outliers(N)))


@pytest.mark.parametrize("measure", [spectral_density, log_determinant])
def test_products_that_are_no_numbers_are_refused(measure: Callable[[Operator], object]) -> None:
    class Later(Spectrum):
        """Finite at first."""

        def _apply(self, vectors: Tensor) -> Tensor:
            return vectors * (math.nan if self.cost.calls > 3 else self.values[:, None])

    with pytest.raises(LandscapeError, match="NaN or infinite"):
        measure(Later(np.linspace(1, 2, N)))


def test_the_results_read_as_tables() -> None:
    density = str(spectral_density(dense(outliers(N)), 5, 20))
    assert density.startswith("spectral density of the Dense operator: 5 random probes of 20 steps, n = 200")
    assert "±" in density
    assert "quadrature error" in str(log_determinant(dense(POSITIVE["narrow"])))


# What the steps resolve


@pytest.mark.parametrize("steps", [10, 20, 40, 80])
@pytest.mark.parametrize("shares", [(0.05, 0.75), (0.3, 0.0), (0.0, 0.5)])
def test_bounds_of_shares_and_quantiles_hold_the_truth(steps: int, shares: tuple[float, float]) -> None:
    """Six decades, some negative, many zero: random signs see a diagonal matrix exactly, so only the steps err."""
    n = 1000
    negative, zero = (round(n * share) for share in shares)
    values = np.zeros(n)
    values[:negative] = -np.geomspace(1e-3, 1.0, negative)
    values[negative + zero :] = np.geomspace(1e-3, 1e3, n - negative - zero)
    density = spectral_density(Spectrum(values), 3, steps)
    for truth, (low, high) in zip(shares, (density.negative_bounds, density.zero_bounds), strict=True):
        assert low - 1e-9 <= truth <= high + 1e-9
    for edge in (-2.0, -0.1, 0.5, 30.0, 999.0):
        low, high = density.share_bounds(-math.inf, edge)
        assert low - 1e-9 <= np.mean(values <= edge) <= high + 1e-9
    for share in (0.05, 0.5, 0.95):
        low, high = density.quantile_bounds(share)
        assert low <= np.sort(values)[math.ceil(share * n) - 1] <= high
    known = density.negative_share
    assert math.isnan(known) or abs(known - shares[0]) <= 0.1


def test_shares_that_the_steps_do_not_resolve_are_withheld() -> None:
    values = np.concatenate([-np.geomspace(1e-3, 1.0, 50), np.zeros(750), np.geomspace(1e-3, 1e3, 200)])
    few = spectral_density(Spectrum(values), 3, 20)
    assert math.isnan(few.negative_share)
    assert "not resolved by 20 steps" in str(few)
    assert few.around_zero == "shares below 0 and at 0: not resolved by 20 steps"
    many = spectral_density(Spectrum(np.repeat(values[::50], 50)), 3, 60)
    assert many.ended
    assert many.negative_share == pytest.approx(0.05, abs=1e-9)
    assert "not resolved" not in str(many)
