"""Read any checkpoint: tell its form and hand it to the right reader."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from landscape.checkpoint.files import foreign, locate, sniff
from landscape.checkpoint.fit import load_into
from landscape.checkpoint.huggingface import build_model, read_folder, read_safetensors
from landscape.checkpoint.pickles import load_pickle
from landscape.checkpoint.programs import read_exported, read_torchscript
from landscape.checkpoint.search import State, find_states
from landscape.errors import CheckpointError

RECORD_KEY = "landscape_task"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The content of a checkpoint file.

    Attributes:
        path: the file.
        form: one line that says in which form the weights were found.
        state: name -> tensor on the CPU.
        model: the network, if the file contains it (TorchScript, torch.export, a pickled module).
        task_record: the task as landscape's own recipes store it, ``{"recipe": ..., "args": {...}}``.
        states: every set of weights in the file, the most likely one first.
    """

    path: Path
    form: str
    state: dict[str, Tensor] = field(repr=False)
    model: nn.Module | None = field(default=None, repr=False)
    task_record: dict[str, Any] | None = None
    states: tuple[State, ...] = field(default=(), repr=False)


def read_checkpoint(path: str | Path, *, unsafe: bool = False) -> Checkpoint:
    """Read a checkpoint of any known form, without running code from it.

    Known forms: files of torch.save (a state_dict, or anything that contains one, such as Lightning's files),
    safetensors, Hugging Face folders, TorchScript, and torch.export archives. The prefixes of DataParallel
    (``module.``) and torch.compile (``_orig_mod.``) are removed.

    Args:
        path: a file or a folder.
        unsafe: allow pickled Python, which can run any code.

    Raises:
        CheckpointError: if the path does not exist, or the file is damaged, of another kind, or needs ``unsafe``.
    """
    path = locate(path, "checkpoint", CheckpointError)
    if path.name.endswith(".index.json"):
        path = path.parent
    try:
        return _read(path, unsafe=unsafe)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error


def load_checkpoint(path: str | Path, model: nn.Module | None = None, *, unsafe: bool = False) -> nn.Module:
    """Return the model with the checkpoint's weights in it.

    Args:
        path: a file or a folder, see :func:`read_checkpoint`.
        model: the network, changed in place; it may lie on the meta device. Leave it out if the file contains the
            network (TorchScript, torch.export, a Hugging Face folder, a pickled module).
        unsafe: allow pickled Python, which can run any code.

    Raises:
        CheckpointError: if the file cannot be read, if there is no network, or if the weights do not fit it. In the
            last case the model may hold a part of the weights.
    """
    checkpoint = read_checkpoint(path, unsafe=unsafe)
    if model is not None:
        put_weights(checkpoint, model)
        return model
    own = own_model(checkpoint)
    if own is None:
        raise CheckpointError(
            f"{path} holds weights only ({checkpoint.form}), and no network to put them into.\n"
            "Pass one: load_checkpoint(path, model), or --model pkg.mod:factory on the command line."
        )
    return own


def put_weights(checkpoint: Checkpoint, model: nn.Module) -> Checkpoint:
    """Put the weights into ``model``, in place, and return the checkpoint with a form that says how they fit.

    Raises:
        CheckpointError: with the names and shapes that do not agree, and the likely cause.
    """
    if not isinstance(model, nn.Module):
        raise CheckpointError(f"the model must be a torch module, not {type(model).__name__}.")
    match = load_into(model, checkpoint.states, checkpoint.path)
    form = checkpoint.form if match.state is checkpoint.states[0] else match.state.describe()
    return replace(checkpoint, form=form + match.renamed(), state=match.tensors)


def own_model(checkpoint: Checkpoint) -> nn.Module | None:
    """Return the network that the checkpoint contains, with its weights; None if it holds weights only."""
    if checkpoint.model is None and checkpoint.path.is_dir():
        return build_model(checkpoint.path)
    return checkpoint.model


def _read(path: Path, *, unsafe: bool) -> Checkpoint:
    if path.is_dir():
        tensors, form = read_folder(path)
        return _weights(path, form, tensors)
    kind = sniff(path)
    if kind == "torch":
        return _read_saved(path, unsafe=unsafe)
    if kind == "safetensors":
        tensors = read_safetensors(path)
        return _weights(path, f"safetensors, {len(tensors)} tensors", tensors)
    if kind == "torchscript":
        return _network(path, "TorchScript", read_torchscript(path))
    if kind == "pt2":
        module, note = read_exported(path, unsafe=unsafe)
        return _network(path, f"torch.export program ({note})", module)
    raise CheckpointError(foreign(path, kind))


def _read_saved(path: Path, *, unsafe: bool) -> Checkpoint:
    """Read a file of torch.save."""
    loaded = load_pickle(path, unsafe=unsafe)
    states = find_states(loaded)
    if not states:
        raise CheckpointError(f"{path} holds no weights (no dict of named tensors): it holds {_outline(loaded)}.")
    record = loaded.get(RECORD_KEY) if isinstance(loaded, Mapping) else None
    form = states[0].describe()
    if isinstance(loaded, Mapping) and "pytorch-lightning_version" in loaded:
        form = f"Lightning checkpoint: {form}"
    return Checkpoint(
        path,
        form,
        states[0].tensors,
        model=next((state.module for state in states if state.module is not None), None),
        task_record=dict(record) if isinstance(record, Mapping) else None,
        states=tuple(states),
    )


def _weights(path: Path, form: str, tensors: dict[str, Tensor]) -> Checkpoint:
    states = find_states(tensors)
    if not states:
        raise CheckpointError(f"{path} holds no floating-point tensor, so no weights: it holds {_outline(tensors)}.")
    prefix = f", prefix '{states[0].prefix}' removed" if states[0].prefix else ""
    return Checkpoint(path, form + prefix, states[0].tensors, states=tuple(states))


def _network(path: Path, form: str, module: nn.Module) -> Checkpoint:
    tensors = {k: v.detach() for k, v in module.state_dict().items() if isinstance(v, Tensor)}
    states = find_states(tensors)
    return Checkpoint(path, f"{form}, {len(tensors)} tensors", tensors, module, states=tuple(states))


def _outline(thing: Any) -> str:
    """Return what an object is, one level deep."""
    if isinstance(thing, Mapping):
        items = [f"{key!r}: {_outline_item(value)}" for key, value in list(thing.items())[:8]]
        return f"a dict with {', '.join(items)}{', ...' if len(thing) > 8 else ''}" if items else "an empty dict"
    if isinstance(thing, list | tuple):
        return f"a {type(thing).__name__} of {len(thing)}: {', '.join(_outline_item(item) for item in thing[:4])}"
    return _outline_item(thing)


def _outline_item(value: Any) -> str:
    return f"tensor {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
