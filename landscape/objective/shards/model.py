"""What a model under ``torchrun`` is: replicated (DDP), sharded by FSDP2 or by tensor parallelism, or ordinary."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import Tensor, nn

from landscape.errors import ObjectiveError
from landscape.objective.parameters import Layout, moving_parameters
from landscape.objective.shards.places import Box, Shards


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the model that DDP wraps: every rank holds all of it."""
    return model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model


def is_sharded(model: nn.Module) -> bool:
    """Whether parameters lie on several ranks; refuse the old FSDP, whose parameters have lost their shapes.

    Raises:
        ObjectiveError: for ``FullyShardedDataParallel``.
    """
    for module in model.modules():
        if type(module).__name__ == "FullyShardedDataParallel":
            raise ObjectiveError(
                "the model is wrapped in FullyShardedDataParallel, which joins parameters to flat ones.\n"
                "Shard it with torch.distributed.fsdp.fully_shard (FSDP2) instead."
            )
    return any(is_dtensor(parameter) for parameter in model.parameters())


def is_dtensor(tensor: Tensor) -> bool:
    """Whether a tensor is one of torch.distributed.tensor, which takes long to import."""
    return type(tensor).__name__ == "DTensor"


def shards_of(model: nn.Module) -> Shards:
    """Return where the parameters of a sharded model lie. Every rank must call it.

    Raises:
        ObjectiveError: for a mesh that does not hold every rank once, or of two kinds of parallelism.
        RankError: if the ranks hold different models, or parts that do not fit together.
    """
    for module in fsdp_units(model):
        module.reshard()  # type: ignore[operator] # after a forward pass FSDP may keep them whole
    named = {name: p for name, p in model.named_parameters() if p.is_floating_point()}
    boxes = {name: _box(name, parameter) for name, parameter in named.items()}
    device = next(local_of(parameter).device for parameter in named.values())
    shards = Shards({name: tuple(p.shape) for name, p in named.items()}, boxes, device)
    shards.require_same("dtypes", {name: str(parameter.dtype) for name, parameter in named.items()})
    return shards


def fsdp_units(model: nn.Module) -> list[nn.Module]:
    """Return the modules on which ``fully_shard`` was called: each gathers its parameters when it runs."""
    from torch.distributed.fsdp import FSDPModule

    return [module for module in model.modules() if isinstance(module, FSDPModule)]


def local_of(tensor: Tensor) -> Tensor:
    """Return what this rank holds of a tensor."""
    return tensor.to_local() if is_dtensor(tensor) else tensor  # type: ignore[attr-defined]


def sharded_layout(model: nn.Module, shards: Shards) -> Layout:
    """Return the layout of the part of the flat vector that this rank holds."""
    boxes = shards.boxes[shards.rank]
    return Layout.of(model).sharded(shards, {name: box.lengths for name, box in boxes.items()})


def own_tensors(model: nn.Module, shards: Shards) -> Mapping[str, Tensor]:
    """Return this rank's part of each parameter."""
    boxes = shards.boxes[shards.rank]
    pairs = zip(shards.shapes, moving_parameters(model), strict=True)
    return {
        name: local_of(tensor).detach()
        if boxes[name].size
        else local_of(tensor).detach().new_zeros(boxes[name].lengths)
        for name, tensor in pairs
    }


def _box(name: str, parameter: Tensor) -> Box:
    """Return this rank's part of a parameter; a tensor that several ranks hold belongs to the first of them."""
    shape = tuple(parameter.shape)
    nothing = Box((0,) * max(len(shape), 1), (0, *shape[1:]))
    if not is_dtensor(parameter):
        return Box((0,) * len(shape), shape) if dist.get_rank() == 0 else nothing
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    mesh, placements = parameter.device_mesh, parameter.placements  # type: ignore[attr-defined]
    if mesh.size() != dist.get_world_size():
        raise ObjectiveError(
            f"{name} lies on {mesh.size()} of {dist.get_world_size()} ranks. A sharded model is measured by all ranks "
            "together: start as many as its mesh holds."
        )
    if sum(placement.is_shard() for placement in placements) > 1 or any(p.is_partial() for p in placements):
        raise ObjectiveError(
            f"{name} has placements {placements}: FSDP together with tensor parallelism is not supported. Shard the "
            "model by one of the two."
        )
    coordinate = mesh.get_coordinate()
    copies = [at for at, placement in zip(coordinate, placements, strict=True) if not placement.is_shard()]
    if any(copies):
        return nothing
    lengths, starts = compute_local_shape_and_global_offset(parameter.shape, mesh, placements)
    if not math.prod(lengths):
        return nothing
    return Box(tuple(starts), tuple(local_of(parameter).shape))  # what is there, which may not be what should be


def require_finite(model: nn.Module, shards: Shards) -> None:
    """Refuse NaN and infinite values, on all ranks if one rank has some."""
    bad = [float((~torch.isfinite(local_of(p))).sum()) for p in moving_parameters(model)]
    totals = shards.total(torch.tensor(bad, dtype=torch.float64)).tolist()
    for name, count in zip(shards.shapes, totals, strict=True):
        if count:
            raise ObjectiveError(f"the parameter {name} holds NaN or infinite values: the training has diverged.")
