"""``landscape doctor``: what a checkpoint is, whether it can be measured, and what that will cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from landscape_cli import options

if TYPE_CHECKING:
    from landscape_cli.doctor_checks import Report

_LABEL = 13


@click.command("doctor")
@options.together(options.checkpoint, options.task, options.rays, options.objective, options.json_flag)
@click.pass_context
def command(context: click.Context, **given: Any) -> None:
    """Examine CHECKPOINT and its task, and say what to type next.

    Every check is one line; one that fails says why, and the others go on where they can. Exits 0 even where checks
    fail: --json has "ready", true or false.
    """
    from landscape_cli import text
    from landscape_cli.doctor_checks import examine
    from landscape_cli.session import typed_options

    report = examine(given, typed_options(context))
    click.echo(text.strict_json(report.to_dict()) if given["as_json"] else report_text(report))


def report_text(report: Report) -> str:
    """Return the report, a line a check."""
    from landscape_cli.text import labelled

    lines = [labelled(check.name, ("" if check.passed else "FAILED: ") + check.text, _LABEL) for check in report.checks]
    return "\n".join([*lines, "", f"next: {report.advice}"])
