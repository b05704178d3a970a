"""The run of ``landscape sharpness``: every checkpoint measured, each measure stored as soon as it is finished."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import click
import torch

from landscape.errors import LandscapeError, StoreError
from landscape.inputs.user_code import is_reference, load_object
from landscape.measures import REGISTRY, find_measures, sharpness
from landscape.objective import Objective
from landscape.rays.budget import Budget
from landscape.results import Eigenpairs, Measure, Progress, Result, SharpnessTable
from landscape.results.sharpness import FAILED, number
from landscape.results.table import columns_in_blocks
from landscape.store import Store
from landscape_cli.checkpoints_of_run import labels, training_place
from landscape_cli.clock import elapsed
from landscape_cli.flags import in_flags
from landscape_cli.interrupts import INTERRUPTED, check_pressed
from landscape_cli.machine_output import strict_json
from landscape_cli.next_command import resume_command, stopped_line
from landscape_cli.progress import Display, say
from landscape_cli.run_file import open_store, stored_result, with_provenance
from landscape_cli.task import find_task, make_objective
from landscape_cli.text import duration, paragraph

NAMED = (
    "metric", "draws", "probes", "seed", "normalise_logits", "nbeta", "gamma", "sampler", "chains", "steps",
    "step_size", "minibatch", "layer", "cutoff", "budget",
)  # fmt: skip


def run_sharpness(context: click.Context) -> None:
    """Measure, store and print what the options of the command ask for."""
    params = context.params
    paths, measures = params["checkpoints"], wanted_measures(params["measures"])
    names = labels(paths)
    tables: dict[str, SharpnessTable] = {}
    provenance = {"command": resume_command(context)}
    with open_store(params) as store:
        try:
            for path, label in zip(paths, names, strict=True):
                place = label if len(paths) > 1 else None
                origin = {**provenance, "checkpoint": str(path)}
                late = 0.0 if tables else elapsed()  # what came before the first checkpoint counts for it
                own = {**params, "checkpoint": path, "budget": budget_left(params["budget"], late)}
                tables[label] = measure_checkpoint(own, measures, store, place, origin, paths)
                if len(paths) == 1 and not params["as_json"]:
                    click.echo(table_text(tables[label], context.command))
        except KeyboardInterrupt:
            taken = f"interrupted after {len(tables)} of {len(paths)} checkpoints"
            click.echo(stopped_line(taken, params["out"], provenance["command"]), err=True)
            raise SystemExit(INTERRUPTED) from None
    if params["as_json"]:
        click.echo(strict_json({label: table.to_dict() for label, table in tables.items()}))
    elif len(paths) > 1:
        click.echo(several_text(tables))
    if store is None:
        say(params, "Nothing was kept; to keep it, for figures and to add to it: --out run.h5")


def budget_left(text: str, late: float) -> str:
    """Return a budget without the seconds that are gone already; one in passes as it is.

    >>> budget_left("1min", 12.5), budget_left("2000", 12.5)
    ('47.500s', '2000')
    """
    budget = Budget.parse(text)
    return f"{max(budget.seconds - late, 0.001):.3f}s" if math.isfinite(budget.seconds) else text


def wanted_measures(text: str) -> list[str]:
    """Return the names of the measures that ``--measures`` asks for; files of a user's own measures are loaded."""
    names = names_of_measures(text, "--measures")
    find_measures(names)  # an unknown name is refused before anything is read
    return names


def names_of_measures(text: str, option: str) -> list[str]:
    """Return names with commas between them as a list; functions in a file are loaded, and their names returned."""
    names: list[str] = []
    for part in (part.strip() for part in text.split(",")):
        if not is_reference(part):
            names.append(part)
            continue
        function = load_object(part, option)
        own = [name for name, definition in REGISTRY.items() if definition.function is function]
        if not own:
            raise LandscapeError(
                f"{part} is no measure: decorate it with @landscape.measure('my-flatness', larger='sharper')."
            )
        names += own
    return names


def measure_checkpoint(
    params: Mapping[str, Any],
    measures: list[str],
    store: Store | None,
    place: str | None,
    origin: Mapping[str, Any],
    paths: tuple[str, ...],
) -> SharpnessTable:
    """Return the measures of one checkpoint; those in the file are kept with ``--resume``."""
    known = stored_measures(store, params, place)
    objective = read_objective(params)
    origin = {**origin, **training_place(params["checkpoint"], paths, objective)}
    start = start_of(params, objective)
    wanted = [
        name for name in expand(measures) for _ in ((1,) if REGISTRY[name].rho is None else params["rho"] or (1,))
    ]
    pairs = stored_eigenpairs(store)
    left = without(wanted, [measure.name for measure in known.values() if measure.verdict != FAILED])
    total = len(wanted)
    limit = Budget.parse(params["budget"]).seconds
    display = Display(
        total, total - len(left), quiet=params["quiet"], unit="measures", words="".join(left[:1]), limit=limit
    )

    def keep(progress: Progress[SharpnessTable]) -> None:
        measure = progress.snapshot()[progress.words]
        if progress.news or measure.verdict == FAILED:
            left[:] = without(left, [measure.name])
        if progress.news and store is not None:
            store[stored_name(place, progress.words)] = with_provenance(measure, origin)
        display.show(total - len(left), total, "".join(left[:1]))
        check_pressed()

    try:
        return sharpness(
            objective, measures, rho=params["rho"], start=start, resume=known, known=pairs, on_progress=keep,
            **{name: params[name] for name in NAMED},
        )  # fmt: skip
    finally:
        display.close()


def read_objective(params: Mapping[str, Any]) -> Objective:
    """Return the objective of a checkpoint, and say what it is."""
    objective = make_objective(params)
    say(params, paragraph(f"{objective!r}"[1:-1]))
    for note in objective.notes:
        say(params, paragraph(in_flags(f"note: {note}")))
    return objective


def without(names: list[str], finished: list[str]) -> list[str]:
    """Return the names that are left: each that is finished takes one away.

    >>> without(["trace", "average-case", "average-case"], ["average-case", "llc"])
    ['trace', 'average-case']
    """
    left = list(names)
    for name in finished:
        if name in left:
            left.remove(name)
    return left


def expand(measures: list[str]) -> list[str]:
    """Return the names that a list of names, ``core`` and ``all`` stands for."""
    return [definition.name for definition in find_measures(measures)]


def start_of(params: Mapping[str, Any], objective: Objective) -> torch.Tensor | None:
    """Return the parameters of ``--start``, read like the checkpoint itself."""
    if params["start"] is None:
        return None
    begin = find_task({**params, "checkpoint": params["start"]})
    return objective.layout.flatten(dict(begin.model.named_parameters()), objective.theta.device)


def stored_name(place: str | None, name: str) -> str:
    """Return the name of a measure in the file: it becomes an HDF5 group.

    >>> stored_name(None, "average-case@0.1"), stored_name("step-300", "trace")
    ('sharpness-average-case_0.1', 'step-300-sharpness-trace')
    """
    prefix = "" if place is None else f"{place}-"
    return f"{prefix}sharpness-{name.replace('@', '_')}"


def stored_measures(store: Store | None, params: Mapping[str, Any], place: str | None) -> dict[str, Measure]:
    """Return the measures of a checkpoint in the file that this run keeps; refuse to touch some without being told."""
    stored_result(store, params, "", Measure)  # its checks of the options
    if store is None or params["overwrite"]:
        return {}
    head = stored_name(place, "")
    names = [name for name in store if name.startswith(head)]
    if names and not params["resume"]:
        raise StoreError(
            f"{params['out']} already holds {len(names)} measures of this kind ({names[0]}, ...).\n"
            "Type --resume to keep what it holds and measure the rest, --overwrite to start over, or another --out."
        )
    found = {name.removeprefix(head).replace("_", "@"): store[name] for name in names}
    return {name: result for name, result in found.items() if isinstance(result, Measure)}


def stored_eigenpairs(store: Store | None) -> list[Result]:
    """Return the eigenpairs that ``landscape curvature`` has left in the file."""
    if store is None or not store.names():
        return []
    pairs: list[Result] = []
    for name, about in store.describe()["results"].items():
        if about["kind"] == Eigenpairs.kind:
            with suppress(StoreError):  # damaged: then the eigenvalue is measured again
                pairs.append(store[name])
    return pairs


def table_text(table: SharpnessTable, command: click.Command) -> str:
    """Return the table of one checkpoint with its notes, for a terminal, in the words of the command."""
    notes = (paragraph(in_flags(f"note: {note}", command)) for note in table.reasons)
    lines = [*table.table().splitlines(), *notes]
    cost = table.cost
    return "\n".join([*lines, f"{cost.evaluations:,.0f} passes in {duration(cost.seconds)}"])


def several_text(tables: Mapping[str, SharpnessTable]) -> str:
    """Return one row per measure and one column per checkpoint, in blocks that fit a terminal."""
    names = list(dict.fromkeys(name for table in tables.values() for name in table))
    rows = [
        [name, *(number(t[name].value, t[name].standard_error) if name in t else "-" for t in tables.values())]
        for name in names
    ]
    return columns_in_blocks(["measure", *tables], rows, left=["measure"])
