"""``landscape plot``: figures from a results file."""

from __future__ import annotations

import os
from pathlib import Path

import click

from landscape_cli import options

FORMATS = ("png", "svg", "pdf")


@click.command("plot")
@options.results_path
@click.option(
    "--out",
    type=click.Path(),
    metavar="FOLDER|FILE",
    help="A folder for the figures, or a file (.png, .svg, .pdf) for one.  [default: next to RUN]",
)
@click.option("--format", "suffix", type=click.Choice(FORMATS), help="[default: png, or the ending of --out]")
def command(run: str, out: str | None, suffix: str | None) -> None:
    """Draw what the results file RUN holds: rays, volumes, slices, curvature, measures, benchmarks.

    If a result in it is damaged, the others are drawn, and the exit code is 2.
    """
    from landscape import plots
    from landscape.errors import StoreError
    from landscape.results import Radii
    from landscape.store import Store, readable_results
    from landscape.volume import volume_from_radii
    from landscape_cli.run_file import refuse_damaged

    readable, damaged = readable_results(Store(run))
    results = {name: result for name, result in readable.items() if result is not None}
    if isinstance(radii := results.get("radii"), Radii) and "volume" not in results:
        if radii.done.all():
            results["volume"] = volume_from_radii(radii)
        else:
            click.echo("The run is not finished, so there are no weights to draw yet.", err=True)
    single = single_file(out, suffix)
    if single is not None:
        files = {single: plots.one_figure(results)}
    else:
        folder, ending = Path(run).parent if out is None else Path(out), suffix or "png"
        figures = plots.figures_of_run(results)
        files = {folder / f"{Path(run).stem}-{name}.{ending}": figure for name, figure in figures.items()}
    if not files and not damaged:
        raise StoreError(f"{run} holds nothing to draw: {', '.join(results) or 'no result'}.")
    for path, figure in files.items():
        plots.save(figure, path)
        click.echo(str(path))
    refuse_damaged(damaged)


def single_file(out: str | None, suffix: str | None) -> Path | None:
    """Return the one file that ``--out`` names, or None where it names a folder.

    >>> single_file("figures", None) is None, single_file("all.pdf", None) == Path("all.pdf")
    (True, True)
    """
    if out is None or os.path.isdir(out) or not Path(out).suffix:
        return None
    ending = Path(out).suffix.lower().removeprefix(".")
    if ending not in FORMATS or suffix not in (None, ending):
        raise click.UsageError(f"--out {out} ends in .{ending}; a figure is written as one of {', '.join(FORMATS)}.")
    return Path(out)
