"""Find the task of a checkpoint: the network, the data and the loss that it belongs to."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from landscape import recipes
from landscape.checkpoint import Checkpoint, own_model, put_weights, read_checkpoint
from landscape.checkpoint.huggingface import names_network
from landscape.errors import TaskError
from landscape.inputs import read_data_file
from landscape.inputs.lightning import arguments_for, is_data_module
from landscape.inputs.settings import SETTINGS_FILE, Settings, read_settings
from landscape.inputs.task import Task, _kind
from landscape.inputs.user_code import call, is_reference, load_file, load_object, registered_model
from landscape.objective import Objective
from landscape.objective.model import copied


def resolve_task(
    checkpoint_path: str | Path | Checkpoint,
    *,
    task: str | Path | Task | Callable[..., Task] | None = None,
    model: str | nn.Module | Callable[..., nn.Module] | None = None,
    model_args: str | Mapping[str, Any] | None = None,
    data: Any = None,
    loss: str | Callable[..., Any] | None = None,
    output: str | None = None,
    unsafe: bool = False,
    weights: str | None = None,
    trust_code: bool = False,
) -> tuple[Task, Checkpoint]:
    """Return the task of a checkpoint, the trained weights in its model, and the checkpoint.

    The network and the data come from the first of these that is there:

    1. ``task``
    2. ``model`` and ``data``
    3. the record that landscape's own recipes leave in a checkpoint
    4. a ``landscape.toml`` in the folder of the checkpoint or in the working folder, with the keys task, model,
       model_args, data, loss and output; its paths are relative to it
    5. the network inside the checkpoint, and ``data``

    Options given here override the same keys of the record and of the toml file.

    Args:
        checkpoint_path: a file or a folder; or what :func:`read_checkpoint` returned, which is then not read again.
        task: a Python file whose function ``task()`` returns a :class:`Task`, such a function, or a task.
        model: ``pkg.mod:factory`` or ``file.py:factory``, such a function, or a torch module, which is copied.
        model_args: the factory's keyword arguments, a JSON object or a mapping.
        data: a data file (see :func:`landscape.inputs.load_data`), ``pkg.mod:factory``, such a function, or tensors or
            batches.
        loss: a loss's name, ``pkg.mod:function``, or a function of (output, target).
        output: what the predictions are: ``logits``, ``probabilities`` or ``log-probabilities``.
        unsafe: allow pickled Python in the checkpoint, which can run any code.
        weights: which set of weights, if the file holds several: see :func:`landscape.checkpoint.read_checkpoint`.
        trust_code: run code that a ``landscape.toml`` names, wherever it lies. By default it must lie in the working
            folder, below it, or in a parent of it within the same repository (the folder with ``.git``).

    Raises:
        CheckpointError: if the checkpoint cannot be read or does not fit the model.
        TaskError: if a part is missing, code is named that may not run, or the user's code fails.
    """
    options = {"task": task, "model": model, "model_args": model_args, "data": data, "loss": loss, "output": output}
    command = Settings({k: v for k, v in options.items() if v is not None}, Path.cwd())
    if task is not None and (model is not None or model_args is not None):
        raise TaskError(
            "`task=...` brings its own model, so it cannot go together with `model=...` or `model_args=...`."
        )
    if isinstance(checkpoint_path, Checkpoint):
        checkpoint = checkpoint_path
    else:
        checkpoint = read_checkpoint(checkpoint_path, unsafe=unsafe, weights=weights)
    if task is None and model is None and checkpoint.task_record is not None:
        recorded = recipes.task_from_record(checkpoint.task_record)
        _refuse_arguments(command)
        return _finish(_override(recorded, [command], checkpoint), checkpoint)
    layers = [command]
    if task is None and (toml := read_settings(checkpoint.path, trust_code=trust_code)) is not None:
        layers.append(toml)
    return _from_settings(layers, checkpoint)


def _refuse_arguments(command: Settings) -> None:
    if "model_args" in command.values:
        raise TaskError(
            "`model_args=...` goes together with `model=...`; this checkpoint's task builds its model itself."
        )


def _from_settings(layers: list[Settings], checkpoint: Checkpoint) -> tuple[Task, Checkpoint]:
    """Build the task from what the caller passed (first) and the toml file (second, if any)."""
    if (source := _first(layers, "task")) and not _first(layers[:1], "model"):
        _refuse_arguments(layers[0])
        # other keys in the same toml file override the parts of its task too
        return _finish(_override(_call_task(source, checkpoint.task_args), layers, checkpoint), checkpoint)
    network, stored = _network(layers, checkpoint)
    data, notes = _data(layers, checkpoint)
    if network is None or data is None:
        raise TaskError(_nothing_fits(checkpoint, network, data))
    own = stored is None
    default = "model" if own and checkpoint.path.is_dir() else "cross_entropy"
    loss = _loss(layers) or default
    task = Task(network, data, loss, name=checkpoint.path.stem, output=_output(layers), notes=notes)
    if own:
        return task, checkpoint
    task, checkpoint = _finish(task, checkpoint)
    if stored:
        shown = ", ".join(f"{name}={value!r}" for name, value in stored.items())
        checkpoint = replace(checkpoint, form=f"{checkpoint.form}; arguments from its hyper_parameters: {shown}")
    return task, checkpoint


def _finish(task: Task, checkpoint: Checkpoint) -> tuple[Task, Checkpoint]:
    """Put the weights into the task's model."""
    checkpoint = put_weights(checkpoint, task.model)
    return (task if task.name else replace(task, name=checkpoint.path.stem)), checkpoint


def _override(task: Task, layers: list[Settings], checkpoint: Checkpoint) -> Task:
    """Return the task with its data, loss and output replaced by those of the settings, if they name any."""
    data, notes = _data(layers, checkpoint)
    named = {"data": data, "loss": _loss(layers), "output": _output(layers)}
    named["notes"] = None if data is None else notes
    return replace(task, **{key: value for key, value in named.items() if value is not None})


def _first(layers: list[Settings], key: str) -> Settings | None:
    return next((layer for layer in layers if key in layer.values), None)


def _call_task(source: Settings, arguments: dict[str, Any]) -> Task:
    """Return the task of a file, its ``task()`` called as it was for the training."""
    label, named = source.label("task"), source.values["task"]
    if isinstance(named, Task):
        return replace(named, model=copied(named.model))
    if not isinstance(named, str | Path):
        if not callable(named):
            raise TaskError(f"{label}: expected a file, a landscape.Task or a function, not {_kind(named)}.")
        return _task_of(call(named, arguments, label), f"{label}: {_name(named)}()")
    path = source.folder / os.path.expanduser(named)
    source.require_consent("task", str(named), "task")
    module = load_file(path, label)
    function = getattr(module, "task", None)
    if not callable(function):
        raise TaskError(
            f"{label}: {path} has no function task(). Write it so:\n"
            "  def task(): return landscape.Task(model=..., data=..., loss='cross_entropy')"
        )
    return _task_of(call(function, arguments, f"{label} {path}"), f"{label}: task() in {path}")


def _task_of(returned: Any, what: str) -> Task:
    """Return what a function returned, if it is a task."""
    if isinstance(returned, Task):
        return returned
    raise TaskError(f"{what} returned {_kind(returned)}; it must return landscape.Task(model=..., data=..., loss=...).")


def _network(layers: list[Settings], checkpoint: Checkpoint) -> tuple[nn.Module | None, dict[str, Any] | None]:
    """Return the network, and the stored arguments with which it was built; None for these if it has its weights."""
    source = _first(layers, "model")
    arguments = _model_args(layers)
    if source is None:
        if arguments:
            raise TaskError(f"{layers[0].label('model_args')} goes together with a model: `model='pkg.mod:factory'`.")
        return own_model(checkpoint), None
    label = source.label("model")
    factory = _code(source, "model")
    stored: dict[str, Any] = {}
    named = source.values["model"]
    if isinstance(factory, nn.Module):
        network: Any = copied(factory) if factory is named else factory
    elif callable(factory):
        stored = {k: v for k, v in arguments_for(factory, checkpoint.arguments).items() if k not in arguments}
        network = call(factory, {**stored, **arguments}, label)
    else:
        raise TaskError(f"{label}: {_name(named)} is {_kind(factory)}, not a function that makes a model.")
    if not isinstance(network, nn.Module):
        raise TaskError(f"{label}: {_name(named)} returned {_kind(network)}; it must return a torch module.")
    return network, stored


def _model_args(layers: list[Settings]) -> dict[str, Any]:
    source, factory = _first(layers, "model_args"), _first(layers, "model")
    if source is None or (factory is layers[0] and source is not factory):
        return {}  # the arguments in a toml file are for its own factory only
    value = source.values["model_args"]
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise TaskError(
                f"{source.label('model_args')} is no JSON ({error.msg} at character {error.pos + 1}): {value}\n"
                """For instance `model_args={"size": 32}`."""
            ) from None
    if not isinstance(value, Mapping):
        raise TaskError(
            f"{source.label('model_args')} must be a dict (or a JSON object) with the factory's arguments, not "
            f"{_kind(value)}.\n"
            """For instance `model_args={"size": 32}`."""
        )
    return dict(value)


def _data(layers: list[Settings], checkpoint: Checkpoint) -> tuple[Any, tuple[str, ...]]:
    """Return the named data and notes on them; None if no settings name any.

    A data module gets the arguments that Lightning stored.
    """
    source = _first(layers, "data")
    if source is None:
        return None, ()
    named, label = source.values["data"], source.label("data")
    if isinstance(named, str | Path):
        path = source.folder / os.path.expanduser(named)
        if os.path.exists(path) or not is_reference(str(named)):
            file = read_data_file(path)
            return file.data, file.notes
    data = _code(source, "data")
    if _makes_data(data):
        stored = arguments_for(data, checkpoint.data_arguments) if is_data_module(data) else {}
        data = call(data, stored, label)
    if data is None:
        raise TaskError(f"{label}: {_name(named)} returned None; it must return tensors or an iterable of batches.")
    return data, ()


def _makes_data(thing: Any) -> bool:
    """Whether calling a thing gives the data: a function or a class, but no data set that can also be called."""
    holds_data = hasattr(thing, "__iter__") or hasattr(thing, "__getitem__")
    return inspect.isclass(thing) or (callable(thing) and not holds_data)


def _output(layers: list[Settings]) -> str | None:
    source = _first(layers, "output")
    return None if source is None else source.values["output"]


def _loss(layers: list[Settings]) -> str | Callable[..., Any] | None:
    source = _first(layers, "loss")
    if source is None:
        return None
    named = source.values["loss"]
    if isinstance(named, str) and not is_reference(named):
        return named
    function = _code(source, "loss")
    if not callable(function):
        raise TaskError(
            f"{source.label('loss')}: {_name(named)} is {_kind(function)}, not a function of (output, target)."
        )
    return function


def _code(source: Settings, key: str) -> Any:
    """Return the object that the settings name under a key, once it may be run; or what the caller passed itself."""
    named = source.values[key]
    if not isinstance(named, str | Path):
        return named
    named = str(named)
    if (registered := registered_model(named)) is not None:
        return registered
    if is_reference(named):
        home, _, function = named.rpartition(":")
        source.require_consent(key, home, function)
    return load_object(named, source.label(key), source.folder)


def _name(named: Any) -> str:
    """Return what to call an object in an error: its reference, its own name, or its value."""
    return str(getattr(named, "__name__", named))


_BY_NAME = (
    "with arrays that are called as the model calls them, such as input_ids, attention_mask and labels. "
    "The loss is then that of the model."
)


def _nothing_fits(checkpoint: Checkpoint, network: nn.Module | None, data: Any) -> str:
    """Return the message for a checkpoint whose network or data are missing."""
    path = checkpoint.path
    if network is not None:
        return (
            f"there is a network for {path} ({checkpoint.form}), and no data to measure the loss on.\n"
            "Pass `data='data.npz'` or `data='my_data.py:batches'`, "
            + (_BY_NAME if names_network(path) else "and `loss='cross_entropy'` or another.")
        )
    lacking = "no network to put them into" + (", and no data to measure the loss on" if data is None else "")
    given = " and `data='data.npz'`" if data is None else ""
    named = ""
    if names_network(path.parent):
        named = f"\nIts folder is one of Hugging Face, and names the network. Pass the folder: {path.parent}."
    elif name := checkpoint.architecture:
        named = (
            f"\nThe file names the network {name}. If it is one of timm, pass `model='timm:create_model'` and "
            f"""`model_args={{"model_name": "{name}"}}`; if of torchvision, `model='torchvision.models:{name}'`."""
        )
    return (
        f"{path} holds weights ({checkpoint.form}), {lacking}; there is no {SETTINGS_FILE} in its folder or in the "
        "working folder that names them.\n"
        f"Pass `model='my_net.py:make_net'`{given}, or `task='my_task.py'` "
        "(in it: def task(): return landscape.Task(model=..., data=..., loss=...))." + named
    )


Objective.find_task = staticmethod(resolve_task)  # it needs the recipes, which lie above the objective
