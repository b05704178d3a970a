"""Work that says nothing: a line after a second, after 5 and 15, then every half minute; none if told to be quiet."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from landscape_cli import heartbeat
from landscape_cli.heartbeat import Due, Heartbeat, Stage

SLOW = """
import sys, time
import landscape_cli.commands.plot as module
import landscape_cli.main as main
import click

@click.command("plot")
@click.option("-q", "--quiet", is_flag=True)
def command(quiet):
    time.sleep(1.6)
    click.echo("done")

module.command = command
main.LONG += ("plot",)
main.main()
"""


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def lines_of(stage: Stage, clock: Clock, seconds: range, err: pytest.CaptureFixture[str]) -> dict[int, str]:
    lines = {}
    for clock.now in seconds:
        stage.beat()
        if text := err.readouterr().err:
            lines[clock.now] = text
    return lines


@pytest.mark.parametrize("said", [False, True])
def test_a_stage_speaks_soon_and_then_seldom(said: bool, capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    stage = Stage("reading", said=said, clock=clock)
    stage.end()
    lines = lines_of(stage, clock, range(100), capsys)
    assert list(lines) == ([] if said else [1]) + [5, 15, 30, 60, 90]
    assert lines[5] == "reading, 5 s so far\n"
    assert lines[60] == "reading, 60 s so far\n"
    if not said:
        assert lines[1] == "reading\n"


def test_lines_stay_half_a_minute_apart_after_one_that_came_late() -> None:
    due = Due(0.0)
    assert [due.after(now) for now in (0.5, 2.0, 7.0, 29.9, 47.0)] == [1.0, 5.0, 15.0, 30.0, 60.0]


def test_a_heart_beats_in_its_own_thread_until_it_is_stopped() -> None:
    beaten = threading.Event()
    heart = Heartbeat(beaten.set, every=0.001)
    assert beaten.wait(5)
    heart.stop()
    beaten.clear()
    time.sleep(0.02)
    assert not beaten.is_set()


def test_a_new_stage_ends_the_old_one() -> None:
    heartbeat.be_quiet(False)
    before = threading.active_count()
    heartbeat.stage("one")
    heartbeat.stage("two")
    assert threading.active_count() == before + 1
    heartbeat.end()
    assert threading.active_count() == before
    heartbeat.be_quiet(True)
    heartbeat.stage("three")
    assert threading.active_count() == before
    heartbeat.be_quiet(False)


@pytest.mark.parametrize("quiet", [False, True])
def test_a_slow_start_is_said_after_a_second(quiet: bool, tmp_path: Path) -> None:
    began = time.monotonic()
    command = [sys.executable, "-c", SLOW, "plot", *(["-q"] if quiet else [])]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)
    assert process.stderr is not None
    first = process.stderr.readline()
    seconds = time.monotonic() - began
    out, rest = process.communicate(timeout=30)
    assert out == "done\n"
    assert (first, rest) == (("", "") if quiet else ("loading\n", ""))
    assert quiet or seconds < 5  # one, and the start of Python on a busy machine


def test_no_long_command_is_forgotten() -> None:
    from landscape_cli.main import COMMANDS, LONG

    assert set(COMMANDS) - set(LONG) == {"show", "plot", "completion"}
    assert re.fullmatch(r"[a-z, ]+", ", ".join(LONG))
