"""``landscape volume``: the log-volume of the basin around a trained point."""

from __future__ import annotations

from typing import Any

import click
from click.core import ParameterSource

from landscape_cli import options
from landscape_cli.interrupts import INTERRUPTED

_SAMPLED = ("auto", "uniform", "importance", "annealed")
#: the estimators that an option applies to; all other options apply to all estimators
_APPLIES_TO = {
    "directions": ("auto", "uniform", "importance"),
    "rtol": _SAMPLED,
    "budget": ("auto", "counted", "annealed"),
    "step_ratio": (*_SAMPLED, "counted"),
    "proposal": ("importance",),
    "rank": ("importance",),
    "curvature": ("importance", "laplace"),
    "derivative": ("importance", "laplace"),
    "check": ("importance", "laplace"),
    "probes": ("importance", "laplace"),
    "measure": _SAMPLED,
    "sigma": _SAMPLED,
    "measure_centre": _SAMPLED,
}


@click.command("volume")
@options.checkpoint
@options.task
@options.rays
@options.estimating
@options.objective
@options.keeping
@options.json_flag
@options.processes
@options.quiet
@click.pass_context
def command(context: click.Context, **params: Any) -> None:
    """Measure the log-volume of the basin around CHECKPOINT.

    The basin of a cutoff is the set of points that a ray reaches before the criterion first reaches the cutoff. The
    verdict says whether an estimate of V is a measurement or only a lower bound. Uniform rays come first. If they do
    not measure V, points are counted and particles walk to the long rays, within --budget. Ctrl-C prints what is whole.
    """
    check(context)
    from landscape_cli.basin_run import open_basin_run
    from landscape_cli.estimators import GROWING, measure_volumes
    from landscape_cli.machine_output import strict_json, volumes_object
    from landscape_cli.volume_text import volumes_text

    with open_basin_run(context, GROWING[params["estimator"]]) as run:
        report = measure_volumes(run)
        if params["as_json"]:
            click.echo(strict_json(volumes_object(report.volumes, run.objective.centre)))
        else:
            click.echo(volumes_text(report.volumes, report.radii, report.notes))
    if report.interrupted:
        raise SystemExit(INTERRUPTED)


def check(context: click.Context) -> None:
    """Refuse options that do not apply to the estimator, before anything is read."""
    params, estimator = context.params, context.params["estimator"]
    for name, estimators in _APPLIES_TO.items():
        typed = context.get_parameter_source(name) == ParameterSource.COMMANDLINE
        if typed and estimator not in estimators:
            flag = f"--{name.replace('_', '-')}"
            raise click.UsageError(
                f"{flag} applies to --estimator {' or '.join(estimators)}, not to {estimator}. Leave it out, or type "
                f"--estimator {estimators[-1]}."
            )
    if (params["measure"] == "gaussian") != (params["sigma"] is not None):
        raise click.UsageError("--measure gaussian and --sigma go together: type both, or neither.")
