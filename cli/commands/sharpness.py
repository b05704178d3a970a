"""``landscape sharpness``: sharpness measures of one checkpoint, or of several of a run."""

from __future__ import annotations

from typing import Any

import click

from landscape_cli import options, sharpness_options

asking = options.together(
    click.option(
        "--measures", default="core", show_default=True, metavar="core|all|NAME,...|FILE.py:FUNCTION",
        help="Which measures. core: those that most studies use; a function of your own from a file.",
    ),
    sharpness_options.settings,
)  # fmt: skip


@click.command("sharpness")
@click.argument("checkpoints", nargs=-1, required=True, type=click.Path())
@options.task
@asking
@options.centre
@options.keeping
@options.json_flag
@options.quiet
@click.pass_context
def command(context: click.Context, **params: Any) -> None:
    """Measure how sharp the loss is at each of CHECKPOINTS, by the measures of the literature.

    Each number has its error, its verdict and its cost in full passes over the data. Several checkpoints of a run make
    one table, and "landscape plot" draws them against the training step.
    """
    from landscape_cli.sharpness_run import run_sharpness

    run_sharpness(context)
