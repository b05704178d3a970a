"""Annealed islands: a star-shaped body, paths from uniform directions to r^n, moves, a pilot, rounds and a verdict.

Read it in this order: ``path`` (what a path is) and ``radius_path``, ``shell_path``, ``growth_path``; ``moves`` (how
particles move) and ``stretch`` (in which coordinates); ``pilot`` and ``schedule`` (which levels); ``islands`` (out,
back and a second start); ``run`` and ``effort`` (rounds within a budget); ``verdict``.
"""
