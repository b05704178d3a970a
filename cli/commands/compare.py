"""``landscape compare``: which of two basins is larger, and how far that can be told."""

from __future__ import annotations

import click

from landscape_cli import options


@click.command("compare")
@click.argument("first", metavar="FIRST.h5")
@click.argument("second", metavar="SECOND.h5")
@options.json_flag
def command(first: str, second: str, as_json: bool) -> None:
    """Say which basin is larger, the one in FIRST.h5 or the one in SECOND.h5, with an interval.

    "landscape volume --out" writes both files. The nets must have one architecture, and the options must agree. If the
    estimates cannot tell, the answer says so.
    """
    from landscape.store import Store
    from landscape.volume import compare_volumes
    from landscape_cli.machine_output import strict_json
    from landscape_cli.run_file import known_results
    from landscape_cli.text import comparison_text

    results = [known_results(Store(path)) for path in (first, second)]
    comparison = compare_volumes(*results, names=(first, second))
    if as_json:
        click.echo(strict_json({"first": first, "second": second, **comparison.to_dict()}))
    else:
        click.echo(comparison_text(comparison, (first, second)))
