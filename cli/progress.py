"""While a command measures: show how far it has come, and commit what is known from time to time."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import click
from tqdm import tqdm

from landscape.results import OnProgress, Progress, Result
from landscape.store.interrupts import uninterrupted
from landscape_cli.interrupts import INTERRUPTED, check_pressed, kept_apart_from_errors
from landscape_cli.text import PERCENT, amount, duration

Kind = TypeVar("Kind", bound=Result)

COMMIT_EVERY = 2.0  #: seconds between commits, at least
COMMIT_SHARE = 0.05  #: of the time, at most, goes into commits
LOG_EVERY = 30.0  #: seconds between lines where stderr is a file
_SHARE_BAR = "{percentage:3.0f} %|{bar:8}| {desc}"


def say(params: Mapping[str, Any], line: str) -> None:
    """Print one line on stderr, unless the options say to be quiet."""
    if not params["quiet"]:
        click.echo(line, err=True)


class Interrupted(SystemExit):
    """Ctrl-C has stopped a measurement, and what was finished is kept.

    Attributes:
        latest: the partial result, if there is one.
    """

    def __init__(self, latest: Any) -> None:
        super().__init__(INTERRUPTED)
        self.latest = latest


class Committer(Generic[Kind]):
    """Commits partial results: the first at once, then seldom enough to cost next to nothing.

    Args:
        put: stores a partial result.
        clock: seconds, for tests.

    Attributes:
        latest: the partial result after the latest block; None before the first.
    """

    def __init__(self, put: Callable[[Kind], None], clock: Callable[[], float] = time.monotonic) -> None:
        self.latest: Kind | None = None
        self._put = put
        self._clock = clock
        self._due = -float("inf")
        self._kept = True

    def on_progress(self, progress: Progress[Kind]) -> None:
        """Take the partial result after one block, and commit it if it is time."""
        if not progress.news:
            return
        # The copy costs next to nothing. Taken later, on Ctrl-C, it could catch the arrays half written.
        self.latest, self._kept = progress.snapshot(), False
        if self._clock() >= self._due:
            self.commit()

    def commit(self) -> None:
        """Store what is not stored yet."""
        if self._kept or self.latest is None:
            return
        started = self._clock()
        with uninterrupted():  # a result and what goes with it belong together
            self._put(self.latest)
            self._kept = True
        ended = self._clock()
        self._due = ended + max(COMMIT_EVERY, (ended - started) / COMMIT_SHARE)


class Display:
    """Shows how many rays are done: a bar on a terminal, otherwise a line from time to time; nothing if ``quiet``."""

    def __init__(self, total: int, done: int, *, quiet: bool, unit: str = "rays") -> None:
        terminal, self._unit = sys.stderr.isatty(), unit
        silent = quiet or not terminal
        shown = {"bar_format": _SHARE_BAR} if unit == PERCENT else {"unit": f" {unit}"}
        self._bar = tqdm(total=total, initial=done, disable=silent, dynamic_ncols=True, leave=False, **shown)
        self._log = not quiet and not terminal
        self._first, self._started = done, time.monotonic()
        self._next = self._started + LOG_EVERY

    def on_progress(self, progress: Progress[Any]) -> None:
        """Show how much is done after one block."""
        self.show(progress.done, progress.total, progress.words)

    def show(self, done: int, total: int, words: str = "") -> None:
        """Show how many are done and what is going on, and stop here if Ctrl-C was pressed."""
        check_pressed()
        self._bar.total = total
        put = self._bar.set_description_str if self._unit == PERCENT else self._bar.set_postfix_str
        put(words, refresh=False)
        if done == self._bar.n:  # then the bar would not be drawn again
            self._bar.refresh()
        self._bar.update(done - self._bar.n)
        now = time.monotonic()
        if self._log and now >= self._next:
            line = progress_line(done, total, done - self._first, now - self._started, self._unit)
            click.echo(f"{line}: {words}" if words else line, err=True)
            self._next = now + LOG_EVERY

    def close(self) -> None:
        """Take the bar away."""
        self._bar.close()


def keep_measuring(
    measure: Callable[[OnProgress[Kind]], Kind],
    put: Callable[[Kind], None],
    display: Display,
    stopped: Callable[[str, Kind | None], str],
) -> tuple[Kind, bool]:
    """Return what ``measure`` returns and whether it measured anything new, and commit what is finished on the way.

    If Ctrl-C or an error stops it, what was finished by then is committed, and a line says so.

    Args:
        measure: called with the ``on_progress`` that it must call after every block.
        put: stores a partial result.
        display: shows the progress; closed at the end.
        stopped: makes the line to print from why it stopped and the latest partial result.
    """
    committer: Committer[Kind] = Committer(put)

    def on_progress(progress: Progress[Kind]) -> None:
        display.on_progress(progress)
        committer.on_progress(progress)

    try:
        with kept_apart_from_errors():
            result = measure(on_progress)
        committer.commit()
    except KeyboardInterrupt:
        display.close()
        committer.commit()
        click.echo(stopped("interrupted", committer.latest), err=True)
        raise Interrupted(committer.latest) from None
    except Exception:
        display.close()
        if committer.latest is not None:
            committer.commit()
            click.echo(stopped("stopped by an error", committer.latest), err=True)
        raise
    finally:
        display.close()
    return result, committer.latest is not None


def progress_line(done: int, total: int, measured: int, seconds: float, unit: str = "rays") -> str:
    """Return one line for a log: how many, how fast, how long still.

    >>> progress_line(400, 1000, 300, 60.0)
    '400 of 1,000 rays, 5 a second, 2 min 00 s left'
    >>> progress_line(40, 100, 30, 60.0, PERCENT)
    '40 % of the budget after 1 min 00 s'
    """
    if unit == PERCENT:
        return f"{amount(done, total, unit)} after {duration(seconds)}"
    if not measured:
        return f"no {unit} yet after {duration(seconds)}"
    rate = measured / seconds
    return f"{amount(done, total, unit)}, {rate:.3g} a second, {duration((total - done) / rate)} left"
