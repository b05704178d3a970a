"""Points that run together may run compiled: one graph for all batches of a shape, and none before the plan is made."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from helpers.models import KINDS, along, conv, images, mlp, points_near, table
from landscape.objective import Objective


def test_the_batched_program_compiles_as_one_graph():
    objective = Objective(conv(), images())
    points = points_near(objective, 4)
    with objective.running():
        program = objective.program
        whole = torch.compile(program._at_many, backend="eager", fullgraph=True)
        assert torch.equal(whole(points, program.batches[0], program.losses[0]), program.totals(points, 0))


@pytest.fixture
def compiled(monkeypatch):
    """Every function that is compiled, and the graphs that come of it; run by the interpreter, to be quick."""
    from torch._dynamo.testing import CompileCounter  # here, since it takes seconds to import

    seen = SimpleNamespace(functions=[], graphs=CompileCounter())
    compile = torch.compile

    def record(function, **options):
        seen.functions.append(function)
        return compile(function, backend=seen.graphs, **options)

    monkeypatch.setattr(torch, "compile", record)
    torch._dynamo.reset()
    yield seen
    torch._dynamo.reset()


@pytest.mark.parametrize("criterion", ["loss", "kl"])
def test_one_compilation_serves_all_batches_of_a_shape(compiled, criterion):
    model, data = mlp(), table()
    plain, objective = Objective(model, data, batch_size=2), Objective(model, data, batch_size=2, compile=True)
    assert objective.batches == 12  # 11 of one shape, and one of a single sample
    assert compiled.graphs.frame_count == 0  # neither the trial nor the centre has compiled anything
    found = along(objective, [0.1] * 3, criterion=criterion)
    with plain.running():
        expected = plain.along(found[0], np.full(3, 0.1), criterion=criterion)
    np.testing.assert_allclose(found[1].values, expected.values, rtol=1e-5)
    assert compiled.graphs.frame_count == 2
    along(objective, [0.1] * 5, criterion=criterion)  # another number of points is filled up to the same width
    assert compiled.graphs.frame_count == 2


def test_compile_says_where_it_does_nothing(compiled):
    recurrent = Objective(*(part() for part in KINDS["lstm"]), compile=True)
    assert recurrent.plan.lanes == 1
    assert "compile has no effect" in recurrent.notes[-1]
    along(recurrent, [0.1])
    assert not compiled.functions
    assert not any("compile" in note for note in Objective(mlp(), table(), compile=True).notes)
