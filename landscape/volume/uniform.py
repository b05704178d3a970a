"""The ``uniform`` estimator: the mean of r^n over uniform rays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

from landscape.objective import Objective
from landscape.rays import basin_radii, random_directions, stored_metric
from landscape.results import Radii, Volume
from landscape.volume.options import RadiiOptions
from landscape.volume.ray_weights.mean import measure_of_radii, volume_from_radii
from landscape.volume.ray_weights.measure import check_measure
from landscape.volume.ray_weights.survival import with_survival


def uniform_volume(
    objective: Objective,
    cutoffs: Sequence[float],
    *,
    measure: str = "lebesgue",
    sigma: float | None = None,
    measure_centre: str = "zero",
    **options: Unpack[RadiiOptions],
) -> Volume:
    """Return the plain mean of r^n over uniform rays.

    Afterwards the rays that carry it are searched again on a finer grid (:func:`volume_of_rays`).

    For another measure than volume (:mod:`landscape.volume.ray_weights.measure`) the mass of each ray takes the place
    of r^n.

    Args:
        objective, cutoffs: as for :func:`landscape.basin_radii`.
        measure, sigma, measure_centre: as for :func:`landscape.log_volume`.
        options: of :func:`landscape.basin_radii`.
    """
    check_measure(measure, sigma, measure_centre)
    radii = basin_radii(objective, cutoffs, **options)
    return volume_of_rays(objective, radii, measure=measure, sigma=sigma, measure_centre=measure_centre)


def volume_of_rays(objective: Objective, radii: Radii, **which: Any) -> Volume:
    """Return the volume from the radii of uniform rays, and the share of it that survives a finer grid.

    Args:
        objective: the loss around the trained point.
        radii: what :func:`landscape.basin_radii` returned for it.
        which: measure, sigma and measure_centre, as for :func:`uniform_volume`.
    """
    on_rays = measure_of_radii(objective, radii, **which)
    rays = random_directions(objective, stored_metric(objective, radii.config), radii.config["seed"])
    return with_survival(volume_from_radii(radii, measure=on_rays), objective, radii, rays, on_rays)
