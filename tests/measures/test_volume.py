"""Volumes as measures: a disc, its effective radius, and a probability."""

import math

import pytest
import torch
from scipy import stats
from scipy.optimize import brentq
from torch import nn

import landscape as ls


def test_a_disc_and_its_radius():
    bowl = ls.Objective.from_function(lambda x: x.square().sum(-1), torch.zeros(2, dtype=torch.float64))
    table = ls.sharpness(bowl, ["log-volume", "effective-radius"], cutoff=4.0)
    assert table["log-volume"].value == pytest.approx(math.log(4 * math.pi), abs=1e-3)
    assert table["effective-radius"].value == pytest.approx(2.0, abs=1e-3)
    assert table["log-volume"].verdict == "estimate"
    assert table["log-volume"].config["volume_verdict"] == "reliable"
    assert table["effective-radius"].cost.evaluations == 0  # the same run


def test_the_adaptive_metric_has_no_rays():
    bowl = ls.Objective.from_function(lambda x: x.square().sum(-1), torch.ones(2, dtype=torch.float64))
    measure = ls.sharpness(bowl, "log-volume", metric="adaptive", cutoff=4.0)["log-volume"]
    assert measure.verdict == "failed"
    assert "`metric='filter'`" in measure.reasons[0]


def test_the_probability_of_a_kl_basin():
    """One logit w of one sample: the KL basin is an interval, and its normal probability is known."""
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(model.weight, 1.0)
    data = torch.ones(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    objective = ls.Objective(model, data, "binary_cross_entropy")
    measure = ls.sharpness(objective, "basin-probability")["basin-probability"]
    p = 1 / (1 + math.exp(-1.0))

    def kl(w):
        q = 1 / (1 + math.exp(-w))
        return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q)) - 0.01

    low, high = brentq(kl, -1.0, 1.0), brentq(kl, 1.0, 3.0)
    assert measure.value == pytest.approx(math.log(stats.norm.cdf(high) - stats.norm.cdf(low)), abs=0.02)


def test_the_volume_keeps_to_the_time_that_is_left():
    bowl = ls.Objective.from_function(lambda x: x.square().sum(-1), torch.zeros(50, dtype=torch.float64))
    measure = ls.sharpness(bowl, "log-volume", volume_budget=10**9, budget="3s")["log-volume"]
    assert measure.cost.seconds < 3
    assert measure.cost.evaluations > 100
