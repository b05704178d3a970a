"""Sharpness measures: one file a family, one registry, one set of draws that all of them share."""

from landscape.measures import (  # each enters its measures into the registry
    average,
    curvature,
    low_pass,
    pac_bayes,
    volume,
)
from landscape.measures.reading import Reading
from landscape.measures.registry import INVARIANCES, REGISTRY, find_measures, measure
from landscape.measures.run import sharpness

__all__ = [
    "INVARIANCES",
    "REGISTRY",
    "Reading",
    "average",
    "curvature",
    "find_measures",
    "low_pass",
    "measure",
    "pac_bayes",
    "sharpness",
    "volume",
]
