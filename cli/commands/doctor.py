"""``landscape doctor``: what a checkpoint is, whether it can be measured, and what that will cost."""

from __future__ import annotations

from typing import Any

import click

from landscape_cli import options


@click.command("doctor")
@options.together(options.checkpoint, options.task, options.rays, options.objective, options.json_flag)
@click.pass_context
def command(context: click.Context, **params: Any) -> None:
    """Examine CHECKPOINT and its task, and say what to type next.

    Every check prints one line. A check that fails says why, and the checks that can do without it go on. Exits 0 even
    if checks fail: --json has "ready", true or false.
    """
    from landscape_cli.doctor_checks import examine
    from landscape_cli.machine_output import strict_json
    from landscape_cli.next_command import typed_options

    report = examine(params, typed_options(context))
    click.echo(strict_json(report.to_dict()) if params["as_json"] else report.to_text())
