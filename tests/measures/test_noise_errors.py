"""Stated errors of the measures of random noise: (value - truth) / error has the standard deviation 1 over runs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import landscape as ls
from landscape.measures.draws import Draws
from landscape.measures.registry import REGISTRY
from landscape.measures.settings import Settings

RUNS, DIMENSION, DRAWS = 600, 200, 16
SPECTRA = {"equal": np.ones(DIMENSION), "geometric": np.geomspace(1e-3, 1.0, DIMENSION)}


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_errors_on_quadratics_are_those_of_the_closed_form(spectrum: str) -> None:
    """Runs of eight pairs of draws each: without the factor for few samples the scatter is 1.18."""
    h = SPECTRA[spectrum] * 100 / SPECTRA[spectrum].sum()
    w = np.random.default_rng(0).standard_normal(DIMENSION)
    curvature, centre = torch.from_numpy(h), torch.from_numpy(w)
    bowl = ls.Objective.from_function(lambda x: ((x - centre).square() * curvature).sum(-1) / 2, centre)
    truth = {
        "average-case": 0.1**2 / 2 * h.sum(),
        "pac-bayes": h.sum() / 0.2,
        "pac-bayes-magnitude": float((h * w**2).sum() / (0.2 - 1e-6 * h.sum())),
    }
    scores: dict[str, list[float]] = {name: [] for name in truth}
    for seed in range(RUNS):
        shared = Draws(bowl, Settings(rho=0.1, seed=seed, draws=DRAWS))
        for name, known in truth.items():
            reading = REGISTRY[name].function(bowl, shared)
            scores[name].append((reading.value - known) / reading.standard_error)
    scatter = {name: float(np.sqrt(np.mean(np.square(each)))) for name, each in scores.items()}
    assert all(0.9 < each < 1.1 for each in scatter.values()), scatter
