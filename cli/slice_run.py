"""The run of ``landscape slice``: the loss on a line or a plane, stored row by row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
import torch
from click.core import ParameterSource
from torch import Tensor

from landscape.checkpoint import load_checkpoint
from landscape.errors import ObjectiveError
from landscape.objective import Objective
from landscape.objective.batch_loss import ModelProgram
from landscape.objective.model import copied
from landscape.plots import check_export, export
from landscape.rays import metric_of
from landscape.results import Line, OnProgress, Plane
from landscape.results.table import in_width, percent
from landscape.slices import slice_1d, slice_2d
from landscape.store import Store
from landscape_cli.flags import in_flags
from landscape_cli.machine_output import slice_object, strict_json
from landscape_cli.next_command import resume_command, stopped_line
from landscape_cli.progress import Display, keep_measuring, say
from landscape_cli.run_file import growing_result, open_store, with_provenance
from landscape_cli.task import make_objective


def run_slice(context: click.Context) -> None:
    """Measure, store, export and print the slice that the options of the command name."""
    params = settled(context)
    check(params)
    kind: type[Any] = Plane if params["plane"] else Line
    unit, noun = "rows" if params["plane"] else "points", f"slice called {name_of(params)}"
    with open_store(params) as store:
        stored = growing_result(store, params, name_of(params), kind, noun, unit)
        objective = make_objective(params)
        others = read_others(objective, params)
        for line in measuring_lines(objective, params, stored):
            say(params, line)
        provenance = {"checkpoint": str(params["checkpoint"]), "command": resume_command(context)}
        result = measure(objective, others, params, store, stored, provenance)
        if isinstance(result, Plane):
            for path in params["exports"]:
                export(result, path)
        click.echo(strict_json(slice_object(result)) if params["as_json"] else in_width(str(result)))
    for path in params["exports"]:
        say(params, f"wrote {path}")
    if store is None:
        say(params, "Nothing was kept; to keep the values, for plots and to continue: --out run.h5")


def settled(context: click.Context) -> dict[str, Any]:
    """Return the options with ``plane``, whether it is one, and with the scope that the directions ask for."""
    params = dict(context.params)
    params["plane"] = (params["dim"] or ("2" if params["directions"] == "pca" else "1")) == "2"
    # a path to another net leads through every parameter, so that is the scope unless one was typed
    if params["others"] and context.get_parameter_source("scope") != ParameterSource.COMMANDLINE:
        params["scope"] = "all"
    return params


def check(params: Mapping[str, Any]) -> None:
    """Refuse options that do not go together before anything is read."""
    if params["plane"] and params["curvature"]:
        raise click.UsageError("--curvature is the second derivative along a line. Type --dim 1 with it.")
    if not params["plane"]:
        if params["orthogonal"]:
            raise click.UsageError("--orthogonal is about the two directions of a plane. Type --dim 2 with it.")
        if params["exports"]:
            raise click.UsageError("--export writes a plane. Type --dim 2 with it.")
    for path in params["exports"]:
        check_export(path)


def name_of(params: Mapping[str, Any]) -> str:
    """Return the name of the result in the file, so that slices of several kinds share one.

    >>> name_of({"plane": True, "directions": "pca"})
    'plane-pca'
    """
    return f"{'plane' if params['plane'] else 'line'}-{params['directions']}"


def read_others(objective: Objective, params: Mapping[str, Any]) -> list[Tensor]:
    """Return the weights of the other checkpoints as flat vectors; for a training run, in the order as typed.

    CHECKPOINT is typed first, so it is the first of the run unless it is typed again at another place.
    """
    if not params["others"]:
        return []
    assert isinstance(objective.program, ModelProgram)
    scratch = copied(objective.program.model)
    layout, device = objective.layout, objective.theta.device
    others = []
    for path in params["others"]:
        load_checkpoint(path, scratch, unsafe=params["unsafe"], weights=params["weights"])
        others.append(layout.flatten(dict(scratch.named_parameters()), device))
    again = any(torch.equal(other, objective.theta) for other in others)
    return others if again or params["directions"] != "pca" else [objective.theta, *others]


def measuring_lines(objective: Objective, params: Mapping[str, Any], stored: Line | Plane | None) -> list[str]:
    """Return what is about to be measured, and what a user should know about it."""
    steps = params["steps"]
    size = f"a plane of {steps} x {steps} points" if params["plane"] else f"a line of {steps} points"
    known = "" if stored is None else f" ({percent(stored.done.mean(), 0)} of it from the file)"
    lanes, dimension = objective.plan.lanes, objective.dimension
    if params["directions"] in ("random", "hessian"):
        dimension = metric_of(objective, params["metric"]).scope.size
    together = "one point at a time" if lanes == 1 or params["recalibrate_bn"] else f"{lanes:,} points at a time"
    return [
        f"measuring {size}{known}: scope {objective.scope.name}, n = {dimension:,} of "
        f"{objective.layout.size:,} parameters, {objective.samples:,} samples, loss at the centre "
        f"{objective.centre:.4g}, {together}",
        *(["first the eigenvectors: at most 500 Hessian products"] if params["directions"] == "hessian" else []),
        *(in_flags(f"note: {note}") for note in objective.notes),
    ]


def measure(
    objective: Objective,
    others: list[Tensor],
    params: Mapping[str, Any],
    store: Store | None,
    stored: Line | Plane | None,
    provenance: Mapping[str, str],
) -> Line | Plane:
    """Return the slice, and commit it row by row; if it stops, what was measured is kept."""

    def put(result: Any) -> None:
        if store is not None:
            store[name_of(params)] = with_provenance(result, provenance)

    def stopped(why: str, latest: Line | Plane | None) -> str:
        result = latest or stored
        done = None if result is None else f"{why} after {percent(result.done.mean(), 0)} of the points"
        return stopped_line(done, params["out"], provenance["command"])

    total = params["steps"] ** 2 if params["plane"] else params["steps"]
    known = 0 if stored is None else round(stored.done.mean() * total)
    display = Display(total, known, quiet=params["quiet"], unit="points")

    def call(on_progress: OnProgress[Any]) -> Any:
        return call_library(objective, others, params, stored, on_progress)

    result, fresh = keep_measuring(call, put, display, stopped)
    return with_provenance(result, provenance) if fresh else result


def call_library(
    objective: Objective,
    others: list[Tensor],
    params: Mapping[str, Any],
    stored: Any,
    on_progress: OnProgress[Any],
) -> Line | Plane:
    """Measure the line or the plane that the options name."""
    common = {key: params[key] for key in ("metric", "steps", "span", "seed", "recalibrate_bn", "check", "derivative")}
    common |= {"resume": stored, "on_progress": on_progress}
    if params["plane"]:
        return slice_2d(
            objective, directions=params["directions"], others=others, orthogonal=params["orthogonal"], **common
        )
    if len(others) > 1:
        raise ObjectiveError(
            f"a line joins this checkpoint and one other; {len(others)} others were given.\n"
            "Type --dim 2 for the plane through three, or --directions pca for a training run."
        )
    other = others[0] if others else None
    return slice_1d(objective, direction=params["directions"], other=other, curvature=params["curvature"], **common)
