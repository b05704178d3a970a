"""``landscape volume``: the log-volume of the basin around a trained point."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from landscape_cli import options

if TYPE_CHECKING:
    from landscape_cli.estimators import Found
    from landscape_cli.measuring import Basin

_SAMPLED = ("auto", "uniform", "importance", "annealed")
#: the estimators that an option applies to; all other options apply to all estimators
_APPLIES_TO = {
    "directions": ("auto", "uniform", "importance"),
    "rtol": _SAMPLED,
    "budget": ("auto", "annealed"),
    "chains": ("annealed",),
    "temperatures": ("annealed",),
    "proposal": ("importance",),
    "rank": ("importance",),
    "curvature": ("importance", "laplace"),
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
@options.quiet
@click.pass_context
def command(context: click.Context, **given: Any) -> None:
    """Measure the log-volume of the basin around CHECKPOINT.

    The basin of a cutoff is what a random ray reaches before the criterion first gets there. The verdict says whether
    an estimate of V is a measurement or only a lower bound. A first look along uniform rays comes first; where it does
    not measure V, chains walk to the rays that do, within --budget.
    """
    check(context)
    from landscape_cli import measuring
    from landscape_cli.estimators import PARTS, measured
    from landscape_cli.machine_output import strict_json
    from landscape_cli.volume_text import volumes_text

    with measuring.opened(context, PARTS[given["estimator"]]) as run:
        found = measured(run)
        if given["as_json"]:
            click.echo(strict_json(json_object(found, run)))
        else:
            click.echo(volumes_text(found.volumes, found.radii, found.notes, found.caps))


def check(context: click.Context) -> None:
    """Refuse options that do not apply to the estimator, before anything is read."""
    given, estimator = context.params, context.params["estimator"]
    for name, estimators in _APPLIES_TO.items():
        typed = context.get_parameter_source(name) == ParameterSource.COMMANDLINE
        if typed and estimator not in estimators:
            flag = f"--{name.replace('_', '-')}"
            raise click.UsageError(
                f"{flag} applies to --estimator {' or '.join(estimators)}, not to {estimator}. Leave it out, or type "
                f"--estimator {estimators[-1]}."
            )
    if (given["measure"] == "gaussian") != (given["sigma"] is not None):
        raise click.UsageError("--measure gaussian and --sigma go together: type both, or neither.")
    if given["budget"] is not None and given["temperatures"] is not None:
        raise click.UsageError("--budget and --temperatures contradict each other. Type one of the two.")
    if given["chains"] is not None and given["temperatures"] is None:
        raise click.UsageError("--chains goes with --temperatures. --budget chooses the number of chains.")


def json_object(found: Found, run: Basin) -> dict[str, Any]:
    """Return the best estimate's summary, with the loss at the centre, and a summary of each estimate by name."""
    summaries = {name: volume.summary() for name, volume in found.volumes.items()}
    caps = {} if found.caps is None else {"caps": found.caps.summary()}
    return {**list(summaries.values())[-1], "centre": run.objective.centre, "volumes": summaries, **caps}
