"""Chains under a frozen kernel: a burn-in that is dropped, then the draws that count."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from landscape.measures.llc.pilot import BURN_IN, SAMPLING, Tuned, inside
from landscape.measures.llc.posterior import Posterior
from landscape.measures.llc.samplers import draw


@dataclass(frozen=True)
class Chains:
    """What chains have measured.

    Attributes:
        rises: loss minus that at the trained point, shape (chains, draws).
        distances: squared distance from the trained point, shape (chains, draws).
        ends: the rise on all data where the chains end, shape (chains,).
        acceptance: mean probability; 1 for samplers without a test.
        burn_in: draws that were dropped.
        inside: how many of them, the first, started at the trained point; the others started further out.
        stopped: whether the budget was spent before all draws were taken.
    """

    rises: np.ndarray
    distances: np.ndarray
    ends: np.ndarray
    acceptance: float
    burn_in: int
    inside: int
    stopped: bool


def run_chains(
    posterior: Posterior, tuned: Tuned, seed: int, burn_in: int, count: int, late: Callable[[], bool]
) -> Chains:
    """Take ``count`` draws after ``burn_in`` that are dropped, or fewer of both if it gets late."""
    kernel, state = tuned.kernel, tuned.state
    rises: list[np.ndarray] = []
    distances: list[np.ndarray] = []
    accepted: list[float] = []
    dropped = 0
    while dropped < burn_in and not late():
        state, _ = draw(posterior, kernel, state, seed, BURN_IN, dropped)
        dropped += 1
    while len(rises) < count and not late():
        state, acceptance = draw(posterior, kernel, state, seed, SAMPLING, len(rises))
        rises.append(state.rise)
        distances.append(state.x.double().square().sum(1).cpu().numpy())
        accepted.append(acceptance)
    ends = state.rise if kernel.minibatches is None else posterior.rises(state.x)
    table, away = (np.reshape(column, (-1, len(state.rise))).T for column in (rises, distances))
    return Chains(table, away, ends, float(np.mean(accepted or [0.0])), dropped, inside(len(table)), len(rises) < count)
