"""Which figures each kind of result gives, and those of a whole run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from landscape.errors import LandscapeError
from landscape.plots.boundary import boundary_figure
from landscape.plots.chains import trace_figure
from landscape.plots.comparison import comparison_figure
from landscape.plots.curvature import density_figure, eigenvalue_figure, layer_figure
from landscape.plots.embedding import embedding_figure
from landscape.plots.measures import drawable, measures_figure
from landscape.plots.radii import loss_along_rays, overview, radius_histogram
from landscape.plots.ranking import family_figure, ranking_figure
from landscape.plots.samples import diagonal_figure, samples_figure
from landscape.plots.sharpness import measures_by_step
from landscape.plots.slices import accuracy_figure, contour_figure, filled_figure, line_figure
from landscape.plots.style import Figure
from landscape.plots.surface_figure import surface_figure
from landscape.plots.volumes import rounds_of_islands, volumes_by_estimator
from landscape.plots.weights import sorted_weights
from landscape.results import (
    AnnealedVolume,
    Boundary,
    Comparison,
    Diagonal,
    Eigenpairs,
    Embedding,
    LayerTraces,
    Line,
    LogDeterminant,
    Measure,
    NetMeasures,
    Plane,
    Radii,
    Ranking,
    Result,
    Runs,
    SharpnessTable,
    Snapshot,
    SpectralDensity,
    Trace,
    Volume,
)
from landscape.results.shown import Shown

Drawings = dict[str, Callable[[], Figure]]  #: what draws each figure, by its name
_SAME_MATRIX = ("operator", "metric", "scope", "theta_hash", "data_hash", "training", "forward", "loss", "dimension")
_NOTHING_TO_DRAW = "it holds nothing that can be drawn. print(result) shows all of it."
_NO_FIGURE = {
    "Islands": "it is the state of a run. The volume that it gives draws itself: store['annealed'].plot().",
    "Hits": "it is the points behind a volume. The volume draws itself: store['counted'].plot().",
}
_UNIFORM_RAYS = ("radii", "volume")  #: results of a run whose figures need no prefix


def figures_of(result: Shown, pairs: Eigenpairs | None = None) -> dict[str, Figure]:
    """Return the figures of one result by a short name; none if its kind has no picture of its own.

    Args:
        result: any result.
        pairs: eigenpairs to mark in a density of the same operator.
    """
    return {name: draw() for name, draw in _drawings(result, pairs).items()}


def _drawings(result: Shown, pairs: Eigenpairs | None = None) -> Drawings:
    """Return what draws each figure of :func:`figures_of`."""
    figures: Drawings = {}
    match result:
        case Volume():
            figures = _volume_drawings(result)
        case Radii():
            figures = {"radii": partial(radius_histogram, result), "rays": partial(loss_along_rays, result)}
        case Line():
            figures = {"line": partial(line_figure, result)}
        case Plane():
            figures = _plane_drawings(result)
        case SpectralDensity():
            figures = {"density": partial(density_figure, result, pairs)}
        case LayerTraces() if len(result.values):
            figures = {"layers": partial(layer_figure, result)}
        case Eigenpairs() if len(result.values):
            figures = {"eigenvalues": partial(eigenvalue_figure, result)}
        case Diagonal() if np.isfinite(result.values).any():
            figures = {"diagonal": partial(diagonal_figure, result)}
        case Measure() if result.chains is not None and np.isfinite(result.samples).any():
            figures = {"trace": partial(trace_figure, result)}
        case Trace() | LogDeterminant() | Measure() if np.isfinite(result.samples).any():
            figures = {"samples": partial(samples_figure, result)}
        case SharpnessTable() | NetMeasures() if drawable(result):
            figures = {"measures": partial(measures_figure, result)}
        case Snapshot() if drawable(table := SharpnessTable(result.measures)):
            figures = {"measures": partial(measures_figure, table)}
        case Runs() if np.isfinite(result.values).any():
            figures = {"family": partial(family_figure, result)}
        case Ranking() if result.measures:
            figures = {"ranking": partial(ranking_figure, result)}
        case Comparison() if result.rows:
            figures = {"comparison": partial(comparison_figure, result)}
        case Boundary() if len(result.margin):
            figures = {"boundary": partial(boundary_figure, result)}
        case Embedding() if len(result.points):
            figures = {"embedding": partial(embedding_figure, result)}
    return figures


def figure_of(result: Shown, name: str | None = None) -> Figure:
    """Return one figure of a result: the one that shows it best, or the one of this name.

    Raises:
        LandscapeError: if this kind of result has no figure, or none of this name.
    """
    figures = _drawings(result)
    if not figures:
        kind = type(result).__name__
        raise LandscapeError(f"there is no figure of {kind}: {_NO_FIGURE.get(kind, _NOTHING_TO_DRAW)}")
    if name is None:
        return _first(figures)()
    if not isinstance(name, str) or name not in figures:
        raise LandscapeError(
            f"{type(result).__name__} has no figure {name!r}. Pass `figure=...` as one of {', '.join(figures)}."
        )
    return figures[name]()


def figures_of_run(results: Mapping[str, Result]) -> dict[str, Figure]:
    """Return every figure of the results of one run, each under the name that its file gets.

    Rays and their weights are drawn only if they are uniform: ``radii``, ``rays`` and ``weights``. Several log-volumes
    share the figure ``volumes``.
    """
    figures: dict[str, Figure] = {}
    for name in _UNIFORM_RAYS:
        if name in results:
            figures |= _in_a_run(results[name])
    volumes = {name: result for name, result in results.items() if isinstance(result, Volume) and result.results}
    if len(volumes) > 1:
        figures["volumes"] = volumes_by_estimator(volumes)
    if (sharpness := _sharpness_of_run(results)) is not None:
        figures["sharpness"] = sharpness
    for name, own in _by_result(results).items():
        figures |= {f"{name}-{short}" if len(own) > 1 else name: figure for short, figure in own.items()}
    return figures


def one_figure(results: Mapping[str, Result]) -> Figure:
    """Return the one figure of a run: all about its radii, filled contours of its plane, its ranking, or the only
    figure it gives.

    Raises:
        LandscapeError: if the run holds several results that could be drawn, or none.
    """
    radii, volume = results.get("radii"), results.get("volume")
    if isinstance(radii, Radii):
        return overview(radii, volume if isinstance(volume, Volume) else None)
    sharpness = _sharpness_of_run(results)
    by_result = _by_result(results)
    only_measures = all(isinstance(results[name], Measure) for name in by_result)
    if sharpness is not None and only_measures and (not by_result or measures_by_step(results) is not None):
        return sharpness
    if not by_result:
        raise LandscapeError(f"there is nothing to draw in {', '.join(results) or 'a run without results'}.")
    rankings = [own for name, own in by_result.items() if isinstance(results[name], Ranking)]
    if len(by_result) > 1 and len(rankings) != 1:
        raise LandscapeError(
            f"the run holds {len(by_result)} results ({', '.join(by_result)}), and one file shows one of them.\n"
            "Pass a folder as `out=...`."
        )
    return _first(rankings[0] if rankings else next(iter(by_result.values())))


def _sharpness_of_run(results: Mapping[str, Result]) -> Figure | None:
    """Return all measures of a run: against the step over several checkpoints, or those of one net side by side."""
    if (by_step := measures_by_step(results)) is not None:
        return by_step
    measures = {
        name.removeprefix("sharpness-"): result for name, result in results.items() if isinstance(result, Measure)
    }
    for snapshot in (result for result in results.values() if isinstance(result, Snapshot)):
        measures |= snapshot.measures
    table = SharpnessTable(measures)
    return measures_figure(table) if len(table) > 1 and drawable(table) else None


def _first(figures: Mapping[str, Any]) -> Any:
    """Return the one figure that shows a result best: filled contours of a plane, else the first."""
    return figures.get("filled") or next(iter(figures.values()))


def _by_result(results: Mapping[str, Result]) -> dict[str, dict[str, Figure]]:
    """Return the figures of each result that has some, but for uniform rays and their volume."""
    family = any(isinstance(result, Runs | Ranking) for result in results.values())  # its nets have one figure
    drawn = {
        name: _in_a_run(result, pairs_beside(result, results))
        for name, result in results.items()
        if result.kind not in _UNIFORM_RAYS and not (family and isinstance(result, NetMeasures))
    }
    return {name: figures for name, figures in drawn.items() if figures}


def _volume_drawings(volume: Volume) -> Drawings:
    if not volume.results:
        return {}
    drawings: Drawings = {"volume": partial(volumes_by_estimator, {volume.estimator: volume})}
    if isinstance(volume, AnnealedVolume) and len(volume.trail):
        drawings["rounds"] = partial(rounds_of_islands, volume)
    elif len(volume.log_weights):
        drawings["weights"] = partial(sorted_weights, volume)
    return drawings


def _in_a_run(result: Result, pairs: Eigenpairs | None = None) -> dict[str, Figure]:
    """Return the figures of one result that a run needs: one figure shows all its volumes, and one its measures."""
    if isinstance(result, Snapshot) or (isinstance(result, Measure) and result.chains is None):
        return {}
    drawings = _drawings(result, pairs)
    return {name: draw() for name, draw in drawings.items() if name != "volume" or len(drawings) == 1}


def _plane_drawings(plane: Plane) -> Drawings:
    drawings = {"contour": contour_figure, "filled": filled_figure, "surface": surface_figure}
    if not np.isnan(plane.accuracy).all():
        drawings["accuracy"] = accuracy_figure
    return {name: partial(draw, plane) for name, draw in drawings.items()}


def pairs_beside(result: Result, results: Mapping[str, Result]) -> Eigenpairs | None:
    """Return eigenpairs of the matrix whose density ``result`` is, if there are some."""
    if not isinstance(result, SpectralDensity):
        return None
    for other in results.values():
        if isinstance(other, Eigenpairs) and all(
            other.config.get(key) == result.config.get(key) for key in _SAME_MATRIX
        ):
            return other
    return None
