"""``landscape volume`` with uniform rays: tables, JSON, the cap and errors."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

import landscape as ls
from helpers.children import Child, command
from helpers.commands import KEYS, SMALL, TASK, flat, make_task, run, strict

ROW_KEYS = {
    "cutoff", "log_volume", "log10_volume", "log_volume_raw", "interval", "ess", "largest_weight", "censored",
    "censored_weight", "verdict",
}  # fmt: skip


# volume


def test_volume_prints_a_table_on_stdout_and_the_rest_on_stderr(here: Path) -> None:
    done = run(f"volume {SMALL} --estimator uniform --cutoff 0.5 --cutoff 2 --scope all")
    header = next(line for line in done.stdout.splitlines() if line.startswith("cutoff"))
    assert header.split() == ["cutoff", "nats", "below", "95", "%", "interval", "verdict", "grid", "log10", "V"]
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "ckpt.pt" in done.stderr
    assert "n = 42 of 42 parameters, 64 samples" in flat(done.stderr)
    assert "--out run.h5" in done.stderr
    assert not list(here.glob("*.h5"))


def test_quiet_leaves_stderr_empty(here: Path) -> None:
    assert run(f"volume {SMALL} --estimator uniform -q").stderr == ""


@pytest.mark.parametrize("more", ["", " --metric identity --max-radius none --cutoff 0.5 --cutoff 1"])
def test_volume_json_is_one_strict_object_with_every_key(here: Path, more: str) -> None:
    done = run(f"volume {SMALL} --estimator uniform --json{more}")
    found = strict(done.stdout)
    assert found.keys() >= KEYS
    assert all(row.keys() >= ROW_KEYS for row in found["results"])
    assert found["dimension"] == 32
    assert found["directions"] == 60
    assert all(row["report"].startswith(f"At cutoff {row['cutoff']:g} (loss, ") for row in found["results"])
    assert found["results"][0]["log10_volume"] == pytest.approx(found["results"][0]["log_volume"] / math.log(10))
    radii = strict(run(f"radius {SMALL} --json{more}").stdout)
    assert found["evaluations"] > radii["evaluations"]  # the heaviest rays are searched again


def test_volume_agrees_with_python(here: Path) -> None:
    task = make_task()
    task.model.load_state_dict(torch.load("ckpt.pt"))
    objective = ls.Objective(task.model, task.data, task.loss)
    expected = ls.log_volume(
        objective, [0.5], estimator="uniform", criterion="rise", metric="layer", directions=40, seed=3
    )
    line = "ckpt.pt --task my_task.py --cutoff 0.5 --criterion rise --metric layer --directions 40 --seed 3 --json"
    found = strict(run(f"volume {line} --estimator uniform").stdout)
    assert found["results"][0]["log_volume"] == expected.results[0].log_volume
    assert found["seed"] == 3


def test_a_lower_bound_is_never_printed_as_a_volume(here: Path) -> None:
    """Beside the verdict stands the bound, and not the collapsed mean."""
    found = strict(run(f"volume {SMALL} --estimator uniform --json --cutoff 0.2").stdout)["results"][0]
    assert found["verdict"] == "lower bound"
    words = run(f"volume {SMALL} --estimator uniform --cutoff 0.2").stdout
    bound, mean = found["interval"][0] / math.log(10), found["log10_volume"]
    assert f">= {bound:,.2f}" in words
    assert f" {mean:,.2f} " not in words
    assert found["report"] in flat(words)
    run(f"volume {SMALL} --estimator uniform --cutoff 0.2 --out run.h5")
    volume = ls.Store("run.h5")["volume"]
    assert isinstance(volume, ls.Volume)
    assert f">= {bound:,.2f}" in str(volume)
    assert f" {mean:,.2f} " not in str(volume)
    assert volume.table() in words


def test_dead_filters_and_nonfinite_losses_are_reported(here: Path) -> None:
    state = torch.load("ckpt.pt")
    state["0.weight"][3] = 0.0
    torch.save(state, "dead.pt")
    done = run("volume dead.pt --estimator uniform --task my_task.py --directions 20 --criterion rise")
    assert "n = 30 (without 1 filter of norm zero)" in flat(done.stdout)
    assert "n = 30 of 42 parameters" in flat(done.stderr)
    done = run("slice dead.pt --task my_task.py --steps 3")
    assert "n = 30 of 42 parameters" in flat(done.stderr)
    assert "n = 30" in done.stdout
    Path("spiky.py").write_text(TASK + SPIKY)
    done = run("volume ckpt.pt --estimator uniform --task spiky.py --directions 20 --criterion rise --cutoff 5")
    assert "NaN or infinite" in done.stdout


SPIKY = """

blobs_task = task


def loss(output, target):
    value = nn.functional.cross_entropy(output, target, reduction="none")
    return torch.where(value.mean() > 0.3, torch.nan, value)


def task():
    made = blobs_task()
    return landscape.Task(model=made.model, data=made.data, loss=loss)
"""


def test_the_cap_is_what_was_asked_for(here: Path) -> None:
    """A tiny cap censors every ray; none leaves the interval of a lower bound open."""
    capped = strict(run(f"volume {SMALL} --estimator uniform --max-radius 0.001 --json").stdout)
    assert capped["max_radius"] == 0.001
    assert capped["results"][0]["censored"] == 1.0
    open_end = strict(run(f"volume {SMALL} --estimator uniform --max-radius none --cutoff 0.2 --json").stdout)
    assert open_end["max_radius"] is None
    assert open_end["results"][0]["interval"][1] is None


# radius


# errors and options


def test_a_cutoff_below_the_centre_is_one_clear_error(here: Path) -> None:
    with Child(command("volume", "ckpt.pt", "--task", "my_task.py", "--cutoff", "1e-6", "-q")) as process:
        printed, said = process.communicate()
    assert process.returncode == 2
    assert printed == ""
    assert said.startswith("Error: the loss at the trained point is ")
    assert "--criterion rise" in said
    assert "Traceback" not in said
    assert said.count("Error") == 1
