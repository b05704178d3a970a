"""Which path suits a body, and how carefully a pilot goes it.

A hasty pilot goes first. It tells what a careful one costs. If the budget cannot pay for that, its own schedule serves:
islands on it are as honest, and scatter more.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from landscape.errors import OutOfBudget
from landscape.results.islands import PATHS, PilotRow
from landscape.volume.annealing.care import CAREFUL, GROWING, HASTY, MIDDLING, Care
from landscape.volume.annealing.ellipsoid_path import EllipsoidPath, from_ellipsoid
from landscape.volume.annealing.growth_path import GrowthPath
from landscape.volume.annealing.path import Path
from landscape.volume.annealing.pilot import Pilot, Piloted, TooFewLevels
from landscape.volume.annealing.radius_path import RadiusPath
from landscape.volume.annealing.shell_path import ShellPath
from landscape.volume.annealing.star_body import StarBody
from landscape.volume.annealing.walls_inside import walls_inside

_SHORT = 0.02  # a grid that begins at this share of the cap or below may be that of a narrow body
_HASTY = 1  # index of the hasty pilot's random numbers
_LATE, _LATE_IF_SHORT = 0.5, 0.15  # share of its budget after which a careful pilot hurries; on such a grid
_NARROW = 0.02  # a body whose rays all end this much below the cap, in log r, is not one for the shell
_IF_LOST = 0.5  # levels of a careful pilot over those at which a hasty one has been that did not get to the end
_MIDDLING = range(100, 2000)  # dimensions in which a stretch has much to learn and moves are cheap


def find_schedule(
    body: StarBody,
    seed: int,
    stage: int,
    check: Callable[[], None],
    *,
    check_shell: Callable[[], None] | None = None,
    check_last: Callable[[], None] | None = None,
    share: Callable[[], float] = lambda: 0.0,
    affords: Callable[[float], bool] = lambda _: True,
    known: PilotRow | None = None,
) -> Piloted:
    """Return the schedule for a body, on the path that suits it.

    Without a cap it is the path of the radius, or that of the ellipsoid if the body is nearly one. Under a cap it is
    the shell's. A narrow body takes the path of growth. It is narrow if walls stand before the cap where it is inside.
    It is narrow, too, if no particle gets near the cap on the shell's path, or if none is inside there after many
    levels.

    Args:
        body: whose rays; called inside ``objective.running()``.
        seed, stage: key the random numbers.
        check: called before every leapfrog step; it may raise :class:`OutOfBudget` to stop.
        check_shell: the same on the path of the shell, if the grid begins far below the cap: such a body may be narrow.
        check_last: the same for a pilot without which there is no schedule: a hasty one, or one that grows.
        share: returns the share of the pilot's budget that is spent, which ends growth. A careful pilot that is late
            hurries.
        affords: returns whether the budget pays for a careful pilot that costs so many times what was spent so far.
        known: what an earlier pilot of this body found; its decisions are taken again.

    Raises:
        TooFewLevels: if no end of the path is in sight.
        OutOfBudget: if ``check`` raises it before there is a schedule.
    """
    key, last = (seed, stage), check_last or check

    def late(levels: int, most: float = _LATE) -> bool:
        return share() >= most if known is None else levels >= known.careful

    if math.isinf(body.max_radius):
        path = RadiusPath.of(body)
        if known is None:
            path = from_ellipsoid(path, *key, last, affords) or path
        elif PATHS[int(known.path)] == EllipsoidPath.name:
            path = from_ellipsoid(path, *key, last, lambda _: True) or path
        return _by_two(Pilot.run, path, body, key, (last, check), late, affords, known)
    grown = known is not None and PATHS[int(known.path)] == GrowthPath.name
    if not grown:
        short = body.first_step < _SHORT * body.max_radius
        shell = ShellPath(body, body.grid[:-1])
        if not (short and walls_inside(shell, *key)):
            checks = (check_shell, check_shell) if short and check_shell else (last, check)
            try:
                is_late = partial(late, most=_LATE_IF_SHORT) if short else late
                found = _by_two(Pilot.shrink, shell, body, key, checks, is_late, affords, known)
                if found.reaches(math.log(body.max_radius) - _NARROW):
                    return found
            except TooFewLevels:
                pass
            except OutOfBudget:
                if not short:
                    raise
    most = int(known.tried) if known is not None and grown else None
    return Pilot(GrowthPath.of(body, body.grid), body, key, last, GROWING, most).grow(share)


def _by_two(
    go: Callable[[Pilot], Piloted],
    path: Path,
    body: StarBody,
    key: tuple[int, int],
    checks: tuple[Callable[[], None], Callable[[], None]],
    is_late: Callable[[int], bool],
    affords: Callable[[float], bool],
    known: PilotRow | None,
) -> Piloted:
    """Return the schedule of the most careful pilot that the budget pays for, or that of a hasty one."""
    (check_hasty, check), hasty, begun = checks, None, body.spent.evaluations
    with suppress(TooFewLevels):
        hasty = go(Pilot(path, body, key, check_hasty, HASTY, index=_HASTY))
    wanted = MIDDLING if body.dimension in _MIDDLING else CAREFUL
    care: Care | None = None
    if known is not None:
        care = next((one for one in (MIDDLING, CAREFUL) if one.particles == known.particles), None)
    elif affords(_needs(wanted, hasty, body.spent.evaluations - begun) / body.spent.evaluations):
        care = wanted
    if care is None and hasty is not None:
        return hasty
    try:
        return go(Pilot(path, body, key, check, care or CAREFUL, is_late=is_late))
    except OutOfBudget:
        if hasty is None:
            raise
        return hasty


def _needs(care: Care, hasty: Piloted | None, spent: float) -> float:
    """Return about how many passes a careful pilot needs, by what a hasty one has found and spent; it may be lost."""
    if hasty is None:
        return _IF_LOST * care.work / HASTY.work * spent
    levels = max(len(hasty.schedule), hasty.length / care.gain)
    return care.work * levels * hasty.passes_per_level
