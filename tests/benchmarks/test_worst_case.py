"""The reference of the worst case finds the peaks of easy functions, within its number of gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.auto_pgd import STEPS, auto_pgd
from benchmarks.worst_case import RHO, problem, rises
from landscape.measures.ascent import Ball, Function, largest_on_ball


@pytest.mark.parametrize(("norm", "truth"), [("l2", 2.0**2 / 2 * 3), ("linf", 2.0**2 / 2 * (3 + 1))])
def test_auto_pgd_finds_the_peak_of_a_quadratic_of_two_dimensions(norm: str, truth: float) -> None:
    h, taken = torch.tensor([3.0, 1.0]), []

    def slope(u: torch.Tensor) -> tuple[float, torch.Tensor]:
        taken.append(u)
        return float(u @ (h * u) / 2), h * u

    best = auto_pgd(Function(lambda u: float(u @ (h * u) / 2), slope), Ball(2.0, norm), torch.tensor([0.3, 0.4]))
    assert best == pytest.approx(truth, rel=0.01)
    assert len(taken) == STEPS


def test_the_searches_stay_below_the_true_maximum() -> None:
    hessian, gradient = problem("geometric", True, True, 0)
    best = largest_on_ball(hessian, gradient, RHO)
    truth = gradient @ best + best @ hessian @ best / 2
    without, known, other = rises(hessian, gradient, "l2", 0)
    assert 0.5 * truth < other <= truth * (1 + 1e-9)
    for peak in (without, known):
        assert peak.rise == pytest.approx(truth, rel=1e-3)
        assert peak.gradients <= STEPS
        assert np.linalg.norm(peak.point.numpy()) <= RHO * (1 + 1e-9)
