"""Curvature around the trained point: operators known by their products, and what is read from them."""

from landscape.curvature.density import log_determinant, spectral_density
from landscape.curvature.eigenpairs import top_eigenpairs
from landscape.curvature.hessian import GaussNewton, Hessian
from landscape.curvature.operator import Dense, Operator, Part
from landscape.curvature.traces import diagonal, layer_traces, trace

__all__ = [
    "Dense",
    "GaussNewton",
    "Hessian",
    "Operator",
    "Part",
    "diagonal",
    "layer_traces",
    "log_determinant",
    "spectral_density",
    "top_eigenpairs",
    "trace",
]
