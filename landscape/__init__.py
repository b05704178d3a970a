"""landscape: the shape of a network's loss around a trained point, and how far each number can be trusted.

Names are loaded on first use, so that ``import landscape`` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "errors": ("LandscapeError",),
    "curvature": (
        "GaussNewton",
        "Hessian",
        "diagonal",
        "layer_traces",
        "log_determinant",
        "spectral_density",
        "top_eigenpairs",
        "trace",
    ),
    "results": (
        "Comparison",
        "Cost",
        "Diagonal",
        "Eigenpairs",
        "LayerTraces",
        "Line",
        "LogDeterminant",
        "Plane",
        "Radii",
        "RayStatus",
        "SpectralDensity",
        "Trace",
        "Volume",
        "VolumeEstimate",
    ),
    "objective": ("Objective",),
    "radius": ("basin_radii",),
    "slices": ("slice_1d", "slice_2d"),
    "volume": ("compare_volumes", "log_volume", "radii_from_rollouts", "volume_from_radii"),
    "checkpoint": ("adam_moments", "load_checkpoint"),
    "task": ("Task",),
    "store": ("Store",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
__all__ = sorted([*_HOME_OF, "__version__"])

if TYPE_CHECKING:
    from landscape.checkpoint import adam_moments as adam_moments
    from landscape.checkpoint import load_checkpoint as load_checkpoint
    from landscape.curvature import GaussNewton as GaussNewton
    from landscape.curvature import Hessian as Hessian
    from landscape.curvature import diagonal as diagonal
    from landscape.curvature import layer_traces as layer_traces
    from landscape.curvature import log_determinant as log_determinant
    from landscape.curvature import spectral_density as spectral_density
    from landscape.curvature import top_eigenpairs as top_eigenpairs
    from landscape.curvature import trace as trace
    from landscape.errors import LandscapeError as LandscapeError
    from landscape.objective import Objective as Objective
    from landscape.radius import basin_radii as basin_radii
    from landscape.results import Comparison as Comparison
    from landscape.results import Cost as Cost
    from landscape.results import Diagonal as Diagonal
    from landscape.results import Eigenpairs as Eigenpairs
    from landscape.results import LayerTraces as LayerTraces
    from landscape.results import Line as Line
    from landscape.results import LogDeterminant as LogDeterminant
    from landscape.results import Plane as Plane
    from landscape.results import Radii as Radii
    from landscape.results import RayStatus as RayStatus
    from landscape.results import SpectralDensity as SpectralDensity
    from landscape.results import Trace as Trace
    from landscape.results import Volume as Volume
    from landscape.results import VolumeEstimate as VolumeEstimate
    from landscape.slices import slice_1d as slice_1d
    from landscape.slices import slice_2d as slice_2d
    from landscape.store import Store as Store
    from landscape.task import Task as Task
    from landscape.volume import compare_volumes as compare_volumes
    from landscape.volume import log_volume as log_volume
    from landscape.volume import radii_from_rollouts as radii_from_rollouts
    from landscape.volume import volume_from_radii as volume_from_radii


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'landscape' has no attribute {name!r}")
    return getattr(import_module(f"landscape.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
