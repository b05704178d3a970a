"""What a model must be to be measured: its parameters have values, and it lies where and as the caller asked."""

from __future__ import annotations

import ctypes
import sys
from copy import deepcopy
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from landscape.errors import ObjectiveError, first_line
from landscape.objective.parameters import fixed_parameters, moving_parameters

_SUMMED = {torch.float64, torch.float32, torch.bfloat16, torch.float16}
_PIECE = 2**20  # entries that are checked at a time: a check of all would take a copy of a large tensor
_LARGEST_MAPPING = 31 * 2**20  # bytes; glibc ignores sizes above 32 MiB when it adapts its threshold


def check_device(device: torch.device | str) -> None:
    """Refuse mps, the one kind of device that cannot sum in float64."""
    if str(device).partition(":")[0] == "mps":
        raise ObjectiveError(
            "losses are summed in float64, which the device mps does not have. Pass `device='cpu'` or `device='cuda'`."
        )


def check_values(model: nn.Module) -> torch.device:
    """Return the device of the parameters; refuse a model without parameters, or with some that cannot move.

    These are tensors without values (lazy, or on the meta device), and NaN or infinite values. Integer and complex
    parameters stay fixed, so the scope decides about them.
    """
    if not isinstance(model, nn.Module):
        raise ObjectiveError(
            f"the model must be a torch module, not {type(model).__name__}. For a plain function of a vector use "
            "Objective.from_function(f, theta)."
        )
    named = dict(model.named_parameters())
    if not named:
        raise ObjectiveError(
            f"the model ({type(model).__name__}) has no parameters, so nothing can move. A frozen TorchScript or "
            "quantised model holds its weights as constants: measure the model it was made from."
        )
    for name, tensor in [*named.items(), *model.named_buffers()]:
        if tensor.is_meta and any(hasattr(module, "_hf_hook") for module in model.modules()):
            raise ObjectiveError(
                f"{name} is offloaded by accelerate (a device_map with cpu or disk) and has no values between calls. "
                "Load the model without an offload: `device_map=None`, or shard it with fully_shard."
            )
        if tensor.is_meta or is_lazy(tensor):
            raise ObjectiveError(
                f"{name} has no values yet (a lazy module, or the meta device). Load the checkpoint into the model "
                "first: landscape.load_checkpoint(path, model)."
            )
    if not any(parameter.is_floating_point() for parameter in named.values()):
        name, parameter = next(iter(named.items()))
        raise ObjectiveError(
            f"the parameter {name} is {parameter.dtype}, and so on: no parameter is a real floating-point tensor, and "
            "only those can move. Measure the model before quantisation."
        )
    for name, parameter in named.items():
        if not all(_finite(piece) for piece in parameter.detach().reshape(-1).split(_PIECE)):
            raise ObjectiveError(f"the parameter {name} holds NaN or infinite values: the training has diverged.")
    return next(iter(named.values())).device


def _finite(values: Tensor) -> bool:
    """Whether all values are finite. Their sum says so ten times faster, unless it overflows."""
    if values.dtype in _SUMMED and bool(torch.isfinite(values.sum())):
        return True
    return bool(torch.isfinite(values).all())


def is_on(module: nn.Module, flag: str) -> bool:
    """Whether a module of quantisation-aware training has a flag that is on."""
    value = getattr(module, flag, None)
    return isinstance(value, Tensor) and bool(value.any())


def refuse_live_observers(model: nn.Module) -> None:
    """Refuse a network in quantisation-aware training with observers on: a pass changes what the next one gives.

    An observer that only watches, as before quantisation after training, changes nothing.

    Raises:
        ObjectiveError: it says how to switch them off.
    """
    for name, module in model.named_modules():
        if is_on(module, "observer_enabled") and is_on(module, "fake_quant_enabled"):
            raise ObjectiveError(
                f"the observer of {name} is still on, so each pass changes how the next one is quantised, also in "
                "evaluation mode.\nSwitch the observers off: model.apply(torch.ao.quantization.disable_observer)."
            )


def moved(model: nn.Module, device: torch.device | str | None, dtype: torch.dtype | None) -> nn.Module:
    """Return the model on another device or in another dtype; a copy, so that the caller's model stays unchanged."""
    if device is None and dtype is None:
        return model
    try:
        copy = copied(model).to(device=device)
        if dtype is None:
            return copy
        if any(parameter.is_complex() for parameter in copy.parameters()) and dtype.is_floating_point:
            return copy._apply(lambda tensor: cast(tensor, dtype))
        return copy.to(dtype=dtype)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ObjectiveError(
            f"the model cannot be moved to device {device}, dtype {dtype}: {first_line(error)}.\n"
            "Pass a device that this machine has and a floating-point dtype, or neither."
        ) from error


def copied(model: nn.Module) -> nn.Module:
    """Return a copy of the model, so that the caller's own stays unchanged."""
    # a tensor that a hook computes from parameters (pruning, old-style weight norm) cannot be copied with its graph
    computed = (value for module in model.modules() for value in vars(module).values() if isinstance(value, Tensor))
    return deepcopy(model, {id(value): value.detach() for value in computed})


def dtype_of(dtype: torch.dtype | str | None) -> torch.dtype | None:
    """Return the dtype of a name such as ``float64``; a dtype or None as it is.

    >>> dtype_of("float64"), dtype_of(torch.float16), dtype_of(None)
    (torch.float64, torch.float16, None)
    """
    if not isinstance(dtype, str):
        return dtype
    named = getattr(torch, dtype, None)
    if not isinstance(named, torch.dtype):
        raise ObjectiveError(f"the dtype {dtype!r} is not known. Pass a name such as `dtype='float64'`.")
    return named


def cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a tensor with real numbers in ``dtype``, and complex numbers in the complex dtype of that precision."""
    if tensor.is_floating_point():
        return tensor.to(dtype)
    # Module.to(dtype) would drop the imaginary parts; kernels for complex numbers of 16 bits are missing
    wide = torch.promote_types(dtype, torch.float32)
    return tensor.to(wide.to_complex()) if tensor.is_complex() else tensor


def places_of(model: nn.Module) -> list[tuple[Any, Any, int]]:
    """Return every place where a module stores a parameter or buffer; tied tensors have several places.

    A place is (dict or list, key, index of the tensor in :func:`held_tensors`). Attributes count, and so do lists and
    dicts in them.
    """
    index = {id(tensor): i for i, tensor in enumerate(held_tensors(model))}
    stores = [store for module in model.modules() for store in _stores_of(module)]
    pairs = ((store, store.items() if isinstance(store, dict) else enumerate(store)) for store in stores)
    return [
        (store, key, index[id(held)])
        for store, items in pairs
        for key, held in items
        if isinstance(held, Tensor) and id(held) in index
    ]


def _stores_of(module: nn.Module) -> list[dict[str, Any] | list[Any]]:
    """Return the dicts and lists of a module that may hold parameters; recurrent layers renew theirs."""
    own = ("_parameters", "_buffers", "_modules", *(("_flat_weights",) if isinstance(module, nn.RNNBase) else ()))
    others = [value for key, value in vars(module).items() if key not in own and isinstance(value, dict | list)]
    return [module._parameters, module._buffers, vars(module), *others]


def held_tensors(model: nn.Module) -> list[Tensor]:
    """Return all tensors that a program sets: the parameters that move, and its ``constants``."""
    return [*moving_parameters(model), *model.buffers(), *fixed_parameters(model)]


@cache
def keep_freed_memory() -> None:
    """Let the C library keep up to about 64 MB of freed memory for the next allocations.

    Activations of points evaluated together are tensors of a few hundred kilobytes, allocated and freed many times per
    second. glibc maps each again and returns it to the system, and every page costs a fault. That took half of the time
    on the machine where it was measured. glibc adapts to the sizes that it sees freed (M_MMAP_THRESHOLD in mallopt(3)).
    One large tensor, never written and freed at once, is enough for the whole process. Other C libraries ignore it.
    """
    torch.empty(_LARGEST_MAPPING, dtype=torch.uint8)


def return_freed_memory() -> None:
    """Let the C library give freed memory back to the system: glibc keeps it (malloc_trim(3)), others ignore this."""
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)


def mixes_samples(model: nn.Module) -> bool:
    """Whether the model uses batch statistics even in evaluation mode."""
    norms = (module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))
    return any(norm.running_mean is None for norm in norms)
