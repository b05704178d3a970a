"""The verdict ``settled``: what islands must show before their interval may be called one for V."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import betainc

from landscape.results import Check, Islands
from landscape.results.table import at_least
from landscape.volume.ray_weights import statistics as w

SETTLED_ISLANDS = 8  # at least so many
SETTLED_SPREAD = 1.0  # at most this standard deviation of log Z over them
SETTLED_GAP = 3.0  # at most so many nats from the way out to the way back
SETTLED_SURVIVES = 0.9  # at least this share of V on a finer grid
SETTLED_RAYS = 0.5  # nats that uniform rays alone may exceed the estimate
_CHANCE = 0.01  # or more, if rays so heavy have at least this probability
_SAME_LENGTH = 0.01  # by which log radii may differ in any case
FINER_GRID = "finer grid"  #: name of the condition that a smaller step ratio can meet
FAR = 3.5  # efforts differ by this factor at least when their shift is judged
_EXACT = 0.01  # nats by which islands of a body may differ that is what the path begins with
_SAME = 1.0  # nats by which two values may differ in any case
_ERRORS = 2.0  # standard errors by which chance may make a condition fail
_ERRORS_OF_START = 3.0  # the same for the second start, whose error is that of a median


@dataclass(frozen=True)
class Round:
    """A whole round of one cutoff.

    Attributes:
        effort: how many times the pilot's levels it has. It counts twice if islands have twice the particles.
        levels: number of levels.
        out, back: log of the mean weight of each island on the way out, and of each on the way back with the sign that
            makes both estimates of log E[r^n], shape (islands,).
        start_shift, start_error: how far log m of chains from the longest uniform rays ends from that of the particles.
        survives, censored: share of V on a finer grid, and of ends at the cap.
        longest: largest log r of the ends.
    """

    effort: float
    levels: int
    out: np.ndarray
    back: np.ndarray
    start_shift: float
    start_error: float
    survives: float
    censored: float
    longest: float

    @property
    def value(self) -> float:
        """log E[r^n] on the way out."""
        return w.log_mean(self.out)

    @property
    def value_back(self) -> float:
        """log E[r^n] on the way back: minus the log of the mean of the inverse."""
        return -w.log_mean(-self.back) if np.isfinite(self.back).all() else math.inf

    @property
    def error(self) -> float:
        """Standard error of ``value``."""
        return w.relative_error(self.out)


def rounds_of(islands: Islands, cutoff: int) -> list[Round]:
    """Return the whole rounds of the cutoff of this index, in order."""
    found = []
    for row in islands.whole(cutoff):
        members = islands.of_round(row)
        out, back = islands.forwards[members].ravel(), islands.backwards[members].ravel()
        out, back = out[~np.isnan(out)], back[~np.isnan(out)]
        longest = float(np.nanmax(islands.log_radii[members]))  # smaller islands leave places empty
        look = (row.start_shift, row.start_error, row.survives, row.censored, longest)
        found.append(Round(row.effort, int(row.levels), out, back, *look))
    return found


def exact(rounds: list[Round]) -> bool:
    """Return whether two rounds agree so well, out and back, that more effort would add nothing."""
    if len(rounds) < 2 or rounds[-2].effort * FAR > rounds[-1].effort:
        return False
    found = np.concatenate([values for entry in rounds[-2:] for values in (entry.out, entry.back)])
    return bool(np.ptp(found) <= _EXACT)


def chance_of(log_masses: np.ndarray, value: float) -> float:
    """Return the largest probability that independent rays are as heavy as these, if log E[m] were this value.

    By Markov's inequality a ray has a mass of at least m with a probability of at most E[m] / m. So at least k of N
    rays do with at most that of a binomial distribution. The least one over k counts, with m the mass of the k-th ray.

    Args:
        log_masses: log m of N uniform rays, shape (N,).
        value: log E[m].

    >>> one, all_alike = np.append(np.full(99, -50.0), 0.0), np.zeros(100)
    >>> round(chance_of(one, math.log(0.001)), 4), chance_of(all_alike, -0.5) < 1e-20
    (0.0952, True)
    """
    ordered, count = -np.sort(-log_masses), len(log_masses)
    k = np.arange(1, count + 1)
    return float(betainc(k, count - k + 1, np.exp(np.minimum(value - ordered, 0.0))).min())


def checks_of(rounds: list[Round], log_masses: np.ndarray, longest: float) -> tuple[Check, ...]:
    """Return the conditions of ``settled`` for the last of these rounds.

    Args:
        rounds: of one cutoff, at least one.
        log_masses: of uniform rays, n log r for volume, shape (rays,).
        longest: largest log r of these rays.
    """
    last = rounds[-1]
    scatter, gap = w.spread(last.out), last.value_back - last.value
    most_start = max(_ERRORS_OF_START * last.start_error, _SAME)
    excess = w.log_mean(log_masses) - last.value
    lucky = longest <= last.longest + _SAME_LENGTH and chance_of(log_masses, last.value) >= _CHANCE
    return (
        Check(
            "islands",
            float(len(last.out)),
            float(SETTLED_ISLANDS),
            len(last.out) >= SETTLED_ISLANDS,
            f"{len(last.out)} independent islands; at least {SETTLED_ISLANDS} are needed"
            if len(last.out) > 1
            else f"the particles are one island; at least {SETTLED_ISLANDS} independent ones are needed",
        ),
        Check(
            "spread of the islands",
            scatter,
            SETTLED_SPREAD,
            scatter <= SETTLED_SPREAD,
            f"the islands' log V scatter by {scatter:,.2f} nats; at most {SETTLED_SPREAD:g} may"
            if len(last.out) > 1
            else "one island alone does not tell how far chance matters",
        ),
        Check(
            "gap to the way back",
            gap,
            f"between 0 and {SETTLED_GAP:g}",
            -max(_ERRORS * math.hypot(last.error, w.relative_error(-last.back)), _SAME / 2) <= gap <= SETTLED_GAP,
            f"the way back gives {gap:+,.2f} nats against the way out; 0 to {SETTLED_GAP:g} is asked"
            if math.isfinite(gap)
            else "the islands have not come back, so nothing is known from above",
        ),
        _shift_with_effort(rounds, gap),
        Check(
            "second start",
            last.start_shift,
            most_start,
            bool(abs(last.start_shift) <= most_start),
            f"chains from the longest uniform rays end {last.start_shift:+,.2f} nats away; "
            f"{most_start:,.2f} may be chance"
            if not math.isnan(last.start_shift)
            else "there was no second start; it comes with a second round",
        ),
        Check(
            FINER_GRID,
            last.survives,
            SETTLED_SURVIVES,
            last.survives >= SETTLED_SURVIVES,
            f"{at_least(last.survives)} of V is left on a finer grid; at least {at_least(SETTLED_SURVIVES)} must be",
        ),
        Check(
            "uniform rays",
            excess,
            SETTLED_RAYS,
            excess <= SETTLED_RAYS or lucky,
            f"uniform rays alone show {excess:+,.2f} nats against the estimate, at most {SETTLED_RAYS:g} may, and that "
            "is not the chance of a few rays that particles reach too",
        ),
    )


def _shift_with_effort(rounds: list[Round], gap: float) -> Check:
    """Return the condition on how far the last round moved log V from one of a fourth of its effort."""
    last = rounds[-1]
    earlier = [entry for entry in rounds if entry.effort * FAR <= last.effort]
    if not earlier:
        words = "no round of a fourth of the effort is whole, so nobody knows how far log V moves with effort"
        return Check("shift with effort", math.nan, math.nan, False, words)
    shift = last.value - earlier[-1].value
    most = max(gap, _ERRORS * math.hypot(last.error, earlier[-1].error), _SAME)
    words = f"log V moved by {shift:+,.2f} nats as the effort grew four times; {most:,.2f} may be chance"
    return Check("shift with effort", shift, most, bool(abs(shift) <= most), words)
