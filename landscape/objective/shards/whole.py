"""A model with the vector and the program that serve it, whichever way its parameters lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from landscape.errors import ObjectiveError
from landscape.objective.batch_loss import ModelProgram, Program
from landscape.objective.model import check_device, check_values, moved, refuse_live_observers
from landscape.objective.parameters import Layout, Scope
from landscape.objective.shards.model import (
    is_sharded,
    own_tensors,
    require_finite,
    sharded_layout,
    shards_of,
    unwrapped,
)
from landscape.objective.shards.places import Shards
from landscape.objective.shards.program import ShardedProgram
from landscape.objective.shared_memory import refuse_shared_memory

Said = TypeVar("Said")


@dataclass(frozen=True)
class Held:
    """What an objective needs of a model.

    Attributes:
        model: the module to run.
        layout: of this process's part of the flat vector.
        tensors: this process's part of each parameter.
        place: the device to compute on.
        program: the class of the program that runs the model.
    """

    model: nn.Module
    layout: Layout
    tensors: Mapping[str, Tensor]
    place: torch.device
    program: type[ModelProgram]

    @classmethod
    def of(cls, model: nn.Module, device: torch.device | str | None, dtype: torch.dtype | None) -> Held:
        """Return this of any model: an ordinary one, one that DDP wraps, or a sharded one.

        Raises:
            ObjectiveError: for a model that cannot be measured, moved or cast.
            RankError: for a sharded model that differs between ranks.
        """
        if isinstance(model, nn.Module):
            model = unwrapped(model)
            if is_sharded(model):
                return cls._sharded(model, device, dtype)
        place = check_values(model)
        refuse_shared_memory(model)
        refuse_live_observers(model)
        check_device(device or place)
        model = moved(model, device, dtype)
        return cls(model, Layout.of(model), dict(model.named_parameters()), torch.device(device or place), ModelProgram)

    @classmethod
    def _sharded(cls, model: nn.Module, device: torch.device | str | None, dtype: torch.dtype | None) -> Held:
        if device is not None or dtype is not None:
            raise ObjectiveError(
                "a sharded model stays where it is, in its own dtype. Move and cast it before it is sharded, and leave "
                "`device=...` and `dtype=...` out."
            )
        shards = shards_of(model)
        require_finite(model, shards)
        check_device(shards.device)
        tensors = own_tensors(model, shards)
        return cls(model, sharded_layout(model, shards), tensors, shards.device, ShardedProgram)

    def select(self, scope: str | Sequence[str], **options: Any) -> Scope:
        """Return the scope; refuse ranks of a sharded model that got other options."""
        self.same_on_all("options", {"scope": scope, **options})
        return Scope.select(scope, self.layout)

    def same_on_all(self, what: str, said: Said) -> Said:
        """Return ``said``; refuse ranks of a sharded model that say different things.

        Raises:
            RankError: it names the rank.
        """
        if isinstance(self.layout.holding, Shards):
            self.layout.holding.require_same(what, said)
        return said


def require_whole(program: Program, what: str) -> None:
    """Refuse a sharded model for a measurement that needs all parameters in one process.

    Raises:
        ObjectiveError: it says what sharded models can do.
    """
    if program.sharded:
        raise ObjectiveError(
            f"{what} of a sharded model is not supported, since no rank holds all parameters. Slices, radii, curvature "
            "and the estimators uniform and laplace are. For others load the model whole on each rank (or under DDP)."
        )
