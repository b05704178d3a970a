"""The loss of a sharded model as a function of the part of the flat vector that a rank holds.

The model runs its own forward. Under FSDP2 each unit (a module on which ``fully_shard`` was called) gets whole
parameters when it runs, and gives them back afterwards. FSDP's own hooks rest meanwhile: they gather the trained
values, and their derivatives cannot be differentiated again. So FSDP's policies for mixed precision do not act: the
loss is computed in the dtype of the parameters. Under tensor parallelism the parameters are DTensors of this rank's
parts.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from landscape.errors import RankError
from landscape.objective.batch_loss import ModelProgram
from landscape.objective.batches import Batch
from landscape.objective.parameters import moving_parameters
from landscape.objective.shards.gather import gather
from landscape.objective.shards.model import fsdp_units, is_dtensor
from landscape.objective.shards.places import Shards
from landscape.objective.shards.regather import Regather

_FSDP = "torch.distributed.fsdp"
_HOOKS = ("_forward_pre_hooks", "_forward_hooks")
_Place = tuple[dict[str, Any], str, int]


class ShardedProgram(ModelProgram):
    """A sharded module and its loss on batches kept in memory; points hold this rank's part of each parameter.

    Attributes:
        regather: keeps whole parameters out of the graphs of derivatives.
    """

    sharded = True

    def __init__(self, model: nn.Module, *args: Any, **kwargs: Any) -> None:
        super().__init__(model, *args, **kwargs)
        assert isinstance(self.layout.holding, Shards)
        self._shards = self.layout.holding
        self.regather = Regather(self._shards)
        self._originals = moving_parameters(model)
        self._units = {unit: _places_in(unit, self._places) for unit in fsdp_units(model)}
        self._late = {which for places in self._units.values() for _, _, which in places}

    @contextmanager
    def running(self) -> Iterator[None]:
        with super().running(), self.regather.hooks():
            yield

    @contextmanager
    def _placed(self, tensors: list[Tensor] | None) -> Iterator[None]:
        assert tensors is not None
        count = len(self.layout.entries)
        parts = tensors[:count]
        with ExitStack() as stack:
            stack.enter_context(super()._placed([*self._at_once(parts), *tensors[count:]]))
            for unit, places in self._units.items():
                stack.enter_context(_lending(unit, places, lambda whiches: self._wholes(parts, whiches)))
            try:
                yield
            except RankError:
                raise
            except Exception as error:
                self._shards.fail(error)
                raise

    def _call(self, batch: Batch) -> Any:
        return tree_map(_full, super()._call(batch))

    def _at_once(self, parts: list[Tensor]) -> list[Tensor]:
        """Return what modules hold before they run: DTensors of these parts, or NaN where a unit lends the whole."""
        placed = [self._absent(which) if which in self._late else part for which, part in enumerate(parts)]
        replicated = [i for i, tensor in enumerate(self._originals) if i not in self._late and not _is_split(tensor)]
        for which, whole in zip(replicated, self._wholes(parts, replicated), strict=True):
            placed[which] = whole
        for which, original in enumerate(self._originals):
            if which not in self._late and is_dtensor(original):
                placed[which] = _like(original, placed[which])
        return placed

    def _wholes(self, parts: list[Tensor], whiches: Sequence[int]) -> list[Tensor]:
        names = [self.layout.entries[which].name for which in whiches]
        if not names:
            return []
        own = [parts[which] for which in whiches]
        wholes = gather(self._shards, names, own)
        self.regather.remember(names, own, wholes)
        return wholes

    def _absent(self, which: int) -> Tensor:
        """Return NaN in the shape of a whole parameter, in the memory of one number."""
        entry = self.layout.whole.entries[which]
        return torch.full((), math.nan, dtype=entry.dtype, device=self._shards.device).expand(entry.shape)


def _places_in(unit: nn.Module, places: Sequence[_Place]) -> list[_Place]:
    """Return the places of the parameters that a unit gathers: those in it and in no unit inside it."""
    inner = {id(module) for other in fsdp_units(unit) if other is not unit for module in other.modules()}
    stores = {id(module._parameters) for module in unit.modules() if id(module) not in inner}
    return [place for place in places if id(place[0]) in stores]


@contextmanager
def _lending(
    unit: nn.Module, places: Sequence[_Place], wholes_of: Callable[[Sequence[int]], list[Tensor]]
) -> Iterator[None]:
    """Give a unit whole parameters whenever it runs."""
    absent = [store[key] for store, key, _ in places]
    whiches = list(dict.fromkeys(which for _, _, which in places))

    def lend(*_: Any) -> None:
        wholes = dict(zip(whiches, wholes_of(whiches), strict=True))
        for store, key, which in places:
            store[key] = wholes[which]

    def take_back(*_: Any) -> None:
        for place, tensor in zip(places, absent, strict=True):
            place[0][place[1]] = tensor

    kept = {name: unit.__dict__[name] for name in _HOOKS}
    first, last = ({number: h for number, h in hooks.items() if not _is_fsdp(h)} for hooks in kept.values())
    unit.__dict__["_forward_pre_hooks"] = OrderedDict([(lend, lend), *first.items()])
    unit.__dict__["_forward_hooks"] = OrderedDict([*last.items(), (take_back, take_back)])
    try:
        yield
    finally:
        unit.__dict__.update(kept)


def _is_fsdp(hook: Any) -> bool:
    return str(getattr(hook, "__module__", "")).startswith(_FSDP)


def _is_split(tensor: Tensor) -> bool:
    return is_dtensor(tensor) and any(placement.is_shard() for placement in tensor.placements)  # type: ignore[attr-defined]


def _like(original: Tensor, local: Tensor) -> Tensor:
    """Return a DTensor like the original, with this local tensor, differentiable by it."""
    from torch.distributed.tensor import DTensor

    mesh, placements = original.device_mesh, original.placements  # type: ignore[attr-defined]
    return DTensor.from_local(local, mesh, placements, run_check=False, shape=original.shape, stride=original.stride())


def _full(item: Any) -> Any:
    return item.full_tensor() if isinstance(item, Tensor) and is_dtensor(item) else item  # type: ignore[attr-defined]
