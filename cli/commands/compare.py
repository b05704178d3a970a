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

    Both files hold what "landscape volume --out" wrote, of nets with one architecture and measured with one set of
    options. Where the estimates do not allow to tell, it says so.
    """
    from landscape.store import Store
    from landscape.volume import best_volume, compare_volumes
    from landscape_cli import text
    from landscape_cli.commands.show import known_results

    volumes = [best_volume(known_results(Store(path)), path) for path in (first, second)]
    found = compare_volumes(*volumes)
    if as_json:
        click.echo(text.strict_json({"first": first, "second": second, **found.to_dict()}))
        return
    click.echo(text.comparison_text(found, (first, second)))
