"""``landscape report``: results files as one page."""

from __future__ import annotations

from pathlib import Path

import click

from landscape_cli import options


@click.command("report")
@click.argument("runs", metavar="RUN.h5...", nargs=-1, required=True)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="PAGE.html",
    help="The page to write.  [default: RUN-report.html next to the first RUN]",
)
@options.quiet
def command(runs: tuple[str, ...], out: Path | None, quiet: bool) -> None:
    """Write one page about all that the results files hold: it opens in any browser, without a network.

    It begins with the sentences to quote and their verdicts. Then come settings, the commands that measure it again,
    tables, figures and notes. For several files, a table compares them first and says which numbers may be compared.

    If a result is damaged, the page names it and shows the others, and the exit code is 2.
    """
    from landscape.errors import StoreError
    from landscape.reports import check_page, read_contents, report_page, write_page
    from landscape_cli.flags import in_flags
    from landscape_cli.progress import say
    from landscape_cli.run_file import refuse_damaged

    target = check_page(out or Path(runs[0]).with_name(f"{Path(runs[0]).stem}-report.html"))
    if len(set(runs)) < len(runs):
        raise StoreError("a file is named twice. Type each results file once.")
    contents = [read_contents(run) for run in runs]
    say({"quiet": quiet}, f"drawing {sum(len(each.results) for each in contents):,} results")
    click.echo(str(write_page(report_page(contents, in_flags), target)))
    refuse_damaged({name: why for each in contents for name, why in each.damaged.items()})
