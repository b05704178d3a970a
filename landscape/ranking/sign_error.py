"""The robust sign error: how often a measure orders two configurations wrongly, one environment at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from landscape.ranking.configurations import Configurations

FEWEST_EFFECTIVE = 12.0  #: effective number of pairs of nets that an environment needs
TAIL = 0.9  #: the quantile that is reported beside mean and maximum


@dataclass(frozen=True)
class SignErrors:
    """The sign error of each measure in each environment.

    Attributes:
        errors: shape (E, M); NaN if a measure has no value there.
        effective: effective number of pairs of nets in each environment, shape (E,).
        axis: which axis differs in each environment, shape (E,).
        first, second: the two configurations, shapes (E,).
        candidates: environments before small ones were left out.
    """

    errors: np.ndarray
    effective: np.ndarray
    axis: np.ndarray
    first: np.ndarray
    second: np.ndarray
    candidates: int

    def mean(self, weights: np.ndarray) -> np.ndarray:
        """Return the mean over environments, shape (B, M), for weights of configurations, shape (B, C)."""
        chosen = weights[:, self.first] * weights[:, self.second]
        known = np.isfinite(self.errors)
        number = chosen @ known
        total = chosen @ np.where(known, self.errors, 0.0)
        return np.where(number > 0, total / np.where(number > 0, number, 1.0), np.nan)

    def tail(self, weights: np.ndarray) -> np.ndarray:
        """Return the 90th percentile over environments, shape (B, M): the least error that 90 % do not exceed."""
        chosen = weights[:, self.first] * weights[:, self.second]
        columns = []
        for row in self.errors.T:
            order = np.argsort(row)[: np.isfinite(row).sum()]
            reached = np.cumsum(chosen[:, order], axis=1)
            if not len(order):
                columns.append(np.full(len(weights), np.nan))
                continue
            place = (reached < TAIL * reached[:, -1:] - 1e-9).sum(axis=1)
            columns.append(np.where(reached[:, -1] > 0, row[order][np.minimum(place, len(order) - 1)], np.nan))
        return np.stack(columns, axis=1)

    def largest(self) -> np.ndarray:
        """Return the maximum over environments, shape (M,)."""
        known = np.isfinite(self.errors)
        return np.where(known.any(axis=0), np.where(known, self.errors, -1.0).max(axis=0, initial=-1.0), np.nan)


def pair_weight(difference: np.ndarray, test_size: int | None) -> np.ndarray:
    """Return how far a pair of nets may count:

        w = (max(0, 1 - 2 exp(-m d² / 2))² - 1/2)_+

    with d the difference of the targets and m the number of test samples. By Hoeffding's inequality the inner bracket
    is a lower bound: of the probability that the test error of one net is within d / 2 of its true error. Its square is
    the bound for both nets, so their order is then the true one. Without m every pair that differs counts 1.

    >>> pair_weight(np.array([0.0, 0.01, 0.1]), 10_000).round(3).tolist()
    [0.0, 0.0, 0.5]
    """
    if test_size is None:
        return (difference != 0).astype(float)
    sure = np.maximum(0.0, 1.0 - 2.0 * np.exp(-test_size * difference**2 / 2.0))
    return np.maximum(0.0, sure**2 - 0.5)


def sign_errors(
    values: np.ndarray, target: np.ndarray, configurations: Configurations, *, test_size: int | None,
    fewest: float = FEWEST_EFFECTIVE,
) -> SignErrors:  # fmt: skip
    """Return the sign error of each measure in each environment.

    An environment is a pair of configurations that differ in one axis. Its error is the weighted mean over pairs of
    seeds of (1 - sign·sign) / 2. It is 0 if the measure orders every pair as the target does, 1 if it orders each the
    other way, and 1/2 for a measure that does not differ. Environments whose effective number of pairs, (sum w)² / sum
    w², is below ``fewest`` are left out. Source: Dziugaite, Drouin, Neal, Rajkumar, Caballero, Wang, Mitliagkas & Roy
    (2020), "In search of robust measures of generalization". Departure: each pair of configurations is one environment,
    not two.

    Args:
        values: the measures, shape (M, N).
        target: shape (N,).
        configurations: the design.
        test_size: number of test samples behind the target; None weighs pairs alike.
        fewest: effective number of pairs that an environment needs.
    """
    first, second, axis_of = configurations.environments()
    members = [np.flatnonzero(configurations.group == number) for number in range(configurations.count)]
    errors, effective = np.full((len(first), len(values)), np.nan), np.zeros(len(first))
    for row, (one, two) in enumerate(zip(first, second, strict=True)):
        left, right = members[one], members[two]
        difference = target[left][:, None] - target[right][None]
        weight = pair_weight(difference, test_size)
        effective[row] = weight.sum() ** 2 / (weight**2).sum() if weight.any() else 0.0
        apart = values[:, left][:, :, None] - values[:, right][:, None]
        known = np.isfinite(apart) * weight
        wrong = (1 - np.sign(np.nan_to_num(apart)) * np.sign(difference)) / 2
        total = known.sum(axis=(1, 2))
        errors[row] = np.where(total > 0, (wrong * known).sum(axis=(1, 2)) / np.where(total > 0, total, 1.0), np.nan)
    large = effective >= fewest - 1e-9
    return SignErrors(errors[large], effective[large], axis_of[large], first[large], second[large], len(first))
