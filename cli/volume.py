"""``landscape volume``: the log-volume of the basin around a trained point."""

from __future__ import annotations

from typing import Any

import click

from landscape_cli import options


@click.command("volume")
@options.measuring
@click.option(
    "--estimator",
    type=click.Choice(options.ESTIMATORS),
    default="uniform",
    show_default=True,
    help="How V is estimated; uniform: the mean of r^n over uniform rays.",
)
@click.pass_context
def command(context: click.Context, **given: Any) -> None:
    """Measure the log-volume of the basin around CHECKPOINT.

    The basin of a cutoff is what a random ray reaches before the criterion first gets there. V is estimated from the
    radii along many rays; the verdict says whether the estimate is a measurement or only a lower bound.
    """
    from landscape.volume import volume_from_radii
    from landscape_cli import session, text

    with session.measured(context) as run:
        volume = volume_from_radii(run.radii)
        if run.store is not None and (run.fresh or session.VOLUME not in run.store):
            run.store[session.VOLUME] = volume
        click.echo(text.strict_json(volume.summary()) if given["as_json"] else text.volume_text(volume, run.radii))
