"""The options -> the task and its objective."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from landscape.checkpoint import Checkpoint
from landscape.inputs import Task
from landscape.objective import Objective
from landscape.resolve import resolve_task
from landscape_cli.flags import in_flags


def find_task(params: Mapping[str, Any]) -> tuple[Task, Checkpoint]:
    """Return the task and the checkpoint that the options name."""
    task, checkpoint = resolve_task(
        params["checkpoint"],
        task=params["task"],
        model=params["model"],
        model_args=params["model_args"],
        data=params["data"],
        loss=params["loss"],
        output=params["output"],
        unsafe=params["unsafe_load"],
        weights=params["weights"],
        trust_code=params["trust_code"],
    )
    return task, replace(checkpoint, form=in_flags(checkpoint.form))


def make_objective(task: Task, params: Mapping[str, Any]) -> Objective:
    """Return the objective of a task under the options."""
    return Objective(
        task.model,
        task.data,
        task.loss,
        forward=task.forward,
        output=task.output,
        count_samples=task.count_samples,
        scope=params["scope"],
        batch_size=params["batch_size"],
        max_samples=params["max_samples"],
        device=params["device"],
        dtype=None if params["dtype"] is None else getattr(torch, params["dtype"]),
        memory=params["memory"],
        lanes=params.get("lanes"),
        compile=params.get("compile", False),
    )
