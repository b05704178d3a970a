"""Proposals of ``importance``: directions that favour long rays, with a density that is known exactly."""
