"""Progress on a terminal and in a log, and how often results are committed."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from landscape.results import Progress
from landscape_cli.progress import COMMIT_EVERY, COMMIT_SHARE, Committer, Display


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


def test_a_terminal_shows_a_bar_and_a_log_shows_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("landscape_cli.progress.LOG_EVERY", 0.0)
    display = Display(100, 20, quiet=False)
    display.on_progress(Progress(60, 100, lambda: None))
    display.close()
    assert "60 of 100 rays" in capsys.readouterr().err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    display = Display(100, 20, quiet=False)
    display._bar.mininterval = 0.0
    display.on_progress(Progress(60, 100, lambda: None))
    display.close()
    assert "60/100" in capsys.readouterr().err
    display = Display(100, 20, quiet=True)
    display.on_progress(Progress(60, 100, lambda: None))
    display.close()
    assert capsys.readouterr().err == ""
