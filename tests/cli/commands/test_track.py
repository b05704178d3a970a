"""``landscape track`` as a user types it, and its file in ``landscape show`` and ``landscape plot``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import landscape as ls
from helpers.commands import flat, make_task, run, trained_weights
from landscape.results import Snapshot

TASK = "--task my_task.py"
LIGHTNING = {"pytorch-lightning_version": "2.4.0"}
FEW = "--measure loss --measure trace"


@pytest.fixture
def ckpts(here: Path) -> str:
    """Three checkpoints of a run, which the shell lists in another order than that of their steps."""
    for step, factor in ((1000, 1.0), (200, 0.7), (30, 0.4)):
        save({name: factor * value for name, value in trained_weights().items()}, here / f"step={step}.ckpt")
    return "step=1000.ckpt step=200.ckpt step=30.ckpt"


def save(weights: dict[str, torch.Tensor], path: Path, **more: Any) -> None:
    torch.save({"state_dict": weights, **more}, path)


def stored(name: str) -> Snapshot:
    snapshot = ls.Store("run.h5")[name]
    assert isinstance(snapshot, Snapshot)
    return snapshot


def test_one_row_per_step_in_the_order_of_the_steps(here: Path, ckpts: str) -> None:
    done = run(
        f"track {ckpts} {TASK} {FEW} --measure radius --cutoff 1 --directions 8 --out run.h5 --figure run.svg -q"
    )
    head, *rows = [line.split() for line in done.stdout.splitlines() if line[:6].strip().isdigit() or "step" in line]
    assert head == ["step", "loss", "trace", "radius"]
    assert [row[0] for row in rows[:3]] == ["30", "200", "1000"]
    assert "steps: from the file name" in done.stdout
    task = make_task()
    task.model.load_state_dict(trained_weights())
    objective = ls.Objective(task.model, task.data, task.loss)
    measures = stored("track-step-1000").measures
    assert measures["loss"].value == objective.centre
    assert measures["trace"].value == ls.sharpness(objective, "trace")["trace"].value
    assert "<svg" in Path("run.svg").read_text()
    shown = run("show run.h5").stdout
    assert "== training run, 3 snapshots ==" in shown
    assert done.stdout.splitlines()[1] in shown
    assert max(map(len, shown.splitlines()[1:])) <= 80  # the first line holds a path
    assert "run-sharpness.png" in run("plot run.h5").stdout


def test_steps_are_read_from_the_checkpoints_first(here: Path) -> None:
    for step, name in ((7, "a"), (3, "b")):
        save(trained_weights(), here / f"{name}{step + 90}.ckpt", global_step=step, epoch=0, **LIGHTNING)
    done = run(f"track a97.ckpt b93.ckpt {TASK} --measure loss --out run.h5 -q")
    assert "steps: from the checkpoint" in done.stdout
    assert [(stored(name).step, stored(name).epoch) for name in ls.Store("run.h5")] == [(7, 1.0), (3, 1.0)]


def test_without_any_step_the_order_counts(here: Path) -> None:
    for name in ("first", "last"):
        torch.save(trained_weights(), here / f"{name}.pt")
    done = run(f"track first.pt last.pt {TASK} --measure loss --out run.h5 -q")
    assert done.stdout.splitlines()[0].split() == ["checkpoint", "loss"]
    assert "steps: from the order typed" in done.stdout


def test_a_run_is_protected_and_continued(here: Path, ckpts: str) -> None:
    first, *others = ckpts.split()
    run(f"track {first} {TASK} --measure loss --measure distance --out run.h5 -q")
    refused = run(f"track {first} {TASK} --measure loss --out run.h5", code=2)
    assert "--resume to keep" in flat(refused.stderr)
    other = run(f"track {first} {TASK} --measure loss --seed 1 --out run.h5 --resume", code=2)
    assert "seed: stored 0, asked 1" in other.stderr
    before = stored("track-step-1000").seconds[0]
    done = run(f"track {ckpts} {TASK} {FEW} --budget 20s --out run.h5 --resume -q")
    kept = stored("track-step-1000")
    assert kept.names == ("loss", "distance", "trace")
    assert kept.seconds[0] == before
    assert kept.measures["distance"].verdict == "failed"
    assert len(ls.Store("run.h5").names()) == 1 + len(others)
    assert "distance at step 1,000: the distance needs the parameters at the start" in flat(done.stdout)


STOPS = """
import landscape as ls
calls = []

@ls.measure("stops", larger="sharper")
def stops(objective, draws):
    calls.append(1)
    if len(calls) == 2:
        raise KeyboardInterrupt
    return 1.0
"""


def test_ctrl_c_keeps_what_is_finished_and_says_how_to_go_on(here: Path, ckpts: str) -> None:
    (here / "mine.py").write_text(STOPS)
    line = f"track {ckpts} {TASK} --measure loss --measure mine.py:stops --out run.h5"
    done = run(f"{line} -q", code=130)
    assert f"interrupted after 1 of 3 checkpoints, kept in run.h5; continue with: landscape {line}" in flat(done.stderr)
    assert stored("track-step-1000").names == ("loss", "stops")
    assert stored("track-step-200").names == ("loss",)
    run(f"{line} --resume -q", code=130)  # its second call is that of the last checkpoint
    run(f"{line} --resume -q")
    assert stored("track-step-30").names == stored("track-step-200").names == ("loss", "stops")


def test_json_is_strict(here: Path, ckpts: str) -> None:
    done = run(f"track {ckpts} {TASK} --measure loss,distance --json -q")
    found = json.loads(done.stdout)["step-30"]
    assert found["step"] == 30
    assert found["values"][1] is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--measure sharp", "the measure 'sharp' is not known. Pass loss, accuracy, radius"),
        ("--figure run.gif", "is written as one of png, svg, pdf"),
        ("--measure log-volume --cutoff 1 --cutoff 2", "takes one cutoff, and 2 arrived"),
        ("--budget soon", "Invalid budget 'soon'"),
        ("--resume", "Add --out run.h5"),
    ],
)
def test_misuse_is_one_line_and_exit_code_2(here: Path, options: str, words: str) -> None:
    assert words in flat(run(f"track ckpt.pt {TASK} {options}", code=2).stderr)
