"""Read any checkpoint: tell its form and hand it to the right reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from landscape.checkpoint import adapters
from landscape.checkpoint.adapters import add_adapter, is_adapted
from landscape.checkpoint.deepspeed import read_deepspeed, step_folder
from landscape.checkpoint.files import locate, sniff
from landscape.checkpoint.fit import load_into
from landscape.checkpoint.foreign import foreign
from landscape.checkpoint.huggingface import (
    ADAPTER_WEIGHTS,
    MODEL_WEIGHTS,
    base_folder,
    build_model,
    read_folder,
    read_safetensors,
)
from landscape.checkpoint.pickles import Loaded, StandIn, load_pickle
from landscape.checkpoint.programs import read_exported, read_torchscript
from landscape.checkpoint.progress import architecture_of, file_progress, folder_progress
from landscape.checkpoint.search import State, choose, find_states, is_bookkeeping
from landscape.checkpoint.sharded import METADATA, read_sharded
from landscape.errors import CheckpointError

RECORD_KEY = "landscape_task"
TASK_ARGS = "task_args"  #: where a checkpoint of a TASK.py holds the arguments of its task()


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
        adapter: the settings of an adapter of PEFT, which goes with a base network.
        weights: the name by which the set of weights was chosen.
        arguments, data_arguments: Lightning's hyper-parameters of the network and of the data module.
        task_args: what the user's function ``task()`` was called with, if ``landscape train`` called it with arguments.
        step, epoch: how far the training was, if the file says so.
        architecture: the name of the network, if the file says so.
    """

    path: Path
    form: str
    state: dict[str, Tensor] = field(repr=False)
    model: nn.Module | None = field(default=None, repr=False)
    task_record: dict[str, Any] | None = None
    states: tuple[State, ...] = field(default=(), repr=False)
    adapter: dict[str, Any] | None = None
    weights: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict, repr=False)
    data_arguments: dict[str, Any] = field(default_factory=dict, repr=False)
    task_args: dict[str, Any] = field(default_factory=dict, repr=False)
    step: int | None = None
    epoch: float | None = None
    architecture: str | None = None


def read_checkpoint(path: str | Path, *, unsafe: bool = False, weights: str | None = None) -> Checkpoint:
    """Read a checkpoint of any known form, without running code from it.

    Known forms: files of torch.save (a state_dict, or anything that contains one, such as Lightning's files),
    safetensors, TorchScript, torch.export archives, and folders of Hugging Face, PEFT, torch.distributed.checkpoint and
    DeepSpeed. The prefixes of DataParallel and AveragedModel (``module.``) and torch.compile (``_orig_mod.``) are
    removed.

    Args:
        path: a file or a folder.
        unsafe: allow pickled Python, which can run any code.
        weights: which set of weights, if the file holds several: the keys that lead to it (``model_ema``,
            ``model.ema``), or what the names of its tensors begin with.

    Raises:
        CheckpointError: if the path does not exist, or the file is damaged, of another kind, or needs ``unsafe``.
    """
    path = locate(path, "checkpoint", CheckpointError)
    if path.name.endswith(".index.json"):
        path = path.parent
    try:
        checkpoint = _read(path, unsafe=unsafe)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    if weights is None:
        return checkpoint
    states = tuple(choose(checkpoint.states, weights, path))
    form = f"{checkpoint.form}; taken: {states[0].describe()}"
    return replace(
        checkpoint, form=form, states=states, state=states[0].tensors, model=states[0].module, weights=weights
    )


def load_checkpoint(
    path: str | Path, model: nn.Module | None = None, *, unsafe: bool = False, weights: str | None = None
) -> nn.Module:
    """Return the model with the checkpoint's weights in it.

    Args:
        path: a file or a folder, see :func:`read_checkpoint`.
        model: the network, changed in place; it may lie on the meta device. Leave it out if the file contains the
            network (TorchScript, torch.export, a Hugging Face folder, a pickled module).
        unsafe: allow pickled Python, which can run any code.
        weights: which set of weights, see :func:`read_checkpoint`.

    Raises:
        CheckpointError: if the file cannot be read, if there is no network, or if the weights do not fit it. In the
            last case the model may hold a part of the weights.
    """
    checkpoint = read_checkpoint(path, unsafe=unsafe, weights=weights)
    if model is not None:
        put_weights(checkpoint, model)
        return model
    own = own_model(checkpoint)
    if own is None:
        raise CheckpointError(
            f"{path} holds weights only ({checkpoint.form}), and no network to put them into.\n"
            "Pass one: load_checkpoint(path, model), or `model='pkg.mod:factory'`."
        )
    return own


def put_weights(checkpoint: Checkpoint, model: nn.Module) -> Checkpoint:
    """Put the weights into ``model``, in place, and return the checkpoint with a form that says how they fit.

    An adapter of PEFT puts its own layers into ``model``, its base network, unless they are there.

    Raises:
        CheckpointError: with the names and shapes that do not agree, and the likely cause.
    """
    if not isinstance(model, nn.Module):
        raise CheckpointError(f"the model must be a torch module, not {type(model).__name__}.")
    if checkpoint.adapter is not None and not is_adapted(name for name, _ in model.named_parameters()):
        add_adapter(model, checkpoint.path)
    match = load_into(model, checkpoint.states, checkpoint.path)
    form = checkpoint.form if match.state is checkpoint.states[0] else match.state.describe()
    return replace(checkpoint, form=form + match.renamed(), state=match.tensors)


def own_model(checkpoint: Checkpoint) -> nn.Module | None:
    """Return the network that the checkpoint contains, with its weights; None if it holds weights only."""
    if checkpoint.model is not None or not checkpoint.path.is_dir():
        return checkpoint.model
    base = checkpoint.path if checkpoint.adapter is None else base_folder(checkpoint.path, checkpoint.adapter)
    model = None if base is None else build_model(base)
    if model is not None and (checkpoint.adapter is not None or checkpoint.weights is not None):
        put_weights(checkpoint, model)
    return model


def _read(path: Path, *, unsafe: bool) -> Checkpoint:
    if path.is_dir():
        return _read_directory(path, unsafe=unsafe)
    kind = sniff(path)
    if kind == "torch":
        return _from_pickle(path, load_pickle(path, unsafe=unsafe))
    if kind == "safetensors":
        tensors = read_safetensors(path)
        return _weights(path, f"safetensors, {len(tensors)} tensors", tensors)
    if kind == "torchscript":
        return _network(path, "TorchScript", read_torchscript(path))
    if kind == "pt2":
        module, note = read_exported(path, unsafe=unsafe)
        return _network(path, f"torch.export program ({note})", module)
    raise CheckpointError(foreign(path, kind))


def _read_directory(path: Path, *, unsafe: bool) -> Checkpoint:
    """Read a folder: of PEFT, torch.distributed.checkpoint, DeepSpeed or Hugging Face."""
    if (path / adapters.CONFIG).is_file():
        config, (tensors, form) = adapters.read_config(path), read_folder(path, ADAPTER_WEIGHTS)
        checkpoint = _weights(path, f"{adapters.describe(config)}; {form}", tensors)
        return replace(checkpoint, adapter=config)
    if (path / METADATA).is_file():
        states = find_states(content := read_sharded(path))
        if not states:
            raise CheckpointError(f"{path} holds no weights: it holds {_outline(content)}.")
        form = f"folder of torch.distributed.checkpoint: {states[0].describe()}"
        return Checkpoint(path, form, states[0].tensors, states=tuple(states))
    if step := step_folder(path):
        loaded, form = read_deepspeed(path, step, unsafe=unsafe)
        checkpoint = _from_pickle(path, loaded)
        return replace(checkpoint, form=f"{form}: {checkpoint.form}")
    tensors, form = read_folder(path, MODEL_WEIGHTS)
    done, epoch = folder_progress(path)
    return replace(_weights(path, form, tensors), step=done, epoch=epoch)


def _from_pickle(path: Path, file: Loaded) -> Checkpoint:
    """Find the weights in what torch.save wrote."""
    loaded, states = file.content, find_states(file.content)
    if not states and file.skipped:
        raise CheckpointError(file.refusal)
    if not states:
        raise CheckpointError(_without_weights(path, loaded))
    if any(tensor.is_meta for tensor in states[0].tensors.values()):
        raise CheckpointError(
            f"{path} holds tensors of the meta device, which have a shape and no values.\nSave the model after its "
            "weights were made."
        )
    record, task_args = (loaded.get(key) if isinstance(loaded, Mapping) else None for key in (RECORD_KEY, TASK_ARGS))
    form = states[0].describe()
    step, epoch = file_progress(loaded)
    if isinstance(loaded, Mapping) and "pytorch-lightning_version" in loaded:
        form = f"Lightning checkpoint: {form}"
    if file.skipped:
        form += f"; Python objects in the file were skipped: {_names(file.skipped)}"
    return Checkpoint(
        path,
        form,
        states[0].tensors,
        arguments=_hyper_parameters(loaded, "hyper_parameters", "hparams_name"),
        data_arguments=_hyper_parameters(loaded, "datamodule_hyper_parameters", "datamodule_hparams_name"),
        model=next((state.module for state in states if state.module is not None), None),
        task_record=dict(record) if isinstance(record, Mapping) else None,
        states=tuple(states),
        task_args=dict(task_args) if isinstance(task_args, Mapping) else {},
        step=step,
        epoch=epoch,
        architecture=architecture_of(loaded),
    )


def _hyper_parameters(loaded: Any, key: str, name_key: str) -> dict[str, Any]:
    """Return the arguments that Lightning has stored; those whose class is unknown are left out.

    A name under ``name_key``, other than kwargs, is that of one argument that takes them all.
    """
    stored = loaded.get(key) if isinstance(loaded, Mapping) and "pytorch-lightning_version" in loaded else None
    if not isinstance(stored, Mapping):
        return {}
    plain = {str(name): value for name, value in stored.items() if not isinstance(value, StandIn)}
    name = loaded.get(name_key)
    return plain if name in (None, "kwargs") else {**plain, str(name): plain}


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


def _without_weights(path: Path, loaded: Any) -> str:
    """Return the message for a file in which no weights were found."""
    said = f"{path} holds no weights (no dict of named floating-point tensors): it holds {_outline(loaded)}."
    if isinstance(loaded, Mapping) and ("param_groups" in loaded or any(map(is_bookkeeping, loaded))):
        return f"{said}\nThat is the state of a training, such as its optimiser's. Pass the file of the weights."
    tensors = list(loaded.values()) if isinstance(loaded, Mapping) else []
    if tensors and all(isinstance(value, Tensor) and not value.is_complex() for value in tensors):
        return (
            f"{said}\nQuantised weights are such integers; they cannot move. Measure the network before quantisation."
        )
    return said


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _outline(thing: Any) -> str:
    """Return what an object is, one level deep."""
    if isinstance(thing, Mapping):
        items = [f"{key!r}: {_outline_item(value)}" for key, value in list(thing.items())[:8]]
        return f"a dict with {', '.join(items)}{', ...' if len(thing) > 8 else ''}" if items else "an empty dict"
    if isinstance(thing, list | tuple):
        return f"a {type(thing).__name__} of {len(thing)}: {', '.join(_outline_item(item) for item in thing[:4])}"
    return _outline_item(thing)


def _outline_item(value: Any) -> str:
    if not isinstance(value, Tensor):
        return type(value).__name__
    dtype = "" if value.is_floating_point() else f"{str(value.dtype).removeprefix('torch.')} "
    return f"{dtype}tensor {tuple(value.shape)}"
