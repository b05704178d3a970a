"""Find the task of a checkpoint: the network, the data and the loss that it belongs to."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from landscape import recipes
from landscape.checkpoint import Checkpoint, own_model, put_weights, read_checkpoint
from landscape.errors import TaskError
from landscape.inputs import load_data
from landscape.inputs.task import Task, _kind
from landscape.inputs.user_code import call, is_reference, load_file, load_object

SETTINGS_FILE = "landscape.toml"
_SETTINGS: dict[str, type] = {"task": str, "model": str, "model_args": dict, "data": str, "loss": str}


@dataclass(frozen=True)
class _Settings:
    """One source of the parts of a task: the options of the command line, or a landscape.toml."""

    values: Mapping[str, Any]
    folder: Path  #: relative paths start here
    source: str  #: "" for the command line, else the toml file

    def label(self, key: str) -> str:
        return f"{self.source}: {key}" if self.source else f"--{key.replace('_', '-')}"


def resolve_task(
    checkpoint_path: str | Path,
    *,
    task: str | Path | None = None,
    model: str | None = None,
    model_args: str | Mapping[str, Any] | None = None,
    data: str | Path | None = None,
    loss: str | None = None,
    unsafe: bool = False,
) -> tuple[Task, Checkpoint]:
    """Return the task of a checkpoint, the trained weights in its model, and the checkpoint.

    The network and the data come from the first of these that is there:

    1. ``task``
    2. ``model`` and ``data``
    3. the record that landscape's own recipes leave in a checkpoint
    4. a ``landscape.toml`` in the folder of the checkpoint or in the working folder, with the keys task, model,
       model_args, data and loss; its paths are relative to it
    5. the network inside the checkpoint, and ``data``

    Options given here override the same keys of the record and of the toml file.

    Args:
        checkpoint_path: a file or a folder.
        task: a Python file whose function ``task()`` returns a :class:`Task`.
        model: ``pkg.mod:factory`` or ``file.py:factory``.
        model_args: the factory's keyword arguments, a JSON object or a mapping.
        data: a data file (see :func:`landscape.inputs.load_data`), or ``pkg.mod:factory``.
        loss: a loss's name, or ``pkg.mod:function``.
        unsafe: allow pickled Python in the checkpoint, which can run any code.

    Raises:
        CheckpointError: if the checkpoint cannot be read or does not fit the model.
        TaskError: if a part is missing, or the user's code fails.
    """
    options = {"task": task, "model": model, "model_args": model_args, "data": data, "loss": loss}
    command = _Settings({k: v for k, v in options.items() if v is not None}, Path.cwd(), "")
    if task is not None and (model is not None or model_args is not None):
        raise TaskError("--task brings its own model, so it cannot go together with --model or --model-args.")
    checkpoint = read_checkpoint(checkpoint_path, unsafe=unsafe)
    if task is None and model is None and checkpoint.task_record is not None:
        recorded = recipes.task_from_record(checkpoint.task_record)
        _refuse_arguments(command)
        return _finish(_override(recorded, [command]), checkpoint)
    layers = [command]
    if task is None and (toml := _read_toml(checkpoint.path)) is not None:
        layers.append(toml)
    return _from_settings(layers, checkpoint)


def _refuse_arguments(command: _Settings) -> None:
    if "model_args" in command.values:
        raise TaskError("--model-args goes together with --model; this checkpoint's task builds its model itself.")


def _from_settings(layers: list[_Settings], checkpoint: Checkpoint) -> tuple[Task, Checkpoint]:
    """Build the task from the command line (first) and the toml file (second, if any)."""
    if (source := _first(layers, "task")) and not _first(layers[:1], "model"):
        _refuse_arguments(layers[0])
        # other keys in the same toml file override the parts of its task too
        return _finish(_override(_call_task(source), layers), checkpoint)
    network, built = _network(layers, checkpoint)
    data = _data(layers)
    if network is None or data is None:
        raise TaskError(_nothing_fits(checkpoint, network, data))
    default = "model" if not built and checkpoint.path.is_dir() else "cross_entropy"
    loss = _loss(layers) or default
    task = Task(network, data, loss, name=checkpoint.path.stem)
    return _finish(task, checkpoint) if built else (task, checkpoint)


def _finish(task: Task, checkpoint: Checkpoint) -> tuple[Task, Checkpoint]:
    """Put the weights into the task's model."""
    checkpoint = put_weights(checkpoint, task.model)
    return (task if task.name else replace(task, name=checkpoint.path.stem)), checkpoint


def _override(task: Task, layers: list[_Settings]) -> Task:
    """Return the task with its data and loss replaced by those of the settings, if they name any."""
    data, loss = _data(layers), _loss(layers)
    return replace(task, data=task.data if data is None else data, loss=task.loss if loss is None else loss)


def _first(layers: list[_Settings], key: str) -> _Settings | None:
    return next((layer for layer in layers if key in layer.values), None)


def _call_task(source: _Settings) -> Task:
    label = source.label("task")
    path = source.folder / Path(source.values["task"]).expanduser()
    module = load_file(path, label)
    function = getattr(module, "task", None)
    if not callable(function):
        raise TaskError(
            f"{label}: {path} has no function task(). Write it so:\n"
            "  def task(): return landscape.Task(model=..., data=..., loss='cross_entropy')"
        )
    task = call(function, {}, f"{label} {path}")
    if not isinstance(task, Task):
        raise TaskError(
            f"{label}: task() in {path} returned {_kind(task)}; it must return landscape.Task(model=..., data=..., "
            "loss=...)."
        )
    return task


def _network(layers: list[_Settings], checkpoint: Checkpoint) -> tuple[nn.Module | None, bool]:
    """Return the network, and whether it was built without its weights."""
    source = _first(layers, "model")
    arguments = _model_args(layers)
    if source is None:
        if arguments:
            raise TaskError(f"{layers[0].label('model_args')} goes together with a model: --model pkg.mod:factory.")
        return own_model(checkpoint), False
    label = source.label("model")
    factory = load_object(source.values["model"], label, source.folder)
    if isinstance(factory, nn.Module):
        network: Any = factory
    elif callable(factory):
        network = call(factory, arguments, label)
    else:
        raise TaskError(f"{label}: {source.values['model']} is {_kind(factory)}, not a function that makes a model.")
    if not isinstance(network, nn.Module):
        raise TaskError(f"{label}: {source.values['model']} returned {_kind(network)}; it must return a torch module.")
    return network, True


def _model_args(layers: list[_Settings]) -> dict[str, Any]:
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
                """Type for instance: --model-args '{"size": 32}'"""
            ) from None
    if not isinstance(value, Mapping):
        raise TaskError(
            f"{source.label('model_args')} must be a JSON object with the factory's arguments, not {_kind(value)}.\n"
            """Type for instance: --model-args '{"size": 32}'"""
        )
    return dict(value)


def _data(layers: list[_Settings]) -> Any:
    """Return the named data; None if no settings name any."""
    source = _first(layers, "data")
    if source is None:
        return None
    named, label = str(source.values["data"]), source.label("data")
    path = source.folder / Path(named).expanduser()
    if path.exists() or not is_reference(named):
        return load_data(path)
    data = load_object(named, label, source.folder)
    if callable(data):
        data = call(data, {}, label)
    if data is None:
        raise TaskError(f"{label}: {named} returned None; it must return tensors or an iterable of batches.")
    return data


def _loss(layers: list[_Settings]) -> str | Callable[..., Any] | None:
    source = _first(layers, "loss")
    if source is None:
        return None
    named = source.values["loss"]
    if not is_reference(named):
        return named
    function = load_object(named, source.label("loss"), source.folder)
    if not callable(function):
        raise TaskError(f"{source.label('loss')}: {named} is {_kind(function)}, not a function of (output, target).")
    return function


def _read_toml(checkpoint: Path) -> _Settings | None:
    """Return the settings in the folder of the checkpoint, or else in the working folder."""
    folders = [checkpoint] if checkpoint.is_dir() else []
    folders += [checkpoint.absolute().parent, Path.cwd()]
    path = next((folder / SETTINGS_FILE for folder in folders if (folder / SETTINGS_FILE).is_file()), None)
    if path is None:
        return None
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise TaskError(f"{path} cannot be read as TOML: {error}") from None
    for key, value in values.items():
        if key not in _SETTINGS:
            near = difflib.get_close_matches(key, _SETTINGS, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise TaskError(f"{path} has the unknown key {key!r}.{hint} Known are {', '.join(_SETTINGS)}.")
        if not isinstance(value, _SETTINGS[key]):
            wanted = "a table" if _SETTINGS[key] is dict else "a string"
            raise TaskError(f"{path}: {key} must be {wanted}, not {value!r}.")
    if "task" in values and ("model" in values or "model_args" in values):
        raise TaskError(f"{path} has both task and model; a task brings its own model. Keep one of them.")
    return _Settings(values, path.parent, str(path))


def _nothing_fits(checkpoint: Checkpoint, network: nn.Module | None, data: Any) -> str:
    """Return the message for a checkpoint whose network or data are missing."""
    path = checkpoint.path
    if network is not None:
        return (
            f"there is a network for {path} ({checkpoint.form}), and no data to measure the loss on.\n"
            f"  landscape volume {path} --data data.npz --loss cross_entropy\n"
            f"  landscape volume {path} --data my_data.py:batches --loss cross_entropy"
        )
    lacking = "no network to put them into" + (", and no data to measure the loss on" if data is None else "")
    given = "--data data.npz" if data is None else "--data ..."
    return (
        f"{path} holds weights ({checkpoint.form}), {lacking}; there is no {SETTINGS_FILE} in its folder or in the "
        f"working folder that names them.\n"
        f"  landscape volume {path} --task my_task.py    "
        "(in it: def task(): return landscape.Task(model=..., data=..., loss=...))\n"
        f"  landscape volume {path} --model my_net.py:make_net {given} --loss cross_entropy"
    )
