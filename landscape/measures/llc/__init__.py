"""The local learning coefficient by chains."""

from landscape.measures.llc.measure import llc

__all__ = ["llc"]
