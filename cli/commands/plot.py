"""``landscape plot``: figures from a results file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from landscape_cli import options

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from landscape.results import Radii, Result, Volume
    from landscape.store import Store

FORMATS = ("png", "svg", "pdf")
_MATRIX = ("operator", "metric", "scope", "theta_hash", "data_hash", "training", "forward", "loss", "dimension")


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
    """Draw what the results file RUN holds: radii, loss along sampled rays and weights; chains; slices; curvature."""
    from landscape.errors import StoreError
    from landscape.plots import radii as plots
    from landscape.plots import volumes as volume_plots
    from landscape.results import Radii, Volume
    from landscape.store import Store

    store = Store(run)
    results = {name: store[name] for name in store.names()}
    radii, others = results.get("radii"), {name: figures_of(name, results) for name in results}
    volumes = {name: result for name, result in results.items() if isinstance(result, Volume) and result.results}
    volume = None
    if isinstance(radii, Radii):
        volume = _volume(store, radii)
        if volume is None:
            click.echo("The run is not finished, so there are no weights to draw yet.", err=True)
    elif not any(others.values()):
        raise StoreError(f"{run} holds nothing to draw: {', '.join(results) or 'no result'}.")
    single = single_file(out, suffix)
    if single is not None:
        figures = {single: one_figure(radii if isinstance(radii, Radii) else None, volume, others)}
    else:
        named: dict[str, Figure] = {}
        if isinstance(radii, Radii):
            named |= {"radii": plots.radius_histogram(radii), "rays": plots.loss_along_rays(radii)}
        if volume is not None and len(volume.log_weights):
            named["weights"] = plots.sorted_weights(volume)
        if len(volumes) > 1:
            named["volumes"] = volume_plots.volumes_by_estimator(volumes)
        for name, made in others.items():
            named |= {f"{name}-{kind}" if len(made) > 1 else name: drawn for kind, drawn in made.items()}
        folder = Path(run).parent if out is None else Path(out)
        figures = {folder / f"{Path(run).stem}-{name}.{suffix or 'png'}": drawn for name, drawn in named.items()}
    for path, figure in figures.items():
        plots.save(figure, path)
        click.echo(str(path))


def figures_of(name: str, results: Mapping[str, Result]) -> dict[str, Figure]:
    """Return the figures of a slice, a curvature or chains by a short name; none for what is no picture by itself."""
    from landscape.plots import curvature as curvature_plots
    from landscape.plots import slices as slice_plots
    from landscape.plots import volumes as volume_plots
    from landscape.results import AnnealedVolume, Eigenpairs, LaplaceVolume, LayerTraces, Line, Plane, SpectralDensity

    result = results[name]
    if isinstance(result, AnnealedVolume):
        return {"energy": volume_plots.energy_curve(result)}
    if isinstance(result, LaplaceVolume):
        return {"volume": volume_plots.volumes_by_estimator({name: result})}
    if isinstance(result, Line | Plane):
        return slice_plots.figures(result)
    if isinstance(result, SpectralDensity):
        pairs = [other for other in results.values() if isinstance(other, Eigenpairs)]
        same = [found for found in pairs if all(found.config.get(key) == result.config.get(key) for key in _MATRIX)]
        return curvature_plots.figures(result, same[0] if same else None)
    return curvature_plots.figures(result) if isinstance(result, Eigenpairs | LayerTraces) else {}


def one_figure(radii: Radii | None, volume: Volume | None, others: Mapping[str, dict[str, Figure]]) -> Figure:
    """Return the figure for a single file: all about the radii, filled contours of a plane, or the only figure."""
    from landscape.plots import radii as plots

    if radii is not None:
        return plots.overview(radii, volume)
    drawn = {name: made for name, made in others.items() if made}
    if len(drawn) > 1:
        raise click.UsageError(f"the run holds {len(drawn)} results ({', '.join(drawn)}). Pass a folder as --out.")
    (made,) = drawn.values()
    return made.get("filled") or next(iter(made.values()))


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
