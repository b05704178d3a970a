"""``landscape plot``: figures from a results file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from landscape_cli import options

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from landscape.results import Line, Plane, Radii, Volume
    from landscape.store import Store

FORMATS = ("png", "svg", "pdf")


@click.command("plot")
@options.results_path
@click.option(
    "--out",
    type=click.Path(),
    metavar="FOLDER|FILE",
    help="A folder for the figures, or a file (.png, .svg, .pdf) for one.  [default: beside RUN]",
)
@click.option("--format", "suffix", type=click.Choice(FORMATS), help="[default: png, or the ending of --out]")
def command(run: str, out: str | None, suffix: str | None) -> None:
    """Draw what the results file RUN holds: radii, loss along sampled rays and weights; lines and planes."""
    from landscape import plots, slice_plots
    from landscape.errors import StoreError
    from landscape.results import Line, Plane, Radii
    from landscape.store import Store

    store = Store(run)
    results = {name: store[name] for name in store.names()}
    radii, slices = results.get("radii"), {n: r for n, r in results.items() if isinstance(r, Line | Plane)}
    volume = None
    if isinstance(radii, Radii):
        volume = _volume(store, radii)
        if volume is None:
            click.echo("The run is not finished, so there are no weights to draw yet.", err=True)
    elif not slices:
        raise StoreError(f"{run} holds nothing to draw: {', '.join(results) or 'no result'}.")
    single = single_file(out, suffix)
    if single is not None:
        figures = {single: one_figure(radii if isinstance(radii, Radii) else None, volume, slices)}
    else:
        named: dict[str, Figure] = {}
        if isinstance(radii, Radii):
            named |= {"radii": plots.radius_histogram(radii), "rays": plots.loss_along_rays(radii)}
        if volume is not None:
            named["weights"] = plots.sorted_weights(volume)
        for name, result in slices.items():
            made = slice_plots.figures(result)
            named |= {f"{name}-{kind}" if len(made) > 1 else name: drawn for kind, drawn in made.items()}
        folder = Path(run).parent if out is None else Path(out)
        figures = {folder / f"{Path(run).stem}-{name}.{suffix or 'png'}": drawn for name, drawn in named.items()}
    for path, figure in figures.items():
        plots.save(figure, path)
        click.echo(str(path))


def one_figure(radii: Radii | None, volume: Volume | None, slices: dict[str, Line | Plane]) -> Figure:
    """Return the figure for a single file: everything about the radii, or a slice as a line or filled contours."""
    from landscape import plots, slice_plots

    if radii is not None:
        return plots.overview(radii, volume)
    if len(slices) > 1:
        raise click.UsageError(f"the run holds {len(slices)} slices ({', '.join(slices)}). Pass a folder as --out.")
    made = slice_plots.figures(next(iter(slices.values())))
    return made.get("filled") or made["line"]


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
