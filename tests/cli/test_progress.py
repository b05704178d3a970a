"""Progress on a terminal and in a log, and how often results are committed."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from landscape.results import Progress
from landscape_cli.progress import COMMIT_EVERY, COMMIT_SHARE, Committer, Display
from landscape_cli.text import PERCENT


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_commits_are_seldom_and_cost_little() -> None:
    """The first block is committed at once, then at most every 2 s and for at most a twentieth of the time."""
    clock, commits = Clock(), []
    cost = 0.5

    def put(radii: Any) -> None:
        commits.append((clock.now, radii))
        clock.now += cost

    committer = Committer(put, clock)
    for block in range(4000):
        clock.now += 0.1
        committer.on_progress(Progress(block, 4000, lambda block=block: block))
    times = np.array([at for at, _ in commits])
    assert times[0] == pytest.approx(0.1)
    assert np.diff(times).min() >= COMMIT_EVERY
    assert len(commits) * cost / clock.now <= COMMIT_SHARE * 1.05
    assert len(commits) > 30
    committer.commit()
    committer.commit()
    assert commits[-1][1] == 3999
    assert [radii for _, radii in commits].count(3999) == 1


def test_a_log_shows_lines_that_are_due(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("landscape_cli.heartbeat.FIRST", (0.0,))
    display = Display(100, 20, quiet=False)
    display.on_progress(Progress(60, 100, lambda: None, "going well"))
    display.on_progress(Progress(80, 100, lambda: None))  # half a minute later at the earliest
    display.close()
    err = capsys.readouterr().err
    assert err.startswith("60 of 100 rays, ")
    assert err.endswith(" left: going well\n")
    assert err.count("\n") == 1


def test_work_that_says_nothing_has_lines_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("landscape_cli.heartbeat.FIRST", (0.0,))
    monkeypatch.setattr("landscape_cli.progress._PATIENCE", 0.0)
    clock = Clock()
    monkeypatch.setattr("landscape_cli.progress.time.monotonic", clock)
    display = Display(3, 1, quiet=False, unit="measures", words="llc", limit=60)
    display.close()
    clock.now = 11.0
    display._beat()
    assert capsys.readouterr().err == "1 of 3 measures, at most 49.0 s left: llc\n"


def test_the_time_left_of_a_budget_counts_from_the_share_at_its_begin(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rays have spent 40 % before this stage begins; then 10 % take 5 s, so 50 % take 25 s."""
    clock = Clock()
    monkeypatch.setattr("landscape_cli.progress.time.monotonic", clock)
    display = Display(100, 0, quiet=False, unit=PERCENT)
    display.close()
    display.show(40, 100, "pilot")
    clock.now = 5.0
    display.show(50, 100, "pilot")
    assert capsys.readouterr().err == "50 % of the budget, 25.0 s left: pilot\n"


def test_a_terminal_shows_a_bar_and_quiet_shows_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    display = Display(100, 20, quiet=False)
    display._bar.mininterval = 0.0
    display.on_progress(Progress(60, 100, lambda: None))
    display._beat()
    display.close()
    err = capsys.readouterr().err
    assert "60/100" in err
    assert err.endswith("\r")  # nothing remains
    display = Display(100, 20, quiet=True)
    display.on_progress(Progress(60, 100, lambda: None))
    display.close()
    assert capsys.readouterr().err == ""
