"""``landscape slice``: the loss on a line or a plane through a trained point."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from landscape_cli import options

if TYPE_CHECKING:
    from torch import Tensor

    from landscape.inputs import Task
    from landscape.objective import Objective
    from landscape.results import Line, OnProgress, Plane
    from landscape.store import Store

DIRECTIONS = ("random", "li2018", "hessian", "toward", "pca")

shape = options.together(
    click.option(
        "--dim", type=click.Choice(["1", "2"]), help="A line or a plane.  [default: 1; 2 for pca]"
    ),
    click.option(
        "--directions", type=click.Choice(DIRECTIONS), default="random", show_default=True,
        help="random in the metric; li2018: each filter on its own; hessian: the top eigenvectors; toward OTHER; "
        "pca of the run OTHERS.",
    ),
    click.option("--steps", type=int, default=51, show_default=True, help="Points along each direction."),
    click.option(
        "--span", type=float, default=1.0, show_default=True,
        help="How far to go on either side; toward: 1 ends at OTHER, more goes beyond.",
    ),
    click.option(
        "--metric", type=click.Choice(options.METRICS), default="filter", show_default=True,
        help="Unit of random and hessian: each filter's norm, each layer's norm, or Euclidean length.",
    ),
    click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Keys the directions."),
    click.option("--orthogonal", is_flag=True, help="Make the second direction orthogonal to the first."),
    click.option("--curvature", is_flag=True, help="Record the second derivative along the line too."),
    click.option("--recalibrate-bn", is_flag=True, help="Estimate BatchNorm statistics anew at each point."),
)  # fmt: skip


@click.command("slice")
@options.checkpoint
@click.argument("others", nargs=-1, type=click.Path())
@options.task
@shape
@options.objective
@options.keeping
@click.option(
    "--export", "exports", type=click.Path(dir_okay=False), multiple=True, metavar="FILE",
    help="Write a plane as .vts or .vtp (ParaView) or .html (interactive page); repeatable.",
)  # fmt: skip
@options.json_flag
@options.quiet
@click.pass_context
def command(context: click.Context, **given: Any) -> None:
    """Measure the loss on a line or a plane through CHECKPOINT.

    With --directions toward the line ends at the checkpoint OTHERS, and the plane goes through two of them; with
    --directions pca the plane is the main one of a training run, whose checkpoints are OTHERS, in order.
    """
    from landscape.plots import export
    from landscape.results import Line, Plane
    from landscape_cli import session
    from landscape_cli.machine_output import slice_object, strict_json

    given["plane"] = (given["dim"] or ("2" if given["directions"] == "pca" else "1")) == "2"
    check(given)
    # a path to another net leads through every parameter, so that is the scope unless one was typed
    if given["others"] and context.get_parameter_source("scope") != ParameterSource.COMMANDLINE:
        given["scope"] = "all"
    kind: type[Any] = Plane if given["plane"] else Line
    unit, called = "rows" if given["plane"] else "points", f"slice called {name_of(given)}"
    with session.open_store(given) as store:
        stored = session.stored_result(store, given, name_of(given), kind, called, unit)
        task, checkpoint = session.find_task(given)
        session.say(given, f"{given['checkpoint']}: {checkpoint.form}")
        objective = session.make_objective(task, given)
        others = read_others(task, objective, given)
        for line in measuring_lines(objective, given, stored):
            session.say(given, line)
        provenance = {"checkpoint": str(given["checkpoint"]), "command": session.resume_command(context)}
        result = measure(objective, others, given, store, stored, provenance)
        if isinstance(result, Plane):
            for path in given["exports"]:
                export(result, path)
        click.echo(strict_json(slice_object(result)) if given["as_json"] else str(result))
    for path in given["exports"]:
        session.say(given, f"wrote {path}")
    if store is None:
        session.say(given, "Nothing was kept; to keep the values, for plots and to continue: --out run.h5")


def check(given: Mapping[str, Any]) -> None:
    """Refuse options that do not go together before anything is read."""
    if given["plane"] and given["curvature"]:
        raise click.UsageError("--curvature is the second derivative along a line. Type --dim 1 with it.")
    if not given["plane"]:
        if given["orthogonal"]:
            raise click.UsageError("--orthogonal is about the two directions of a plane. Type --dim 2 with it.")
        if given["exports"]:
            raise click.UsageError("--export writes a plane. Type --dim 2 with it.")
    if given["exports"]:
        from landscape.plots import check_export

        for path in given["exports"]:
            check_export(path)


def name_of(given: Mapping[str, Any]) -> str:
    """Return the name of the result in the file, so that slices of several kinds share one.

    >>> name_of({"plane": True, "directions": "pca"})
    'plane-pca'
    """
    return f"{'plane' if given['plane'] else 'line'}-{given['directions']}"


def read_others(task: Task, objective: Objective, given: Mapping[str, Any]) -> list[Tensor]:
    """Return the weights of the other checkpoints as flat vectors."""
    from copy import deepcopy

    from landscape.checkpoint import load_checkpoint

    if not given["others"]:
        return []
    scratch = deepcopy(task.model)
    layout, device = objective.layout, objective.theta.device
    return [
        layout.flatten(dict(load_checkpoint(path, scratch, unsafe=given["unsafe_load"]).named_parameters()), device)
        for path in given["others"]
    ]


def measuring_lines(objective: Objective, given: Mapping[str, Any], stored: Line | Plane | None) -> list[str]:
    """Return what is about to be measured, and what a user should know about it."""
    from landscape.rays import make_metric

    steps = given["steps"]
    size = f"a plane of {steps} x {steps} points" if given["plane"] else f"a line of {steps} points"
    known = "" if stored is None else f" ({stored.done.mean():.0%} of it from the file)"
    lanes, dimension = objective.plan.lanes, objective.dimension
    if given["directions"] in ("random", "hessian"):
        dimension = make_metric(given["metric"], objective.theta, objective.scope).scope.size
    together = "one point at a time" if lanes == 1 or given["recalibrate_bn"] else f"{lanes:,} points at a time"
    return [
        f"measuring {size}{known}: scope {objective.scope.name}, n = {dimension:,} of "
        f"{objective.layout.size:,} parameters, {objective.samples:,} samples, loss at the centre "
        f"{objective.centre:.4g}, {together}",
        *(["first the eigenvectors: at most 500 Hessian products"] if given["directions"] == "hessian" else []),
        *(f"note: {note}" for note in objective.notes),
    ]


def measure(
    objective: Objective,
    others: list[Tensor],
    given: Mapping[str, Any],
    store: Store | None,
    stored: Line | Plane | None,
    provenance: Mapping[str, str],
) -> Line | Plane:
    """Return the slice, committing it row by row; where it stops, keep what there is."""
    from landscape_cli import session
    from landscape_cli.progress import Display, keep_measuring

    def put(result: Any) -> None:
        if store is not None:
            store[name_of(given)] = session.with_provenance(result, provenance)

    def stopped(why: str, latest: Line | Plane | None) -> str:
        result = latest or stored
        done = None if result is None else f"{why} after {result.done.mean():.0%} of the points"
        return session.stopped_line(done, given["out"], provenance["command"])

    total = given["steps"] ** 2 if given["plane"] else given["steps"]
    known = 0 if stored is None else round(stored.done.mean() * total)
    display = Display(total, known, quiet=given["quiet"], unit="points")

    def make(on_progress: OnProgress[Any]) -> Any:
        return sliced(objective, others, given, stored, on_progress)

    result, fresh = keep_measuring(make, put, display, stopped)
    return session.with_provenance(result, provenance) if fresh else result


def sliced(
    objective: Objective,
    others: list[Tensor],
    given: Mapping[str, Any],
    stored: Any,
    on_progress: OnProgress[Any],
) -> Line | Plane:
    """Call the library."""
    from landscape.errors import ObjectiveError
    from landscape.slices import slice_1d, slice_2d

    common = {key: given[key] for key in ("metric", "steps", "span", "seed", "recalibrate_bn")}
    common |= {"resume": stored, "on_progress": on_progress}
    if given["plane"]:
        return slice_2d(
            objective, directions=given["directions"], others=others, orthogonal=given["orthogonal"], **common
        )
    if len(others) > 1:
        raise ObjectiveError(
            f"a line joins this checkpoint and one other; {len(others)} others were given.\n"
            "Type --dim 2 for the plane through three, or --directions pca for a training run."
        )
    other = others[0] if others else None
    return slice_1d(objective, direction=given["directions"], other=other, curvature=given["curvature"], **common)
