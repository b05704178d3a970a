"""Curvature around the trained point: operators known by their products, and what is read from them."""
