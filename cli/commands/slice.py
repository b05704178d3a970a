"""``landscape slice``: the loss on a line or a plane through a trained point."""

from __future__ import annotations

from typing import Any

import click

from landscape_cli import options

DIRECTIONS = ("random", "li2018", "hessian", "toward", "pca")

shape = options.together(
    click.option(
        "--dim", type=click.Choice(["1", "2"]), help="A line or a plane.  [default: 1; 2 for pca]"
    ),
    click.option(
        "--directions", type=click.Choice(DIRECTIONS), default="random", show_default=True,
        help="random in the metric; li2018: each filter on its own; hessian: the top eigenvectors; toward OTHER; "
        "pca of the run CHECKPOINT OTHERS.",
    ),
    click.option("--steps", type=int, default=51, show_default=True, help="Points along each direction."),
    click.option(
        "--span", type=float, default=1.0, show_default=True,
        help="Distance on either side; toward: 1 ends at OTHER, more goes beyond.",
    ),
    click.option(
        "--metric", type=click.Choice(options.METRICS), default="filter", show_default=True,
        help="Unit of random and hessian: each filter's norm, each layer's norm, or Euclidean length.",
    ),
    click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the directions."),
    click.option("--orthogonal", is_flag=True, help="Make the second direction orthogonal to the first."),
    click.option("--curvature", is_flag=True, help="Also record the second derivative along the line."),
    click.option("--recalibrate-bn", is_flag=True, help="Estimate BatchNorm statistics again at each point."),
)  # fmt: skip


@click.command("slice")
@options.checkpoint
@click.argument("others", nargs=-1, type=click.Path())
@options.task
@shape
@options.second_derivatives
@options.objective
@options.keeping
@click.option(
    "--export", "exports", type=click.Path(dir_okay=False), multiple=True, metavar="FILE",
    help="Write a plane as .vts or .vtp (ParaView) or .html (interactive page). May be repeated.",
)  # fmt: skip
@options.json_flag
@options.processes
@options.quiet
@click.pass_context
def command(context: click.Context, **params: Any) -> None:
    """Measure the loss on a line or a plane through CHECKPOINT.

    With --directions toward the line ends at the checkpoint OTHERS, or the plane goes through two OTHERS. With
    --directions pca the plane is the main one of a training run, whose checkpoints are typed in order. The plane goes
    through CHECKPOINT: type it first, and again at its place in the run if it is not the first.
    """
    from landscape_cli.slice_run import run_slice

    run_slice(context)
