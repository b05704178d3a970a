"""Curvature results: stored and read back to the bit, JSON, tables, and what a density says of itself."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from scipy.integrate import trapezoid

import landscape as ls
from helpers.curvature_results import make_density, make_traces, results
from helpers.nets import mlp
from helpers.stores import assert_same
from landscape.curvature import Hessian
from landscape.results import Eigenpairs, LogDeterminant
from landscape.store import Store

RESULTS = results()
KINDS = {"eigenpairs", "trace", "layer_traces", "diagonal", "spectral_density", "log_determinant"}


@pytest.mark.parametrize("name", RESULTS)
def test_every_result_is_stored_and_read_back_to_the_bit(name: str, tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    Store(path)["a"] = RESULTS[name]
    assert_same(Store(path)["a"], RESULTS[name])
    with h5py.File(path) as file:
        assert file["a"].attrs["kind"].decode() in KINDS
        for dataset in file["a"].values():
            assert len(dataset.attrs["description"]) > 20, dataset.name
    assert str(Store(path)["a"]) == str(RESULTS[name])


@pytest.mark.parametrize("name", RESULTS)
def test_every_result_is_strict_json_and_frozen(name: str) -> None:
    result = RESULTS[name]
    told = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert told["config"]["operator"] in ("Dense", "Spectrum")
    assert told["config"]["seed"] == 0
    assert told["cost"]["evaluations"] > 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.cost = None  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", RESULTS)
def test_every_table_is_aligned(name: str) -> None:
    lines = RESULTS[name].table().splitlines()  # type: ignore[attr-defined]
    assert len(lines) >= 2
    assert max(map(len, lines)) <= 100
    assert str(RESULTS[name]).splitlines()[1] == lines[0]


def test_the_curvature_of_a_network_is_stored(tmp_path: Path) -> None:
    """The configuration of a real operator is plain text too, and says which loss and data it was."""
    torch.manual_seed(0)
    data = (torch.randn(20, 2), torch.randint(0, 3, (20,)))
    hessian = Hessian(ls.Objective(mlp(), data, "cross_entropy"), metric="filter")
    store = Store(tmp_path / "run.h5")
    for name, result in {
        "pairs": ls.top_eigenpairs(hessian, 2),
        "trace": ls.trace(hessian, 10),
        "layers": ls.layer_traces(hessian, 10),
        "density": ls.spectral_density(hessian, 3, 10),
    }.items():
        store[name] = result
        assert_same(store[name], result)
        assert result.config["loss"] == "cross_entropy"
        assert result.config["metric"] == "filter"
        assert "Hessian in filter metric" in str(result)


def test_a_value_that_did_not_converge_says_so_wherever_it_is_told() -> None:
    pairs = RESULTS["unconverged"]
    assert isinstance(pairs, Eigenpairs)
    assert pairs.to_dict()["converged"] == pairs.converged.tolist()
    assert not pairs.converged.all()
    lines = pairs.table().splitlines()[1:]
    assert [line.split()[-1] for line in lines] == ["yes" if done else "NO" for done in pairs.converged]


def test_a_singular_matrix_is_told_as_such() -> None:
    found = RESULTS["singular"]
    assert isinstance(found, LogDeterminant)
    assert (found.value, found.definite, found.to_dict()["value"]) == (-math.inf, False, None)
    assert "20 eigenvalues are 0 to rounding" in str(found)
    assert "40 ± 0 eigenvalues are negative" in str(found)


def test_block_traces_add_up() -> None:
    traces = make_traces(np.array([3.0, -1.0, 0.5]))
    value, error = traces.total
    assert value == 2.5
    assert error == pytest.approx(np.std(traces.samples.sum(1), ddof=1) / 30**0.5)
    assert traces.table().splitlines()[-1].split()[:3] == ["all", "60", "2.5"]


def test_a_density_by_hand() -> None:
    """Two probes: a half at 0 and at 1; a quarter at 0 and three at 1."""
    density = make_density(
        np.array([[0.0, 1.0], [0.0, 1.0]]), np.array([[0.5, 0.5], [0.25, 0.75]]), dimension=8, ended=True
    )
    assert density.moment(1) == (0.625, 0.125)
    assert density.trace == (5.0, 1.0)
    assert (density.zero_share, density.negative_share) == (0.375, 0.0)
    assert density.zero_bounds == (0.125, 0.625), "two standard errors between probes"
    unresolved = dataclasses.replace(density, ended=False)
    assert unresolved.zero_bounds == (0.0, 1.0)
    assert math.isnan(unresolved.zero_share)
    np.testing.assert_array_equal(density.cdf(np.array([-1.0, 0.0, 0.5, 1.0])), [0.0, 0.375, 0.375, 1.0])
    assert [density.quantile(share) for share in (0.1, 0.375, 0.4, 1.0)] == [0.0, 0.0, 1.0, 1.0]
    peak = 1 / math.sqrt(2 * math.pi) / 0.1
    np.testing.assert_allclose(density.density(np.array([0.0, 1.0]), 0.1), [0.375 * peak, 0.625 * peak])
    np.testing.assert_allclose(density.density_error(np.array([0.0]), 0.1), [0.125 * peak])


def test_the_default_width_shows_both_bulk_and_outliers() -> None:
    bulk, outlier = np.linspace(-1, 1, 79), 500.0
    nodes = np.append(bulk, outlier)[None].repeat(3, 0)
    density = make_density(nodes, np.append(np.full(79, (1 - 1e-6) / 79), 1e-6)[None].repeat(3, 0))
    assert 0.02 < density.width < 0.6
    grid = density.grid()
    assert len(grid) < 5000
    smooth = density.density(grid)
    assert trapezoid(smooth, grid) == pytest.approx(1.0, abs=1e-4)
    assert trapezoid(smooth[grid > 400], grid[grid > 400]) == pytest.approx(1e-6, rel=1e-3)
