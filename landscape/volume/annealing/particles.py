"""Directions, and what has been measured along each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Particles:
    """Directions with the values that a path needs of them; all arrays have one row per direction.

    Attributes:
        phi: unit directions, shape (k, n), float64.
        values: rises of the criterion over that of the cutoff at the places that the path reads, shape (k, places).
            NaN where nothing was read.
        log_radius: log r(phi), shape (k,); NaN if not searched for.
        log_mass: log m(phi), which is n log r for volume, shape (k,); NaN likewise.
        censored: whether r is the cap, shape (k,), bool.
        velocity: after the last move, in the coordinates of that move, shape (k, n); None before the first.
        pull: of the path on each, shape (k, n); None if it is not known.
    """

    phi: Tensor
    values: np.ndarray
    log_radius: np.ndarray
    log_mass: np.ndarray
    censored: np.ndarray
    velocity: Tensor | None = None
    pull: Tensor | None = None

    @classmethod
    def bare(cls, phi: Tensor, values: np.ndarray) -> Particles:
        """Return directions whose radii are not known."""
        unknown = np.full(len(phi), np.nan)
        return cls(phi, values, unknown, unknown.copy(), np.zeros(len(phi), dtype=bool))

    def __len__(self) -> int:
        return len(self.values)

    @property
    def searched(self) -> bool:
        """Whether the radius of every direction is known."""
        return not np.isnan(self.log_mass).any()

    def take(self, rows: np.ndarray) -> Particles:
        """Return some rows, which may repeat."""
        chosen = torch.as_tensor(rows, device=self.phi.device)
        return Particles(
            self.phi[chosen],
            self.values[rows],
            self.log_radius[rows],
            self.log_mass[rows],
            self.censored[rows],
            None if self.velocity is None else self.velocity[chosen],
            None if self.pull is None else self.pull[chosen],
        )

    def where(self, chosen: np.ndarray, other: Particles) -> Particles:
        """Return the rows of ``other`` where ``chosen``, shape (k,), and these elsewhere."""
        by_row = torch.as_tensor(chosen, device=self.phi.device)[:, None]

        def either(mine: Tensor | None, others: Tensor | None) -> Tensor | None:
            return None if mine is None or others is None else torch.where(by_row, others, mine)

        return Particles(
            torch.where(by_row, other.phi, self.phi),
            np.where(chosen[:, None], other.values, self.values),
            np.where(chosen, other.log_radius, self.log_radius),
            np.where(chosen, other.log_mass, self.log_mass),
            np.where(chosen, other.censored, self.censored),
            either(self.velocity, other.velocity),
            either(self.pull, other.pull),
        )

    def put(self, rows: np.ndarray, other: Particles) -> Particles:
        """Return a copy in which ``other`` takes the place of some rows."""
        phi = self.phi.clone()
        phi[torch.as_tensor(rows, device=phi.device)] = other.phi
        arrays = []
        for name in ("values", "log_radius", "log_mass", "censored"):
            array = getattr(self, name).copy()
            array[rows] = getattr(other, name)
            arrays.append(array)
        return Particles(phi, *arrays)
