"""``landscape track``: quantities over the saved checkpoints of a training run."""

from __future__ import annotations

from typing import Any

import click

from landscape_cli import options, sharpness_options

asking = options.together(
    click.option(
        "--measure", "measures", multiple=True, default=("loss", "lambda-max", "trace"), show_default=True,
        metavar="NAME|FILE.py:FUNCTION",
        help="What to measure: loss, accuracy, radius, or a measure of landscape sharpness. May be repeated.",
    ),
    click.option(
        "--cutoff", type=options.Number(), multiple=True, default=(0.1,), show_default=True,
        help="radius, log-volume: loss at the basin's edge. For radius it may be repeated.",
    ),
    click.option(
        "--criterion", type=click.Choice(options.CRITERIA), default="loss", show_default=True,
        help="radius: what reaches the cutoff: the loss, its rise above the centre, or the mean KL.",
    ),
    click.option(
        "--directions", type=click.IntRange(min=2), default=64, show_default=True, metavar="N",
        help="radius: number of random rays.",
    ),
    click.option(
        "--metric", type=click.Choice(sharpness_options.SCALES), default="identity", show_default=True,
        help="Scale of a perturbation and unit of a radius.",
    ),
    click.option("--rho", type=options.Number(0), metavar="R", help="Size of perturbations."),
    sharpness_options.noise,
    click.option(
        "--budget", type=options.BudgetText(), default="30s", show_default=True, metavar="TIME|PASSES",
        help="What each checkpoint may cost: a time, or a number of passes over the data.",
    ),
    sharpness_options.seed,
    sharpness_options.start,
    click.option("--figure", type=click.Path(), metavar="FILE", help="Draw the run here too: .png, .svg or .pdf."),
)  # fmt: skip


@click.command("track")
@click.argument("checkpoints", nargs=-1, required=True, type=click.Path())
@options.task
@asking
@options.centre
@options.keeping
@options.json_flag
@options.quiet
@click.pass_context
def command(context: click.Context, **params: Any) -> None:
    """Follow the shape of the loss over CHECKPOINTS of a training run.

    One row per step: few quantities, cheap and bounded in time. The file has the form of the callbacks for training
    loops (docs/training-loops.md). "landscape sharpness" takes all measures of one net, with all their options.
    """
    from landscape_cli.track_run import run_track

    run_track(context)
