"""Traces, block traces and diagonals: right in the mean, and as far off as they say."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from helpers.spectra import Spectrum, decaying, dense, outliers, rotated
from landscape.curvature import (
    Dense,
    Operator,
    Part,
    diagonal,
    layer_traces,
    log_determinant,
    probes,
    spectral_density,
    top_eigenpairs,
    trace,
    traces,
)
from landscape.errors import LandscapeError

METHODS = tuple(traces.METHODS)
SPECTRA = {
    "decaying": decaying(120),
    "outliers": outliers(120),
    "1/i": 1.0 / np.arange(1, 121),
    "flat": 1.0 + 0.1 * np.random.default_rng(0).standard_normal(120),
}
PARTS = (Part("a.weight", 0, 70), Part("a.bias", 70, 80), Part("b.weight", 80, 120))
SEEDS = 100
Z = 4.0


def assert_honest(values: np.ndarray, errors: np.ndarray, truth: float) -> None:
    """The mean over seeds is the truth, and the values scatter no more than their errors say (and not far less)."""
    scatter = values.std(ddof=1)
    assert abs(values.mean() - truth) < Z * scatter / math.sqrt(len(values))
    said = math.sqrt(np.square(errors).mean())
    # the standard deviation of SEEDS values is known to 1 in sqrt(2 SEEDS), more for heavy tails
    assert scatter < said * (1 + 2 * Z / math.sqrt(2 * len(values)))
    assert scatter > 0.55 * said


# Closed forms


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_few_rows_are_exact(method: str, dtype: torch.dtype) -> None:
    matrix = torch.tensor([[1.0, 0.3, -2.0], [0.3, -4.0, 0.1], [-2.0, 0.1, 9.5]], dtype=dtype)
    found = trace(Dense(matrix), 50, method=method)
    assert found.value == pytest.approx(6.5, rel=1e-6)
    assert (found.exact, found.standard_error, found.cost.evaluations) == (True, 0.0, 3.0)
    blocks = layer_traces(Dense(matrix, (Part("one", 0, 2), Part("two", 2, 3))), 3)
    np.testing.assert_allclose(blocks.values, [-3.0, 9.5], rtol=1e-6)
    assert blocks.standard_errors.tolist() == [0.0, 0.0]
    assert blocks.total == (pytest.approx(6.5, rel=1e-6), 0.0)
    entries = diagonal(Dense(matrix), 3)
    np.testing.assert_allclose(entries.values, [1.0, -4.0, 9.5], rtol=1e-6)
    assert (entries.standard_errors == 0).all()


def test_signs_are_exact_on_a_diagonal_matrix() -> None:
    values = np.random.default_rng(1).standard_normal(500)
    found = trace(Spectrum(values), 2)
    assert found.value == pytest.approx(values.sum(), rel=1e-12)
    assert found.standard_error == pytest.approx(0.0, abs=1e-12)
    assert not found.exact
    np.testing.assert_allclose(diagonal(Spectrum(values), 2).values, values)


@pytest.mark.parametrize("method", ["hutch++", "xtrace"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_low_rank_is_exact_with_more_probes_than_rank(method: str, dtype: torch.dtype) -> None:
    op = dense(np.concatenate([[3.0, -2.0, 0.5], np.zeros(97)]), dtype)
    found = trace(op, 24, method=method)
    assert found.value == pytest.approx(1.5, rel=2e-6 if dtype == torch.float32 else 1e-12)
    assert found.standard_error < 1e-5


@pytest.mark.parametrize("method", METHODS)
def test_the_zero_matrix(method: str) -> None:
    found = trace(Dense(torch.zeros(60, 60)), 12, method=method)
    assert (found.value, found.standard_error) == (0.0, 0.0)


# In the mean right, and honest about the error


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("method", METHODS)
def test_the_trace_is_unbiased_and_its_error_is_honest(method: str, name: str) -> None:
    op = dense(SPECTRA[name])
    found = [trace(op, 48, method=method, seed=seed) for seed in range(SEEDS)]
    values = np.array([one.value for one in found])
    assert_honest(values, np.array([one.standard_error for one in found]), SPECTRA[name].sum())
    assert {one.cost.evaluations for one in found} == {48.0}


def test_the_error_of_xtrace_allows_for_shared_vectors() -> None:
    """The bare scatter of its values says a quarter too little here."""
    op = dense(decaying(120))
    found = [trace(op, 48, method="xtrace", seed=seed) for seed in range(400)]
    scatter = np.std([one.value for one in found], ddof=1)
    said = math.sqrt(np.mean([one.standard_error**2 for one in found]))
    assert scatter < said * (1 + Z / math.sqrt(2 * 400))


def test_the_error_of_hutchinson_is_the_known_one() -> None:
    """Variance 2 · sum of a_ij^2 over i != j, over the number of probes."""
    matrix = rotated(outliers(500))
    known = math.sqrt(2 * (np.square(matrix).sum() - np.square(np.diag(matrix)).sum()) / 400)
    found = trace(Dense(torch.as_tensor(matrix)), 400)
    assert found.standard_error == pytest.approx(known, rel=Z / math.sqrt(2 * 400) * 1.5)
    assert abs(found.value - np.trace(matrix)) < Z * known
    assert found.samples.shape == (400,)


def test_no_run_stops_because_it_looks_settled() -> None:
    """A trace that ends once its mean moves by less than 1 in 1,000 ends by chance, and scatters by per cents."""
    op = dense(outliers(300))
    found = [trace(op, 250, seed=seed) for seed in range(40)]
    assert {one.cost.evaluations for one in found} == {250.0}
    ended_early = []
    for one in found:
        means = np.cumsum(one.samples) / np.arange(1, 251)
        settled = np.abs(np.diff(means) / means[:-1]) < 1e-3
        ended_early.append(means[1 + int(np.argmax(settled))])
    scatter = np.std([one.value for one in found], ddof=1)
    assert scatter == pytest.approx(found[0].standard_error, rel=Z / math.sqrt(2 * 40))
    assert np.std(ended_early, ddof=1) > 1.5 * scatter


def test_hutch_plus_plus_and_xtrace_are_better_where_the_spectrum_decays() -> None:
    op = dense(decaying(120))
    errors = {
        method: np.mean([trace(op, 48, method=method, seed=s).standard_error for s in range(20)]) for method in METHODS
    }
    assert errors["hutch++"] < errors["hutchinson"] / 3
    assert errors["xtrace"] < errors["hutch++"]


def test_block_traces_are_honest() -> None:
    matrix = rotated(outliers(120))
    op = Dense(torch.as_tensor(matrix), PARTS)
    found = [layer_traces(op, 40, seed=seed) for seed in range(SEEDS)]
    for i, part in enumerate(PARTS):
        truth = float(np.trace(matrix[part.start : part.stop, part.start : part.stop]))
        values, errors = np.array([one.values[i] for one in found]), np.array([one.standard_errors[i] for one in found])
        assert_honest(values, errors, truth)
    whole = trace(op, 40, seed=5)
    assert found[5].total == (pytest.approx(whole.value), pytest.approx(whole.standard_error))
    assert found[5].names == ("a.weight", "a.bias", "b.weight")
    assert found[5].sizes.tolist() == [70, 10, 40]


def test_a_tensor_of_which_no_entry_is_in_scope_is_left_out() -> None:
    op = Spectrum(np.arange(6.0))
    op.parts = (Part("a", 0, 4), Part("masked", 4, 4), Part("b", 4, 6))
    found = layer_traces(op)
    assert found.names == ("a", "b")
    assert found.sizes.tolist() == [4, 2]
    np.testing.assert_allclose(found.values, [6.0, 9.0])


def test_the_diagonal_is_honest() -> None:
    matrix = rotated(outliers(120))
    found = [diagonal(Dense(torch.as_tensor(matrix)), 40, seed=seed) for seed in range(SEEDS)]
    for i in (0, 50, 119):
        values, errors = np.array([one.values[i] for one in found]), np.array([one.standard_errors[i] for one in found])
        assert_honest(values, errors, matrix[i, i])
    # over all entries of one run
    z = (found[0].values - np.diag(matrix)) / found[0].standard_errors
    assert 0.6 < np.sqrt(np.square(z).mean()) < 1.5


# Probes


def test_probes_do_not_depend_on_blocks_order_or_number(monkeypatch: pytest.MonkeyPatch) -> None:
    op = dense(outliers(120), parts=PARTS)
    measures: tuple[Callable, ...] = (
        lambda: trace(op, 30).samples,
        lambda: layer_traces(op, 30).samples,
        lambda: np.stack([(found := diagonal(op, 30)).values, found.standard_errors]),
    )
    together = [measure() for measure in measures]
    monkeypatch.setattr(probes, "BLOCK_BYTES", 7 * 120 * 8)
    for before, measure in zip(together, measures, strict=True):
        np.testing.assert_allclose(measure(), before, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(trace(op, 50).samples[:30], together[0], rtol=1e-10)
    assert trace(op, 30, seed=1).value != trace(op, 30, seed=2).value


def test_signs_are_fair_and_independent() -> None:
    drawn = np.stack([probes.signs(3, index, 4000) for index in range(50)]).astype(float)
    assert set(np.unique(drawn)) == {-1.0, 1.0}
    assert abs(drawn.sum()) < Z * math.sqrt(drawn.size)
    products = drawn @ drawn.T / math.sqrt(4000)
    assert np.abs(products[np.triu_indices(50, 1)]).max() < 5.0
    assert abs((drawn[:, 1:] * drawn[:, :-1]).sum()) < Z * math.sqrt(drawn.size)


def test_forms_are_asked_for_where_they_suffice() -> None:
    class Forms(Spectrum):
        def _apply(self, vectors: Tensor) -> Tensor:
            raise AssertionError("a product where a form does")

        def _forms(self, vectors: Tensor) -> Tensor:
            return (self.values[:, None] * vectors.square()).sum(0).double()

    assert trace(Forms(np.ones(90)), 5).value == 90.0


# Sums


class Sum(Operator):
    """A sum of matrices whose summands can be had alone."""

    def __init__(self, matrices: list[np.ndarray]) -> None:
        self.matrices = [Dense(torch.as_tensor(matrix), PARTS) for matrix in matrices]
        super().__init__(len(matrices[0]), torch.float64, torch.device("cpu"), PARTS)

    def summands(self) -> list[Dense]:
        return self.matrices

    def _apply(self, vectors: Tensor) -> Tensor:
        return torch.stack([matrix @ vectors for matrix in self.matrices]).sum(0)


def alike() -> list[np.ndarray]:
    """Eight positive semi-definite matrices that have half of what they are in common."""
    common = rotated(outliers(120), seed=1)
    return [(common + rotated(outliers(120), seed=2 + i)) / 16 for i in range(8)]


def off_diagonal(matrix: np.ndarray) -> float:
    """Sum of squares off the diagonal."""
    return float(np.square(matrix - np.diag(np.diag(matrix))).sum())


def test_summands_are_probed_with_signs_of_their_own() -> None:
    """Unbiased, and the variance is the sum of the summands', 2 · sum of a_ij² each, not that of the sum."""
    op = Sum(alike())
    truth, count = float(sum(np.trace(matrix.matrix) for matrix in op.matrices)), 4000
    samples = np.concatenate([trace(op, 100, seed=seed).samples for seed in range(count // 100)])
    own = 2 * sum(off_diagonal(matrix.matrix.numpy()) for matrix in op.matrices)
    common = 2 * off_diagonal(sum(matrix.matrix.numpy() for matrix in op.matrices))
    variance = samples.var(ddof=1)
    deviations = np.square(samples - samples.mean())
    assert abs(variance - own) < Z * deviations.std() / math.sqrt(count)
    assert own < 0.5 * common, "or there is nothing to tell"
    assert abs(samples.mean() - truth) < Z * math.sqrt(own / count)


@pytest.mark.parametrize("measure", [layer_traces, diagonal])
def test_blocks_of_many_summands_are_not_all_kept_at_once(
    measure: Callable[[Operator, int], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their sum is all that is needed, and of a thousand batches they would not fit."""
    alive, real = [], Dense._apply

    def counted(self: Dense, vectors: Tensor) -> Tensor:
        held = [thing for thing in gc.get_objects() if type(thing) is Tensor and thing.shape == vectors.shape]
        alive.append(len(held))
        return real(self, vectors)

    monkeypatch.setattr(Dense, "_apply", counted)
    measure(Sum(alike()), 5)
    assert len(alive) == 8
    assert max(alive) <= alive[0] + 1


def test_blocks_and_the_diagonal_of_a_sum_are_honest() -> None:
    op = Sum(alike())
    whole = sum(matrix.matrix.numpy() for matrix in op.matrices)
    found = [layer_traces(op, 40, seed=seed) for seed in range(SEEDS)]
    for i, part in enumerate(PARTS):
        truth = float(np.trace(whole[part.start : part.stop, part.start : part.stop]))
        assert_honest(np.array([f.values[i] for f in found]), np.array([f.standard_errors[i] for f in found]), truth)
    entries = [diagonal(op, 40, seed=seed) for seed in range(SEEDS)]
    values, errors = np.array([e.values[5] for e in entries]), np.array([e.standard_errors[5] for e in entries])
    assert_honest(values, errors, float(whole[5, 5]))
    assert diagonal(op, 200).exact


# Misuse


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda op: trace(op, 1), "standard error needs a second"),
        (lambda op: trace(op, 0), "`probes` must be a whole number"),
        (lambda op: trace(op, 5, method="hutch++"), "needs 6 of them"),
        (lambda op: trace(op, 4, method="xtrace"), "needs 6 of them"),
        (lambda op: trace(op, method="exact"), "hutchinson, hutch"),
        (lambda op: trace(op, seed=-3), "seed"),
        (lambda op: layer_traces(op, 1), "standard error needs a second"),
        (lambda op: diagonal(op, True), "`probes` must be a whole number"),
    ],
)
def test_misuse_is_one_clear_error(call: Callable[[Operator], object], told: str) -> None:
    with pytest.raises(LandscapeError, match=told):
        call(dense(outliers(120)))


@pytest.mark.parametrize("measure", [trace, layer_traces, diagonal])
def test_products_that_are_no_numbers_are_refused(measure: Callable[[Operator], object]) -> None:
    values = np.ones(120)
    values[7] = np.inf
    with pytest.raises(LandscapeError, match="NaN or infinite"):
        measure(Spectrum(values))


@pytest.mark.parametrize(
    "measure",
    [trace, layer_traces, diagonal, top_eigenpairs, spectral_density, log_determinant],
    ids=lambda m: m.__name__,
)
def test_what_is_no_operator_is_refused(measure: Callable[..., object]) -> None:
    with pytest.raises(LandscapeError, match=r"not ndarray.\nPass landscape.Hessian"):
        measure(np.eye(3))


def test_the_results_read_as_tables() -> None:
    op = dense(outliers(120), parts=PARTS)
    assert "hutchinson, n = 120, 50 products" in str(trace(op))
    assert str(layer_traces(op)).splitlines()[2].startswith("a.weight")
    assert "standard error" in str(diagonal(op))
