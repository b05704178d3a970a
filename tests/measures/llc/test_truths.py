"""The local learning coefficient of singular losses, against quadrature at the same nβ."""

import math

import numpy as np
import pytest
import torch

import landscape as ls
from benchmarks.llc_calibration import NBETA, by_quadrature, crossing


def taken(objective, **options):
    return ls.sharpness(objective, "llc", nbeta=NBETA, **options)["llc"]


@pytest.mark.parametrize(("powers", "known"), [((1, 1), 0.387), ((1, 2), 0.226), ((2, 2), 0.160)])
def test_normal_crossings_on_a_box(powers, known):
    """The box is part of the loss, which is infinite outside; there is no other pull (γ = 0)."""
    truth = by_quadrature(*powers)
    assert truth == pytest.approx(known, abs=6e-4)
    measure = taken(crossing(*powers), gamma=0.0, chains=100, steps=400)
    assert measure.verdict == "estimate", measure.reasons
    assert measure.standard_error < 0.15 * truth
    assert abs(measure.value - truth) < 3 * measure.standard_error


def linear_net_by_quadrature(inputs, hidden, outputs):
    """Return nβ E L of L = |W2 W1|² / 2 with the pull γ = 1, by quadrature over the eigenvalues of W1 W1'.

    Integrating W2 out leaves the Wishart density of W1 W1' times det(1 + nβ W1 W1')^(-outputs / 2).
    """
    log_s = np.linspace(math.log(1e-5 / NBETA), math.log(200.0), 70)
    s = np.exp(log_s)
    factor = np.exp((inputs - hidden + 1) / 2 * log_s - s / 2 - outputs / 2 * np.log1p(NBETA * s))
    share = outputs / 2 * NBETA * s / (1 + NBETA * s)
    axes = np.meshgrid(*[np.arange(len(s))] * hidden, indexing="ij", sparse=True)
    density, value = math.prod(factor[i] for i in axes), sum(share[i] for i in axes)
    for k, one in enumerate(axes):
        for other in axes[:k]:
            density = density * np.abs(s[one] - s[other])
    return float((density * value).sum() / density.sum())


@pytest.mark.parametrize(("widths", "limit"), [((5, 3, 5), 6.5), ((4, 3, 8), 6.0)])
def test_deep_linear_nets_at_the_origin(widths, limit):
    """Aoyagi's limit within 10 %, and the finite value; `python -m benchmarks.llc_truths` has more and larger ones."""
    inputs, hidden, outputs = widths

    def loss(w):
        first = w[..., : inputs * hidden].unflatten(-1, (hidden, inputs))
        second = w[..., inputs * hidden :].unflatten(-1, (outputs, hidden))
        return (second @ first).square().sum((-2, -1)) / 2

    truth = linear_net_by_quadrature(*widths)
    assert truth == pytest.approx(limit, rel=0.06)
    objective = ls.Objective.from_function(loss, torch.zeros((inputs + outputs) * hidden, dtype=torch.float64))
    measure = taken(objective, gamma=1.0, chains=64, steps=400)
    assert measure.value == pytest.approx(limit, rel=0.1)
    assert abs(measure.value - truth) < 4 * measure.standard_error
