"""Conditional mutual information between the order of a measure and the order of generalisation, with its sign."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import sparse

from landscape.ranking.configurations import Configurations
from landscape.ranking.kendall import known_pairs, pair_signs

LARGEST_CONDITION = 2  #: axes that are conditioned on at once
CHUNK = 128  #: resamples at a time: the tables of one measure then fit the cache
_SIGNS = 3  # values of a sign
_SETTLED = 1e-9  # entropy, relative to N log N, that is rounding alone
_NO_COVARIANCE = 1e-3  # pairs; counts are whole, so that a real covariance is larger


@dataclass(frozen=True)
class PairTable:
    """Every ordered pair of different configurations, by the values of both on each set of axes.

    The two orders of a pair fall into cells that mirror each other, so only one of them is kept and counted twice. If
    both configurations have the same values, both orders lie in one cell, and both are kept.

    Attributes:
        pair: number of the pair of each entry, shape (E,).
        turn: 1, or -1 if the entry is the pair in its other order, shape (E,).
        cell: cell of each entry; cells of all sets are numbered through, shape (E,).
        factor: how often each cell counts, shape (cells,).
        subset: number of the set of axes that each cell belongs to, shape (cells,).
        subsets: the sets of axes.
        pairs: number of pairs P.
    """

    pair: np.ndarray
    turn: np.ndarray
    cell: np.ndarray
    factor: np.ndarray
    subset: np.ndarray
    subsets: tuple[tuple[str, ...], ...]
    pairs: int

    @classmethod
    def of(cls, configurations: Configurations) -> PairTable:
        """Return the pairs of a design under every set of at most two axes."""
        first, second = configurations.pairs
        count = len(configurations.axes)
        chosen = [s for size in range(min(LARGEST_CONDITION, count) + 1) for s in combinations(range(count), size)]
        entries: list[np.ndarray] = []
        factors: list[np.ndarray] = []
        begin = 0
        for rows in chosen:
            _, place = np.unique(configurations.levels[list(rows)], axis=1, return_inverse=True)
            place = np.asarray(place).reshape(-1) if rows else np.zeros(configurations.count, dtype=int)
            one, two = place[first], place[second]
            turn = np.where(one <= two, 1, -1)
            low, high = np.minimum(one, two), np.maximum(one, two)
            names, cell = np.unique(low * (place.max() + 1) + high, return_inverse=True)
            same = np.flatnonzero(low == high)
            numbers = np.arange(len(first))
            entries += [
                np.stack([numbers, turn, cell + begin]),
                np.stack([same, -turn[same], cell[same] + begin]),
            ]
            is_mirrored = names // (place.max() + 1) != names % (place.max() + 1)
            factors.append(np.where(is_mirrored, 2.0, 1.0))
            begin += len(names)
        pair, turn, cell = np.concatenate(entries, axis=1)
        subset = np.repeat(np.arange(len(chosen)), [len(part) for part in factors])
        names_of = tuple(tuple(configurations.axes[row] for row in rows) for rows in chosen)
        return cls(pair, turn, cell, np.concatenate(factors), subset, names_of, len(first))


@dataclass(frozen=True)
class Information:
    """Normalised conditional mutual information of measures.

    Attributes:
        shares: I / H for each set of axes, shape (B, M, S); NaN if the axes settle the order of the target.
        signs: whether the two orders agree (1) or disagree (-1) within cells, shape (B, M, S).
    """

    shares: np.ndarray
    signs: np.ndarray

    @property
    def smallest(self) -> np.ndarray:
        """K, the least share over the sets of axes, shape (B, M)."""
        least = self._filled.min(axis=2)
        return np.where(np.isfinite(least), least, np.nan)

    @property
    def sign(self) -> np.ndarray:
        """The sign of the measure under the set of axes that gives K, shape (B, M)."""
        which = np.argmin(self._filled, axis=2)[:, :, None]
        return np.asarray(np.take_along_axis(self.signs, which, axis=2)[:, :, 0])

    @property
    def _filled(self) -> np.ndarray:
        return np.where(np.isfinite(self.shares), self.shares, np.inf)


def conditional_information(
    values: np.ndarray, target: np.ndarray, weights: np.ndarray, configurations: Configurations, table: PairTable
) -> Information:
    """Return how much the order of each measure says of the order of generalisation, given both nets' axes:

        K = min over |S| <= 2 of I(V; G | U_S) / H(G | U_S)

    V and G are the signs of the difference of a pair in the measure and in the target. U_S holds the values of both
    nets on the axes S. Pairs are ordered pairs of different configurations. The share has no unit.
    Source: Jiang, Neyshabur, Mobahi, Krishnan & Bengio (2020), equation 12. Departures:

    1. No pair joins a configuration with itself.
    2. A tie has a sign of its own, 0.
    3. Information is blind to direction, so a measure that is always wrong scores like one that is always right. The
       sign of the covariance of V and G within cells tells the two apart.
    4. Seeds are averaged before: pairs join configurations, not nets.

    Args:
        values: the measures, shape (M, C); NaN is a gap.
        target: shape (C,).
        weights: of the configurations, whole numbers, shape (B, C).
        configurations: the design.
        table: its pairs, from :meth:`PairTable.of`.

    >>> design = Configurations.of({"width": [1, 2, 1, 2], "lr": [1, 1, 2, 2]})
    >>> gap = np.array([0.1, 0.4, 0.2, 0.3])
    >>> inverted = conditional_information(-gap[None], gap, np.ones((1, 4)), design, PairTable.of(design))
    >>> inverted.smallest.tolist(), inverted.sign.tolist()
    ([[1.0]], [[-1.0]])
    """
    first, second = configurations.pairs
    target_signs = pair_signs(target, first, second)[table.pair] * table.turn
    sums = []
    for row in values:
        known = known_pairs(row, first, second)[table.pair] > 0
        v = (pair_signs(row, first, second)[table.pair] * table.turn)[known].astype(int)
        sums.append(_Sums.of(table.pair[known], table.cell[known], v, target_signs[known].astype(int), table))
    shape = (len(weights), len(values), len(table.subsets))
    shares, signs = np.empty(shape), np.empty(shape)
    for begin in range(0, len(weights), CHUNK):
        part = slice(begin, begin + CHUNK)
        chosen = weights[part].T.astype(np.float32)  # whole numbers: sums are exact up to 2^24
        pair_weights = chosen[first] * chosen[second]
        for place, measure in enumerate(sums):
            shares[part, place], signs[part, place] = measure.information(pair_weights)
    return Information(shares, signs)


@dataclass(frozen=True)
class _Sums:
    """Sparse sums of pair weights into a contingency table per cell, and of that into its margins."""

    joint: sparse.csr_matrix  # (codes, pairs)
    margins: tuple[sparse.csc_matrix, ...]  # of the measure, of the target, of both: (..., codes)
    by_subset: tuple[sparse.csc_matrix, ...]  # (sets, ...) of the joint table and of each margin, with factors
    agreement: sparse.csc_matrix  # (sets, codes)
    v_sum: sparse.csc_matrix  # (cells, codes)
    g_sum: sparse.csc_matrix  # (cells, codes)

    @classmethod
    def of(cls, pair: np.ndarray, cell: np.ndarray, v: np.ndarray, g: np.ndarray, table: PairTable) -> _Sums:
        cells = len(table.factor)
        codes, code = _numbered((cell * _SIGNS + v + 1) * _SIGNS + g + 1, cells * _SIGNS**2)
        of_cell, v_of, g_of = codes // _SIGNS**2, codes // _SIGNS % _SIGNS - 1, codes % _SIGNS - 1
        v_codes, v_place = _numbered(of_cell * _SIGNS + v_of + 1, cells * _SIGNS)
        g_codes, g_place = _numbered(of_cell * _SIGNS + g_of + 1, cells * _SIGNS)

        def matrix(rows: np.ndarray, data: np.ndarray, height: int) -> sparse.csc_matrix:
            return _one_in_each_column(rows, data.astype(np.float32), height)

        def to_subset(cells_of: np.ndarray, data: np.ndarray | float = 1.0) -> sparse.csc_matrix:
            return _one_in_each_column(table.subset[cells_of], table.factor[cells_of] * data, len(table.subsets))

        ones = np.ones(len(codes))
        entries = np.ones(len(pair), dtype=np.float32), (code, pair)
        return cls(
            joint=sparse.csr_matrix(entries, shape=(len(codes), table.pairs)),
            margins=(
                matrix(v_place, ones, len(v_codes)),
                matrix(g_place, ones, len(g_codes)),
                matrix(of_cell, ones, cells),
            ),
            by_subset=tuple(map(to_subset, (of_cell, v_codes // _SIGNS, g_codes // _SIGNS, np.arange(cells)))),
            agreement=to_subset(of_cell, v_of * g_of),
            v_sum=matrix(of_cell, v_of, cells),
            g_sum=matrix(of_cell, g_of, cells),
        )

    def information(self, pair_weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return share and sign for each set of axes, shapes (B, S), given weights of pairs, shape (P, B).

        With n for the counts of a cell, its information is sum n log n - sum v log v - sum g log g + N log N.
        """
        joint = self.joint @ pair_weights
        tables = (joint, *(margin @ joint for margin in self.margins))
        steps = np.arange(int(tables[3].max(initial=0)) + 1.0)
        x_log_x = steps * np.log(np.maximum(steps, 1.0))
        sums = [rows @ x_log_x[part.astype(np.int32)] for rows, part in zip(self.by_subset, tables, strict=True)]
        entropy = sums[3] - sums[2]
        information = np.maximum(sums[0] - sums[1] + entropy, 0.0)
        means = (self.v_sum @ joint) * (self.g_sum @ joint) / np.maximum(tables[3], 1.0)
        covariance = self.agreement @ joint - self.by_subset[3] @ means
        settled = entropy <= _SETTLED * np.maximum(sums[3], 1.0)
        share = np.where(settled, np.nan, information / np.where(settled, 1.0, entropy))
        return share.T, np.where(np.abs(covariance) < _NO_COVARIANCE, 0.0, np.sign(covariance)).T


def _one_in_each_column(rows: np.ndarray, data: np.ndarray, height: int) -> sparse.csc_matrix:
    """Return a matrix whose column i holds ``data[i]`` in row ``rows[i]``; scipy need not look for duplicates."""
    starts = np.arange(len(rows) + 1, dtype=np.int32)
    return sparse.csc_matrix((data, rows.astype(np.int32), starts), shape=(height, len(rows)))


def _numbered(codes: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the codes that occur, ascending, and the place of each entry among them; quicker than a sort."""
    occurs = np.zeros(most, dtype=bool)
    occurs[codes] = True
    return np.flatnonzero(occurs), (np.cumsum(occurs) - 1)[codes]
