"""Planes for other programs: ``export`` writes the format that the ending of the file names."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from landscape.errors import LandscapeError
from landscape.plots.interactive import interactive_page, need_plotly
from landscape.plots.vtk import poly_data, structured_grid
from landscape.results import Plane
from landscape.store.atomic import write_atomically

WRITERS: dict[str, Callable[[Plane], bytes]] = {
    ".vts": structured_grid,
    ".vtp": poly_data,
    ".html": interactive_page,
}


def export(plane: Plane, path: str | os.PathLike[str]) -> Path:
    """Write a plane in the format that the ending of ``path`` names, and return the path.

    - ``.vts``: a structured grid, one point for each point of the plane. Arrays: ``loss``, ``log10_loss``,
      ``accuracy``.
    - ``.vtp``: the same surface as quadrilaterals, with the checkpoints on it.
    - ``.html``: an interactive page, which opens without a network.

    The z coordinate is the loss. If the loss spans a decade, it is its log10, cut four decades below the largest. In
    VTK files it is scaled to half the width of the plane; the arrays hold the loss itself. Points that are NaN or
    infinite keep their value in the arrays and are left out of the surface.

    Raises:
        LandscapeError: for another ending, a folder that does not exist, or a plane with no number in it.
        MissingExtraError: for ``.html`` without plotly.
    """
    target = check_export(path)
    if not np.isfinite(plane.loss).any():
        raise LandscapeError("the plane holds no finite loss yet, so there is no surface to write.")
    content = WRITERS[target.suffix.lower()](plane)
    try:
        write_atomically(target, content)
    except OSError as error:
        raise LandscapeError(f"{target} cannot be written ({error.strerror}). Pass a folder that exists.") from error
    return target


def check_export(path: str | os.PathLike[str]) -> Path:
    """Return the path if a plane can be written there. Call it before hours of work: it raises what would fail after.

    Raises:
        LandscapeError, MissingExtraError: as for :func:`export`.
    """
    target = Path(path)
    if target.suffix.lower() not in WRITERS:
        raise LandscapeError(
            f"a plane cannot be written to {target.name}: the ending says the format. Use one of {', '.join(WRITERS)}."
        )
    if target.suffix.lower() == ".html":
        need_plotly()
    if not os.path.isdir(target.parent):
        raise LandscapeError(
            f"{target} cannot be written: there is no folder {target.parent}. Make it, or use another."
        )
    return target
