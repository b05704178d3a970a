"""Results in one HDF5 file: complete at every moment, one writer at a time."""

from landscape.store.opened import ResultsFile, open
from landscape.store.readable import readable_results
from landscape.store.store import Store, usable

__all__ = ["ResultsFile", "Store", "open", "readable_results", "usable"]
