"""``landscape volume`` and ``landscape radius`` as a user types them: tables, JSON, options and errors."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import click
import numpy as np
import pytest
import torch

import landscape as ls
from helpers.commands import KEYS, SMALL, TASK, make_task, run, stored, strict
from landscape.objective.objective import CRITERIA
from landscape.rays import METRICS
from landscape.volume.estimate import ESTIMATORS
from landscape_cli import options
from landscape_cli.volume_text import volume_text

ROW_KEYS = {
    "cutoff", "log_volume", "log10_volume", "log_volume_raw", "interval", "ess", "largest_weight", "censored",
    "censored_weight", "verdict",
}  # fmt: skip


# volume


def test_volume_prints_a_table_on_stdout_and_the_rest_on_stderr(here: Path) -> None:
    done = run(f"volume {SMALL} --estimator uniform --cutoff 0.5 --cutoff 2 --scope all")
    header = next(line for line in done.stdout.splitlines() if line.startswith("cutoff"))
    assert header.split() == ["cutoff", "log10", "V", "95", "%", "interval", "ess", "at", "cap", "verdict"]
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "ckpt.pt" in done.stderr
    assert "n = 42 of 42 parameters, 64 samples" in " ".join(done.stderr.split())
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
    assert found["results"][0]["log10_volume"] == pytest.approx(found["results"][0]["log_volume"] / math.log(10))
    radii = strict(run(f"radius {SMALL} --json{more}").stdout)
    assert found["evaluations"] == radii["evaluations"]


def test_volume_agrees_with_python(here: Path) -> None:
    task = make_task()
    task.model.load_state_dict(torch.load("ckpt.pt"))
    objective = ls.Objective(task.model, task.data, task.loss)
    expected = ls.log_volume(objective, [0.5], criterion="rise", metric="layer", directions=40, seed=3)
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
    assert f"log10 V >= {bound:,.2f} at cutoff 0.2" in " ".join(words.split())
    run(f"volume {SMALL} --estimator uniform --cutoff 0.2 --out run.h5")
    volume = ls.Store("run.h5")["volume"]
    assert isinstance(volume, ls.Volume)
    assert f">= {bound:,.2f}" in str(volume)
    assert f" {mean:,.2f} " not in str(volume)
    assert volume.table() in words


def test_radii_print_the_rays_measured_so_far() -> None:
    bowl = ls.Objective.from_function(lambda x: x.square().sum(-1), torch.zeros(3, dtype=torch.float64))
    radii = ls.basin_radii(bowl, [1.0], metric="identity", directions=4)
    assert str(radii).splitlines()[-1].split() == ["1", "1", "1", "1", "1", "1", "0.0", "%"]
    nothing = replace(radii, status=np.full_like(radii.status, ls.RayStatus.PENDING))
    assert str(nothing).startswith("basin radii along 0 of 4 rays measured so far")
    assert str(nothing).splitlines()[-1].split() == ["1", *"------"]


def test_the_reason_of_a_lower_bound_is_the_one_that_failed() -> None:
    heavy = np.exp(np.random.default_rng(1).standard_t(2, size=4000) / 40)
    volume = ls.volume_from_radii(heavy, n=20, cutoffs=[0.1])
    tail = replace(volume.results[0], ess=400.0, largest_weight=0.02, pareto_k=0.83, verdict="lower bound")
    assert "tail index of 0.83" in volume_text(replace(volume, results=(tail,)))
    few = replace(tail, ess=1.2, largest_weight=0.91)
    words = " ".join(volume_text(replace(volume, results=(few,))).split())
    assert "about 1 of 4,000 rays carries" in words
    assert "91.0 %" in words
    for row in (tail, few):
        capped = " ".join(volume_text(replace(volume, results=(replace(row, censored=0.001),))).split())
        assert "The cap bounds every weight" in capped
        assert "not drawn" not in capped
    light = replace(tail, pareto_k=0.1)
    words = " ".join(volume_text(replace(volume, results=(light,))).split())
    assert "the first half of the rays, on which the verdict rests, has an ess of" in words
    calm = np.random.default_rng(2).normal(size=(4000, 1)) / 4
    assert "given up" in volume_text(replace(volume, results=(light,), log_weights=calm))


@pytest.mark.parametrize("rays", [30, 60])
def test_too_few_rays_are_said_to_be_too_few(rays: int) -> None:
    """Nearly equal weights tell of no rays that outweigh them."""
    volume = ls.volume_from_radii(np.linspace(1.0, 1.3, rays), n=7, cutoffs=[0.1])
    assert rays / 2 < volume.results[0].ess < 50
    text = " ".join(volume_text(volume).split())
    assert "lower bound: fewer than 100 rays: pass --directions 1000" in text
    assert "not drawn" not in text


def test_dead_filters_and_nonfinite_losses_are_reported(here: Path) -> None:
    state = torch.load("ckpt.pt")
    state["0.weight"][3] = 0.0
    torch.save(state, "dead.pt")
    done = run("volume dead.pt --estimator uniform --task my_task.py --directions 20 --criterion rise")
    assert "n = 30 (without 1 filter of norm zero)" in " ".join(done.stdout.split())
    assert "n = 30 of 42 parameters" in " ".join(done.stderr.split())
    done = run("slice dead.pt --task my_task.py --steps 3")
    assert "n = 30 of 42 parameters" in " ".join(done.stderr.split())
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


def test_radius_prints_a_row_a_ray(here: Path) -> None:
    line = f"radius {SMALL} --cutoff 0.5 --cutoff 9 --criterion rise"
    found = strict(run(f"{line} --json").stdout)
    assert [ray["direction"] for ray in found["rays"]] == list(range(60))
    assert found["cutoffs"] == [0.5, 9.0]
    assert sum(ray["evaluations"] for ray in found["rays"]) == pytest.approx(found["evaluations"])
    ends = {status for ray in found["rays"] for status in ray["status"]}
    assert ends == {"crossed", "censored"}
    assert all(ray["radii"][0] <= ray["radii"][1] for ray in found["rays"])
    rows = run(f"{line} --csv").stdout.splitlines()
    assert rows[0] == "direction,cutoff,radius,status,lower,upper"
    assert len(rows) == 1 + 60 * 2
    assert rows[1].startswith(f"0,0.5,{found['rays'][0]['radii'][0]!r},crossed,")
    table = run(line).stdout
    assert "median r" in table
    assert max(map(len, table.splitlines())) <= 80


def test_json_and_csv_together_are_refused(here: Path) -> None:
    assert "one of the two" in run(f"radius {SMALL} --json --csv", code=2).stderr


# errors and options


def test_a_cutoff_below_the_centre_is_one_clear_error(here: Path) -> None:
    code = "from landscape_cli.main import main; main()"
    line = ["volume", "ckpt.pt", "--task", "my_task.py", "--cutoff", "1e-6", "-q"]
    done = subprocess.run([sys.executable, "-c", code, *line], cwd=here, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("Error: the loss at the trained point is ")
    assert "--criterion rise" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("Error") == 1


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--memory plenty", "512MB"),
        ("--max-radius wide", "none for no cap"),
        ("--directions 0", "0"),
        ("--rtol 1", "rtol"),
    ],
)
def test_options_out_of_range(here: Path, flags: str, words: str) -> None:
    assert words in run(f"volume {SMALL} --estimator uniform {flags}", code=2).stderr


def test_the_choices_are_those_of_the_library() -> None:
    assert options.CRITERIA == CRITERIA
    assert options.METRICS == METRICS
    assert set(options.ESTIMATORS) <= set(ESTIMATORS)  # the others are reached from Python


def test_typed_options_come_back_as_they_must_be_typed(here: Path) -> None:
    """What ``landscape show`` tells a user to type parses to the same settings."""
    line = f"{SMALL} --cutoff 0.5 --cutoff 2 --max-radius none --memory 2GiB --metric identity --dtype float64"
    run(f"volume {line} --estimator uniform --criterion rise --out run.h5")
    again = stored().config["command"]
    assert again.startswith("landscape volume ckpt.pt ")
    assert again.endswith("--resume")
    assert "--max-radius none" in again
    before = Path("run.h5").read_bytes()
    run(again.removeprefix("landscape "))
    assert Path("run.h5").read_bytes() == before


def test_every_option_has_a_help_text() -> None:
    for name in ("volume", "radius", "show", "plot", "doctor"):
        command = import_module(f"landscape_cli.commands.{name}").command
        assert isinstance(command, click.Command)
        assert command.help
        assert all(option.help for option in command.params if isinstance(option, click.Option))
