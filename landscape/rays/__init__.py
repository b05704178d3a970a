"""Rays: a metric and a seed give directions; the search along each gives the radius of the basin."""

from landscape.rays.audit import FINER, FinerRadii, finer_in_blocks, finer_radii
from landscape.rays.directions import Directions, RandomDirections
from landscape.rays.entry_directions import (
    AnyMetric,
    EntryDirections,
    EntryMetric,
    metric_of,
    random_directions,
    stored_metric,
)
from landscape.rays.metric import METRICS, SCALES, Metric, make_metric
from landscape.rays.radii import basin_radii, require_same_function
from landscape.rays.reach import Reach, reach

__all__ = [
    "FINER",
    "METRICS",
    "SCALES",
    "AnyMetric",
    "Directions",
    "EntryDirections",
    "EntryMetric",
    "FinerRadii",
    "Metric",
    "RandomDirections",
    "Reach",
    "basin_radii",
    "finer_in_blocks",
    "finer_radii",
    "make_metric",
    "metric_of",
    "random_directions",
    "reach",
    "require_same_function",
    "stored_metric",
]
