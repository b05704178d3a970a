"""``landscape show``: what is in a results file."""

from __future__ import annotations

import click

from landscape_cli import options


@click.command("show")
@options.results_path
@options.json_flag
def command(run: str, as_json: bool) -> None:
    """Show what the results file RUN holds: settings, counts, versions and tables.

    If a result in it is damaged, the others are shown, and the exit code is 2.
    """
    from landscape.store import Store, readable_results
    from landscape_cli.machine_output import file_object, strict_json
    from landscape_cli.run_file import refuse_damaged
    from landscape_cli.show_text import show_text

    store = Store(run)
    described, (results, damaged) = store.describe(), readable_results(store)
    described["damaged"] = damaged
    click.echo(strict_json(file_object(described, results)) if as_json else show_text(described, results))
    refuse_damaged(damaged)
