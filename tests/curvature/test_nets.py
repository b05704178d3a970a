"""Eigenpairs, traces and densities of networks against the dense Hessian by torch's own double backward."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import landscape as ls
from helpers.models import SAMPLES, Sequence, times, wide
from helpers.nets import ConvNet, TiedNet, mlp
from landscape.curvature import Hessian

Z = 4.0


def images() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(SAMPLES, 2, 5, 5), torch.randint(0, 4, (SAMPLES,))


def words() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randint(0, 7, (SAMPLES, 3)), torch.randint(0, 7, (SAMPLES,))


def points() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(SAMPLES, 6), torch.randint(0, 3, (SAMPLES,))


NETS: dict[str, tuple[Callable[[], nn.Module], Callable[[], tuple[torch.Tensor, torch.Tensor]]]] = {
    "batch norm": (lambda: ConvNet(2, 3, 4), images),
    "attention": (lambda: Sequence(nn.TransformerEncoderLayer(4, 2, 6, batch_first=True), 4), times),
    "tied": (TiedNet, words),
    "mlp": (lambda: mlp(6, 8, 3), points),
}


@cache
def curvature(name: str) -> tuple[Hessian, np.ndarray]:
    """The operator over ragged batches of 5, and the matrix from all the data at once."""
    torch.manual_seed(2)
    model, data = NETS[name][0]().double().eval(), wide(NETS[name][1]())
    objective = ls.Objective(model, data, "cross_entropy", scope="all", batch_size=5)

    def loss(point: torch.Tensor) -> torch.Tensor:
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            return F.cross_entropy(
                torch.func.functional_call(model, objective.layout.views(point), (data[0],)), data[1]
            )

    return Hessian(objective), torch.autograd.functional.hessian(loss, objective.theta).numpy()


@pytest.mark.parametrize("which", ["largest", "magnitude"])
@pytest.mark.parametrize("name", NETS)
def test_the_top_five_are_those_of_the_dense_matrix(name: str, which: str) -> None:
    operator, matrix = curvature(name)
    pairs = ls.top_eigenpairs(operator, 5, which=which)
    values = np.linalg.eigvalsh(matrix)
    if which == "magnitude":
        values = np.sort(values[np.argsort(np.abs(values))[-5:]])
    np.testing.assert_allclose(pairs.values, values[::-1][:5], rtol=1e-6)
    assert pairs.converged.all()
    assert pairs.complete
    residuals = np.linalg.norm(matrix @ pairs.vectors - pairs.vectors * pairs.values, axis=0)
    np.testing.assert_allclose(pairs.residuals, residuals, rtol=0.01, atol=1e-10)


@pytest.mark.parametrize("method", ["hutchinson", "hutch++", "xtrace"])
@pytest.mark.parametrize("name", NETS)
def test_traces_lie_within_their_errors(name: str, method: str) -> None:
    operator, matrix = curvature(name)
    found = ls.trace(operator, 24, method=method, seed=1)
    assert abs(found.value - np.trace(matrix)) < Z * found.standard_error + 1e-10


@pytest.mark.parametrize("name", NETS)
def test_blocks_and_the_diagonal_lie_within_their_errors(name: str) -> None:
    operator, matrix = curvature(name)
    blocks = ls.layer_traces(operator, 36, seed=1)
    truth = [np.trace(matrix[part.start : part.stop, part.start : part.stop]) for part in operator.parts]
    assert (np.abs(blocks.values - truth) < Z * blocks.standard_errors + 1e-10).all()
    assert blocks.names == tuple(part.name for part in operator.parts)
    exact = ls.diagonal(operator, operator.size)
    np.testing.assert_allclose(exact.values, np.diag(matrix), atol=1e-10)


@pytest.mark.parametrize("name", ["mlp"])  # Lanczos sees products alone, which are right for all of them
def test_the_density_lies_within_its_errors(name: str) -> None:
    operator, matrix = curvature(name)
    eigenvalues = np.linalg.eigvalsh(matrix)
    density = ls.spectral_density(operator, 12, 60, seed=1)
    value, error = density.trace
    assert abs(value - eigenvalues.sum()) < Z * error
    grid = np.linspace(eigenvalues[0], eigenvalues[-1], 9)
    width = 0.1 * np.ptp(eigenvalues)
    kernel = np.exp(-0.5 * ((grid[:, None] - eigenvalues) / width) ** 2).mean(1) / (width * np.sqrt(2 * np.pi))
    assert (np.abs(density.density(grid, width) - kernel) < Z * density.density_error(grid, width) + 1e-6).all()


@pytest.mark.parametrize("name", ["mlp"])
def test_the_log_determinant_lies_within_its_error(name: str) -> None:
    operator, matrix = curvature(name)
    shift = 1.0
    found = ls.log_determinant(operator, shift, probes=20, steps=40, seed=1)
    assert abs(found.value - np.linalg.slogdet(matrix + shift * np.eye(len(matrix)))[1]) < Z * found.error
    assert found.definite == bool(np.linalg.eigvalsh(matrix)[0] > -shift)
