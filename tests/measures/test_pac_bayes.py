"""PAC-Bayes flatness: where its draws go, and whether its error holds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import landscape as ls
from landscape.measures.draws import Draws
from landscape.measures.pac_bayes import _line

ROWS = ["average-case", "average-case-uniform", "pac-bayes", "pac-bayes-magnitude", "low-pass", "local-entropy"]
PAPERS = 1 + 20 + 20 + 2 * 15 * 10 + 100 + 100  # passes of the papers' code: see benchmarks/sharpness_speed.py
DRAWS, PER_STEP = 20, 1.3  # draws of a run; growth of the log damage from one size of the noise to the next


@pytest.fixture(scope="module")
def objective() -> ls.Objective:
    torch.manual_seed(0)
    y = torch.arange(200) % 3
    net = nn.Linear(100, 3)
    net.weight.data = centres = torch.randn(3, 100)
    return ls.Objective(net, (centres[y] + 2 * torch.randn(200, 100), y))


def test_measures_of_random_noise_take_about_a_quarter_of_the_passes_of_the_papers(objective: ls.Objective) -> None:
    passes = [ls.sharpness(objective, ROWS, draws=DRAWS, seed=seed).cost.evaluations for seed in range(4)]
    assert np.mean(passes) <= PAPERS / 3.9


def test_no_perturbed_point_is_evaluated_twice(objective: ls.Objective, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[float, int]] = []
    taken = Draws.points

    def noting(self, std, shape="normal", which=None):
        seen.extend((float(torch.as_tensor(std).norm()), k) for k in which or range(self.count))
        return taken(self, std, shape, which)

    monkeypatch.setattr(Draws, "points", noting)
    ls.sharpness(objective, ["pac-bayes"], draws=DRAWS)
    ls.sharpness(objective, ["pac-bayes-magnitude"], draws=DRAWS)
    assert len(seen) == len(set(seen)) >= 2 * 1.5 * DRAWS


@pytest.mark.parametrize("near", [3, 4, 5, 8])
def test_the_place_and_its_error_on_a_power_law(near: int) -> None:
    """The mean damage is exp(1.3 (k - 4.8)), and each pair is off by a factor that depends a little on the size."""
    generator, errors = np.random.default_rng(near), []
    for _ in range(1_000):
        own, local = generator.lognormal(-0.02, 0.2, DRAWS // 2), generator.lognormal(-0.03, 0.25, (20, DRAWS // 2))
        damages = np.exp(PER_STEP * (np.arange(20) - 4.8))[:, None] * np.repeat(own * local, 2, axis=1)
        kept: dict[int, int] = {}

        def damage(k: int, count: int, damages: np.ndarray = damages, kept: dict[int, int] = kept) -> np.ndarray:
            kept[k] = max(count, kept.get(k, 0))
            return damages[k, : kept[k]]

        line = _line(damage, DRAWS, near)
        errors.append((line.place - 4.8) / line.error)
    assert abs(np.mean(errors)) < 4 / math.sqrt(1_000)
    assert 0.9 < np.std(errors) < 1.1
