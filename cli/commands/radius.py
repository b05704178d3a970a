"""``landscape radius``: the basin radius along each random ray."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

import click

from landscape_cli import options

if TYPE_CHECKING:
    from landscape.results import Radii

_SETTINGS = ("criterion", "metric", "scope", "seed", "max_radius", "rtol")


@click.command("radius")
@options.measuring
@click.option("--csv", "as_csv", is_flag=True, help="Print a line for each ray and cutoff instead of the table.")
@click.pass_context
def command(context: click.Context, **given: Any) -> None:
    """Measure the basin radius along random rays around CHECKPOINT.

    The radius of a ray is the distance at which the criterion first reaches the cutoff, in units of the metric. A ray
    that stays below it up to the cap is censored: it is counted, and holds the cap.
    """
    from landscape_cli import measuring, text

    if given["as_json"] and given["as_csv"]:
        raise click.UsageError("--json and --csv both print on stdout. Type one of the two.")
    with measuring.opened(context, [measuring.RAYS]) as run:
        radii, _ = measuring.measured_rays(run)
        if given["as_json"]:
            click.echo(text.strict_json(summary(radii)))
        elif given["as_csv"]:
            click.echo(csv_text(radii), nl=False)
        else:
            click.echo(text.radii_text(radii))


def summary(radii: Radii) -> dict[str, Any]:
    """Return the JSON object of ``landscape radius``, with a row for each ray."""
    plain = radii.to_dict()
    rows = zip(plain["radii"], status_names(radii), plain["calls"], plain["evaluations"], strict=True)
    return {
        **{key: plain["config"].get(key) for key in _SETTINGS},
        "dimension": radii.dimension,
        "directions": radii.directions,
        "cutoffs": plain["cutoffs"],
        "centre": plain["centre"],
        "evaluations": radii.cost.evaluations,
        "seconds": radii.cost.seconds,
        "rays": [
            {"direction": index, "radii": values, "status": states, "calls": calls, "evaluations": evaluations}
            for index, (values, states, calls, evaluations) in enumerate(rows)
        ],
    }


def csv_text(radii: Radii) -> str:
    """Return one line a ray and cutoff, with the bracket of the crossing."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["direction", "cutoff", "radius", "status", "lower", "upper"])
    states = status_names(radii)
    for ray in range(radii.directions):
        for column, cutoff in enumerate(radii.cutoffs):
            numbers = (float(table[ray, column]) for table in (radii.radii, radii.lower, radii.upper))
            radius, lower, upper = numbers
            writer.writerow([ray, cutoff, radius, states[ray][column], lower, upper])
    return out.getvalue()


def status_names(radii: Radii) -> list[list[str]]:
    """Return how each search ended, in words, shape (directions, cutoffs)."""
    from landscape.results import RayStatus

    return [[RayStatus(code).name.lower() for code in row] for row in radii.status.tolist()]
