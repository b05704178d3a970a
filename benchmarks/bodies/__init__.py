"""Bodies of known volume, as losses of a flat vector: one file a kind, and a catalogue that builds them by name."""

from benchmarks.bodies.body import Body
from benchmarks.bodies.catalogue import CATALOGUE, build

__all__ = ["CATALOGUE", "Body", "build"]
