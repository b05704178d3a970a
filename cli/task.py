"""The options -> the objective of a checkpoint, through the same function as from Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from landscape.inputs import Task
from landscape.objective.from_checkpoint import Origin
from landscape.resolve import Objective, resolve_task
from landscape_cli.flags import in_flags
from landscape_cli.heartbeat import stage
from landscape_cli.progress import say

TASK = ("task", "model", "model_args", "data", "loss", "output", "unsafe", "weights", "trust_code")
PLACE = ("scope", "batch_size", "max_samples", "device", "dtype", "memory", "lanes", "compile")


def find_task(params: Mapping[str, Any]) -> Task:
    """Return the task that the options name, with the weights of the checkpoint in its model."""
    return resolve_task(params["checkpoint"], **keywords(params, TASK))[0]


def make_objective(params: Mapping[str, Any]) -> Objective:
    """Return the objective that the options name, and say in which form its weights were found."""
    if not params["quiet"]:
        stage("reading the checkpoint, and the data once")
    objective = Objective.from_checkpoint(params["checkpoint"], **keywords(params, TASK + PLACE))
    say(params, f"{params['checkpoint']}: {form_of(objective)}")
    return objective


def objective_of(task: Task, params: Mapping[str, Any]) -> Objective:
    """Return the objective of a task that is found already."""
    return Objective.from_task(task, **keywords(params, PLACE))


def form_of(objective: Objective) -> str:
    """Return in which form the weights of the checkpoint were found."""
    origin = objective.origin
    assert isinstance(origin, Origin)
    return in_flags(origin.form)


def keywords(params: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Return the options of these names that the command has."""
    return {name: params[name] for name in names if name in params}
