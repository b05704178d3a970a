"""What each of several ranks checks of sharded models: every number is that of one process.

Called by ``helpers.ranks.work`` as ``sharded NAMES``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

import landscape as ls
from landscape import distributed
from landscape.curvature.operator import Operator
from landscape.errors import LandscapeError
from landscape.objective.shards.program import ShardedProgram

#: whether torch can differentiate the backward pass of tensor parallelism: from 2.11 on
TWICE = hasattr(torch.distributed.tensor._redistribute, "NestedRedistribute")
DATA = (torch.linspace(-1, 1, 100).reshape(20, 5).sin(), torch.arange(20) % 3)


class Net(nn.Module):
    """Layers of uneven sizes, a normalisation, a dead filter, and a parameter of one entry."""

    def __init__(self, width: int = 7) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.body = nn.Sequential(nn.Linear(5, width), nn.Tanh(), nn.Linear(width, 8), nn.LayerNorm(8))
        self.head = nn.Linear(8, 3)
        self.temperature = nn.Parameter(torch.ones(1))
        for parameter in self.parameters():
            with torch.no_grad():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
        with torch.no_grad():
            self.body[0].weight[4] = 0.0

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x)) / self.temperature


def by_fsdp(model: Net) -> Net:
    """Shard a net by FSDP2, with units inside units."""
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for unit in (model.body[0], model.body, model.head, model):
        fully_shard(unit, mesh=mesh)
    return model


def by_tensor(model: Net) -> Net:
    """Split a net by rows and columns of its kernels; the rest is replicated."""
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    parallelize_module(model, mesh, {"body.0": ColwiseParallel(), "body.2": RowwiseParallel()})
    return model


def by_ddp(model: Net) -> nn.Module:
    return nn.parallel.DistributedDataParallel(model)


KINDS: dict[str, Callable[[Net], nn.Module]] = {"fsdp": by_fsdp, "tensor": by_tensor, "ddp": by_ddp}


def local_values(model: nn.Module) -> list[Tensor]:
    """Return copies of what this rank holds of each parameter."""
    held = (getattr(parameter, "to_local", lambda p=parameter: p)() for parameter in model.parameters())
    return [tensor.detach().clone() for tensor in held]


def losses(kind: str) -> None:
    """Slices, radii and uniform volumes of a sharded net are those of one process."""
    exact = kind != "tensor"  # a split product adds up in another order
    width = 8 if kind == "tensor" else 7  # torch splits a product evenly
    whole = ls.Objective(Net(width), DATA, scope="all", batch_size=10, lanes=1)
    model = KINDS[kind](Net(width))
    before = local_values(model)
    objective = ls.Objective(model, DATA, scope="all", batch_size=10, lanes=1)
    assert (objective.dimension, objective.layout.size) == (whole.dimension, whole.layout.size)
    assert objective.theta_hash == whole.theta_hash
    same(objective.centre, whole.centre, exact)
    assert objective.accuracy() == whole.accuracy()
    # the split of a tensor says where its entries lie; under DDP every rank holds them all
    for options in ({}, {"metric": "identity"}, {"direction": "li2018"}) if kind != "ddp" else ({},):
        one, other = (ls.slice_1d(each, steps=3, **options) for each in (whole, objective))
        same(other.loss, one.loss, exact)
        same(other.accuracy, one.accuracy, exact)
        same(other.length, one.length, False)
        assert other.dimension == one.dimension
    planes = [ls.slice_2d(each, steps=3, orthogonal=True) for each in (whole, objective)]
    same(planes[1].loss, planes[0].loss, False)
    same(planes[1].cosine, planes[0].cosine, False)
    rays = {"directions": 2, "rtol": 0.1, "first_step": 0.2}  # a pilot run would take most of the time
    for criterion, cutoff in (("loss", 1.2 * whole.centre), ("kl", 0.2)):
        one, other = (ls.basin_radii(each, [cutoff], criterion=criterion, **rays) for each in (whole, objective))
        same(other.radii, one.radii, exact)
    cutoffs = [1.2 * whole.centre]
    volumes = [
        ls.log_volume(each, cutoffs, estimator="uniform", max_radius=0.4, **rays).results[0]
        for each in (whole, objective)
    ]
    same(volumes[1].log_volume, volumes[0].log_volume, exact)
    for tensor, kept in zip(local_values(model), before, strict=True):
        assert torch.equal(tensor, kept)


def curvatures(kind: str) -> None:
    """Products, traces, eigenvalues, spectra and Laplace volumes of a sharded net are those of one process."""
    width = 8 if kind == "tensor" else 7
    settings = {"scope": "all", "batch_size": 20, "lanes": 1}
    whole = ls.Objective(wide(Net(width)), double(DATA), **settings)
    objective = ls.Objective(KINDS[kind](wide(Net(width))), double(DATA), **settings)
    if kind == "tensor" and not TWICE:
        refuses_second_derivatives(objective)
    if kind != "tensor" or TWICE:
        same_spectra(*(ls.Hessian(each, metric="filter") for each in (whole, objective)))
        products = [ls.trace(ls.GaussNewton(each, metric="filter"), 2).samples for each in (whole, objective)]
        same(products[1], products[0], False)
    by_difference = [ls.trace(ls.Hessian(each, derivative="difference"), 2).samples for each in (whole, objective)]
    same(by_difference[1], by_difference[0], False)
    if kind == "tensor" and not TWICE:
        return
    volumes = [
        ls.log_volume(each, [1.2 * whole.centre], estimator="laplace", curvature="ggn", probes=2, steps=2)
        for each in (whole, objective)
    ]
    same(volumes[1].results[0].log_volume, volumes[0].results[0].log_volume, False)
    lines = [ls.slice_1d(each, steps=3, direction="hessian") for each in (whole, objective)]
    same(lines[1].loss, lines[0].loss, False)


def refuses_second_derivatives(objective: ls.Objective) -> None:
    """An error, and no wrong number, with a torch that differentiates tensor parallelism only once."""
    for make in (ls.Hessian, ls.GaussNewton):
        with pytest.raises(LandscapeError, match=r"is not symmetric.*\n.*torch 2.11 or later"):
            ls.trace(make(objective), 2)


def memory() -> None:
    """No whole parameter stays in memory: between units, in the graph of a gradient, and in that of a product."""
    objective = ls.Objective(by_fsdp(wide(Net())), double(DATA), scope="all", batch_size=20)
    program = objective.program
    assert isinstance(program, ShardedProgram)
    seen: list[list[str]] = []
    program.model.body[2].register_forward_hook(lambda *_: seen.append(program.regather.in_memory()))
    with objective.running():
        leaves = [leaf.requires_grad_() for leaf in program.leaves(objective.theta)]
        with torch.enable_grad():
            total = program.total_of(leaves, 0)
            assert program.regather.in_memory() == []
            slopes = torch.autograd.grad(total, leaves, create_graph=True)
            assert program.regather.in_memory() == []
            product = torch.autograd.grad(slopes, leaves, [torch.ones_like(leaf) for leaf in leaves])
    assert all(bool(torch.isfinite(part).all()) for part in product)
    # in the middle of the body: its own parameters and those of the root, which wrap it
    assert sorted(seen[0]) == ["body.2.bias", "body.2.weight", "body.3.bias", "body.3.weight", "temperature"]


def same_spectra(one: Operator, other: Operator) -> None:
    """Require that two operators have equal eigenpairs, traces and densities; the second one is sharded."""
    pairs = [ls.top_eigenpairs(op, 2, check=False, max_products=6) for op in (one, other)]
    same(pairs[1].values, pairs[0].values, False)
    for held, vector in zip(pairs[1].vectors.T, pairs[0].vectors.T, strict=True):
        same(held, other.pick(lambda a, b, v=vector: v[a:b]), False)
    same(ls.trace(other, 2).samples, ls.trace(one, 2).samples, False)
    traces = [ls.layer_traces(op, 2) for op in (one, other)]
    same(traces[1].values, traces[0].values, False)
    assert (traces[1].names, list(traces[1].sizes)) == (traces[0].names, list(traces[0].sizes))
    densities = [ls.spectral_density(op, 2, 3) for op in (one, other)]
    same(densities[1].nodes, densities[0].nodes, False)


def wide(model: Net) -> Net:
    return model.double()


def double(data: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return data[0].double(), data[1]


def same(got: object, wanted: object, exact: bool) -> None:
    """Require equal numbers: bit for bit, or to 1e-6."""
    if exact:
        np.testing.assert_array_equal(got, wanted)
    else:
        np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-6)


def refused() -> None:
    """What a sharded model cannot do, and ranks that differ, are one clear error."""
    mine = dist.get_rank()
    objective = ls.Objective(by_fsdp(Net()), DATA)
    for call, words in (
        (lambda: ls.sharpness(objective, ["keskar"]), "the sharpness of a sharded model is not supported"),
        (lambda: ls.log_volume(objective, [9.0], estimator="annealed", budget="1s"), "the estimator annealed of"),
        (lambda: ls.slice_1d(objective, other=Net(), direction="toward"), "through other checkpoints"),
        (lambda: ls.Objective(by_fsdp(Net()), DATA, dtype=torch.float64), "a sharded model stays where it is"),
        (lambda: ls.Objective(by_fsdp(Net()), (DATA[0] + mine, DATA[1])), "rank 1 has other data than rank 0"),
        (lambda: ls.Objective(with_nan(by_fsdp(Net())), DATA), "head.weight holds NaN"),
        (lambda: ls.Objective(by_fsdp(wider() if mine else Net()), DATA), "rank 1 has other parameters than rank 0"),
        (lambda: ls.Objective(short(by_fsdp(Net())), DATA), "the shards of head.weight do not fit together"),
        (lambda: ls.Objective(by_fsdp(Net()), DATA, scope="conv" if mine else "all"), "scope is conv there and all"),
        (lambda: ls.Objective(by_fsdp(Net()), DATA, scope="conv"), "scope 'conv' matches no parameter"),
    ):
        with pytest.raises(LandscapeError, match=words):
            call()


def broken() -> None:
    """A forward that fails on one rank is told on the others, which wait for it."""
    mine = dist.get_rank()
    distributed.FAIL_TOGETHER = 0.5

    def forward(model: Net, batch: tuple[Tensor, Tensor]) -> Tensor:
        hidden = model.body(batch[0])
        if mine == 1:
            raise ValueError("no memory left on this card")
        return model.head(hidden)

    words = "no memory left on this card" if mine == 1 else "rank 1 failed: ValueError: no memory left on this card"
    with pytest.raises(LandscapeError, match=words):
        ls.Objective(by_fsdp(Net()), DATA, forward=forward)


def with_nan(model: Net) -> Net:
    """Spoil an entry that the last rank holds."""
    local = model.head.weight.to_local()  # type: ignore[operator]
    if dist.get_rank() == dist.get_world_size() - 1:
        local.data[0, 0] = float("nan")
    return model


def short(model: Net) -> Net:
    """Take a row from what the last rank holds."""
    if dist.get_rank() == dist.get_world_size() - 1:
        local = model.head.weight.to_local()  # type: ignore[operator]
        model.head.weight._local_tensor = local[:-1] if len(local) else torch.zeros(1, 8)
    return model


def wider() -> Net:
    """Return a net whose head has more inputs."""
    model = copy.deepcopy(Net())
    model.head = nn.Linear(9, 3)
    return model


def check(names: list[str]) -> None:
    """Run these checks in this process, which is one of several."""
    checks = {each.__name__: each for each in (losses, curvatures, memory, refused, broken)}
    dist.init_process_group("gloo")
    try:
        for name in names:
            measure, _, kind = name.partition("-")
            checks[measure](*kind.split())
    finally:
        dist.destroy_process_group()
