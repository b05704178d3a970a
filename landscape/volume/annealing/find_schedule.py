"""Which path suits a body, and how carefully a pilot goes it.

A hasty pilot goes first. It tells what a careful one costs. If the budget cannot pay for that, its own schedule serves:
islands on it are as honest, and scatter more.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from landscape.errors import OutOfBudget
from landscape.results.islands import PATHS, PilotRow
from landscape.volume.annealing.care import CAREFUL, GROWING, HASTY, MIDDLING, Care
from landscape.volume.annealing.ellipsoid_path import EllipsoidPath, from_ellipsoid
from landscape.volume.annealing.growth_path import GrowthPath
from landscape.volume.annealing.look_ahead import Ahead, look_ahead
from landscape.volume.annealing.path import Path
from landscape.volume.annealing.pilot import Pilot, Piloted, TooFewLevels
from landscape.volume.annealing.radius_path import RadiusPath
from landscape.volume.annealing.shell_path import ShellPath
from landscape.volume.body.star_body import StarBody

_SHORT = 0.02  # a grid that begins at this share of the cap or below may be that of a narrow body
_BESIDE = 5.0  # times as large as otherwise must a budget be that pays for an ellipsoid beside the path of the shell
_HASTY = 1  # index of the hasty pilot's random numbers
_LATE, _LATE_IF_DOUBTFUL = 0.5, 0.15  # share of its budget after which a careful pilot hurries; if it may be in vain
_MOST_OF_RADIUS = 200  # dimensions up to which a body inside a cap takes the path of the radius, and does not grow
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

    It is the path of the ellipsoid, if the body is about an ellipsoid, or what the cap leaves of one. Otherwise, under
    a cap, the shell's path goes first, unless a look ahead shows that the cap is out of reach, or that high walls stand
    before it. A body whose particles get there takes it. A body without a cap, or that ends before it, takes the path
    of the radius. All others, and those under a cap in many dimensions, grow.

    Args:
        body: whose rays; called inside ``objective.running()``.
        seed, stage: key the random numbers.
        check: called before every leapfrog step; it may raise :class:`OutOfBudget` to stop.
        check_shell: the same on the path of the shell, if it is doubtful whether that leads to the cap.
        check_last: the same for a pilot without which there is no schedule: a hasty one, or one that grows.
        share: returns the share of the pilot's budget that is spent, which ends growth. A careful pilot that is late
            hurries.
        affords: returns whether the budget pays for a careful pilot that costs so many times what was spent so far.
        known: what an earlier pilot of this body found; its decisions are taken again.

    Raises:
        TooFewLevels: if no end of the path is in sight.
        OutOfBudget: if ``check`` raises it before there is a schedule.
    """
    return _Search(body, (seed, stage), check, check_shell or check, check_last or check, share, affords, known).find()


@dataclass(frozen=True)
class _Search:
    """The arguments of :func:`find_schedule`, and its steps."""

    body: StarBody
    key: tuple[int, int]
    check: Callable[[], None]
    check_shell: Callable[[], None]
    check_last: Callable[[], None]
    share: Callable[[], float]
    affords: Callable[[float], bool]
    known: PilotRow | None

    def find(self) -> Piloted:
        """Return the schedule."""
        body, ahead = self.body, self._ahead()
        if self._may_take(EllipsoidPath.name):
            dearer = _BESIDE if ahead is Ahead.FREE else 1.0
            ellipsoid = from_ellipsoid(
                RadiusPath.of(body), *self.key, self.check_last, lambda x: self._affords(dearer * x)
            )
            if ellipsoid is not None:
                return self._by_two(Pilot.run, ellipsoid, (self.check_last, self.check), _LATE)
        if self._may_take(ShellPath.name) and not (
            ahead is Ahead.OUT_OF_REACH or (ahead is Ahead.WALLED and self._short)
        ):
            found = self._by_shell(doubtful=self._short or ahead is Ahead.UNSURE)
            if found is not None:
                return found
        inside = ahead in (Ahead.OUT_OF_REACH, Ahead.UNSURE)
        grows = math.isfinite(body.max_radius) and (body.dimension > _MOST_OF_RADIUS or not inside)
        if self._may_take(RadiusPath.name) and (self.known or not grows):
            return self._by_two(Pilot.run, RadiusPath.of(body), (self.check_last, self.check), _LATE)
        growth = GrowthPath.of(body, body.grid)
        tried = int(self.known.tried) if self.known else None
        return Pilot(growth, body, self.key, self.check_last, GROWING, tried).grow(self.share)

    def _may_take(self, path: str) -> bool:
        """Return whether this path is the known one, or none is known yet."""
        return self.known is None or PATHS[int(self.known.path)] == path

    def _affords(self, dearer: float) -> bool:
        return self.known is not None or self.affords(dearer)

    @property
    def _short(self) -> bool:
        """Whether the grid begins far below a cap: such a body may be narrow."""
        cap = self.body.max_radius
        return math.isfinite(cap) and self.body.first_step < _SHORT * cap

    def _ahead(self) -> Ahead:
        """Return what stands between theta and the cap."""
        if math.isinf(self.body.max_radius):
            return Ahead.OUT_OF_REACH
        if self.known is not None:
            return Ahead.FREE
        affords = (lambda _: True) if self._short else self.affords  # a narrow body must be known as one
        return look_ahead(self._shell, *self.key, self.check_last, affords)

    @property
    def _shell(self) -> ShellPath:
        """The path by way of the cap."""
        return ShellPath(self.body, self.body.grid[:-1])

    def _by_shell(self, *, doubtful: bool) -> Piloted | None:
        """Return the schedule on the path of the shell; None if that does not lead to the cap, as far as is known.

        Args:
            doubtful: whether it may be in vain, so that something must be left for another path.
        """
        checks = (self.check_shell, self.check_shell) if doubtful else (self.check_last, self.check)
        try:
            late = _LATE_IF_DOUBTFUL if doubtful else _LATE
            found = self._by_two(Pilot.shrink, self._shell, checks, late, doubtful=doubtful)
        except TooFewLevels:
            return None
        except OutOfBudget:
            if not doubtful:
                raise
            return None
        return found if found.reaches(math.log(self.body.max_radius) - _NARROW) else None

    def _by_two(
        self,
        go: Callable[[Pilot], Piloted],
        path: Path,
        checks: tuple[Callable[[], None], Callable[[], None]],
        late: float,
        *,
        doubtful: bool | None = None,
    ) -> Piloted:
        """Return the schedule of the most careful pilot that the budget pays for, or that of a hasty one.

        Args:
            go: sends a pilot.
            path: where it goes.
            checks: of the hasty pilot and of the careful one.
            late: share of its budget after which the careful one hurries.
            doubtful: whether the hasty one was likely to be lost; None if there is no other path. After one that was
                lost, the careful one leaves something for the other path. If that was unlikely, it goes only if the
                budget pays for it.

        Raises:
            TooFewLevels: if both are lost, or there is another path and the budget ended the careful one.
        """
        (check_hasty, check), hasty, begun = checks, None, self.body.spent.evaluations
        with suppress(TooFewLevels):
            hasty = go(Pilot(path, self.body, self.key, check_hasty, HASTY, index=_HASTY))
        wanted = MIDDLING if self.body.dimension in _MIDDLING else CAREFUL
        care, known = None, self.known
        spent = self.body.spent.evaluations
        if known is not None:
            care = next((one for one in (MIDDLING, CAREFUL) if one.particles == known.particles), None)
        elif self.affords(_needs(wanted, hasty, spent - begun) / spent):
            care = wanted
        if care is None and hasty is not None:
            return hasty
        in_vain = hasty is None and known is None and doubtful is not None
        if in_vain:
            check, late = self.check_shell, _LATE_IF_DOUBTFUL
            if care is None and not doubtful:
                raise TooFewLevels

        def is_late(levels: int) -> bool:
            return self.share() >= late if known is None else levels >= known.careful

        try:
            return go(Pilot(path, self.body, self.key, check, care or CAREFUL, is_late=is_late))
        except OutOfBudget as error:
            if in_vain:
                raise TooFewLevels from error
            if hasty is None:
                raise
            return hasty


def _needs(care: Care, hasty: Piloted | None, spent: float) -> float:
    """Return about how many passes a careful pilot needs, by what a hasty one has found and spent; it may be lost."""
    if hasty is None:
        return _IF_LOST * care.work / HASTY.work * spent
    levels = max(len(hasty.schedule), hasty.length / care.gain)
    return care.work * levels * hasty.passes_per_level
