"""What a command is doing, said in time: after a second, after 5 and 15, then every half minute.

Long work says nothing by itself: an import, a large checkpoint, one eigenvalue search. A thread speaks for it.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

import click

FIRST = (1.0, 5.0, 15.0)  #: seconds after which the first lines are due
EVERY = 30.0  #: seconds between all further lines
_BEAT = 0.25  # seconds between two looks at the clock


class Due:
    """When the next line is due: soon at first, later seldom.

    Args:
        now: the time of the beginning.

    >>> due = Due(100.0)
    >>> due.at, due.after(102.0), due.after(129.0), due.after(130.0)
    (101.0, 105.0, 130.0, 160.0)
    """

    def __init__(self, now: float) -> None:
        self.began = now
        self.at = now + FIRST[0]

    def after(self, now: float) -> float:
        """Set and return when the next line is due, if something was said now."""
        gone = now - self.began
        every = EVERY * (math.floor(gone / EVERY) + 1) if EVERY > 0 else gone
        self.at = self.began + min([first for first in FIRST if first > gone] + [every])
        return self.at


class Heartbeat:
    """Calls a function again and again in a thread of its own, until it is stopped."""

    def __init__(self, beat: Callable[[], None], every: float = _BEAT) -> None:
        self._stopped = threading.Event()
        self._beat, self._every = beat, every
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let no further call begin, and wait for one that has begun."""
        self._stopped.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(self._every):
            self._beat()


class Stage:
    """What is going on while nothing can be counted: a line once it takes more than a second.

    Args:
        words: such as ``loading``.
        said: whether a line has said so already.
        clock: seconds, for tests.
    """

    def __init__(self, words: str, *, said: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self._words, self._clock, self._said = words, clock, said
        self._due = Due(clock())
        if said:
            self._due.at = self._due.began + FIRST[1]
        self._heart = Heartbeat(self.beat)

    def beat(self) -> None:
        """Say the stage if it is time."""
        now = self._clock()
        if now >= self._due.at:
            far = f", {now - self._due.began:.0f} s so far" if self._said else ""
            click.echo(f"{self._words}{far}", err=True)
            self._said = True
            self._due.after(now)

    def end(self) -> None:
        """Say nothing more."""
        self._heart.stop()


_stages: list[Stage] = []
_quiet: list[bool] = []


def stage(words: str, *, said: bool = False) -> None:
    """Begin a stage of the command; the one before it has ended. Arguments as for :class:`Stage`."""
    end()
    if not _quiet:
        _stages.append(Stage(words, said=said))


def end() -> None:
    """End the stage that is going on, if there is one."""
    while _stages:
        _stages.pop().end()


def be_quiet(quiet: bool) -> None:
    """Say nothing of any stage from now on, or do."""
    _quiet[:] = [True] if quiet else []
