"""``landscape curvature``: how the loss bends around a trained point."""

from __future__ import annotations

from typing import Any

import click

from landscape_cli import options

asking = options.together(
    click.option(
        "--top", "k", type=click.IntRange(min=1), metavar="K",
        help="The K largest eigenvalues, with eigenvectors.  [default: 5, and --trace]",
    ),
    click.option("--trace", is_flag=True, help="The trace, with its standard error."),
    click.option("--layers", is_flag=True, help="The trace of each parameter tensor's block, and of all."),
    click.option("--density", is_flag=True, help="The distribution of the eigenvalues."),
    click.option(
        "--log-det", "shift", type=float, metavar="SHIFT", help="log |det(A + SHIFT · 1)|; a shift of 0 for A itself."
    ),
    click.option(
        "--operator", type=click.Choice(options.CURVATURES), default="hessian", show_default=True,
        help="The second derivative of the loss, or the Gauss-Newton matrix.",
    ),
    click.option(
        "--metric", type=click.Choice(options.METRICS), default="identity", show_default=True,
        help="identity: A itself; filter, layer: S A S, comparable between nets.",
    ),
    click.option(
        "--probes", type=click.IntRange(min=2), metavar="N",
        help="Number of random probes.  [default: 50; --density 10; --log-det 30]",
    ),
    click.option(
        "--steps", type=click.IntRange(min=2), metavar="N", default=80, show_default=True,
        help="Products for each probe of --density and --log-det.",
    ),
    click.option(
        "--max-products", type=click.IntRange(min=1), metavar="N",
        help="Most products in the search for eigenpairs.  [default: 500, or 10 K]",
    ),
    click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of random vectors."),
)  # fmt: skip


@click.command("curvature")
@options.checkpoint
@options.task
@asking
@options.second_derivatives
@options.centre
@options.keeping
@options.json_flag
@options.processes
@options.quiet
@click.pass_context
def command(context: click.Context, **params: Any) -> None:
    """Measure the curvature of the loss at CHECKPOINT: eigenvalues, trace and density of its Hessian A.

    Every number comes from products A · v, each with all the data, and has its own error. An eigenvalue has a residual,
    and says whether it converged. An estimate from random probes has a standard error.
    """
    from landscape_cli.curvature_run import run_curvature

    run_curvature(context)
