"""Eigenpairs: right values in order, true residuals, honest flags, and no more products than the solvers of scipy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import LinearOperator, eigsh, lobpcg
from torch import Tensor

from helpers.spectra import Spectrum, dense, outliers, rotated
from landscape.curvature import Dense, Operator, eigenpairs, top_eigenpairs
from landscape.curvature.lanczos import Krylov, Search
from landscape.errors import CurvatureError, LandscapeError
from landscape.results import Eigenpairs

SPECTRA = {
    "outliers": outliers(1000),
    "1/i": 1.0 / np.arange(1, 1001),
    "1/i^2": 1.0 / np.arange(1, 1001) ** 2,
    "exponential": np.exp(-np.arange(1000) / 20),
    "normal": np.random.default_rng(0).standard_normal(1000),
}


def wanted(values: np.ndarray, k: int, which: str) -> np.ndarray:
    order = np.sort(values)[::-1]
    return {
        "largest": order[:k],
        "smallest": order[len(order) - k :],
        "magnitude": np.sort(values[np.argsort(-np.abs(values))[:k]])[::-1],
    }[which]


# Closed forms


@pytest.mark.parametrize("which", eigenpairs.WHICH)
@pytest.mark.parametrize("k", [1, 3, 6])
def test_a_diagonal_matrix(which: str, k: int) -> None:
    values = np.array([2.0, -7.0, 4.0, 0.0, 1.0, -0.5])
    pairs = top_eigenpairs(Spectrum(values), k, which=which)
    np.testing.assert_allclose(pairs.values, wanted(values, k, which), atol=1e-9)
    assert pairs.converged.all()
    assert pairs.complete
    for value, vector in zip(pairs.values, pairs.vectors.T, strict=True):
        unit = np.eye(6)[np.argmin(np.abs(values - value))]  # the sign is fixed: the largest entry is positive
        np.testing.assert_allclose(vector, unit, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("k", [1, 4, 8])
def test_identity_and_zero(k: int, dtype: torch.dtype) -> None:
    for matrix, value in ((torch.eye(8, dtype=dtype), 1.0), (torch.zeros(8, 8, dtype=dtype), 0.0)):
        pairs = top_eigenpairs(Dense(matrix), k)
        np.testing.assert_allclose(pairs.values, value, atol=1e-6)
        assert pairs.converged.all()
        assert pairs.complete
        np.testing.assert_allclose(pairs.vectors.T @ pairs.vectors, np.eye(k), atol=1e-6)


def test_one_by_one() -> None:
    pairs = top_eigenpairs(Dense(torch.tensor([[-3.0]])), 1)
    assert (pairs.values.tolist(), pairs.vectors.tolist(), pairs.complete) == ([-3.0], [[1.0]], True)


@pytest.mark.parametrize("multiplicity", [2, 3])
@pytest.mark.parametrize("seed", range(5))
def test_every_copy_of_a_multiple_eigenvalue(multiplicity: int, seed: int) -> None:
    """One Krylov space holds one copy of each; a search from another vector finds the others."""
    bulk = np.linspace(-1, 1, 300)
    values = np.concatenate([np.repeat([5.0, 4.0], multiplicity), bulk])
    pairs = top_eigenpairs(Spectrum(values), 2 * multiplicity + 1, seed=seed)
    np.testing.assert_allclose(pairs.values, wanted(values, 2 * multiplicity + 1, "largest"), rtol=1e-6)
    assert pairs.complete
    unchecked = top_eigenpairs(Spectrum(values), 2, seed=seed, check=False)
    assert not unchecked.complete
    assert "not asked for" in unchecked.notes[0]
    assert unchecked.values[1] == pytest.approx(4.0), "the check has nothing to do here"


def test_a_pair_found_late_is_finished_by_the_vector_it_lacks() -> None:
    """What a search finds may couple to the remainder of the first chain: that must be multiplied then."""
    values = np.concatenate([[5.0, 5.0, 4.0, 3.0, 3.0, 2.0], np.linspace(-1, 1, 150)])
    for seed in range(5):
        pairs = top_eigenpairs(Spectrum(values), 5, seed=seed)
        assert pairs.complete
        assert pairs.cost.evaluations < 70


def test_few_distinct_values() -> None:
    values = np.repeat([3.0, 1.0, 0.0], [4, 2, 50])
    pairs = top_eigenpairs(dense(values), 7)
    np.testing.assert_allclose(pairs.values, [3, 3, 3, 3, 1, 1, 0], atol=1e-9)
    assert pairs.converged.all()
    assert "1 of these values are 0 to the rounding" in pairs.notes[0]


# Against a dense solver and scipy's iterative ones


@pytest.mark.parametrize("which", eigenpairs.WHICH)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_dense_solver(which: str, dtype: torch.dtype) -> None:
    matrix = rotated(np.random.default_rng(3).standard_normal(150))
    pairs = top_eigenpairs(Dense(torch.as_tensor(matrix, dtype=dtype)), 5, which=which, rtol=1e-5)
    expected = wanted(np.linalg.eigvalsh(matrix), 5, which)
    np.testing.assert_allclose(pairs.values, expected, rtol=1e-6)
    assert (np.diff(pairs.values) <= 0).all(), "descending"
    assert pairs.converged.all()
    true = np.linalg.norm(matrix @ pairs.vectors - pairs.vectors * pairs.values, axis=0)
    slack = 20 * torch.finfo(dtype).eps * np.abs(matrix).sum(1).max()
    np.testing.assert_allclose(pairs.residuals, true, rtol=0.05, atol=slack)
    np.testing.assert_allclose(pairs.vectors.T @ pairs.vectors, np.eye(5), atol=1e-5)


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("seed", range(3))
def test_no_more_products_than_arpack_and_lobpcg(name: str, seed: int) -> None:
    """The same tolerance, the same kind of start; the search for missed values comes on top, and ARPACK makes none."""
    values, calls = SPECTRA[name], 0

    def product(v: np.ndarray) -> np.ndarray:
        nonlocal calls
        calls += v.size // len(values)
        return values[:, None] * v.reshape(len(values), -1)

    start = np.random.default_rng(seed).standard_normal((len(values), 5))
    operator = LinearOperator((len(values),) * 2, matvec=product, matmat=product, dtype=float)
    theirs = eigsh(operator, k=5, which="LA", tol=1e-4, v0=start[:, 0])[0]
    arpack, calls = calls, 0
    lobpcg(operator, start, tol=1e-4 * values.max(), maxiter=400)
    ours = top_eigenpairs(Spectrum(values), 5, check=False, seed=seed)
    np.testing.assert_allclose(ours.values, np.sort(theirs)[::-1], rtol=1e-6)
    assert ours.converged.all()
    assert ours.cost.evaluations <= min(arpack, calls)
    searched = top_eigenpairs(Spectrum(values), 5, seed=seed)
    assert searched.complete
    assert searched.cost.evaluations <= 1.4 * ours.cost.evaluations
    if name == "outliers":
        assert searched.cost.evaluations <= arpack


def test_thick_restarts_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.concatenate([[9.0, 9.0, 8.0, 7.5], np.random.default_rng(2).uniform(-5, 6, 500)])
    free = top_eigenpairs(Spectrum(values), 4)
    monkeypatch.setattr(eigenpairs, "BASIS_BYTES", 32 * 504 * 8)
    cramped = top_eigenpairs(Spectrum(values), 4)
    np.testing.assert_allclose(cramped.values, wanted(values, 4, "largest"), rtol=1e-6)
    assert cramped.converged.all()
    assert cramped.complete
    assert cramped.cost.evaluations > free.cost.evaluations > 32
    true = np.linalg.norm(values[:, None] * cramped.vectors - cramped.vectors * cramped.values, axis=0)
    np.testing.assert_allclose(cramped.residuals, true, atol=1e-10)


def test_a_search_that_memory_cuts_short_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eigenpairs, "BASIS_BYTES", 0)
    pairs = top_eigenpairs(Spectrum(np.linspace(0, 1, 800)), 5, max_products=5000)
    assert pairs.converged.all()
    assert not pairs.complete
    assert "ran out of memory" in pairs.notes[0]


# What is not converged says so


@pytest.mark.parametrize("k", [3, 5, 8])
def test_a_run_stopped_early_flags_what_is_wrong(k: int) -> None:
    """Lanczos stopped after 2 k steps has the later values wrong: each of them must carry its flag."""
    values = np.exp(-np.arange(500) / 20)
    pairs = top_eigenpairs(Spectrum(values), k, max_products=2 * k)
    wrong = np.abs(pairs.values - values[:k]) > 1e-4 * values[:k]
    assert wrong.any()
    assert not pairs.converged[wrong].any()
    assert not pairs.complete
    assert "max_products" in pairs.notes[0]
    assert "NO" in str(pairs)
    assert pairs.cost.evaluations == 2 * k
    # converged or not, each interval holds an eigenvalue
    distance = np.abs(values - pairs.values[:, None]).min(1)
    assert (distance <= pairs.residuals * (1 + 1e-9)).all()


def test_float32_stops_at_its_rounding() -> None:
    values = np.concatenate([[1e3, 1.0, 0.5], np.linspace(-0.1, 0.1, 200)])
    # at 1e-6 a residual can be small enough by luck, on some processors; 1 has none of 3e-8 in float32
    pairs = top_eigenpairs(dense(values, torch.float32), 3, rtol=3e-8, max_products=5000)
    assert pairs.converged[0]
    assert not pairs.converged[1:].any()
    assert pairs.cost.evaluations < 203, "products that cannot help"
    assert "float32" in pairs.notes[0]
    assert 0 < pairs.rounding < 1e-3
    np.testing.assert_allclose(pairs.values, values[:3], atol=1e-3)
    true = top_eigenpairs(dense(values), 3, rtol=1e-6)
    assert true.converged.all()
    np.testing.assert_allclose(true.values, values[:3], rtol=1e-9)


def test_the_same_seed_gives_the_same_bytes() -> None:
    first, second, other = (top_eigenpairs(Spectrum(outliers(200)), 3, seed=seed) for seed in (7, 7, 8))
    assert first.vectors.tobytes() == second.vectors.tobytes()
    assert first.vectors.tobytes() != other.vectors.tobytes()
    np.testing.assert_allclose(first.values, other.values, rtol=1e-6)
    assert first.config["seed"] == 7
    assert first.config["dimension"] == 200
    assert first.vectors.dtype == np.float64


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_basis_stays_orthonormal(dtype: torch.dtype) -> None:
    """Also where a product lies nearly in the span of the basis, so that little of it is left."""
    krylov = Krylov(Spectrum(np.geomspace(1e6, 1e-6, 300), dtype), 60, 1.0, 0)
    krylov.start()
    for _ in range(59):
        if not krylov.waiting:
            krylov.start()
        krylov.multiply()
    basis = krylov.basis[: krylov.count].double()
    assert float((basis @ basis.T - torch.eye(krylov.count)).abs().max()) < 10 * torch.finfo(dtype).eps


def test_the_share_bound_holds_for_any_measure() -> None:
    """The chain of a random vector z bounds what an eigenvector in z can weigh, and tightens with every step."""
    rng = np.random.default_rng(4)
    values, z = np.append(np.linspace(-1, 1, 60), 1.5), rng.standard_normal(61)
    z[-1] = 1e-3 * np.linalg.norm(z[:-1])
    share = z[-1] ** 2 / (z @ z)
    search, previous, vector, off_diagonal, bounds = Search(), np.zeros(61), z / np.linalg.norm(z), 0.0, []
    for _ in range(9):
        product = values * vector - off_diagonal * previous
        search.diagonal.append(float(vector @ product))
        product -= search.diagonal[-1] * vector
        off_diagonal = float(np.linalg.norm(product))
        search.off_diagonal.append(off_diagonal)
        previous, vector = vector, product / off_diagonal
        bounds.append(search.largest_share(1.5))
    assert (np.diff(bounds) < 0).all()
    assert share <= bounds[-1] < 1.2 * share + 1e-12
    assert search.largest_share(-1.5, sign=-1.0) == 1.0, "a Ritz value lies beyond"


def test_a_random_vector_rarely_misses_a_direction() -> None:
    z = np.random.default_rng(6).standard_normal((20_000, 40))
    shares = z[:, 0] ** 2 / np.square(z).sum(1)
    assert np.mean(shares < eigenpairs.least_share(40, 0.1)) == pytest.approx(0.1, abs=4 * np.sqrt(0.09 / 20_000))


def test_another_vector_ends_a_search() -> None:
    krylov = Krylov(Spectrum(np.linspace(0, 1, 50)), 30, 1.0, 0)
    krylov.start()
    krylov.multiply()
    assert krylov.search is None, "the first chain searches nothing"
    krylov.start()
    krylov.multiply()
    assert krylov.search is not None
    assert len(krylov.waiting) == 2
    krylov.multiply(0)
    assert krylov.search is None


# Misuse


class Broken(Operator):
    def __init__(self, matrix: np.ndarray, noise: float = 0.0) -> None:
        super().__init__(len(matrix), torch.float64, torch.device("cpu"))
        self.matrix, self.noise, self.random = torch.as_tensor(matrix), noise, torch.Generator().manual_seed(0)

    def _apply(self, vectors: Tensor) -> Tensor:
        return self.matrix @ vectors + self.noise * torch.randn(
            vectors.shape, dtype=torch.float64, generator=self.random
        )


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"k": 21}, "`k=20` or less"),
        ({"k": 0}, "`k` must be a whole number"),
        ({"k": 2.5}, "`k` must be a whole number"),
        ({"which": "top"}, "largest, smallest, magnitude"),
        ({"rtol": 0.0}, "rtol must lie between"),
        ({"k": 5, "max_products": 4}, "at least 5 products"),
        ({"seed": -1}, "seed"),
    ],
)
def test_misuse_is_one_clear_error(settings: dict, told: str) -> None:
    with pytest.raises(LandscapeError, match=told):
        top_eigenpairs(Spectrum(np.arange(20.0)), **settings)


def test_products_that_are_no_numbers_or_not_symmetric_are_refused() -> None:
    with pytest.raises(CurvatureError, match="NaN or infinite"):
        top_eigenpairs(Broken(np.full((20, 20), np.nan)))
    with pytest.raises(CurvatureError, match="not symmetric"):
        top_eigenpairs(Broken(np.triu(np.random.default_rng(0).standard_normal((20, 20)))))
    with pytest.raises(CurvatureError, match="dropout"):
        top_eigenpairs(Broken(np.diag(np.arange(20.0)), noise=5.0))


def test_the_result_reads_as_a_table() -> None:
    pairs = top_eigenpairs(Spectrum(np.arange(20.0)), 2)
    assert isinstance(pairs, Eigenpairs)
    lines = str(pairs).splitlines()
    assert lines[0].startswith("2 largest eigenvalues of the Spectrum operator, n = 20, ")
    assert lines[2].split()[:2] == ["1", "19"]
    assert lines[2].split()[3] == "yes"
