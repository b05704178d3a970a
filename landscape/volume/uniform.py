"""The ``uniform`` estimator: the mean of r^n over uniform rays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from landscape.objective import Objective
from landscape.rays import basin_radii
from landscape.results import Volume
from landscape.volume.ray_weights.mean import measure_of_radii, volume_from_radii
from landscape.volume.ray_weights.measure import check_measure


def uniform_volume(
    objective: Objective,
    cutoffs: Sequence[float],
    *,
    measure: str = "lebesgue",
    sigma: float | None = None,
    measure_centre: str = "zero",
    **options: Any,
) -> Volume:
    """Return the plain mean of r^n over uniform rays.

    For another measure than volume (:mod:`landscape.volume.ray_weights.measure`) the mass of each ray takes the place
    of r^n.

    Args:
        objective, cutoffs: as for :func:`landscape.basin_radii`.
        measure, sigma, measure_centre: as for :func:`landscape.log_volume`.
        options: of :func:`landscape.basin_radii`.
    """
    check_measure(measure, sigma, measure_centre)
    radii = basin_radii(objective, cutoffs, **options)
    on_rays = measure_of_radii(objective, radii, measure=measure, sigma=sigma, measure_centre=measure_centre)
    return volume_from_radii(radii, measure=on_rays)
