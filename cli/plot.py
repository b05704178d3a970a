"""``landscape plot``: figures from a results file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from landscape_cli import options

if TYPE_CHECKING:
    from landscape.results import Radii, Volume
    from landscape.store import Store

FORMATS = ("png", "svg", "pdf")


@click.command("plot")
@options.results_path
@click.option(
    "--out",
    type=click.Path(),
    metavar="FOLDER|FILE",
    help="A folder for three figures, or a file (.png, .svg, .pdf) for all in one.  [default: beside RUN]",
)
@click.option(
    "--format",
    "suffix",
    type=click.Choice(FORMATS),
    help="Format of the figures.  [default: png, or the ending of --out]",
)
def command(run: str, out: str | None, suffix: str | None) -> None:
    """Draw the radii, the loss along sampled rays and the weights of the results file RUN."""
    from landscape import plots
    from landscape.errors import StoreError
    from landscape.results import Radii
    from landscape.store import Store

    store = Store(run)
    radii = store["radii"]
    if not isinstance(radii, Radii):
        raise StoreError(f"'radii' in {run} is a {type(radii).__name__}, and there is nothing to draw from it.")
    volume = _volume(store, radii)
    if volume is None:
        click.echo("The run is not finished, so there are no weights to draw yet.", err=True)
    single = single_file(out, suffix)
    if single is not None:
        figures = {single: plots.overview(radii, volume)}
    else:
        folder = Path(run).parent if out is None else Path(out)
        names = {"radii": plots.radius_histogram(radii), "rays": plots.loss_along_rays(radii)}
        if volume is not None:
            names["weights"] = plots.sorted_weights(volume)
        figures = {folder / f"{Path(run).stem}-{name}.{suffix or 'png'}": drawn for name, drawn in names.items()}
    for path, figure in figures.items():
        plots.save(figure, path)
        click.echo(str(path))


def single_file(out: str | None, suffix: str | None) -> Path | None:
    """Return the one file that ``--out`` names, or None where it names a folder.

    >>> single_file("figures", None) is None, single_file("all.pdf", None) == Path("all.pdf")
    (True, True)
    """
    if out is None or Path(out).is_dir() or not Path(out).suffix:
        return None
    ending = Path(out).suffix.lower().removeprefix(".")
    if ending not in FORMATS or suffix not in (None, ending):
        raise click.UsageError(f"--out {out} ends in .{ending}; a figure is written as one of {', '.join(FORMATS)}.")
    return Path(out)


def _volume(store: Store, radii: Radii) -> Volume | None:
    """Return the stored volume, or that of a finished run without one."""
    from landscape.results import Volume
    from landscape.volume import volume_from_radii

    if "volume" in store:
        stored = store["volume"]
        if isinstance(stored, Volume):
            return stored
    return volume_from_radii(radii) if radii.done.all() else None
