"""A program in float64 whatever the dtype of its model, so that small steps are resolved."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from landscape.curvature.autograd.graphs import free_bytes
from landscape.objective.batch_loss import ModelProgram, Program
from landscape.objective.batches import Batch
from landscape.objective.parameters import Layout

_LOW = (torch.float32, torch.float16, torch.bfloat16)
_TO_LOW = {Tensor.float, Tensor.half, Tensor.bfloat16}
_PLAIN = {int, float, bool, str, type(None)}  #: most arguments that are no tensors; asking for them first saves time
_LARGE = 1e3  # larger numbers count as this much
_VECTORS = 12  # flat vectors in float64 that are held at a time


def fits_in_double(program: Program, theta: Tensor, limit: int | None = None) -> bool:
    """Whether a program may run in float64: its tensors can be widened, and vectors fit ``limit`` or free bytes."""
    if _scripted(program) or program.sharded:
        return False
    room = free_bytes(theta.device) if limit is None else limit
    return theta.dtype == torch.float64 or _VECTORS * 8 * len(theta) < room


def _scripted(program: Program) -> bool:
    """Whether operations of a program are called by TorchScript, which lets none of them be widened."""
    if not isinstance(program, ModelProgram):
        return False
    return any(isinstance(module, torch.jit.ScriptModule) for module in program.model.modules())


def require_same_loss(program: Program, theta: Tensor, native: float, precise: float) -> None:
    """Refuse a loss in float64 that is not the loss as it is measured, up to the rounding of the latter.

    Raises:
        ArithmeticError: if they differ, or if one is not a number.
    """
    narrow = [entry.dtype for entry in program.layout.entries] if isinstance(program, ModelProgram) else [theta.dtype]
    allowed = 10 * max(torch.finfo(dtype).eps for dtype in narrow) ** 0.5
    if not abs(precise - native) <= allowed * max(abs(native), 1.0):
        raise ArithmeticError(f"the loss is {native} as measured and {precise} in float64")


def doubled(program: Program) -> Program:
    """Return the same program with data, buffers and layout in float64; the module itself is shared."""
    if not isinstance(program, ModelProgram):
        return program
    batches = tuple(
        Batch(
            **{name: tree_map(_widened, getattr(batch, name)) for name in ("raw", "inputs", "named", "target")},
            samples=batch.samples,
        )
        for batch in program.batches
    )
    doubled = program.with_batches(batches).with_buffers(tuple(_widened(buffer) for buffer in program.constants))
    doubled.layout = Layout([replace(entry, dtype=torch.float64) for entry in program.layout.entries])
    return doubled


class InDouble(TorchFunctionMode):
    """Computes in float64 whatever the model asks for, so that differences resolve small steps.

    Tensors that the model makes or keeps in a narrower dtype are widened as they are used, and casts to a narrower
    dtype have no effect. ``seen`` notes what operations return before that.
    """

    def __init__(self, seen: Seen) -> None:
        super().__init__()
        self._seen = seen

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        in_place = name.endswith("_") and not name.endswith("__")  # then the first tensor itself must be written
        args = (*args[:1], *map(_wide_argument, args[1:])) if in_place else tuple(map(_wide_argument, args))
        if func in _TO_LOW:
            return args[0].double()
        result = func(*args, **{key: _wide_argument(value) for key, value in (kwargs or {}).items()})
        self._seen.note(result)
        return _mapped(_widened, result)


class Seen:
    """The coarsest dtype of results that depend on the parameters, as relative rounding, and the size of numbers."""

    def __init__(self, *, looking: bool = True) -> None:
        self.eps, self.magnitude, self.looking = 0.0, 0.0, looking

    def note(self, result: Any) -> None:
        if not self.looking:
            return
        for item in result if isinstance(result, tuple | list) else (result,):
            if isinstance(item, Tensor) and item.is_floating_point() and item.requires_grad and item.numel():
                self.eps = max(self.eps, torch.finfo(item.dtype).eps)
                # capped, so that the -1e9 of masked attention does not hide everything else
                mean = float(_all_values(item.detach()).abs().clamp(max=_LARGE).mean())
                self.magnitude = max(self.magnitude, mean if math.isfinite(mean) else 0.0)


def _all_values(tensor: Tensor) -> Tensor:
    """Return the values behind a tensor inside of torch.func.vmap or grad, which shows only one of them."""
    while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return tensor


def _widened(item: Any) -> Any:
    return item.double() if isinstance(item, Tensor) and item.dtype in _LOW else item


def _wide_argument(item: Any) -> Any:
    if isinstance(item, torch.dtype):
        return torch.float64 if item in _LOW else item
    return _mapped(_widened, item)


def _mapped(change: Callable[[Any], Any], item: Any) -> Any:
    """Return the item with every tensor in it changed, like ``tree_map``, but fast for what operations take."""
    kind = type(item)
    if kind in _PLAIN:
        return item
    if kind in (tuple, list):
        return kind([_mapped(change, part) for part in item])
    return change(item) if isinstance(item, Tensor) or not isinstance(item, tuple | dict) else tree_map(change, item)
