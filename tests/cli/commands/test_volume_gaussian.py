"""``landscape volume --measure gaussian``: the number of the library, kept beside the rays, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import landscape as ls
from landscape_cli.main import cli

TASK = """
import torch
import landscape as ls

def task():
    torch.manual_seed(0)
    x = torch.randn(40, 2)
    return ls.Task(model=torch.nn.Linear(2, 2), data=(x, (x[:, 0] > 0).long()), loss="cross_entropy")
"""
VOLUME = ["volume", "net.pt", "--task", "task.py", "--cutoff", "0.5", "--directions", "60", "--json", "-q"]
GAUSSIAN = ["--measure", "gaussian", "--sigma", "0.5"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("task.py").write_text(TASK)
    torch.save({"weight": torch.tensor([[-9.0, 0.0], [9.0, 0.0]]), "bias": torch.zeros(2)}, "net.pt")
    return tmp_path


def value(*options: str) -> dict[str, object]:
    done = CliRunner().invoke(cli, [*VOLUME, *options])
    assert done.exit_code == 0, done.output
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("estimator", ["uniform", "importance"])
def test_the_number_is_that_of_the_library(folder: Path, estimator: str) -> None:
    found = value("--estimator", estimator, *GAUSSIAN, "--measure-centre", "theta")
    assert (found["measure"], found["sigma"], found["measure_centre"]) == ("gaussian", 0.5, "theta")
    torch.manual_seed(0)
    x = torch.randn(40, 2)
    model = ls.load_checkpoint("net.pt", torch.nn.Linear(2, 2))
    volume = ls.log_volume(
        ls.Objective(model, (x, (x[:, 0] > 0).long())),
        [0.5],
        estimator=estimator,
        directions=60,
        measure="gaussian",
        sigma=0.5,
        measure_centre="theta",
    )
    assert found["results"][0]["log_volume"] == volume.results[0].log_volume  # type: ignore[index]


def test_a_file_gives_each_measure_from_the_same_rays(folder: Path) -> None:
    keep = ["--estimator", "uniform", "--out", "run.h5", "--resume"]
    plain, chance, again = value(*keep), value(*keep, *GAUSSIAN), value(*keep)
    assert plain["results"] == again["results"]
    assert plain["results"] != chance["results"]
    radii = ls.Store("run.h5")["radii"]
    assert isinstance(radii, ls.Radii)
    assert radii.cost.evaluations < min(chance["evaluations"], plain["evaluations"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--estimator", "laplace", *GAUSSIAN], "--measure applies to --estimator auto or uniform"),
        (["--estimator", "uniform", "--measure", "gaussian"], "go together"),
        (["--estimator", "uniform", "--sigma", "1"], "go together"),
        (["--estimator", "uniform", "--measure", "gaussian", "--sigma", "0"], "--sigma"),
        (["--estimator", "laplace", "--measure-centre", "theta"], "--measure-centre applies to"),
    ],
)
def test_misuse_is_one_line(folder: Path, options: list[str], words: str) -> None:
    done = CliRunner().invoke(cli, [*VOLUME[:6], *options])
    assert done.exit_code == 2
    assert words in done.output


BOWL = """
import torch
import landscape as ls

def task():
    torch.manual_seed(0)
    points = torch.randn(64, 3) * torch.logspace(0, -0.5, 3)
    return ls.Task(model=torch.nn.Linear(3, 1), data=(points, torch.zeros(64, 1)), loss="mse")
"""


def test_by_default_islands_measure_it_where_rays_do_not(folder: Path) -> None:
    Path("bowl.py").write_text(BOWL)
    torch.save({"weight": torch.full((1, 3), 0.02), "bias": torch.zeros(1)}, "bowl.pt")
    bowl = ["volume", "bowl.pt", "--task", "bowl.py", "--metric", "identity", "--cutoff", "0.03", "--budget", "60000"]
    bowl += ["--directions", "20", "--rtol", "0.05"]
    keep = ["--measure", "gaussian", "--sigma", "0.3", "--out", "bowl.h5", "-q"]
    done = CliRunner().invoke(cli, [*bowl, *keep, "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["measure"], found["sigma"]) == ("gaussian", 0.3)
    plain, islands = (found["volumes"][name]["results"][0] for name in ("uniform", "annealed"))
    assert plain["verdict"] == "lower bound"
    assert plain["interval"][0] < islands["log_volume"] < 0
    assert islands["interval"][1] <= 0
    again = CliRunner().invoke(cli, [*bowl, *keep, "--resume"])
    assert again.exit_code == 0, again.output
    assert "log-probability of the basin under N(0, 0.3²)" in again.output
    other = CliRunner().invoke(cli, [*bowl, *keep[4:], "--resume", "--measure", "gaussian", "--sigma", "0.2"])
    assert other.exit_code == 2
    assert "sigma: stored 0.3, asked 0.2" in other.output
