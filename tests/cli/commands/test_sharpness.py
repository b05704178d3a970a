"""``landscape sharpness`` as a user types it, and its results in ``landscape show`` and ``landscape plot``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import landscape as ls
from helpers.commands import flat, make_task, run, trained_weights

SMALL = "--task my_task.py"
OWN = """
import landscape as ls

@ls.measure("weight-norm", larger="flatter", invariant=("permutation",))
def weight_norm(objective, draws):
    return float(objective.theta.norm())

def plain(objective, draws):
    return 0.0
"""


@pytest.fixture
def objective() -> ls.Objective:
    task = make_task()
    task.model.load_state_dict(trained_weights())
    return ls.Objective(task.model, task.data, task.loss)


def test_the_command_prints_what_the_library_measures(here: Path, objective: ls.Objective) -> None:
    done = run(f"sharpness ckpt.pt {SMALL} --measures trace,average-case --rho 0.05,0.1 --out run.h5")
    table = ls.sharpness(objective, ["trace", "average-case"], rho=[0.05, 0.1])
    for line in table.table().splitlines():
        assert line in done.stdout
    assert ls.Store("run.h5").names() == [
        "sharpness-average-case_0.05", "sharpness-average-case_0.1", "sharpness-trace",
    ]  # fmt: skip
    stored = ls.Store("run.h5")["sharpness-average-case_0.1"]
    assert isinstance(stored, ls.Measure)
    assert stored.value == table["average-case@0.1"].value
    assert "average-case" in run("show run.h5").stdout


def test_json_is_strict_and_has_every_measure(here: Path) -> None:
    done = run(f"sharpness ckpt.pt {SMALL} --measures trace,average-case --json -q")
    table = json.loads(done.stdout)["ckpt"]
    assert set(table) == {"trace", "average-case"}
    assert table["trace"]["verdict"] == "exact"


def test_a_run_is_continued_and_protected(here: Path) -> None:
    run(f"sharpness ckpt.pt {SMALL} --measures trace --out run.h5 -q")
    again = run(f"sharpness ckpt.pt {SMALL} --measures trace --out run.h5", code=2)
    assert "--resume to keep" in flat(again.stderr)
    run(f"sharpness ckpt.pt {SMALL} --measures trace,lambda-max --out run.h5 --resume -q")
    assert ls.Store("run.h5").names() == ["sharpness-lambda-max", "sharpness-trace"]
    run(f"sharpness ckpt.pt {SMALL} --measures distance --out run.h5 --resume -q")  # fails for want of --start
    failed = run(f"sharpness ckpt.pt {SMALL} --measures trace,distance --out run.h5 --resume -q")
    assert "needs the parameters at the start" in flat(failed.stdout)
    other = run(f"sharpness ckpt.pt {SMALL} --measures trace --seed 1 --out run.h5 --resume", code=2)
    assert "seed: stored 0, asked 1" in other.stderr


def test_a_stored_eigenvalue_is_used_again(here: Path) -> None:
    run(f"curvature ckpt.pt {SMALL} --top 1 --out run.h5 -q")
    run(f"sharpness ckpt.pt {SMALL} --measures lambda-max --out run.h5 -q")
    measure, pairs = (ls.Store("run.h5")[name] for name in ("sharpness-lambda-max", "hessian-eigenpairs"))
    assert isinstance(measure, ls.Measure)
    assert isinstance(pairs, ls.Eigenpairs)
    assert (measure.value, measure.cost.evaluations) == (pairs.values[0], 0)
    run(f"sharpness ckpt.pt {SMALL} --measures lambda-max --metric adaptive --out other.h5 -q")
    other = ls.Store("other.h5")["sharpness-lambda-max"]
    assert isinstance(other, ls.Measure)
    assert other.cost.evaluations > 0


def test_several_checkpoints_make_a_table_and_a_figure(here: Path) -> None:
    for step, factor in ((100, 0.5), (20, 1.5)):
        torch.save({name: factor * value for name, value in trained_weights().items()}, here / f"step-{step}.pt")
    done = run(f"sharpness step-100.pt step-20.pt {SMALL} --measures trace,average-case --out run.h5 -q")
    assert done.stdout.splitlines()[0].split() == ["measure", "step-100", "step-20"]
    measure = ls.Store("run.h5")["step-20-sharpness-trace"]
    assert isinstance(measure, ls.Measure)
    assert measure.config["step"] == 20
    assert "run-sharpness.png" in run("plot run.h5").stdout


def test_measures_of_ones_own_file(here: Path) -> None:
    (here / "own.py").write_text(OWN)
    done = run(f"sharpness ckpt.pt {SMALL} --measures own.py:weight_norm,trace -q")
    assert "weight-norm" in done.stdout
    refused = run(f"sharpness ckpt.pt {SMALL} --measures own.py:plain", code=2)
    assert "own.py:plain is no measure" in flat(refused.stderr)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--measures sharp", "the measure 'sharp' is not known"),
        ("--rho 0", "expected positive numbers"),
        ("--rho 0.1,x", "expected positive numbers"),
        ("--budget soon", "Invalid budget 'soon'"),
        ("--resume", "Add --out run.h5"),
    ],
)
def test_misuse_is_one_line_and_exit_code_2(here: Path, options: str, words: str) -> None:
    assert words in flat(run(f"sharpness ckpt.pt {SMALL} {options}", code=2).stderr)


def test_the_same_checkpoint_twice_is_refused(here: Path) -> None:
    assert "named twice" in run(f"sharpness ckpt.pt ckpt.pt {SMALL}", code=2).stderr


def test_a_failed_measure_is_taken_again_once_its_cause_is_mended(here: Path) -> None:
    own = OWN.replace("weight-norm", "my-norm")
    (here / "mine.py").write_text(own.replace("float", "missing"))
    broken = run(f"sharpness ckpt.pt {SMALL} --measures mine.py:weight_norm,trace --out run.h5 -q")
    assert "mine.py, line 6, in weight_norm: NameError" in flat(broken.stdout)
    (here / "mine.py").write_text(own)
    run(f"sharpness ckpt.pt {SMALL} --measures mine.py:weight_norm,trace --out run.h5 --resume -q")
    measure = ls.Store("run.h5")["sharpness-my-norm"]
    assert isinstance(measure, ls.Measure)
    assert measure.value > 0


def test_the_distance_is_that_to_the_checkpoint_of_the_start(here: Path, objective: ls.Objective) -> None:
    start = {name: value + 0.1 for name, value in trained_weights().items()}
    torch.save(start, "start.pt")
    done = run(f"sharpness ckpt.pt {SMALL} --measures distance --start start.pt --scope all --json -q")
    found = json.loads(done.stdout)["ckpt"]["distance"]["value"]
    assert found == pytest.approx(0.1 * objective.layout.size**0.5, rel=1e-5)


def test_ctrl_c_says_what_is_kept_and_how_to_go_on(here: Path) -> None:
    (here / "own.py").write_text(
        OWN.replace("return 0.0", "raise KeyboardInterrupt").replace(
            "def plain", '@ls.measure("stopped", larger="flatter")\ndef plain'
        )
    )
    done = run(f"sharpness ckpt.pt {SMALL} --measures trace,own.py:plain --out run.h5 -q", code=130)
    assert "interrupted after 0 of 1 checkpoints, kept in run.h5; continue with: landscape sharpness" in done.stderr
    assert ls.Store("run.h5").names() == ["sharpness-trace"]
