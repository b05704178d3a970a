"""``landscape slice`` as a user types it, and its results in ``landscape show`` and ``landscape plot``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import landscape as ls
from helpers.commands import flat, make_task, run, strict, trained_weights
from helpers.stores import assert_same_arrays
from landscape.slices.point_values import PointEvaluator

SMALL = "ckpt.pt --task my_task.py --steps 7"


@pytest.fixture
def here(here: Path) -> Path:
    """A working folder with the checkpoint, the task, and three more checkpoints."""
    for number in (1, 2, 3):
        torch.manual_seed(number)
        moved = {name: tensor + 0.3 * torch.randn_like(tensor) for name, tensor in trained_weights().items()}
        torch.save(moved, here / f"other{number}.pt")
    return here


def objective(scope: str = "weights") -> ls.Objective:
    task = make_task()
    task.model.load_state_dict(trained_weights())
    return ls.Objective(task.model, task.data, task.loss, scope=scope)


def held(name: str) -> Any:
    return ls.Store("run.h5")[name]


def test_a_line(here: Path) -> None:
    done = run(f"slice {SMALL} --curvature --seed 3 --out run.h5")
    expected = ls.slice_1d(objective(), steps=7, seed=3, curvature=True)
    for key, array in expected.arrays().items():
        np.testing.assert_array_equal(held("line-random").arrays()[key], array)
    assert str(expected) in done.stdout
    assert "scope weights, n = 32 of 42 parameters" in done.stderr
    assert held("line-random").config["checkpoint"] == "ckpt.pt"


def test_a_plane(here: Path) -> None:
    run(f"slice {SMALL} --dim 2 --directions li2018 --orthogonal --span 0.5 --out run.h5 -q")
    expected = ls.slice_2d(objective(), directions="li2018", steps=7, span=0.5, orthogonal=True)
    np.testing.assert_array_equal(held("plane-li2018").loss, expected.loss)


def test_toward_another_checkpoint_takes_every_parameter(here: Path) -> None:
    run(f"slice {SMALL} --directions toward other1.pt --out run.h5 -q")
    line = held("line-toward")
    assert line.config["scope"] == "all"
    task = make_task()
    task.model.load_state_dict(torch.load("other1.pt"))
    there = ls.Objective(task.model, task.data, task.loss)
    assert line.loss[-1] == pytest.approx(there.centre, rel=1e-5)
    done = run(f"slice {SMALL} --directions toward other1.pt --scope weights", code=2)
    assert "Pass --scope all" in done.output


def test_planes_through_checkpoints(here: Path) -> None:
    run(f"slice {SMALL} --dim 2 --directions toward other1.pt other2.pt --out run.h5 -q")
    done = run(f"slice {SMALL} --directions pca other1.pt other2.pt other3.pt --out run.h5")
    assert "of the variance of the checkpoints" in done.stdout
    assert ls.Store("run.h5").names() == ["plane-pca", "plane-toward"]
    assert held("plane-pca").points.shape == (4, 2)


@pytest.mark.parametrize("line", ["ckpt.pt other1.pt other2.pt", "ckpt.pt other1.pt ckpt.pt other2.pt"])
def test_a_training_run_is_drawn_in_the_order_of_the_files(here: Path, line: str) -> None:
    """CHECKPOINT is the first of the run, unless it is typed again at its place."""
    first, *others = line.split()
    order = others if first in others else [first, *others]
    run(f"slice {first} --task my_task.py --steps 7 --directions pca {' '.join(others)} --out run.h5 -q")
    points = torch.from_numpy(held("plane-pca").points)
    weights = torch.stack([torch.cat([t.flatten() for t in torch.load(name).values()]) for name in order]).double()
    torch.testing.assert_close(torch.cdist(points, points), torch.cdist(weights, weights), rtol=1e-4, atol=1e-4)
    assert not points[order.index(first)].any()


def test_along_the_eigenvectors_of_the_hessian(here: Path) -> None:
    done = run(f"slice {SMALL} --directions hessian --metric layer --span 0.2 --curvature --out run.h5")
    expected = ls.slice_1d(objective(), direction="hessian", metric="layer", steps=7, span=0.2, curvature=True)
    np.testing.assert_array_equal(held("line-hessian").curvature, expected.curvature)
    assert held("line-hessian").curvature[3] == pytest.approx(held("line-hessian").config["eigenvalues"][0], rel=1e-4)
    assert "note: eigenvalues of the Hessian along the axes" in done.stdout
    assert "first the eigenvectors: at most 500 Hessian products" in done.stderr
    assert "run-line-hessian.png" in run("plot run.h5 --out figures").stdout
    run(f"slice {SMALL} --directions hessian --dim 2 --out run.h5 -q")
    run(f"slice {SMALL} --directions hessian --dim 2 --out run.h5 --resume -q")
    assert ls.Store("run.h5").names() == ["line-hessian", "plane-hessian"]


def test_json_is_one_strict_object(here: Path) -> None:
    for more in ("", " --dim 2"):
        found = strict(run(f"slice {SMALL} --json{more}").stdout)
        assert found.keys() >= {"metric", "seed", "steps", "span", "scope", "loss", "accuracy", "x", "done", "centre"}
        assert np.shape(found["loss"]) == ((7, 7) if more else (7,))


def test_interrupted_and_resumed_to_the_same_bits(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = f"slice {SMALL} --dim 2 --memory 60kB"
    run(f"{whole} --out whole.h5")
    calls = 0
    measure = PointEvaluator.measure

    def interrupted(self: PointEvaluator, points: torch.Tensor) -> Any:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise KeyboardInterrupt
        return measure(self, points)

    with monkeypatch.context() as patch:
        patch.setattr(PointEvaluator, "measure", interrupted)
        done = run(f"{whole} --out run.h5", code=130)
    assert "kept in run.h5; continue with: landscape slice ckpt.pt" in done.output
    partial = held("plane-random")
    assert 0 < partial.done.sum() < 7
    assert "continue with: landscape slice ckpt.pt" in flat(run("show run.h5").stdout)
    assert f"{partial.done.sum()} of 7 rows" in run("show run.h5").stdout
    assert "already holds an unfinished slice called plane-random" in run(f"{whole} --out run.h5", code=2).output
    run(f"{whole} --out run.h5 --resume")
    assert_same_arrays(held("plane-random"), ls.Store("whole.h5")["plane-random"])
    assert "other settings" in run(f"{whole} --seed 1 --out run.h5 --resume", code=2).output
    run(f"{whole} --seed 1 --out run.h5 --overwrite")
    assert held("plane-random").config["seed"] == 1


def test_the_printed_command_is_complete(here: Path) -> None:
    run(f"slice {SMALL} --directions toward other1.pt --out run.h5 -q")
    command = held("line-toward").config["command"]
    typed = "--task my_task.py --directions toward --steps 7 --out run.h5"
    assert command == f"landscape slice ckpt.pt other1.pt {typed} --resume"
    run(command.removeprefix("landscape "))


def test_export_from_a_finished_run_measures_nothing(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(f"slice {SMALL} --dim 2 --out run.h5 -q")
    monkeypatch.setattr(PointEvaluator, "measure", lambda *_: pytest.fail("nothing was to be measured"))
    done = run(f"slice {SMALL} --dim 2 --out run.h5 --resume --export plane.vts --export plane.vtp")
    assert "wrote plane.vts" in done.stderr
    assert Path("plane.vts").stat().st_size > 1000
    assert Path("plane.vtp").stat().st_size > 1000


def test_plot_draws_what_there_is(here: Path) -> None:
    run(f"slice {SMALL} --out run.h5 -q")
    run("plot run.h5 --out one.svg")
    run(f"slice {SMALL} --dim 2 --out run.h5 -q")
    done = run("plot run.h5 --out figures --format pdf")
    names = {f"run-{name}.pdf" for name in (
        "line-random", "plane-random-contour", "plane-random-filled", "plane-random-surface", "plane-random-accuracy",
    )}  # fmt: skip
    assert {path.name for path in Path("figures").iterdir()} == names
    assert all(name in done.stdout for name in names)
    assert "2 results" in run("plot run.h5 --out two.png", code=2).output


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--span 0", "span = 0 makes no slice"),
        ("--steps 50", "Pass --steps 51"),
        ("--directions sideways", "'sideways' is not one of"),
        ("--dim 2 --curvature", "Type --dim 1"),
        ("--orthogonal", "Type --dim 2"),
        ("--export plane.vts", "Type --dim 2"),
        ("--dim 2 --export plane.stl", "Use one of .vts, .vtp, .html"),
        ("--dim 2 --export missing/plane.vts", "there is no folder missing"),
        ("--recalibrate-bn", "no BatchNorm layer"),
        ("--resume", "Add --out run.h5"),
        ("other1.pt", "'random' uses none"),
        ("--directions toward", "one other; 0 others given"),
        ("--directions toward other1.pt other2.pt", "Type --dim 2"),
        ("--directions toward missing.pt", "missing.pt"),
        ("--directions pca other1.pt", "at least 3 checkpoints"),
        ("--directions toward small.pt", "small.pt"),
    ],
)
def test_misuse_is_one_clear_error(here: Path, line: str, message: str) -> None:
    torch.save({"0.weight": torch.zeros(3, 2)}, here / "small.pt")
    done = run(f"slice ckpt.pt --task my_task.py {line}", code=2)
    assert message in done.output
    assert "Traceback" not in done.output
    assert not list(here.glob("*.vt?"))
