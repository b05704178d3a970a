"""The loss as a function of the flat parameter vector: parameters, batches, losses, and many points at once."""

from landscape.objective.objective import Objective
from landscape.objective.parameters import Layout, Scope

__all__ = ["Layout", "Objective", "Scope"]
