"""``landscape radius``: the basin radius along each random ray."""

from __future__ import annotations

from typing import Any

import click

from landscape_cli import options


@click.command("radius")
@options.measuring
@options.processes
@click.option("--csv", "as_csv", is_flag=True, help="Print one line per ray and cutoff instead of the table.")
@click.pass_context
def command(context: click.Context, **params: Any) -> None:
    """Measure the basin radius along random rays around CHECKPOINT.

    The radius of a ray is the distance at which the criterion first reaches the cutoff, in units of the metric. A ray
    that stays below the cutoff up to the cap is censored: it counts, with the cap as its radius.
    """
    from landscape_cli.basin_run import RAYS, measure_rays, open_basin_run
    from landscape_cli.machine_output import radii_csv, radii_object, strict_json
    from landscape_cli.text import radii_text

    if params["as_json"] and params["as_csv"]:
        raise click.UsageError("--json and --csv both print on stdout. Type one of the two.")
    with open_basin_run(context, [RAYS]) as run:
        radii, _ = measure_rays(run)
        if params["as_json"]:
            click.echo(strict_json(radii_object(radii)))
        elif params["as_csv"]:
            click.echo(radii_csv(radii), nl=False)
        else:
            click.echo(radii_text(radii))
