"""The steps that the measuring commands share: open the file, find the task, build the objective, measure, commit."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import click
import torch
from click.core import ParameterSource

from landscape.checkpoint import Checkpoint
from landscape.errors import StoreError
from landscape.objective import Objective
from landscape.radius import Progress, basin_radii
from landscape.results import Radii
from landscape.store import Store
from landscape.task import Task, resolve_task
from landscape_cli.progress import Display, Keeper
from landscape_cli.text import paragraph

RADII = "radii"
VOLUME = "volume"
INTERRUPTED = 130
_UNSAID = ("resume", "overwrite", "as_json", "as_csv", "quiet")


@dataclass(frozen=True)
class Measured:
    """What a measuring command works with.

    Attributes:
        radii: complete.
        store: the file, locked; None where nothing is kept.
        fresh: whether any ray was measured now.
    """

    radii: Radii
    store: Store | None
    fresh: bool


@contextmanager
def measured(context: click.Context) -> Iterator[Measured]:
    """Measure the radii that the options ask for, committing them to ``--out``, which stays locked in the block.

    The file is opened first: what is wrong with it shows before anything expensive begins.
    """
    given = context.params
    with _open_store(given) as store:
        stored = stored_run(store, given)
        task, checkpoint = find_task(given)
        say(given, f"{given['checkpoint']}: {checkpoint.form}")
        objective = make_objective(task, given)
        for line in measuring_lines(objective, given, stored):
            say(given, paragraph(line))
        provenance = {"checkpoint": str(given["checkpoint"]), "command": resume_command(context)}
        radii, fresh = _measure(objective, given, store, stored, provenance)
        yield Measured(radii, store, fresh)
    if store is None:
        say(given, "Nothing was kept; to keep the rays, for plots and to continue with more of them: --out run.h5")


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
        compile=given["compile"],
    )


def stored_run(store: Store | None, given: Mapping[str, Any]) -> Radii | None:
    """Return the run in the file that this one continues; refuse to touch one without being told what to do."""
    if given["resume"] and given["overwrite"]:
        raise StoreError("--resume keeps the stored rays and --overwrite drops them. Type one of the two.")
    if store is None:
        if given["resume"] or given["overwrite"]:
            raise StoreError("--resume and --overwrite say what to do with the file of --out. Add --out run.h5.")
        return None
    if RADII not in store:
        return None
    if given["overwrite"]:
        return None
    run = store[RADII]
    if not isinstance(run, Radii):
        raise StoreError(f"{given['out']} holds something else under the name {RADII!r}. Write to another --out.")
    if given["resume"]:
        return run
    done = int(run.done.sum())
    state = "a finished run" if done == run.directions else "an unfinished run"
    raise StoreError(
        f"{given['out']} already holds {state} ({done:,} of {run.directions:,} rays).\n"
        "Type --resume to keep its rays and measure what is missing, --overwrite to start anew, or another --out."
    )


def measuring_lines(objective: Objective, given: Mapping[str, Any], stored: Radii | None) -> list[str]:
    """Return what is about to be measured, and what a user should know about it."""
    plan, rays = objective.plan, given["directions"]
    known = "" if stored is None else f" ({int(stored.done.sum()):,} of them from the file)"
    together = "one point at a time" if plan.lanes == 1 else f"{plan.lanes:,} points at a time"
    return [
        f"measuring {rays:,} rays{known}: n = {objective.dimension:,} of {objective.layout.size:,} parameters, "
        f"{objective.samples:,} samples, loss at the centre {objective.centre:.4g}, {together}",
        *(f"note: {note}" for note in objective.notes),
    ]


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


@contextmanager
def _open_store(given: Mapping[str, Any]) -> Iterator[Store | None]:
    if given["out"] is None:
        yield None
        return
    with Store(given["out"], write=True) as store:
        yield store


def _measure(
    objective: Objective,
    given: Mapping[str, Any],
    store: Store | None,
    stored: Radii | None,
    provenance: Mapping[str, str],
) -> tuple[Radii, bool]:
    """Return the radii and whether any was measured now; on Ctrl-C keep what there is and leave."""

    def put(radii: Radii) -> None:
        if store is None:
            return
        # Not before there are new rays to take the old ones' place: a run that never starts loses nothing.
        # A volume of fewer rays than the file holds would be of another run.
        if VOLUME in store:
            del store[VOLUME]
        store[RADII] = replace(radii, config={**radii.config, **provenance})

    known = 0 if stored is None else int(stored.done.sum())
    keeper, display = Keeper(put), Display(given["directions"], known, quiet=given["quiet"])

    def on_block(progress: Progress) -> None:
        display.block(progress)
        keeper.block(progress)

    try:
        radii = basin_radii(
            objective,
            given["cutoffs"],
            criterion=given["criterion"],
            metric=given["metric"],
            directions=given["directions"],
            seed=given["seed"],
            max_radius=given["max_radius"],
            rtol=given["rtol"],
            resume=stored,
            on_block=on_block,
        )
        keeper.commit()
    except KeyboardInterrupt:
        display.close()
        keeper.commit()
        click.echo(interrupted_line(keeper.latest or stored, given["out"], provenance["command"]), err=True)
        raise SystemExit(INTERRUPTED) from None
    finally:
        display.close()
    if stored is not None and keeper.latest is None:
        return stored, False
    return replace(radii, config={**radii.config, **provenance}), True


def interrupted_line(radii: Radii | None, out: str | None, command: str) -> str:
    """Return the one line that says what an interrupted run leaves and how to go on."""
    if radii is None:
        return "interrupted before the first rays were measured; nothing was kept"
    done = f"interrupted after {int(radii.done.sum()):,} of {radii.directions:,} rays"
    if out is None:
        return f"{done}; nothing was kept (with --out run.h5 a run can be continued)"
    return f"{done}, kept in {out}; continue with: {command}"
