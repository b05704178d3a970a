"""Recipes: data, a network and its training, by name. A checkpoint that a recipe wrote carries its task."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from landscape.errors import TaskError
from landscape.task import Task

# name -> module with task(**args) -> Task, and train(...) -> Trained
RECIPES = {"swiss-roll": "landscape.recipes.swiss_roll"}
RECORD = "landscape_task"


def task_from_record(record: Mapping[str, Any]) -> Task:
    """Return the untrained model, the training data and the loss that a checkpoint's record names.

    Args:
        record: ``{"recipe": name, "args": {...}}``, as stored under ``landscape_task``.

    Raises:
        TaskError: for a recipe that this version does not know, or arguments that it does not take.

    >>> task = task_from_record({"recipe": "swiss-roll", "args": {"seed": 0}})
    >>> sum(p.numel() for p in task.model.parameters()), task.data[0].shape
    (3614, torch.Size([200, 2]))
    """
    name = record.get("recipe")
    if name not in RECIPES:
        raise TaskError(
            f"the checkpoint was written by the recipe {name!r}, and this version knows {', '.join(RECIPES)}.\n"
            "Install the version that wrote it, or say what it is: --task my_task.py."
        )
    try:
        task: Task = import_module(RECIPES[name]).task(**record.get("args", {}))
    except TypeError as error:
        raise TaskError(
            f"the checkpoint's record of the recipe {name!r} does not fit this version: {error}."
        ) from error
    return task
