"""The objective of a model that goes on training shares its data and sees its weights of the moment."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import landscape as ls
from helpers.training import make_net, points
from landscape.errors import ObjectiveError
from landscape.objective.live import with_present_weights


def change(net: nn.Module) -> None:
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1)
        net[1].running_var.mul_(2.0)


def test_it_is_the_objective_made_from_the_data_again() -> None:
    net = make_net()
    first = ls.Objective(net, points())
    centre = first.centre
    change(net)
    now, fresh = with_present_weights(first, net), ls.Objective(net, points())
    assert now is not None
    assert now.describe() == fresh.describe()
    assert (now.centre, now.accuracy()) == (fresh.centre, fresh.accuracy())
    assert now.centre_of("kl") == 0.0
    assert now.program.batches is first.program.batches  # shared, not copied
    assert first.centre == centre == first.loss_at(first.theta[None])[0]
    radii = [ls.basin_radii(each, [2.0], directions=4).radii for each in (now, fresh)]
    assert (radii[0] == radii[1]).all()


def test_other_tensors_or_another_model_need_the_data_again() -> None:
    net = make_net()
    objective = ls.Objective(net, points())
    assert with_present_weights(objective, make_net()) is None
    net[4] = nn.Linear(6, 3)
    assert with_present_weights(objective, net) is None
    scripted = torch.jit.script(make_net())
    assert with_present_weights(ls.Objective(scripted, points()), scripted) is None


def test_a_net_that_has_diverged_is_refused() -> None:
    net = make_net()
    objective = ls.Objective(net, points())
    net[0].weight.data[0, 0] = float("inf")
    with pytest.raises(ObjectiveError, match="has diverged"):
        with_present_weights(objective, net)
