"""Frozen results: what was measured, how sure it is and what it cost. Numpy only; nothing here knows about files."""

from landscape.results.base import Cost, Result, result_class
from landscape.results.chains import AnnealedVolume, Chains
from landscape.results.radii import Radii, RayStatus
from landscape.results.slices import Line, Plane
from landscape.results.volume import Volume, VolumeEstimate

__all__ = [
    "AnnealedVolume",
    "Chains",
    "Cost",
    "Line",
    "Plane",
    "Radii",
    "RayStatus",
    "Result",
    "Volume",
    "VolumeEstimate",
    "result_class",
]
