"""A memory budget holds for curvature too, or is refused with what to type."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

import landscape as ls
from landscape.curvature.autograd.graphs import Graphs, HessianGraph
from landscape.curvature.memory import ProductMemory
from landscape.errors import CurvatureError


def objective(memory: int | None = None, batch_size: int = 40) -> ls.Objective:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(30, 200), nn.Tanh(), nn.Linear(200, 3)).double()
    data = torch.randn(80, 30, dtype=torch.float64), torch.randint(0, 3, (80,))
    return ls.Objective(net, data, memory=memory, batch_size=batch_size, lanes=1)


def test_the_graph_of_a_batch_is_extrapolated_from_a_few_samples() -> None:
    net = objective()
    whole = Graphs(net.program, net.theta, HessianGraph, net.scope.ranges, memory=0).bytes_of(0)
    memory = ls.Hessian(net).memory()
    assert whole is not None
    assert memory.graph == pytest.approx(whole, rel=0.02)
    assert memory.vector == 8 * net.layout.size


def test_a_budget_that_is_too_small_is_refused_with_a_batch_size_that_fits() -> None:
    needed = ls.Hessian(objective()).memory().peak()
    limit = needed - needed // 4
    with pytest.raises(CurvatureError, match="the memory budget is") as refused:
        ls.trace(ls.Hessian(objective(limit)), 2)
    with pytest.raises(CurvatureError, match="the memory budget is"):
        ls.slice_1d(objective(limit), steps=3, curvature=True)
    smaller = int(re.search(r"`batch_size=(\d+)`", str(refused.value))[1])
    assert 1 <= smaller < 40
    ls.trace(ls.Hessian(objective(limit, smaller)), 2)


def test_what_a_budget_leaves_is_for_vectors_and_kept_graphs() -> None:
    memory = ls.Hessian(objective()).memory()
    spare = 40 * memory.vector
    operator = ls.Hessian(objective(memory.peak() + spare))
    assert operator.room == spare // 2
    assert operator.kept_bytes == spare - spare // 2
    vectors = torch.randn(operator.size, 30, dtype=torch.float64)
    assert len(operator._within_room(vectors)) > 1
    torch.testing.assert_close(operator @ vectors, ls.Hessian(objective()) @ vectors, rtol=1e-10, atol=1e-13)
    density = ls.spectral_density(operator, 4, 8)
    assert not density.config["reorthogonalised"], "4 · 8 vectors do not fit"
    assert ls.Hessian(objective()).room is None


def test_fewer_vectors_run_together_under_a_budget() -> None:
    memory = ProductMemory(graph=10**6, sample=10.0**5, samples=10, vector=1)
    assert memory.require(memory.peak(8), 8) == 8
    assert memory.require(memory.peak(8) - 1, 8) == 4
    assert memory.require(memory.peak(1), 8) == 1
    with pytest.raises(CurvatureError):
        memory.require(memory.peak(1) - 1, 8)
