"""Which figures each kind of result gives, and those of a whole run."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from landscape.errors import LandscapeError
from landscape.plots.chains import chains_of, trace_figure
from landscape.plots.curvature import density_figure, eigenvalue_figure, layer_figure
from landscape.plots.radii import loss_along_rays, overview, radius_histogram
from landscape.plots.sharpness import measures_by_step
from landscape.plots.slices import accuracy_figure, contour_figure, filled_figure, line_figure, surface_figure
from landscape.plots.volumes import rounds_of_islands, volumes_by_estimator
from landscape.plots.weights import sorted_weights
from landscape.results import (
    AnnealedVolume,
    Eigenpairs,
    LaplaceVolume,
    LayerTraces,
    Line,
    Measure,
    Plane,
    Radii,
    Result,
    SpectralDensity,
    Volume,
)

_SAME_MATRIX = ("operator", "metric", "scope", "theta_hash", "data_hash", "training", "forward", "loss", "dimension")
_UNIFORM_RAYS = ("radii", "volume")  #: results of a run whose figures need no prefix


def figures_of(result: Result, pairs: Eigenpairs | None = None) -> dict[str, Figure]:
    """Return the figures of one result by a short name; none if its kind has no picture of its own.

    Args:
        result: any result.
        pairs: eigenpairs to mark in a density of the same operator.
    """
    match result:
        case AnnealedVolume():
            return {"rounds": rounds_of_islands(result)}
        case LaplaceVolume():
            return {"volume": volumes_by_estimator({"laplace": result})}
        case Volume() if len(result.log_weights):
            return {"weights": sorted_weights(result)}
        case Radii():
            return {"radii": radius_histogram(result), "rays": loss_along_rays(result)}
        case Line():
            return {"line": line_figure(result)}
        case Plane():
            return _plane_figures(result)
        case SpectralDensity():
            return {"density": density_figure(result, pairs)}
        case LayerTraces():
            return {"layers": layer_figure(result)}
        case Eigenpairs():
            return {"eigenvalues": eigenvalue_figure(result)}
        case Measure() if chains_of(result) is not None:
            return {"trace": trace_figure(result)}
    return {}


def figures_of_run(results: Mapping[str, Result]) -> dict[str, Figure]:
    """Return every figure of the results of one run, each under the name that its file gets.

    Of rays and their weights only the uniform ones are drawn: ``radii``, ``rays`` and ``weights``. Several log-volumes
    share the figure ``volumes``.
    """
    figures: dict[str, Figure] = {}
    for name in _UNIFORM_RAYS:
        if name in results:
            figures |= figures_of(results[name])
    volumes = {name: result for name, result in results.items() if isinstance(result, Volume) and result.results}
    if len(volumes) > 1:
        figures["volumes"] = volumes_by_estimator(volumes)
    if (by_step := measures_by_step(results)) is not None:
        figures["sharpness"] = by_step
    for name, own in _by_result(results).items():
        figures |= {f"{name}-{short}" if len(own) > 1 else name: figure for short, figure in own.items()}
    return figures


def one_figure(results: Mapping[str, Result]) -> Figure:
    """Return the one figure of a run: all about its radii, filled contours of its plane, or the only figure it gives.

    Raises:
        LandscapeError: if the run holds several results that could be drawn, or none.
    """
    radii, volume = results.get("radii"), results.get("volume")
    if isinstance(radii, Radii):
        return overview(radii, volume if isinstance(volume, Volume) else None)
    by_step = measures_by_step(results)
    by_result = _by_result(results)
    if by_step is not None and all(isinstance(results[name], Measure) for name in by_result):
        return by_step
    if not by_result:
        raise LandscapeError(f"there is nothing to draw in {', '.join(results) or 'a run without results'}.")
    if len(by_result) > 1:
        raise LandscapeError(
            f"the run holds {len(by_result)} results ({', '.join(by_result)}), and one file shows one of them.\n"
            "Pass a folder as `out=...`."
        )
    (own,) = by_result.values()
    return own.get("filled") or next(iter(own.values()))


def _by_result(results: Mapping[str, Result]) -> dict[str, dict[str, Figure]]:
    """Return the figures of each result that has some, but for uniform rays and their volume."""
    drawn = {
        name: figures_of(result, _pairs_beside(result, results))
        for name, result in results.items()
        if result.kind not in _UNIFORM_RAYS
    }
    return {name: figures for name, figures in drawn.items() if figures}


def _plane_figures(plane: Plane) -> dict[str, Figure]:
    figures = {"contour": contour_figure(plane), "filled": filled_figure(plane), "surface": surface_figure(plane)}
    if not np.isnan(plane.accuracy).all():
        figures["accuracy"] = accuracy_figure(plane)
    return figures


def _pairs_beside(result: Result, results: Mapping[str, Result]) -> Eigenpairs | None:
    """Return eigenpairs of the matrix whose density ``result`` is, if there are some."""
    if not isinstance(result, SpectralDensity):
        return None
    for other in results.values():
        if isinstance(other, Eigenpairs) and all(
            other.config.get(key) == result.config.get(key) for key in _SAME_MATRIX
        ):
            return other
    return None
