"""Every measurement takes ``progress`` and ``on_progress``, and tells both the same."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

import landscape as ls
from landscape.results import Progress

BOWL = ls.Objective.from_function(lambda x: x.square().sum(-1), torch.zeros(4, dtype=torch.float64))
IDENTITY: dict[str, Any] = {"metric": "identity"}
MEASUREMENTS: dict[str, tuple[Callable[..., Any], str]] = {
    "radii": (lambda **k: ls.basin_radii(BOWL, [1.0], directions=9, **IDENTITY, **k), "rays"),
    "auto": (lambda **k: ls.log_volume(BOWL, [1.0], directions=200, budget=9_000, **IDENTITY, **k), "rays"),
    "uniform": (lambda **k: ls.log_volume(BOWL, [1.0], estimator="uniform", directions=9, **IDENTITY, **k), "rays"),
    "counted": (
        lambda **k: ls.log_volume(BOWL, [1.0], estimator="counted", max_radius=1.1, hits=9, **IDENTITY, **k), "hits",
    ),
    "annealed": (lambda **k: ls.log_volume(BOWL, [1.0], estimator="annealed", budget=20_000, **IDENTITY, **k), "%"),
    "importance": (
        lambda **k: ls.log_volume(BOWL, [1.0], estimator="importance", directions=9, rank=2, **IDENTITY, **k), "rays",
    ),
    "laplace": (lambda **k: ls.log_volume(BOWL, [1.0], estimator="laplace", **IDENTITY, **k), "products"),
    "line": (lambda **k: ls.slice_1d(BOWL, steps=5, **IDENTITY, **k), "points"),
    "plane": (lambda **k: ls.slice_2d(BOWL, steps=3, **IDENTITY, **k), "points"),
    "eigenpairs": (lambda **k: ls.top_eigenpairs(ls.Hessian(BOWL), k=2, **k), "products"),
    "trace": (lambda **k: ls.trace(ls.Hessian(BOWL), probes=2, **k), "products"),
    "layers": (lambda **k: ls.layer_traces(ls.Hessian(BOWL), probes=2, **k), "products"),
    "diagonal": (lambda **k: ls.diagonal(ls.Hessian(BOWL), probes=2, **k), "products"),
    "density": (lambda **k: ls.spectral_density(ls.Hessian(BOWL), probes=2, steps=3, **k), "products"),
    "determinant": (lambda **k: ls.log_determinant(ls.Hessian(BOWL), probes=2, steps=3, **k), "products"),
    "sharpness": (lambda **k: ls.sharpness(BOWL, "trace,average-case", draws=4, **k), "measures"),
}  # fmt: skip


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_a_bar_and_a_callback_work_at_once(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    measure, unit = MEASUREMENTS[name]
    told: list[Progress[Any]] = []
    result = measure(progress=True, on_progress=told.append)
    assert told
    assert all(0 <= now.done <= now.total for now in told)
    assert told[-1].done > 0
    assert unit in capsys.readouterr().err
    plain = measure()
    assert capsys.readouterr().err == ""  # off by default
    assert str(result).splitlines()[:-1] == str(plain).splitlines()[:-1]  # the last line has the seconds


def test_every_public_measurement_takes_both() -> None:
    measurements = [
        ls.basin_radii, ls.slice_1d, ls.slice_2d, ls.top_eigenpairs, ls.trace, ls.layer_traces, ls.diagonal,
        ls.spectral_density, ls.log_determinant, ls.sharpness,
    ]  # fmt: skip
    for function in measurements:
        known = inspect.signature(function).parameters
        assert known["progress"].default is False, function
        assert known["on_progress"].default is None, function


def test_products_have_no_partial_result() -> None:
    told: list[Progress[Any]] = []
    ls.trace(ls.Hessian(BOWL), probes=2, on_progress=told.append)
    assert not told[0].news
    with pytest.raises(ls.LandscapeError, match="nothing has changed"):
        told[0].snapshot()


def test_only_the_first_rank_shows_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("RANK", "1")
    ls.basin_radii(BOWL, [1.0], directions=9, progress=True, **IDENTITY)
    assert capsys.readouterr().err == ""


def test_a_bar_is_loaded_only_on_demand() -> None:
    assert "tqdm" not in vars(sys.modules["landscape.results.progress"])
