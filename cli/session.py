"""The steps that the measuring commands share: open the file, find the task, build the objective, say how to go on."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import click
import torch
from click.core import ParameterSource

from landscape import distributed
from landscape.checkpoint import Checkpoint
from landscape.errors import StoreError
from landscape.inputs import Task
from landscape.objective import Objective
from landscape.resolve import resolve_task
from landscape.results import Chains, Line, Plane, Radii, Result
from landscape.store import Store

_UNSAID = ("resume", "overwrite", "as_json", "as_csv", "quiet")
Kept = TypeVar("Kept", Radii, Line, Plane, Chains)
Held = TypeVar("Held", bound=Result)
Sourced = TypeVar("Sourced", bound=Result)


def find_task(given: Mapping[str, Any]) -> tuple[Task, Checkpoint]:
    """Return the task and the checkpoint that the options name."""
    return resolve_task(
        given["checkpoint"],
        task=given["task"],
        model=given["model"],
        model_args=given["model_args"],
        data=given["data"],
        loss=given["loss"],
        unsafe=given["unsafe_load"],
    )


def make_objective(task: Task, given: Mapping[str, Any]) -> Objective:
    """Return the objective of a task under the options."""
    return Objective(
        task.model,
        task.data,
        task.loss,
        forward=task.forward,
        scope=given["scope"],
        batch_size=given["batch_size"],
        max_samples=given["max_samples"],
        device=given["device"],
        dtype=None if given["dtype"] is None else getattr(torch, given["dtype"]),
        memory=given["memory"],
        lanes=given.get("lanes"),
        compile=given.get("compile", False),
    )


@contextmanager
def open_store(given: Mapping[str, Any]) -> Iterator[Store | None]:
    """Open and lock the file of ``--out``; what is wrong with it shows before anything expensive begins."""
    if given["out"] is None:
        yield None
        return
    with distributed.file_of_rank(given["out"]) as path, Store(path, write=True) as store:
        yield store


def stored_result(
    store: Store | None, given: Mapping[str, Any], name: str, kind: type[Kept], noun: str, unit: str
) -> Kept | None:
    """Return the result in the file that this run continues; refuse to touch one without being told what to do.

    Args:
        store: the file, or None.
        given: the options.
        name: of the result in the file.
        kind: its class.
        noun: what to call it.
        unit: what its rows are.
    """
    held = held_result(store, given, name, kind)
    if held is None or given["resume"]:
        return held
    state = "a finished" if held.done.all() else "an unfinished"
    raise StoreError(
        f"{given['out']} already holds {state} {noun} ({int(held.done.sum()):,} of {len(held.done):,} {unit}).\n"
        "Type --resume to keep it and measure what is missing, --overwrite to start anew, or another --out."
    )


def held_result(store: Store | None, given: Mapping[str, Any], name: str, kind: type[Held]) -> Held | None:
    """Return what the file holds under a name, unless it is to be overwritten; refuse options that contradict."""
    if given["resume"] and given["overwrite"]:
        raise StoreError("--resume keeps what is stored and --overwrite drops it. Type one of the two.")
    if store is None:
        if given["resume"] or given["overwrite"]:
            raise StoreError("--resume and --overwrite say what to do with the file of --out. Add --out run.h5.")
        return None
    if name not in store or given["overwrite"]:
        return None
    held = store[name]
    if not isinstance(held, kind):
        raise StoreError(f"{given['out']} holds something else under the name {name!r}. Write to another --out.")
    return held


def resume_command(context: click.Context) -> str:
    """Return the command to type to continue the run that these options began."""
    words = ["landscape", str(context.info_name), *typed_options(context)]
    if context.params.get("out") is not None:
        words.append("--resume")
    return shlex.join(words)


def typed_options(context: click.Context) -> list[str]:
    """Return the arguments and options that were typed, without those that only say what to do with the results."""
    words: list[str] = []
    for parameter in context.command.params:
        name = str(parameter.name)
        value = context.params.get(name)
        if context.get_parameter_source(name) != ParameterSource.COMMANDLINE or name in _UNSAID:
            continue
        if isinstance(parameter, click.Argument):
            words += map(str, value) if isinstance(value, tuple) else [str(value)]
            continue
        flag = parameter.opts[0]
        if isinstance(value, bool):
            words.append(flag)
            continue
        for item in value if isinstance(value, tuple) else (value,):
            words += [flag, "none" if item == float("inf") else str(item)]
    return words


def say(given: Mapping[str, Any], line: str) -> None:
    """Print one line on stderr, unless told to be quiet."""
    if not given["quiet"]:
        click.echo(line, err=True)


def with_provenance(result: Sourced, provenance: Mapping[str, str]) -> Sourced:
    """Return the result with where it came from in its configuration."""
    return replace(result, config={**result.config, **provenance})  # type: ignore[attr-defined, call-arg]


def stopped_line(done: str | None, out: str | None, command: str) -> str:
    """Return the one line that says what a run that stopped leaves and how to go on.

    >>> stopped_line("interrupted after 4 of 9 rays", None, "landscape volume net.pt")
    'interrupted after 4 of 9 rays; nothing was kept (with --out run.h5 it can be continued)'
    """
    if done is None:
        return "interrupted before anything was measured; nothing was kept"
    if out is None:
        return f"{done}; nothing was kept (with --out run.h5 it can be continued)"
    return f"{done}, kept in {out}; continue with: {command}"
