"""Bad inputs end in one clear error: a part of what ``python -m benchmarks.fuzz`` runs."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from benchmarks.fuzz import Outcome, good_files, run_inputs
from benchmarks.fuzzing import files
from benchmarks.fuzzing.mutations import damaged
from helpers.islands import few_particles
from landscape_cli.commands import show

INPUTS = 150


def test_no_bad_input_ends_in_a_traceback_hangs_or_crashes(monkeypatch: pytest.MonkeyPatch) -> None:
    few_particles(monkeypatch)
    monkeypatch.setattr(files, "BUDGET", 8_000)
    with good_files() as good:
        outcomes = list(run_inputs(range(INPUTS), 0, good))
    assert [outcome.number for outcome in outcomes] == list(range(INPUTS))
    assert [f"{o.words}: {o.end}\n{o.trace}" for o in outcomes if o.bad] == []
    assert sum(outcome.end == 2 for outcome in outcomes) > INPUTS / 3  # the inputs are bad indeed


@pytest.mark.parametrize(("fault", "end"), [("raise", 1), ("hang", "hung"), ("loop", "killed"), ("die", "crashed")])
def test_faults_are_noticed(fault: str, end: int | str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that fails in each way, planted in the place of ``show``."""

    def broken(**_: object) -> None:
        if fault == "raise":
            raise ZeroDivisionError
        if fault == "loop":
            signal.signal(signal.SIGALRM, signal.SIG_IGN)
        time.sleep(60) if fault != "die" else os._exit(9)

    monkeypatch.setattr(show.command, "callback", broken)
    monkeypatch.setattr("benchmarks.fuzz.LONGEST", 0.2)
    monkeypatch.setattr("benchmarks.fuzz.PATIENCE", 0.2)
    monkeypatch.setattr("benchmarks.fuzz.make_case", lambda *_: ["show", "run.h5"])
    monkeypatch.setattr("benchmarks.fuzz.write_good_files", _few_files)
    with good_files() as good:
        outcomes: list[Outcome] = list(run_inputs(range(2), 0, good))
    assert [(outcome.end, outcome.bad) for outcome in outcomes] == [(end, True)] * 2


def _few_files(folder: Path) -> None:
    (folder / "results").mkdir()
    for name in ("net.py", "net.pt", "data.npz", "results/run.h5"):
        (folder / name).touch()


def test_damage_changes_bytes_and_follows_its_random_numbers() -> None:
    content = bytes(range(256)) * 4
    results = [damaged(content, content[::-1], random.Random(seed)) for seed in range(60)]
    assert results == [damaged(content, content[::-1], random.Random(seed)) for seed in range(60)]
    assert sum(result != content for result in results) > 50
    assert len({len(result) for result in results}) > 10
