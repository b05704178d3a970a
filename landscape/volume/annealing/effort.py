"""The effort of the next round: how many levels it gets for what the budget pays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from landscape.volume.annealing.party import FEWEST_LEVELS, Party
from landscape.volume.annealing.schedule import Schedule

_ROUNDS = 5.0  # efforts 1 and 4: two rounds fill a small budget
_FEW = 2.0  # times the least effort: if the only round of all groups has less, an island alone tells more
_SAFE_IF_HASTY = 0.9  # share of a budget that a first round is planned for, if few particles have told what moves cost
_MOST_OUT, _LEVELS_OUT = 16.0, 500  # largest effort of a round that only goes out; levels that it may have in any case
_FAR_BEYOND = 4.0  # effort on the schedule of a hasty pilot at which what moves cost is no longer known
_MOST_FIRST = 1.0  # effort of a first round, so that an answer is there early
_LEAST_GROWTH, _GROWTH, _MOST_LAST = 1.3, 4.0, 6.5  # of the effort, from round to round; of the last one
_MOST, _NEARLY = 1024.0, 1e-3  # largest effort, and how nearly one is found


@dataclass(frozen=True)
class Past:
    """The last round of all groups.

    Attributes:
        effort: of it.
        party: its particles.
        passes: what it has cost.
    """

    effort: float
    party: Party
    passes: float


def next_round(
    schedule: Schedule,
    party: Party,
    left: float,
    past: Past | None,
    effort_before: float | None,
    *,
    length: float | None,
    timed: bool,
    speed_up: Callable[[int, int], float],
) -> tuple[float, int] | None:
    """Return effort and groups of the next round; None if there is no room.

    If the budget has no room for a round of all groups, one island goes out for a bound, and does not come back.

    Args:
        schedule: of all rounds.
        party: the particles that a round of all groups may have.
        left: passes that it may cost.
        past: None for the first round of all groups.
        effort_before: of the round before, of whatever groups; None for the first one.
        length: of the path, if a hasty pilot has made the schedule; else None.
        timed: whether the budget is a time.
        speed_up: returns how many times as fast passes go with more particles in place of few. ``left`` is at the speed
            of the last round.
    """
    levels, least = len(schedule), party.least_effort(len(schedule), length)

    def passes(effort: float, party: Party = party) -> float:
        return schedule.passes(party.at(effort, levels), effort)

    def passes_of_two(effort: float) -> float:
        return passes(effort / _ROUNDS) + passes(effort - effort / _ROUNDS, party.again)

    if past is None and length is not None:
        left *= _SAFE_IF_HASTY
    elif past is not None:
        left *= schedule.passes(past.party, past.effort) / past.passes
    most = most_effort(passes, left)
    larger = party.at(most, levels).together
    if timed and past is not None and larger > past.party.together:
        most = most_effort(passes, left * speed_up(past.party.together, larger))
    two = most_effort(passes_of_two, left) if past is None else most
    effort = next_effort(most, two, least, None if past is None else past.effort)
    alone_tells_more = past is None and effort == most < _FEW * least
    if effort is not None and not alone_tells_more:
        return float(f"{effort:.3g}"), party.groups
    if past is not None:
        return None
    most = most_effort(lambda effort: schedule.passes(party.alone, effort), left)
    unsure = length is not None and (effort_before is not None or most > _FAR_BEYOND)
    effort = effort_out(most, levels, effort_before, cut=timed or unsure)
    return None if effort is None else (float(f"{effort:.3g}"), 1)


def most_effort(passes: Callable[[float], float], budget: float) -> float:
    """Return about the largest effort of a round that a budget in passes pays for; 0 if there is none.

    Args:
        passes: that a round of this effort costs; they do not fall as it grows.
        budget: in passes.

    >>> round(most_effort(lambda effort: 100 + 50 * effort, 300.0), 2), most_effort(lambda effort: 100.0, 50.0)
    (4.0, 0.0)
    """
    low, high = 0.0, 1.0
    while passes(high) <= budget and high < _MOST:
        low, high = high, 2 * high
    while high - low > _NEARLY * high and high > _NEARLY:
        middle = (low + high) / 2
        low, high = (middle, high) if passes(middle) <= budget else (low, middle)
    return low


def effort_out(most: float, levels: float, before: float | None, *, cut: bool) -> float | None:
    """Return the effort of an island that only goes out; None if the budget has no room for it.

    Args:
        most: that the budget pays for.
        levels: of the schedule. A hasty pilot has made fewer than serve best.
        before: effort of the round before, which only went out too; None for the first one.
        cut: whether the budget may cut the last round, so that a short one goes first: a machine may get busy, or few
            particles have told on few levels what many will cost.

    >>> effort_out(1.0, 500, None, cut=False), effort_out(1.0, 500, None, cut=True)
    (1.0, 0.2)
    >>> effort_out(0.8, 500, 0.2, cut=True), effort_out(0.2, 500, 0.2, cut=True)
    (0.8, None)
    """
    effort = min(most, max(_MOST_OUT, _LEVELS_OUT / levels))
    if before is None:
        least = min(FEWEST_LEVELS / levels, 1.0)
        effort = max(effort / _ROUNDS, min(least, effort)) if cut else effort
    else:
        least = (_LEAST_GROWTH if cut else _GROWTH) * before
    return effort if effort >= least else None


def next_effort(most: float, two: float, least: float, before: float | None) -> float | None:
    """Return the effort of the next whole round; None if the budget has no room for it.

    The last round has about four times the effort of the one before, because the verdict compares the two.

    Args:
        most: that the budget pays for.
        two: that it pays for in the first two rounds together.
        least: of a first round.
        before: of the round before; None for the first one.

    >>> next_effort(5.5, 5.0, 0.1, None), next_effort(0.3, 0.2, 0.1, None)
    (1.0, 0.3)
    >>> [next_effort(most, most, 0.1, before) for most, before in [(40.0, 1.0), (12.0, 1.0), (3.9, 1.0), (2.5, 2.0)]]
    [4.0, 2.4, 3.9, None]
    """
    if before is not None and most < _LEAST_GROWTH * before:
        return None
    if before is None:
        wanted = most if two < _ROUNDS * least else max(least, min(two / _ROUNDS, _MOST_FIRST))
        return wanted if wanted >= least else None
    return most if most < _MOST_LAST * before else min(most / _ROUNDS, _GROWTH * before)
