"""Find the weights in a loaded object."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

#: what wrappers (DataParallel, torch.compile) put in front of a parameter's name
WRAPPERS = ("module", "_orig_mod")
_USUAL = ("state_dict", "model", "model_state_dict", "model_state", "net", "network", "weights", "params")
_SECONDARY = re.compile(r"(?<![a-z])(?:ema|swa|averaged?|shadow|teacher|momentum)(?![a-z])", re.IGNORECASE)
_NEVER = re.compile(r"optim|sched|scaler|rng|callbacks|loops", re.IGNORECASE)
_DEEPEST = 6  # levels of nesting that are searched


@dataclass(frozen=True)
class State:
    """One set of weights.

    Attributes:
        place: the keys that lead to it, as in Python: ``['model']['ema']``; empty at the top.
        tensors: name -> tensor.
        prefix: what was removed from the front of every name.
        module: the pickled module that it belongs to, if there is one.
    """

    place: str
    tensors: dict[str, Tensor]
    prefix: str = ""
    module: nn.Module | None = None

    def describe(self) -> str:
        """Return one line for a reader."""
        what = "pickled module" if self.module is not None else "state_dict"
        nested = f" nested under {self.place}" if self.place else ""
        removed = f", prefix '{self.prefix}' removed" if self.prefix else ""
        return f"{what}{nested}{removed}, {len(self.tensors)} tensors"


def find_states(loaded: Any) -> list[State]:
    """Return every set of weights in a loaded object, the most likely one first.

    Optimiser states are skipped. Averaged copies (EMA) come after the weights themselves. Then the set with most
    tensors comes first, then the more usual name.
    """
    states = []
    for keys, tensors, module in sorted(_walk(loaded, (), set()), key=_rank):
        tensors, prefix = strip_wrappers(tensors)
        states.append(State(_place(keys), tensors, prefix, module))
    return states


def strip_wrappers(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """Remove all prefixes of wrappers that every name has.

    >>> import torch
    >>> strip_wrappers({"module._orig_mod.fc.weight": torch.ones(1)})
    ({'fc.weight': tensor([1.])}, 'module._orig_mod.')
    """
    removed = ""
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


_Keyed = tuple[tuple[Any, ...], dict[str, Tensor], nn.Module | None]  #: keys that lead there, tensors, module


def _walk(thing: Any, keys: tuple[Any, ...], seen: set[int]) -> Iterator[_Keyed]:
    """Yield every set of tensors by name inside ``thing``, which lies under ``keys``."""
    if id(thing) in seen or len(keys) > _DEEPEST:
        return
    seen.add(id(thing))
    if isinstance(thing, nn.Module):
        module = getattr(thing, "module", None) if type(thing).__name__.endswith("DataParallel") else thing
        if isinstance(module, nn.Module):
            yield keys, {k: v for k, v in module.state_dict().items() if isinstance(v, Tensor)}, module
        return
    if isinstance(thing, Mapping):
        if "param_groups" in thing:  # an optimiser
            return
        tensors = {k: v.detach() for k, v in thing.items() if isinstance(k, str) and isinstance(v, Tensor)}
        if any(tensor.is_floating_point() for tensor in tensors.values()):
            yield keys, tensors, None
        items: Any = [(key, value) for key, value in thing.items() if not _NEVER.search(str(key))]
    elif isinstance(thing, list | tuple):
        items = enumerate(thing)
    else:
        return
    for key, value in items:
        yield from _walk(value, (*keys, key), seen)


def _rank(state: _Keyed) -> tuple[bool, int, int, int]:
    """Return the place of a set of weights in the order of likelihood."""
    keys, tensors, _ = state
    secondary = any(is_secondary(str(key)) for key in keys)
    last = str(keys[-1]).lower() if keys else "state_dict"
    usual = _USUAL.index(last) if last in _USUAL else len(_USUAL)
    return secondary, -len(tensors), usual, len(keys)


def _place(keys: tuple[Any, ...]) -> str:
    """Return the keys as in Python: 'state_dict', or ['model']['ema'] if there are several."""
    if len(keys) == 1 and isinstance(keys[0], str):
        return repr(keys[0])
    return "".join(f"[{key!r}]" for key in keys)
