"""Find the weights in a loaded object."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from landscape.errors import CheckpointError

#: what wrappers (DataParallel, torch.compile) put in front of a parameter's name
WRAPPERS = ("module", "_orig_mod")
_USUAL = ("state_dict", "model", "model_state_dict", "model_state", "net", "network", "weights", "params")
_SECONDARY = re.compile(r"(?<![a-z])(?:ema|swa|averaged?|shadow|teacher|momentum)(?![a-z])", re.IGNORECASE)
_NEVER = re.compile(r"optim|sched|scaler|rng|callbacks|loops", re.IGNORECASE)
_COUNTER = "n_averaged"
_DEEPEST = 6  # levels of nesting that are searched


@dataclass(frozen=True)
class State:
    """One set of weights.

    Attributes:
        keys: the keys that lead to it; none at the top.
        tensors: name -> tensor.
        prefix: what was removed from the front of every name.
        module: the pickled module that it belongs to, if there is one.
    """

    keys: tuple[Any, ...]
    tensors: dict[str, Tensor]
    prefix: str = ""
    module: nn.Module | None = None

    @property
    def place(self) -> str:
        """Return the keys as in Python: 'state_dict', or ['model']['ema'] if there are several."""
        if len(self.keys) == 1 and isinstance(self.keys[0], str):
            return repr(self.keys[0])
        return "".join(f"[{key!r}]" for key in self.keys)

    @property
    def name(self) -> str:
        """Return what selects it: its keys with dots between them."""
        return ".".join(map(str, self.keys))

    def describe(self) -> str:
        """Return one line for a reader."""
        what = "pickled module" if self.module is not None else "state_dict"
        nested = f" nested under {self.place}" if self.place else ""
        removed = f", prefix '{self.prefix}' removed" if self.prefix else ""
        return f"{what}{nested}{removed}, {len(self.tensors)} tensors"


def find_states(loaded: Any) -> list[State]:
    """Return every set of weights in a loaded object, the most likely one first.

    Optimiser states are skipped. Averaged copies (EMA) come after the weights themselves. Then the set with most
    tensors comes first, then the more usual name. NumPy arrays count as tensors if the object holds no weights else.
    """
    states = []
    walked = [*_walk(loaded, (), frozenset())] or [*_walk(loaded, (), frozenset(), arrays=True)]
    for keys, tensors, module in sorted(walked, key=_rank):
        tensors, prefix = strip_wrappers(tensors)
        states.append(State(keys, tensors, prefix, module))
    return states


def choose(states: Sequence[State], name: str, path: object) -> list[State]:
    """Return the set of weights with a name: the keys that lead to it, or what the names of its tensors begin with.

    ``state_dict_ema``, ``model.ema`` or the last key of them, if one set alone has it, are names of the first kind.
    ``ema_model``, for tensors called ``ema_model.fc.weight``, is one of the second.

    Raises:
        CheckpointError: if there is none or several; it names those that there are.
    """
    for chosen in (
        [state for state in states if name in (state.name, state.place)],
        [state for state in states if state.keys and str(state.keys[-1]) == name],
        [part for state in states if (part := _under(state, name)) is not None],
    ):
        if len(chosen) == 1:
            return chosen
    names = [state.name for state in states if state.keys]
    tops = {key.partition(".")[0] for state in states for key in state.tensors if "." in key}
    names += sorted(top for top in tops if not top.isdigit())
    if not names:
        raise CheckpointError(
            f"{path} holds one set of weights, and it has no name, so none is called {name!r}. Leave `weights=...` out."
        )
    raise CheckpointError(
        f"{path} holds {'several sets' if chosen else 'no set'} of weights called {name!r}. "
        f"Names in it: {', '.join(names[:12])}{', ...' if len(names) > 12 else ''}.\n"
        "Pass one of them as `weights=...`, or leave it out."
    )


def _under(state: State, name: str) -> State | None:
    """Return the tensors whose names begin with ``name``, which is removed."""
    prefix = f"{name.removesuffix('.')}."
    tensors = {key.removeprefix(prefix): value for key, value in state.tensors.items() if key.startswith(prefix)}
    if not any(tensor.is_floating_point() for tensor in tensors.values()):
        return None
    tensors, wrappers = strip_wrappers(tensors)
    return State(state.keys, tensors, prefix + wrappers)


def strip_wrappers(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """Remove all prefixes of wrappers that every name has, and the counter of ``torch.optim.swa_utils.AveragedModel``.

    >>> import torch
    >>> strip_wrappers({"module._orig_mod.fc.weight": torch.ones(1)})
    ({'fc.weight': tensor([1.])}, 'module._orig_mod.')
    """
    removed = ""
    if _COUNTER in tensors and all(name.startswith("module.") for name in tensors if name != _COUNTER):
        tensors = {name: tensor for name, tensor in tensors.items() if name != _COUNTER}
    while tensors:
        wrapper = next((f"{w}." for w in WRAPPERS if all(name.startswith(f"{w}.") for name in tensors)), None)
        if wrapper is None:
            break
        tensors = {name[len(wrapper) :]: tensor for name, tensor in tensors.items()}
        removed += wrapper
    return tensors, removed


def is_secondary(name: str) -> bool:
    """Whether a key names a copy of the weights (an average, a teacher) rather than the weights.

    >>> is_secondary("model_ema"), is_secondary("semantic")
    (True, False)
    """
    return _SECONDARY.search(name) is not None


def is_bookkeeping(key: object) -> bool:
    """Whether a key names the state of a training (optimiser, schedule, ...), where no weights are searched."""
    return _NEVER.search(str(key)) is not None


_Keyed = tuple[tuple[Any, ...], dict[str, Tensor], nn.Module | None]  #: keys that lead there, tensors, module


def _walk(thing: Any, keys: tuple[Any, ...], outer: frozenset[int], *, arrays: bool = False) -> Iterator[_Keyed]:
    """Yield every set of tensors by name inside ``thing``, which lies under ``keys`` and within ``outer``."""
    if id(thing) in outer or len(keys) > _DEEPEST:
        return
    if isinstance(thing, nn.Module):
        module = getattr(thing, "module", None) if type(thing).__name__.endswith("DataParallel") else thing
        if isinstance(module, nn.Module):
            yield keys, {k: v for k, v in module.state_dict().items() if isinstance(v, Tensor)}, module
        return
    if isinstance(thing, Mapping):
        if "param_groups" in thing:  # an optimiser
            return
        named = {k: _as_tensor(v) if arrays else v for k, v in thing.items() if isinstance(k, str)}
        tensors = {k: v.detach() for k, v in named.items() if isinstance(v, Tensor)}
        if any(tensor.is_floating_point() for tensor in tensors.values()):
            yield keys, tensors, None
        items: Any = [(key, value) for key, value in thing.items() if not is_bookkeeping(key)]
    elif isinstance(thing, list | tuple):
        items = enumerate(thing)
    else:
        return
    for key, value in items:
        yield from _walk(value, (*keys, key), outer | {id(thing)}, arrays=arrays)


def _as_tensor(value: Any) -> Any:
    """Return an array of numbers as a tensor, and anything else as it is."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiu":
        return torch.from_numpy(np.require(value, value.dtype.newbyteorder("="), ["C", "W"]))
    return value


def _rank(state: _Keyed) -> tuple[bool, int, int, int]:
    """Return the place of a set of weights in the order of likelihood."""
    keys, tensors, _ = state
    secondary = any(is_secondary(str(key)) for key in keys)
    last = str(keys[-1]).lower() if keys else "state_dict"
    usual = _USUAL.index(last) if last in _USUAL else len(_USUAL)
    return secondary, -len(tensors), usual, len(keys)
