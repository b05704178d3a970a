"""Curvature around the trained point: operators known by their products, and what is read from them."""

from landscape.curvature.hessian import GaussNewton, Hessian
from landscape.curvature.operator import Dense, Operator, Part

__all__ = ["Dense", "GaussNewton", "Hessian", "Operator", "Part"]
