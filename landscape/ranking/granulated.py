"""The granulated Kendall coefficient: rank correlation while one axis moves and all others stand still."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from landscape.ranking.configurations import Configurations
from landscape.ranking.kendall import CHUNK, known_pairs, pair_signs, weighted_tau


@dataclass(frozen=True)
class Granulated:
    """The granulated coefficients of measures, for each row of weights.

    Attributes:
        psi: per axis, shape (B, A, M); NaN if no cell of the axis is defined.
        defined: cells in which tau is defined, in the first row, shape (A, M).
        cells: cells of each axis, shape (A,).
    """

    psi: np.ndarray
    defined: np.ndarray
    cells: np.ndarray

    @property
    def overall(self) -> np.ndarray:
        """Psi, the mean of psi over the axes that have one, shape (B, M); NaN if no axis has one."""
        return mean_of_defined(self.psi, axis=1)


def granulated(
    values: np.ndarray, target: np.ndarray, weights: np.ndarray, configurations: Configurations
) -> Granulated:
    """Return psi per axis: the mean over all settings of the other axes of tau-b along the axis.

        psi_i = mean over cells of tau_b(cell),   Psi = mean over axes of psi_i

    A cell is a set of configurations that agree in every axis but i. A cell in which the measure or the target is
    constant has no tau. It is left out of the mean and counted; it is never taken as 0.
    Source: Jiang, Neyshabur, Mobahi, Krishnan & Bengio (2020), "Fantastic generalization measures".

    Args:
        values: the measures, shape (M, C).
        target: shape (C,), or (B, C) for permuted targets.
        weights: of the configurations, shape (B, C) or (1, C).
        configurations: the design.

    >>> design = Configurations.of({"width": [1, 2, 1, 2], "lr": [1, 1, 2, 2]})
    >>> along_width = granulated(design.levels[:1] * 1.0, np.arange(4.0), np.ones((1, 4)), design)
    >>> along_width.psi[0, :, 0].tolist(), along_width.defined[:, 0].tolist(), along_width.cells.tolist()
    ([1.0, nan], [2, 0], [2, 2])
    """
    rows = max(len(weights), len(target) if target.ndim == 2 else 1)
    psi = np.full((rows, len(configurations.axes), len(values)), np.nan)
    defined = np.zeros(psi.shape[1:], dtype=int)
    cells = np.zeros(len(configurations.axes), dtype=int)
    for number, axis in enumerate(configurations.axes):
        members = configurations.cells(axis)
        cells[number] = len(members)
        if not members:
            continue
        for begin in range(0, rows, CHUNK):
            part = slice(begin, begin + CHUNK)
            chosen = weights[part] if len(weights) > 1 else weights
            targets = target[part] if target.ndim == 2 else target
            taus = np.stack([_cell_tau(values, targets, chosen, cell) for cell in members])
            psi[part, number] = mean_of_defined(taus, axis=0)
            if begin == 0:
                defined[number] = np.isfinite(taus[:, 0]).sum(axis=0)
    return Granulated(psi, defined, cells)


def _cell_tau(values: np.ndarray, target: np.ndarray, weights: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Return tau-b within one cell, shape (B, M)."""
    one, two = np.triu_indices(len(cell), 1)
    first, second = cell[one], cell[two]
    signs, known = pair_signs(values, first, second), known_pairs(values, first, second)
    return weighted_tau(signs, known, pair_signs(target, first, second), weights[:, first] * weights[:, second])


def mean_of_defined(values: np.ndarray, axis: int) -> np.ndarray:
    """Return the mean over the finite entries; NaN if there is none, and no warning."""
    known = np.isfinite(values)
    number = known.sum(axis=axis)
    total = np.where(known, values, 0.0).sum(axis=axis)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)
