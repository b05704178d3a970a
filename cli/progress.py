"""While rays are measured: show how far it is, and commit what is known now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import click
from tqdm import tqdm

from landscape.radius import Progress
from landscape.results import Radii
from landscape_cli.text import duration

COMMIT_EVERY = 2.0  #: seconds between commits, at least
COMMIT_SHARE = 0.05  #: of the time, at most, goes into commits
LOG_EVERY = 30.0  #: seconds between lines where stderr is a file


class Keeper:
    """Commits the partial result after blocks of rays: the first at once, then seldom enough to cost next to nothing.

    Args:
        put: stores a partial result.
        clock: seconds, for tests.

    Attributes:
        latest: the partial result after the last block; None before the first.
    """

    def __init__(self, put: Callable[[Radii], None], clock: Callable[[], float] = time.monotonic) -> None:
        self.latest: Radii | None = None
        self._put = put
        self._clock = clock
        self._due = -float("inf")
        self._kept = True

    def block(self, progress: Progress) -> None:
        """Take the state after one block."""
        # The copy costs next to nothing. Taken later, on Ctrl-C, it could catch the arrays half written.
        self.latest, self._kept = progress.snapshot(), False
        if self._clock() >= self._due:
            self.commit()

    def commit(self) -> None:
        """Store what is not stored yet."""
        if self._kept or self.latest is None:
            return
        started = self._clock()
        self._put(self.latest)
        self._kept = True
        ended = self._clock()
        self._due = ended + max(COMMIT_EVERY, (ended - started) / COMMIT_SHARE)


class Display:
    """Shows the rays done: a bar on a terminal, now and then a line in a log, nothing when ``quiet``."""

    def __init__(self, total: int, done: int, *, quiet: bool) -> None:
        terminal = sys.stderr.isatty()
        self._bar = tqdm(
            total=total, initial=done, unit=" rays", disable=quiet or not terminal, dynamic_ncols=True, leave=False
        )
        self._log = not quiet and not terminal
        self._first, self._started = done, time.monotonic()
        self._next = self._started + LOG_EVERY

    def block(self, progress: Progress) -> None:
        """Show the state after one block."""
        self._bar.update(progress.done - self._bar.n)
        now = time.monotonic()
        if self._log and now >= self._next:
            click.echo(
                progress_line(progress.done, progress.total, progress.done - self._first, now - self._started), err=True
            )
            self._next = now + LOG_EVERY

    def close(self) -> None:
        """Take the bar away."""
        self._bar.close()


def progress_line(done: int, total: int, measured: int, seconds: float) -> str:
    """Return one line for a log: how far, how fast, how long still.

    >>> progress_line(400, 1000, 300, 60.0)
    '400 of 1,000 rays, 5 a second, 2 min 00 s left'
    """
    rate = measured / seconds
    return f"{done:,} of {total:,} rays, {rate:.3g} a second, {duration((total - done) / rate)} left"
