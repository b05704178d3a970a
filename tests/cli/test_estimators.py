"""``landscape volume`` under every estimator: tables, JSON, files, interruptions and misuse."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import time
from functools import partial
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import landscape as ls
from helpers.commands import KEYS, flat, run, strict
from helpers.moments import some
from landscape.results import AnnealedVolume, Chains, LaplaceVolume
from landscape_cli.options import CURVATURES, ESTIMATORS, PROPOSALS

TASK = """
import torch
from torch import nn

import landscape


def task():
    torch.manual_seed(0)
    points = torch.randn(64, 8) * torch.logspace(0, -1.5, 8)
    return landscape.Task(model=nn.Linear(8, 1), data=(points, torch.zeros(64, 1)), loss="mse")
"""
NET = "volume ckpt.pt --task bowl.py --metric identity --cutoff 0.3"
BUDGET = "--directions 60 --budget 20000"
SHORT = f"{NET} --directions 60 --budget 6000"
QUICK = f"{NET} --estimator annealed --temperatures 6 --chains 8"


def weights() -> dict[str, torch.Tensor]:
    """Those of the minimum."""
    return {"weight": torch.zeros(1, 8), "bias": torch.zeros(1)}


@pytest.fixture
def bowl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a checkpoint whose loss is a quadratic of eight weights, and its task."""
    monkeypatch.chdir(tmp_path)
    Path("bowl.py").write_text(TASK)
    torch.save(weights(), "ckpt.pt")
    return tmp_path


def objective() -> ls.Objective:
    names: dict[str, Any] = {}
    exec(TASK, names)
    task = names["task"]()
    task.model.load_state_dict(weights())
    return ls.Objective(task.model, task.data, task.loss)


def test_the_choices_are_those_of_the_library() -> None:
    from landscape.volume import estimate, quadratic
    from landscape.volume.proposals import from_curvature

    assert set(ESTIMATORS) == set(estimate.ESTIMATORS)
    assert set(PROPOSALS) == set(from_curvature.NAMES)
    assert set(CURVATURES) == set(quadratic.CURVATURES)


def test_auto_is_the_default_and_prints_both_estimates_in_one_table(bowl: Path) -> None:
    done = run(f"{NET} {BUDGET} --out run.h5")
    heads = [line for line in done.stdout.splitlines() if line.startswith("cutoff") and "estimator" in line]
    assert len(heads) == 1
    assert heads[0].split() == ["cutoff", "estimator", "log", "V", "bounds,", "95", "%", "verdict", "ess"]
    rows = done.stdout.splitlines()[done.stdout.splitlines().index(heads[0]) + 2 :][:2]
    assert "annealed" in rows[0]  # the better one, then what else was tried
    assert "uniform" in rows[1]
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "pilot chains first" in flat(done.stderr)
    assert "temperatures, and a run of half as many" in flat(done.stderr)
    assert ls.Store("run.h5").names() == ["annealed", "chains", "radii", "volume"]
    assert "under smaller caps" not in done.stdout  # lengths of the identity metric are of any size
    found = strict(run(f"{NET} {BUDGET} --json").stdout)
    assert found.keys() >= KEYS | {"centre", "volumes"}
    assert found["centre"] == pytest.approx(objective().centre)
    assert list(found["volumes"]) == ["uniform", "annealed"]
    assert found["estimator"] == "annealed"
    assert found["results"] == found["volumes"]["annealed"]["results"]
    kept = ls.Store("run.h5")["annealed"]
    assert isinstance(kept, AnnealedVolume)
    assert kept.summary()["results"] == found["results"]


def test_chains_under_a_cap_say_how_the_volume_moves_with_it(bowl: Path) -> None:
    line = f"{NET} --estimator annealed --temperatures 6 --chains 16 --max-radius 1"
    done = run(f"{line} --out run.h5")
    table = done.stdout[done.stdout.index("under smaller caps") :].splitlines()
    assert [row.split()[1] for row in table[3:6]] == ["0.25", "0.5", "1"]
    assert max(map(len, done.stdout.splitlines())) <= 80
    caps = strict(run(f"{line} --json").stdout)["caps"]
    assert [row["cap"] for row in caps] == [0.25, 0.5, 1.0]
    assert "caps" in ls.Store("run.h5")
    assert "8 chains give a lower bound" in run(QUICK).stderr
    assert "give a lower bound" not in done.stderr
    assert "log10 P" in run("show run.h5").stdout


def test_auto_anneals_nothing_where_uniform_rays_are_reliable(bowl: Path) -> None:
    done = run(f"{NET} --max-radius 0.001 --directions 100 --out run.h5")
    assert "The uniform rays measure V" in flat(done.stdout)
    assert "reliable" in done.stdout
    assert "pilot" not in done.stderr
    assert ls.Store("run.h5").names() == ["radii", "volume"]


def test_auto_from_python(bowl: Path) -> None:
    auto = partial(ls.log_volume, objective(), [0.3], metric="identity", estimator="auto")
    found = auto(budget=20000, directions=60)
    line = strict(run(f"{NET} {BUDGET} --json").stdout)
    assert found.estimator == "annealed"
    assert found.results[0].log_volume == line["results"][0]["log_volume"]
    assert (
        ls.log_volume(objective(), [0.3], metric="identity", estimator="auto", max_radius=0.001).estimator == "uniform"
    )
    assert (
        ls.log_volume(objective(), [0.3], metric="identity", estimator="auto", budget=100, directions=60).estimator
        == "uniform"
    )


def test_a_budget_that_is_too_small_says_so_and_can_be_continued(bowl: Path) -> None:
    done = run(f"{NET} --directions 60 --budget 1200")
    assert "The budget of 1200 was used up before the chains began" in flat(done.stdout)
    assert ">=" in done.stdout
    assert "used up" in run(f"{NET} --estimator annealed --budget 100", code=2).stderr
    run(f"{SHORT} --out run.h5")
    shown = run("show run.h5").stdout
    assert "continue with: landscape volume ckpt.pt" in shown
    run(f"{NET} {BUDGET} --out run.h5 --resume")
    run(f"{NET} {BUDGET} --out whole.h5")
    resumed, whole = (ls.Store(path)["annealed"] for path in ("run.h5", "whole.h5"))
    assert isinstance(resumed, AnnealedVolume)
    assert isinstance(whole, AnnealedVolume)
    assert resumed.log_weights.tobytes() == whole.log_weights.tobytes()


def test_chains_that_cost_too_much_leave_rays_along_what_was_learnt_for_them(bowl: Path) -> None:
    done = run(f"{SHORT} --out run.h5")
    assert "Two thirds of the budget of 6000 were used up before the chains began" in flat(done.stdout)
    assert "importance" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert ls.Store("run.h5").names() == ["chains", "radii", "slopes", "slopes-radii", "volume"]
    found = strict(run(f"{SHORT} --json").stdout)
    assert list(found["volumes"]) == ["uniform", "importance"]
    python = ls.log_volume(objective(), [0.3], metric="identity", estimator="auto", budget=6000, directions=60)
    assert python.estimator == "importance"
    assert [row["log_volume"] for row in found["results"]] == [row.log_volume for row in python.results]
    # rays of a proposal that was asked for stand beside them
    run(f"{NET} --estimator importance --proposal slopes --directions 40 --out run.h5")
    before = Path("run.h5").read_bytes()
    assert run(f"{SHORT} --out run.h5 --resume").stdout == done.stdout
    assert Path("run.h5").read_bytes() == before
    run(f"{NET} --estimator uniform --directions 40 --seed 1 --out run.h5 --overwrite -q")
    assert ls.Store("run.h5").names() == ["radii", "volume"]


@pytest.mark.parametrize("budget", ["6000", "9s", "4s"])  # after some pilots, and before the first
def test_a_run_killed_anywhere_on_its_way_to_these_rays_comes_to_the_same_bytes(
    bowl: Path, monkeypatch: pytest.MonkeyPatch, budget: str
) -> None:
    """Every state of the file, continued by a clock that runs at another pace once it has decided."""
    line, states, put = f"{NET} --directions 60 --budget {budget} -q --out", list[bytes](), ls.Store.__setitem__

    def pace(tick: float) -> None:
        clock = SimpleNamespace(perf_counter=partial(next, count(0.0, tick)))
        for module in ("rays.march", "rays.radii", "rays.audit", "volume.annealing.run"):
            monkeypatch.setattr(f"landscape.{module}.time", clock)

    def put_and_copy(store: ls.Store, name: str, result: Any) -> None:
        put(store, name, result)
        states.append(Path("whole.h5").read_bytes())

    with monkeypatch.context() as patch:
        patch.setattr("landscape_cli.progress.COMMIT_EVERY", 0.0)
        patch.setattr("landscape_cli.progress.COMMIT_SHARE", math.inf)
        patch.setattr(ls.Store, "__setitem__", put_and_copy)
        pace(1.0)
        run(f"{line} whole.h5")
    whole = {name: ls.Store("whole.h5")[name] for name in ("chains", "slopes-radii", "slopes")}
    assert isinstance(chains := whole["chains"], Chains)
    assert (len(chains.trace) == 0) == (budget == "4s")
    pace(0.0 if budget == "6000" else 3.0)
    decided = [state for state in states if b"slopes-radii" in state]
    assert len(decided) >= 2
    first = states.index(decided[0])  # the states before it are those of a first clock
    any_time = [states[at] for at in some(first)] if budget == "6000" else []
    for state in [*any_time, states[first - 1], *(decided[at] for at in some(len(decided), most=3))]:
        Path("run.h5").write_bytes(state)
        run(f"{line} run.h5 --resume")
        for name, result in whole.items():
            again = ls.Store("run.h5")[name]
            for key, array in result.arrays().items():
                assert getattr(again, key).tobytes() == array.tobytes(), key


def test_a_resumed_run_keeps_the_temperatures_whatever_the_clock_says(bowl: Path) -> None:
    run(f"{NET} --estimator annealed --budget 20000 --out run.h5 -q")
    before = Path("run.h5").read_bytes()
    again = run(f"{NET} --estimator annealed --budget 1s --out run.h5 --resume")
    assert "are kept, as an earlier budget decided" in flat(again.stderr)
    assert Path("run.h5").read_bytes() == before


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_annealed_run_resumes_to_the_same_bytes(bowl: Path, stop: signal.Signals) -> None:
    line = f"{NET} --estimator annealed --temperatures 200 --chains 8 -q --out"
    code = "import signal; signal.signal(2, signal.default_int_handler); from landscape_cli.main import main; main()"
    command = [sys.executable, "-c", code, *line.split(), "run.h5"]
    with subprocess.Popen(command, cwd=bowl, stderr=subprocess.PIPE, text=True) as process:
        while not Path("run.h5").exists() and process.poll() is None:
            time.sleep(0.005)
        time.sleep(0.2)
        process.send_signal(stop)
        words = process.communicate()[1]
    partial = ls.Store("run.h5")["chains"]
    assert isinstance(partial, Chains)
    assert not partial.done.all()
    assert "annealed" not in ls.Store("run.h5")
    if stop == signal.SIGINT:
        assert process.returncode == 130, words
        assert "kept in run.h5; continue with: landscape volume ckpt.pt" in words
        assert words.count("\n") == 1
    run(f"{line} run.h5 --resume")
    run(f"{line} whole.h5")
    for name in ("chains", "annealed"):
        resumed, whole = ls.Store("run.h5")[name], ls.Store("whole.h5")[name]
        for key, array in whole.arrays().items():
            assert getattr(resumed, key).tobytes() == array.tobytes(), key


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


def test_overwrite_takes_everything_of_the_old_run_with_it(bowl: Path) -> None:
    run(f"{NET} {BUDGET} --out run.h5 -q")
    run(f"{NET} --estimator uniform --directions 40 --seed 1 --out run.h5 --overwrite -q")
    assert ls.Store("run.h5").names() == ["radii", "volume"]
    run("curvature ckpt.pt --task bowl.py --top 1 --out run.h5 -q")
    run(f"{NET} --estimator uniform --directions 40 --out run.h5 --overwrite -q")
    assert ls.Store("run.h5").names() == ["hessian-eigenpairs", "radii", "volume"]


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
        ("--estimator annealed --temperatures 20 --chains 1", "x>=4"),
        ("--estimator annealed --temperatures 1", "x>=2"),
        ("--estimator annealed --chains 8", "--chains goes with --temperatures"),
        ("--estimator annealed --budget 5min --temperatures 20", "Type one of the two"),
        ("--estimator annealed --directions 20", "--directions applies to --estimator auto or uniform or importance"),
        ("--estimator uniform --budget 5min", "--budget applies to --estimator auto or annealed"),
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
    run(f"{QUICK} --out run.h5 -q")
    before = Path("run.h5").read_bytes()
    assert "already holds a finished run of annealed chains (9 of 9 temperatures)" in flat(
        run(f"{QUICK} --out run.h5", code=2).stderr
    )
    for flags, words in (("--seed 1", "seed: stored 0, asked 1"), ("--cutoff 0.4", "cutoffs: stored [0.3]")):
        assert words in run(f"{QUICK} {flags} --out run.h5 --resume", code=2).stderr
    wrong = run(f"{NET} --estimator annealed --temperatures 8 --chains 8 --out run.h5 --resume", code=2)
    assert "temperatures: stored 6, asked 8" in wrong.stderr
    assert Path("run.h5").read_bytes() == before


def test_a_file_is_about_one_trained_point(bowl: Path) -> None:
    run(f"{QUICK} --out run.h5 -q")
    state = torch.load("ckpt.pt")
    state["weight"] += 0.01
    torch.save(state, "other.pt")
    for flags in ("--estimator annealed --temperatures 6 --chains 8 --resume", "--estimator uniform"):
        done = run(f"volume other.pt --task bowl.py --metric identity --cutoff 0.3 {flags} --out run.h5", code=2)
        assert "another trained point (ckpt.pt)" in flat(done.stderr)
    assert "another trained point" in flat(
        run("volume other.pt --task bowl.py --metric identity --estimator laplace --out run.h5", code=2).stderr
    )
