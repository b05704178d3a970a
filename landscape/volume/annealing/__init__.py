"""Annealed chains: a star-shaped body, targets from the uniform direction to r^n, moves, a schedule and a budget."""
