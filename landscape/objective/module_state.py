"""What the modules of a model hold besides their weights: a pass may change it, and a measurement restores it."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

State = list[tuple[Any, Any]]


def state_of(model: nn.Module) -> State:
    """Return the attributes of each module, and the dicts and lists among them, each with a copy of what it holds."""
    state: State = []
    for module in model.modules():
        held = vars(module)
        state.append((held, dict(held)))
        state += [
            (value, value.copy()) for key, value in held.items() if key[:1] != "_" and type(value) in (dict, list)
        ]
    return state


def restore(state: State) -> None:
    """Give each module back its attributes, and what held tensors; a list of other things, such as a log, stays."""
    for now, before in state:
        if isinstance(now, list):
            if keeps_tensors([(now, before)]):
                now[:] = before
        elif "_modules" in before or keeps_tensors([(now, before)]):
            for key in now.keys() - before.keys():
                del now[key]
            now.update(before)


def keeps_tensors(state: State) -> bool:
    """Whether a module holds a tensor that it did not hold."""
    return any(
        isinstance(item, Tensor) and all(item is not one for one in _items(before))
        for now, before in state
        for item in _items(now)
    )


def _items(store: Any) -> list[Any]:
    return list(store.values()) if isinstance(store, dict) else store
