"""Curvature results to draw and to store, made without a network."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from helpers.spectra import Spectrum, dense, outliers
from landscape.curvature import (
    Dense,
    Part,
    diagonal,
    layer_traces,
    log_determinant,
    spectral_density,
    top_eigenpairs,
    trace,
)
from landscape.results import Cost, LayerTraces, Result, SpectralDensity

PARTS = (Part("a.weight", 0, 70), Part("a.bias", 70, 80), Part("b.weight", 80, 120))
OP = dense(outliers(120), parts=PARTS)


def results() -> dict[str, Result]:
    """One result of every kind, and those with something missing, infinite or exact in them."""
    singular = Spectrum(np.concatenate([np.zeros(20), np.linspace(-2, -1, 40), np.linspace(1, 3, 40)]))
    return {
        "eigenpairs": top_eigenpairs(OP, 4),
        "unconverged": top_eigenpairs(OP, 4, max_products=6),
        "float32": top_eigenpairs(dense(outliers(120), torch.float32), 3, which="magnitude"),
        "trace": trace(OP),
        "xtrace": trace(OP, 20, method="xtrace"),
        "exact trace": trace(Dense(torch.eye(3))),
        "layer_traces": layer_traces(OP),
        "diagonal": diagonal(OP),
        "spectral_density": spectral_density(OP, 5, 20),
        "log_determinant": log_determinant(OP, 2.0, steps=20),
        "singular": log_determinant(singular, steps=40),
    }


def make_traces(values: np.ndarray, names: list[str] | None = None, **changes: Any) -> LayerTraces:
    """Traces of tensors of growing size, with an error of a tenth."""
    sizes = 10 * np.arange(1, len(values) + 1)
    noise = np.random.default_rng(0).standard_normal((30, len(values)))
    noise = (noise - noise.mean(0)) / noise.std(0, ddof=1)
    fields: dict[str, Any] = {
        "names": tuple(names or [f"layer{i}.weight" for i in range(len(values))]),
        "sizes": sizes,
        "values": values,
        "standard_errors": 0.1 * np.abs(values),
        "samples": values * (1 + 0.1 * 30**0.5 * noise),
        "exact": False,
        "dimension": int(sizes.sum()),
        "config": {"operator": "hessian", "metric": "identity"},
        "cost": Cost(30.0, 1, 0.5),
    }
    return LayerTraces(**{**fields, **changes})


def make_density(nodes: np.ndarray, weights: np.ndarray, **changes: Any) -> SpectralDensity:
    fields: dict[str, Any] = {
        "nodes": nodes,
        "weights": weights,
        "exact": False,
        "ended": False,
        "zero": 1e-9,
        "dimension": 1_000_000,
        "config": {"operator": "ggn", "metric": "filter"},
        "cost": Cost(30.0, 1, 0.5),
    }
    return SpectralDensity(**{**fields, **changes})
