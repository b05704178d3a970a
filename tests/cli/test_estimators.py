"""``landscape volume`` under every estimator: tables, JSON, files, interruptions and misuse."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

import landscape as ls
from helpers.children import Child, command, stop_once_written
from helpers.commands import KEYS, flat, run, strict
from helpers.interruptions import go_on, interrupted
from helpers.islands import few_particles
from helpers.stores import assert_same_arrays
from landscape.objective.deadline import seconds_left
from landscape.results import AnnealedVolume, Islands, LaplaceVolume
from landscape_cli import time_left
from landscape_cli.options import CURVATURES, ESTIMATORS, PROPOSALS

TASK = """
import torch
from torch import nn

import landscape


def task():
    torch.manual_seed(0)
    points = torch.randn(64, 3) * torch.logspace(0, -0.5, 3)
    return landscape.Task(model=nn.Linear(3, 1), data=(points, torch.zeros(64, 1)), loss="mse")
"""
NET = "volume ckpt.pt --task bowl.py --metric identity --cutoff 0.3"
BUDGET = "--directions 20 --rtol 0.05 --budget 7000"
QUICK = f"{NET} --estimator annealed --rtol 0.05 --budget 500"  # too little for a round
LONGER = QUICK.replace("500", "8000")


def weights() -> dict[str, torch.Tensor]:
    """Those of the minimum."""
    return {"weight": torch.zeros(1, 3), "bias": torch.zeros(1)}


@pytest.fixture(autouse=True, scope="module")
def small_islands() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        few_particles(patch)
        yield


def fill(folder: Path) -> Path:
    """Put a checkpoint whose loss is a quadratic of three weights, and its task, into a folder."""
    (folder / "bowl.py").write_text(TASK)
    torch.save(weights(), folder / "ckpt.pt")
    return folder


@pytest.fixture
def bowl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with that checkpoint."""
    monkeypatch.chdir(tmp_path)
    return fill(tmp_path)


class Whole(NamedTuple):
    """A run that nothing has stopped: its file, and what it printed and said."""

    path: Path
    stdout: str
    stderr: str


def whole_run(folder: Path, line: str) -> Whole:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(fill(folder))
        done = run(f"{line} --out run.h5")
    return Whole(folder / "run.h5", done.stdout, done.stderr)


@pytest.fixture(scope="module")
def whole_auto(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return whole_run(tmp_path_factory.mktemp("auto"), f"{NET} {BUDGET}")


@pytest.fixture(scope="module")
def whole_annealed(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return whole_run(tmp_path_factory.mktemp("annealed"), LONGER)


def objective() -> ls.Objective:
    names: dict[str, Any] = {}
    exec(TASK, names)
    task = names["task"]()
    task.model.load_state_dict(weights())
    return ls.Objective(task.model, task.data, task.loss)


def test_the_choices_are_those_of_the_library() -> None:
    from landscape.curvature import hessian
    from landscape.volume import estimate
    from landscape.volume.proposals import from_curvature

    assert set(ESTIMATORS) == set(estimate.ESTIMATORS)
    assert set(PROPOSALS) == set(from_curvature.NAMES)
    assert set(CURVATURES) == set(hessian.OPERATORS)


def test_auto_is_the_default_and_prints_both_estimates_in_one_table(bowl: Path, whole_auto: Whole) -> None:
    done = whole_auto
    shutil.copy(done.path, "run.h5")
    heads = [line for line in done.stdout.splitlines() if line.startswith("cutoff") and "estimator" in line]
    assert len(heads) == 1
    assert heads[0].split() == ["cutoff", "estimator", "log", "V", "bounds,", "95", "%", "verdict", "ess"]
    rows = done.stdout.splitlines()[done.stdout.splitlines().index(heads[0]) + 2 :][:2]
    assert {name for name in ("annealed", "uniform") for row in rows if f" {name} " in row} == {"annealed", "uniform"}
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "annealing islands of particles until" in flat(done.stderr)
    assert "passes over the data are spent" in flat(done.stderr)
    assert ls.Store("run.h5").names() == ["annealed", "islands", "radii", "volume"]
    found = strict(run(f"{NET} {BUDGET} --out run.h5 --resume --json").stdout)
    assert found.keys() >= KEYS | {"centre", "volumes"}
    assert found["centre"] == pytest.approx(objective().centre)
    assert list(found["volumes"]) == ["uniform", "annealed"]
    kept = ls.Store("run.h5")["annealed"]
    assert isinstance(kept, AnnealedVolume)
    assert kept.summary()["results"] == found["volumes"]["annealed"]["results"]
    # the same budget again measures nothing, and so does a smaller one
    before = Path("run.h5").read_bytes()
    for budget in (7000, 5000):
        again = run(f"{NET} {BUDGET.replace('7000', str(budget))} --out run.h5 --resume")
        assert again.stdout == done.stdout
        assert Path("run.h5").read_bytes() == before
    # a larger one goes on
    first = ls.Store("run.h5")["islands"]
    run(f"{NET} {BUDGET.replace('7000', '14000')} --out run.h5 --resume -q")
    more = ls.Store("run.h5")["islands"]
    assert isinstance(first, Islands)
    assert isinstance(more, Islands)
    assert len(more.groups) > len(first.groups)
    assert more.forwards[: len(first.forwards)].tobytes() == first.forwards.tobytes()
    assert "% of the budget" in run("show run.h5").stdout


def test_auto_anneals_nothing_where_uniform_rays_are_reliable(bowl: Path) -> None:
    done = run(f"{NET} --max-radius 0.001 --directions 100 --out run.h5")
    assert "The uniform rays measure V" in flat(done.stdout)
    assert "reliable" in done.stdout
    assert "annealing" not in done.stderr
    assert ls.Store("run.h5").names() == ["radii", "volume"]


def test_auto_from_python(bowl: Path, whole_auto: Whole) -> None:
    auto = partial(ls.log_volume, objective(), [0.3], metric="identity", estimator="auto")
    found = auto(budget=7000, directions=20, rtol=0.05)
    line = strict(run(f"{NET} {BUDGET} --json --resume --out {whole_auto.path}").stdout)
    assert found.estimator == line["estimator"]
    assert found.results[0].log_volume == pytest.approx(line["results"][0]["log_volume"], abs=0.2)
    assert auto(max_radius=0.001).estimator == "uniform"
    assert auto(budget=100, directions=20).estimator == "uniform"


def test_a_budget_that_is_too_small_says_so_and_can_be_continued(bowl: Path, whole_annealed: Whole) -> None:
    done = run(f"{NET} --directions 20 --budget 400")
    assert "The budget of 400 was used up before annealing could begin" in flat(done.stdout)
    assert ">=" in done.stdout
    assert "used up before a first round was whole" in run(f"{QUICK} --out run.h5", code=2).stderr
    assert ls.Store("run.h5").names() == ["islands"]
    run(f"{LONGER} --out run.h5 --resume")
    resumed, whole = (ls.Store(path)["annealed"] for path in ("run.h5", whole_annealed.path))
    assert isinstance(resumed, AnnealedVolume)
    assert isinstance(whole, AnnealedVolume)
    assert len(resumed.log_weights) == len(whole.log_weights) == 8


def test_rays_of_a_slow_net_are_cut_at_a_quarter_of_the_budget(bowl: Path) -> None:
    line = f"{NET} --directions 900 --budget 800 --out run.h5 --batch-size 8 --memory 6kB"
    done = run(line)
    radii = ls.Store("run.h5")["radii"]
    assert isinstance(radii, ls.Radii)
    assert 16 <= radii.directions < 900
    assert f"uniform: {radii.directions} rays, " in done.stdout
    before = Path("run.h5").read_bytes()
    assert run(f"{line} --resume").stdout == done.stdout
    assert Path("run.h5").read_bytes() == before
    assert "seed: stored 0, asked 1" in run(f"{line} --resume --seed 1", code=2).stderr
    run(f"{NET} --directions 60 --estimator uniform --out run.h5 --batch-size 8 --memory 6kB --resume -q")
    longer = ls.Store("run.h5")["radii"]
    assert isinstance(longer, ls.Radii)
    assert longer.directions == 60
    assert longer.radii[: radii.directions].tobytes() == radii.radii.tobytes()


def test_ctrl_c_prints_and_keeps_the_last_whole_round(
    bowl: Path, whole_auto: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(monkeypatch, lambda progress: progress.news and len(progress.snapshot().whole(0)) > 0)
    done = run(f"{NET} {BUDGET} --out run.h5", code=130)
    assert "of the budget and 1 whole round, kept in run.h5; continue with: landscape volume" in done.stderr
    assert "annealed: 8 islands" in done.stdout
    assert "to quote:" in done.stdout
    assert ls.Store("run.h5").names() == ["annealed", "islands", "radii", "volume"]
    shutil.copy("run.h5", "again.h5")
    found = strict(run(f"{NET} {BUDGET} --json --resume --out again.h5", code=130).stdout)
    assert found["volumes"].keys() == {"uniform", "annealed"}
    go_on(monkeypatch)
    run(f"{NET} {BUDGET} --out run.h5 --resume -q")
    for name in ("islands", "annealed"):
        assert_same_arrays(ls.Store("run.h5")[name], ls.Store(whole_auto.path)[name])


def test_ctrl_c_before_a_round_is_whole_prints_what_there_is(bowl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(monkeypatch, lambda progress: True)
    done = run(f"{NET} {BUDGET} --out run.h5", code=130)
    assert "interrupted after" in done.stderr
    assert "passes over the data, kept in run.h5" in flat(done.stderr)
    assert "uniform: 20 rays" in done.stdout
    assert ls.Store("run.h5").names() == ["radii", "volume"]
    alone = run(f"{NET} --estimator annealed --budget 8000 --out new.h5", code=130)
    assert alone.stdout == ""
    assert "nothing was kept" in alone.stderr


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_annealed_run_resumes_to_the_same_bytes(
    bowl: Path, whole_annealed: Whole, stop: signal.Signals
) -> None:
    with Child(command(*LONGER.split(), "-q", "--out", "run.h5")) as process:
        words = stop_once_written(process, Path("run.h5"), stop)[1]
    partial = ls.Store("run.h5")["islands"]
    assert isinstance(partial, Islands)
    assert not partial.done.all()
    assert "annealed" not in ls.Store("run.h5")
    if stop == signal.SIGINT:
        assert process.returncode == 130, words
        assert "kept in run.h5; continue with: landscape volume ckpt.pt" in words
        assert words.count("\n") == 1
    run(f"{LONGER} -q --out run.h5 --resume")
    for name in ("islands", "annealed"):
        assert_same_arrays(ls.Store("run.h5")[name], ls.Store(whole_annealed.path)[name])


def test_importance_is_kept_and_continued(bowl: Path) -> None:
    line = f"{NET} --estimator importance --proposal diagonal --probes 20"
    done = run(f"{line} --directions 40 --out run.h5")
    assert "importance: 40 rays, " in done.stdout
    before = Path("run.h5").read_bytes()
    assert run(f"{line} --directions 40 --out run.h5 --resume").stdout == done.stdout
    assert Path("run.h5").read_bytes() == before
    run(f"{line} --directions 90 --out run.h5 --resume")
    run(f"{line} --directions 90 --out whole.h5")
    more, whole = (ls.Store(path)["importance"] for path in ("run.h5", "whole.h5"))
    assert isinstance(more, ls.Volume)
    assert isinstance(whole, ls.Volume)
    assert more.log_weights == pytest.approx(whole.log_weights, rel=1e-6)
    expected = ls.log_volume(
        objective(), [0.3], metric="identity", estimator="importance", proposal="diagonal", probes=20, directions=90
    )
    assert whole.results[0].log_volume == expected.results[0].log_volume


def test_laplace_is_kept_beside_the_others(bowl: Path) -> None:
    run(f"{NET} --estimator uniform --directions 40 --out run.h5 -q")
    line = f"{NET} --estimator laplace --curvature ggn --probes 4 --out run.h5"
    done = run(line)
    assert "approximation" in done.stdout
    assert ls.Store("run.h5").names() == ["laplace", "radii", "volume"]
    assert "already holds a volume from the curvature" in run(line, code=2).stderr
    before = Path("run.h5").read_bytes()
    assert run(f"{line} --resume").stdout == done.stdout
    assert Path("run.h5").read_bytes() == before
    assert "probes: stored 4, asked 5" in run(f"{line} --resume --probes 5", code=2).stderr
    untyped = run(f"{NET} --estimator laplace --out run.h5 --resume", code=2).stderr
    assert "probes: stored 4, asked 30" in untyped
    assert "curvature: stored 'ggn', asked 'hessian'" in untyped
    assert isinstance(ls.Store("run.h5")["laplace"], LaplaceVolume)


def test_overwrite_takes_everything_of_the_old_run_with_it(bowl: Path, whole_auto: Whole) -> None:
    shutil.copy(whole_auto.path, "run.h5")
    assert ls.Store("run.h5").names() == ["annealed", "islands", "radii", "volume"]
    run(f"{NET} --estimator uniform --directions 40 --seed 1 --out run.h5 --overwrite -q")
    assert ls.Store("run.h5").names() == ["radii", "volume"]
    run("curvature ckpt.pt --task bowl.py --top 1 --out run.h5 -q")
    run(f"{NET} --estimator uniform --directions 40 --out run.h5 --overwrite -q")
    assert ls.Store("run.h5").names() == ["hessian-eigenpairs", "radii", "volume"]


def test_a_time_counts_from_the_start_of_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_left, "elapsed", lambda: 20.0)
    assert time_left.remaining("1min") == "40.000s"
    assert time_left.remaining("5s") == "2.500s"  # half of it, if the command took that long to begin
    assert time_left.remaining("5000") == "5000"
    with time_left.deadline_of("1min"):
        assert 45 < seconds_left() <= 46


# misuse: each one clear error before anything is measured


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--budget 0", "Invalid budget '0': expected a time such as 5min"),
        ("--budget -5min", "Invalid budget '-5min': expected a time such as 5min"),
        ("--budget plenty", "Invalid budget 'plenty': expected a time such as 5min"),
        ("--budget nan", "Invalid budget 'nan': expected a time such as 5min"),
        ("--cutoff nan", "finite number, got 'nan'"),
        ("--cutoff inf", "finite number, got 'inf'"),
        ("--rtol nan", "above 0 and below 1"),
        ("--rtol 0", "above 0 and below 1"),
        ("--max-radius nan", "none for no cap, got 'nan'"),
        ("--max-radius -1", "none for no cap, got '-1'"),
        ("--estimator annealed --chains 8", "No such option '--chains'"),
        ("--step-ratio 1", "above 1, got '1'"),
        ("--estimator laplace --step-ratio 1.1", "--step-ratio applies to --estimator auto or uniform"),
        ("--estimator annealed --directions 20", "--directions applies to --estimator auto or uniform or importance"),
        ("--estimator uniform --budget 5min", "--budget applies to --estimator auto or counted or annealed"),
        ("--estimator laplace --rank 3", "--rank applies to --estimator importance"),
        ("--proposal diagonal", "--proposal applies to --estimator importance"),
        ("--estimator best", "auto"),
    ],
)
def test_options_that_make_no_sense(bowl: Path, flags: str, words: str) -> None:
    """The checkpoint does not exist: these are refused before anything is read."""
    done = run(f"volume missing.pt {flags}", code=2)
    assert words in flat(done.stderr)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("estimator", ["auto", "annealed", "importance", "laplace"])
def test_a_cutoff_below_the_centre(bowl: Path, estimator: str) -> None:
    done = run(f"volume ckpt.pt --task bowl.py --metric identity --cutoff -1 --estimator {estimator} -q", code=2)
    assert "the loss at the trained point is" in str(done.exception) + done.stderr


def test_a_stored_run_of_other_settings_is_refused(bowl: Path) -> None:
    run(f"{QUICK} --out run.h5 -q", code=2)
    before = Path("run.h5").read_bytes()
    assert "already holds a finished run of annealed islands (100 % of the budget)" in flat(
        run(f"{QUICK} --out run.h5", code=2).stderr
    )
    for flags, words in (
        ("--seed 1", "seed: stored 0, asked 1"),
        ("--cutoff 0.4", "cutoffs: stored [0.3]"),
        ("--step-ratio 1.5", "step_ratio: stored 2.0, asked 1.5"),
        ("--max-radius 3", "max_radius: stored None, asked 3.0"),
        ("--measure gaussian --sigma 1", "measure: stored None, asked 'gaussian'"),
        ("--rtol 0.01", "rtol: stored 0.05, asked 0.01"),
    ):
        for line in (QUICK, QUICK.replace("500", "700")):  # whether or not anything is missing
            assert words in run(f"{line} {flags} --out run.h5 --resume", code=2).stderr
    assert Path("run.h5").read_bytes() == before


def test_a_file_is_about_one_trained_point(bowl: Path) -> None:
    run(f"{QUICK} --out run.h5 -q", code=2)
    state = torch.load("ckpt.pt")
    state["weight"] += 0.01
    torch.save(state, "other.pt")
    for flags in ("--estimator annealed --budget 500 --resume", "--estimator uniform", "--estimator laplace"):
        done = run(f"volume other.pt --task bowl.py --metric identity --cutoff 0.3 {flags} --out run.h5", code=2)
        assert "another trained point (ckpt.pt)" in flat(done.stderr)
