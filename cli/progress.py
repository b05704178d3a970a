"""While a command measures: show how far it has come, and commit what is known from time to time."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import click
from tqdm import tqdm

from landscape.results import OnProgress, Progress, Result
from landscape.results.table import in_width
from landscape.store.interrupts import uninterrupted
from landscape_cli.heartbeat import Due, Heartbeat, end
from landscape_cli.interrupts import INTERRUPTED, check_pressed, kept_apart_from_errors
from landscape_cli.text import PERCENT, amount, duration

Kind = TypeVar("Kind", bound=Result)

COMMIT_EVERY = 2.0  #: seconds between commits, at least
COMMIT_SHARE = 0.05  #: of the time, at most, goes into commits
_BEAT = 1.0  # seconds between two looks at the clock
_PATIENCE = 0.5  # seconds that work may be late before a line is written for it
_AT_MOST = "at most"  # how the unit of a limit ends
_SHARE_BAR = "{percentage:3.0f} %|{bar:8}| {desc}"


def say(params: Mapping[str, Any], line: str) -> None:
    """Print one line on stderr, unless the options say to be quiet. A stage that was going on has ended."""
    end()
    if not params["quiet"]:
        click.echo(in_width(line), err=True)


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
    """Shows how much is done: a bar on a terminal, otherwise a line in time; nothing if ``quiet``.

    A line says how much of how much, how fast, how long still and what is going on. The first comes after a second.
    Work that says nothing for long does not stop the lines.

    Args:
        total: how much there is to do.
        done: how much of it is done already.
        quiet: show nothing.
        unit: of both; :data:`landscape_cli.text.PERCENT` for shares of a budget.
        words: what is going on at first.
        limit: seconds after which the work ends at the latest; for parts that take unlike times, so that their number
            says nothing of the time left.
    """

    def __init__(
        self,
        total: float,
        done: float,
        *,
        quiet: bool,
        unit: str = "rays",
        words: str = "",
        limit: float = math.inf,
    ) -> None:
        end()  # a stage before it
        self.on_terminal = sys.stderr.isatty()
        self._unit, self._words, self._total, self._done, self._limit = unit, words, total, done, limit
        self._log = not quiet and not self.on_terminal
        shown = {"bar_format": _SHARE_BAR} if unit == PERCENT else {"unit": f" {unit}"}
        silent = quiet or not self.on_terminal
        self._bar = tqdm(total=total, initial=done, disable=silent, dynamic_ncols=True, leave=False, **shown)
        self._due = Due(time.monotonic())
        self._first, self._since = done, self._due.began
        self._starts = unit == PERCENT  # how much of a budget is spent is known from the first block on
        self._lock = threading.Lock()
        self._heart = None if quiet else Heartbeat(self._beat, _BEAT)

    def on_progress(self, progress: Progress[Any]) -> None:
        """Show how much is done after one block."""
        self.show(progress.done, progress.total, progress.words)

    def show(self, done: float, total: float, words: str = "") -> None:
        """Show how many are done and what is going on, and stop here if Ctrl-C was pressed."""
        check_pressed()
        with self._lock:
            if self._starts or done < self._done:  # a second piece of work counts from its own begin
                self._first, self._since, self._starts = done, time.monotonic(), False
            new = words != self._words
            self._done, self._total, self._words = done, total, words
            self._bar.total = total
            put = self._bar.set_description_str if self._unit == PERCENT else self._bar.set_postfix_str
            put(words, refresh=False)
            self._bar.update(done - self._bar.n)
            if new or not done:  # an update alone draws the bar only if it moves, and not too often
                self._bar.refresh()
            self._say_if_due()

    @property
    def due(self) -> bool:
        """Whether a line is due, so that what it says has to be known."""
        return self._log and time.monotonic() >= self._due.at

    def close(self) -> None:
        """Take the bar away."""
        if self._heart is not None:
            self._heart.stop()
        self._bar.close()

    def _beat(self) -> None:
        """Let time pass on the bar, or say how far the work has come although it says nothing."""
        with self._lock:
            if self.on_terminal:
                self._bar.refresh()
            elif time.monotonic() >= self._due.at + _PATIENCE:
                self._say_if_due()

    def _say_if_due(self) -> None:
        now = time.monotonic()
        if not self._log or now < self._due.at:
            return
        if math.isfinite(self._limit):
            left = max(0.0, self._limit - (now - self._due.began))
            line = f"{amount(self._done, self._total, self._unit)}, at most {duration(left)} left"
        else:
            line = progress_line(self._done, self._total, self._done - self._first, now - self._since, self._unit)
        click.echo(in_width(f"{line}: {self._words}" if self._words else line), err=True)
        self._due.after(now)


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


def progress_line(done: float, total: float, measured: float, seconds: float, unit: str = "rays") -> str:
    """Return one line for a log: how many, how fast, how long still.

    >>> progress_line(400, 1000, 300, 60.0)
    '400 of 1,000 rays, 5 a second, 2 min 00 s left'
    >>> progress_line(2.5, 10, 2.5, 60.0, "nets")
    '2.5 of 10 nets, 24.0 s each, 3 min 00 s left'
    >>> progress_line(40, 100, 30, 60.0, PERCENT), progress_line(0, 100, 0, 31.0, "hits")
    ('40 % of the budget, 2 min 00 s left', 'no hits yet after 31.0 s')
    >>> progress_line(0, 100, 0, 2.0, PERCENT)
    '0 % of the budget after 2.0 s'
    """
    if not measured:
        if done:
            return amount(done, total, unit)
        nothing = amount(0, total, unit) if unit == PERCENT else f"no {unit} yet"
        return f"{nothing} after {duration(seconds)}"
    parts = [amount(done, total, unit)]
    rate = measured / seconds
    if unit != PERCENT:
        parts.append(rate_text(rate))
    if done < total:
        parts.append(f"{'at most ' if unit.endswith(_AT_MOST) else ''}{duration((total - done) / rate)} left")
    return ", ".join(parts)


def rate_text(rate: float) -> str:
    """Return how fast work goes, from units per second.

    >>> rate_text(3110.2), rate_text(4.333), rate_text(0.05)
    ('3,110 a second', '4.33 a second', '20.0 s each')
    """
    if rate < 1:
        return f"{duration(1 / rate)} each"
    return f"{rate:,.0f} a second" if rate >= 100 else f"{rate:.3g} a second"
