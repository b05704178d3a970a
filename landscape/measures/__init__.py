"""Sharpness measures: one file a family, one registry, one set of draws that all of them share."""

# Each enters its measures into the registry, in the order of docs/sharpness.md.
# isort: off
from landscape.measures import average
from landscape.measures import worst_case
from landscape.measures import pac_bayes
from landscape.measures import curvature
from landscape.measures import llc
from landscape.measures import volume
from landscape.measures import relative_flatness
from landscape.measures import fisher_rao
from landscape.measures import norms
from landscape.measures import critical
from landscape.measures import low_pass
from landscape.measures import layer_scales
from landscape.measures import keskar
from landscape.measures import gradient

# isort: on
from landscape.measures.reading import Reading
from landscape.measures.registry import REGISTRY, find_measures, measure
from landscape.measures.run import sharpness
from landscape.results.sharpness import INVARIANCES

__all__ = [
    "INVARIANCES",
    "REGISTRY",
    "Reading",
    "average",
    "critical",
    "curvature",
    "find_measures",
    "fisher_rao",
    "gradient",
    "keskar",
    "layer_scales",
    "llc",
    "low_pass",
    "measure",
    "norms",
    "pac_bayes",
    "relative_flatness",
    "sharpness",
    "volume",
    "worst_case",
]
