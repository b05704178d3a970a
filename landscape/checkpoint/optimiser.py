"""Adam's state in a checkpoint: running means of squared gradients, by the names of the parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from landscape.checkpoint.files import locate, sniff
from landscape.checkpoint.pickles import load_pickle
from landscape.checkpoint.search import strip_wrappers
from landscape.errors import CheckpointError

_KEY = "exp_avg_sq"
_DEEPEST = 4  # levels of nesting that are searched


def adam_moments(path: str | Path, model: nn.Module, *, unsafe: bool = False) -> dict[str, Tensor]:
    """Return Adam's second moments from a checkpoint, by the names of the model's parameters.

    The whole file is searched for the state of Adam, AdamW or any optimiser that keeps ``exp_avg_sq``. The first state
    that fits is taken. Parameters are identified by the names in the state, which torch writes for
    ``Adam(model.named_parameters())``. Without names, their order counts: that of ``model.parameters()``, all of them
    or those that require a gradient. The bias correction is a common factor and is left out.

    Args:
        path: what torch.save wrote: a checkpoint with an optimiser's state_dict in it, or that alone.
        model: the network.
        unsafe: as for :func:`landscape.load_checkpoint`.

    Raises:
        CheckpointError: if the file holds no second moments, or none that fit the model.
    """
    path = locate(path, "checkpoint", CheckpointError)
    kind = sniff(path) if path.is_file() else "unknown"
    if kind != "torch":
        raise CheckpointError(f"{path} holds no optimiser state: only files written by torch.save can. {_HOW}")
    states = list(_states(load_pickle(path, unsafe=unsafe).content, _DEEPEST))
    if not states:
        raise CheckpointError(f"{path} holds no second moments of Adam ({_KEY!r} in an optimiser's state). {_HOW}")
    for state in states:
        moments = _named(state, model)
        if moments is not None:
            return moments
    raise CheckpointError(
        f"{path} holds second moments of Adam that do not fit this model: neither the names nor the order and shapes "
        "of its parameters agree with them.\n"
        "Save the optimiser of this model, made from model.named_parameters(), or pass tensors by name as proposal."
    )


_HOW = (
    "Save it together with the weights: "
    "torch.save({'model': model.state_dict(), 'optimizer': optimizer.state_dict()}, path); "
    "or take a proposal from the curvature."
)


def _states(thing: Any, depth: int) -> Iterator[Mapping[str, Any]]:
    """Yield the state_dict of every optimiser with second moments in it."""
    if depth < 0:
        return
    if isinstance(thing, Mapping):
        if "param_groups" in thing and isinstance(thing.get("state"), Mapping):
            if any(isinstance(held, Mapping) and _KEY in held for held in thing["state"].values()):
                yield thing
            return
        thing = list(thing.values())
    if isinstance(thing, list | tuple):
        for item in thing:
            yield from _states(item, depth - 1)


def _named(state: Mapping[str, Any], model: nn.Module) -> dict[str, Tensor] | None:
    """Return the moments by the names of the model, or None if they do not fit."""
    groups = state["param_groups"]
    keys = [key for group in groups for key in group["params"]]
    held = {key: state["state"][key][_KEY] for key in keys if _KEY in state["state"].get(key, {})}
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    orders: list[list[str]] = []
    if all("param_names" in group for group in groups):
        names = [str(name) for group in groups for name in group["param_names"]]
        orders.append(list(strip_wrappers(dict.fromkeys(names))[0]))  # type: ignore[arg-type]
    orders.append(list(shapes))
    orders.append([name for name, parameter in model.named_parameters() if parameter.requires_grad])
    for order in orders:
        if len(order) != len(keys) or not set(order) <= set(shapes):
            continue
        moments = {name: held[key].detach() for name, key in zip(order, keys, strict=True) if key in held}
        if all(shapes[name] == tensor.shape for name, tensor in moments.items()):
            return moments
    return None
