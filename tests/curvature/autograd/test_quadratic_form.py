"""Quadratic forms from a tape of operations against vectors times products."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import landscape as ls
from helpers.curvature_nets import make
from helpers.models import KINDS, SAMPLES, table, wide
from landscape.curvature import Hessian

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_quadratic_form_is_the_vector_times_its_product(kind):
    """From the tape where a model shows its operations, which all but TorchScript do."""
    _, _, objective = make(kind, batch_size=None if kind == "exported" else 5)
    operator = Hessian(objective)
    operator._width = 1  # as for a net too large to run vectors together
    vectors = torch.randn(objective.layout.size, 2, dtype=torch.float64)
    wanted = (vectors * (operator @ vectors)).sum(0)
    torch.testing.assert_close(operator.forms(vectors), wanted, rtol=1e-9, atol=1e-12)
    assert operator._graphs._tape_works == ("script" not in kind and kind != "traced")


class Bent(nn.Module):
    """Operations in place, parts of tensors, several outputs, a batch statistic, a product of two moving things."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(6, 8), nn.Linear(8, 3)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x):
        x = self.act(self.one(x))
        y = x.sin()
        y += x
        y *= 1.5
        left, right = y.chunk(2, dim=1)
        largest, _ = y.max(dim=1, keepdim=True)
        x = torch.cat([left * right, F.layer_norm(right, (4,)) / (1 + largest**2)], dim=1)
        return self.two(x - x.mean(0))


def test_quadratic_forms_of_unusual_operations():
    torch.manual_seed(0)
    model, data = Bent().double(), wide(table())
    objective = ls.Objective(model, data, scope="all", batch_size=SAMPLES)
    operator = Hessian(objective)
    operator._width = 1
    vectors = torch.randn(operator.size, 3, dtype=torch.float64)
    torch.testing.assert_close(operator.forms(vectors), (vectors * (operator @ vectors)).sum(0), rtol=1e-9, atol=1e-12)
    assert operator._graphs._tape_works


def test_a_model_that_hides_an_operation_falls_back_on_products():
    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(6, 8), nn.Linear(8, 3)

        def forward(self, x):
            x = self.one(x)
            with torch._C.DisableTorchFunction():
                x = x.tanh()
            return self.two(x)

    torch.manual_seed(0)
    operator = Hessian(ls.Objective(Hidden().double(), wide(table()), scope="all"))
    operator._width = 1
    vectors = torch.randn(operator.size, 2, dtype=torch.float64)
    torch.testing.assert_close(operator.forms(vectors), (vectors * (operator @ vectors)).sum(0), rtol=1e-9, atol=1e-12)
    assert operator._graphs._tape_works is False


def test_a_tape_is_gone_once_it_is_done_with():
    """No circle of references: large nets would fill the memory before the collector comes by."""
    _, _, objective = make("transformer", batch_size=5)
    operator = Hessian(objective)
    with objective.running():
        tape = operator._graphs.tape(0)
        tape.form(operator._graphs.split(torch.randn(objective.layout.size, dtype=torch.float64)))
    gone = weakref.ref(tape._operations[-1].outputs[0])
    gc.disable()
    try:
        del tape
        assert gone() is None
    finally:
        gc.enable()
