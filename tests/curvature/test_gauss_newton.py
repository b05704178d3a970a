"""The Gauss-Newton matrix of losses that read outputs of any structure, against J^T H_L J of dense float64 matrices."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.func import functional_call, hessian, jacrev
from torch.nn import functional as F

import landscape as ls
from landscape.errors import CurvatureError

SAMPLES = 12


class TwoHeads(nn.Module):
    """Classes and boxes from one hidden layer, in a structure of choice."""

    def __init__(self, wrap) -> None:
        super().__init__()
        self.hidden, self.classes, self.boxes = nn.Linear(3, 5), nn.Linear(5, 3), nn.Linear(5, 2)
        self.wrap = wrap

    def forward(self, x):
        h = torch.tanh(self.hidden(x))
        return self.wrap(self.classes(h), self.boxes(h), h)


FORMS = {
    "tuple": (lambda z, b, h: (z, b, h), lambda out: (out[0], out[1])),
    "dict": (lambda z, b, h: {"hidden": h, "boxes": b, "logits": z}, lambda out: (out["logits"], out["boxes"])),
    "object": (lambda z, b, h: SimpleNamespace(logits=z, boxes=b), lambda out: (out.logits, out.boxes)),
    "nested": (lambda z, b, h: (h, [z, {"b": b}], None, 3), lambda out: (out[1][0], out[1][1]["b"])),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_loss_gets_the_output_in_its_own_structure(form):
    wrap, parts = FORMS[form]
    model, x = TwoHeads(wrap).double(), torch.randn(SAMPLES, 3, dtype=torch.float64)
    y = torch.randint(0, 3, (SAMPLES,))

    def loss(output, target):
        z, b = parts(output)
        return F.cross_entropy(z, target) + (b - 1).square().mean() + (z[:, 0] * b[:, 0]).square().mean()

    objective = ls.Objective(model, (x, y), loss, scope="all")
    flat = objective.theta

    def joined(point):
        z, b = parts(functional_call(model, objective.layout.views(point), (x,)))
        return torch.cat([z.flatten(), b.flatten()])

    def of_joined(values):
        z, b = values[: 3 * SAMPLES].view(SAMPLES, 3), values[3 * SAMPLES :].view(SAMPLES, 2)
        return F.cross_entropy(z, y) + (b - 1).square().mean() + (z[:, 0] * b[:, 0]).square().mean()

    jacobian, second = jacrev(joined)(flat), hessian(of_joined)(joined(flat))
    expected = jacobian.T @ second @ jacobian
    G = ls.GaussNewton(objective)
    torch.testing.assert_close(G @ torch.eye(len(flat), dtype=torch.float64), expected, rtol=1e-9, atol=1e-12)
    vectors = torch.randn(len(flat), 3, dtype=torch.float64)
    torch.testing.assert_close(G.forms(vectors), ((expected @ vectors) * vectors).sum(0), rtol=1e-9, atol=1e-12)


def test_a_loss_apart_from_the_output_is_refused():
    model = nn.Linear(3, 2).double()
    data = torch.randn(SAMPLES, 3, dtype=torch.float64), torch.randint(0, 2, (SAMPLES,))
    objective = ls.Objective(model, data, lambda output, target: model.weight.square().sum())
    with pytest.raises(CurvatureError, match=r"does not depend on the output.*\n.*Hessian"):
        ls.GaussNewton(objective) @ torch.ones(6, dtype=torch.float64)


def test_the_curvature_of_kl_is_that_of_logits():
    model = nn.Sequential(nn.Linear(3, 2), nn.Softmax(1)).double()
    data = torch.randn(SAMPLES, 3, dtype=torch.float64), torch.randint(0, 2, (SAMPLES,))
    objective = ls.Objective(model, data, output="probabilities")
    with pytest.raises(CurvatureError, match="of logits"):
        ls.log_volume(objective, cutoffs=(0.1,), estimator="laplace", criterion="kl")
