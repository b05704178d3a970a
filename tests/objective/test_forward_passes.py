"""Forward passes and losses with derivatives of their own, parameters without dimensions, states and penalties."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import landscape as ls
from landscape.errors import ObjectiveError

D = torch.float64


def table(samples: int = 24, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(samples, 5, dtype=D, generator=generator), torch.randint(0, 3, (samples,), generator=generator)


# Derivatives in the forward pass


def slope(net: nn.Module, x: Tensor) -> Tensor:
    x = x.requires_grad_()
    return torch.autograd.grad(net(x).sum(), x, create_graph=True)[0]


def by_func(net: nn.Module, x: Tensor) -> Tensor:
    return torch.func.vmap(torch.func.grad(lambda s: net(s[None])[0, 0]))(x)


def dense_product(net: nn.Module, forward, x: Tensor, y: Tensor, vector: Tensor) -> Tensor:
    """H v by differences of the gradient."""
    theta = torch.nn.utils.parameters_to_vector(net.parameters()).detach()
    sides = []
    for step in (1e-5, -1e-5):
        torch.nn.utils.vector_to_parameters(theta + step * vector, net.parameters())
        loss = F.mse_loss(forward(net, x.clone()), y)
        sides.append(
            torch.nn.utils.parameters_to_vector(torch.autograd.grad(loss, [*net.parameters()], materialize_grads=True))
        )
    torch.nn.utils.vector_to_parameters(theta, net.parameters())
    return (sides[0] - sides[1]) / 2e-5


@pytest.mark.parametrize(("forward", "loss"), [(slope, "mse"), (by_func, "mse"), (slope, "in the loss")])
def test_derivatives_by_the_inputs_are_measured_with_their_curvature(forward, loss):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    x = torch.linspace(0, 1, 16, dtype=D)[:, None]
    y = torch.cos(x)
    if loss == "mse":
        objective = ls.Objective(net, (x, y), "mse", scope="all", forward=lambda net, batch: forward(net, batch[0]))
    else:

        def residual(output, target):
            u, x = output
            return (torch.autograd.grad(u.sum(), x, create_graph=True)[0] - target).square().mean()

        def fields(net, batch):
            x = batch[0].detach().requires_grad_()
            return net(x), x

        objective = ls.Objective(net, (x, y), residual, scope="all", forward=fields)
    want = F.mse_loss(forward(net, x.clone()), y).item()
    assert objective.centre == pytest.approx(want, rel=1e-12)
    assert not x.requires_grad
    vector = torch.randn(objective.dimension, dtype=D)
    torch.testing.assert_close(
        ls.Hessian(objective) @ vector, dense_product(net, forward, x, y, vector), rtol=1e-5, atol=1e-7
    )
    ls.basin_radii(objective, [want + 0.1], directions=2)
    ls.slice_1d(objective, steps=3, curvature=True)


def test_a_function_may_take_derivatives_of_its_own():
    def f(points: Tensor) -> Tensor:
        points = points.detach().requires_grad_()
        return torch.autograd.grad((points**3).sum(), points)[0].sum(-1)

    assert ls.Objective.from_function(f, torch.ones(2, dtype=D)).centre == 6.0


# Parameters of every shape


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.temperature = nn.Linear(5, 3), nn.Parameter(torch.tensor(1.5))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) * self.temperature


@pytest.mark.parametrize("metric", ["filter", "layer", "identity"])
def test_a_parameter_without_dimensions_is_measured_everywhere(metric):
    torch.manual_seed(0)
    net, (x, y) = Scaled().double(), table()
    objective = ls.Objective(net, (x, y), scope="all")
    assert objective.centre == pytest.approx(F.cross_entropy(net(x), y).item(), rel=1e-12)
    radii = ls.basin_radii(objective, [objective.centre + 0.1], directions=2, metric=metric)
    assert radii.done.all()
    ls.slice_2d(objective, steps=3, metric=metric)
    for kind in (ls.Hessian, ls.GaussNewton):
        operator = kind(objective, metric=metric)
        ls.top_eigenpairs(operator, 1)
        ls.trace(operator, probes=2)
        ls.layer_traces(operator, probes=2)
        ls.diagonal(operator, probes=2)
    ls.slice_1d(objective, steps=3, direction="hessian", curvature=True, metric=metric)


# Loss that changes between two evaluations


class Stateful(nn.Module):
    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.cell, self.head, self.state = way, nn.GRUCell(5, 4), nn.Linear(4, 3), None

    def forward(self, x: Tensor) -> Tensor:
        self.state = self.cell(x, self.state if self.way == "state" else None)
        return self.head(self.state if self.way == "state" else self.state + torch.rand(()))


@pytest.mark.parametrize(
    ("way", "words"), [("state", "keeps something from one call"), ("noise", "draws random numbers")]
)
def test_a_loss_that_changes_is_refused_with_the_cause(way, words):
    with pytest.raises(ObjectiveError, match=rf"not deterministic.*\n.*{words}"):
        ls.Objective(Stateful(way).double(), table())


# A loss that reads the parameters


def test_a_penalty_on_the_parameters_moves_with_them():
    torch.manual_seed(0)
    net, (x, y) = nn.Linear(5, 3).double(), table()

    def decayed(output, target):
        return F.cross_entropy(output, target) + 0.1 * sum(p.square().sum() for p in net.parameters())

    objective = ls.Objective(net, (x, y), decayed, scope="all")
    vector = torch.randn(objective.dimension, dtype=D)
    got = ls.Hessian(objective) @ vector
    plain = ls.Hessian(ls.Objective(net, (x, y), F.cross_entropy, scope="all")) @ vector
    torch.testing.assert_close(got, plain + 0.2 * vector)
    points = objective.theta * torch.tensor([[0.5], [2.0]], dtype=D)
    for point, value in zip(points, objective.loss_at(points), strict=True):
        net.load_state_dict(objective.layout.views(point))
        assert value == pytest.approx(decayed(net(x), y).item(), rel=1e-12)


def test_derivatives_by_the_parameters_inside_of_the_forward():
    """A step of training inside of the forward pass, as in meta-learning; some parameters are outside the scope."""

    def adapted(net, batch):
        x, y = batch
        parameters = dict(net.named_parameters())
        slopes = torch.autograd.grad(F.cross_entropy(net(x), y), [*parameters.values()], create_graph=True)
        moved = {name: p - 0.1 * slope for (name, p), slope in zip(parameters.items(), slopes, strict=True)}
        return torch.func.functional_call(net, moved, (x,))

    torch.manual_seed(0)
    net, (x, y) = nn.Linear(5, 3).double(), table()
    objective = ls.Objective(net, [(x, y)], forward=adapted)
    assert objective.centre == pytest.approx(F.cross_entropy(adapted(net, (x, y)), y).item(), rel=1e-12)
    assert torch.isfinite(ls.Hessian(objective) @ torch.ones(objective.dimension, dtype=D)).all()
    assert all(parameter.grad is None for parameter in net.parameters())
