"""``landscape sweep``: families of nets, their levels, and the same nets from several processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.commands import landscape
from landscape.recipes import load_recipe
from landscape.training.sweep import Group
from landscape_cli import family, study_run


def test_a_sweep_prints_its_levels_and_is_not_trained_twice(tmp_path: Path) -> None:
    folder = tmp_path / "family"
    words = ["sweep", "swiss-roll", "--poison", "0.4,0,0.1", "--seeds", "2", "--steps", "40", "--jobs", "1", "-q"]
    words += ["--out", str(folder)]
    told = landscape(*words).stdout
    assert told.splitlines()[0].split() == [
        "poison",
        "nets",
        "converged",
        "train",
        ">=",
        "loss",
        "<=",
        "mean",
        "test",
        "range",
    ]
    assert [line.split()[0] for line in told.splitlines()[1:4]] == ["0", "0.1", "0.4"]
    assert "rank correlation of poison and test accuracy" in told
    times = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert len(times) == 6
    found = json.loads(landscape(*words, "--json").stdout)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == times
    assert [(row["poison"], row["seed"]) for row in found["members"]] == [
        (p, s) for p in (0.0, 0.1, 0.4) for s in (0, 1)
    ]
    assert [row["axes"] for row in found["levels"]] == [{"poison": poison} for poison in (0.0, 0.1, 0.4)]


def test_every_combination_of_axes_is_trained(tmp_path: Path) -> None:
    """Their values are in the names, the checkpoints, the table and the JSON; the order of the options is free."""
    words = ["sweep", "swiss-roll", "--vary", "lr=0.01,1e-3", "--vary", "width=6,4", "--set", "depth=2", "-q"]
    words += ["--seeds", "1", "--steps", "4", "--jobs", "1", "--out", str(tmp_path)]
    told = landscape(*words, "--poison", "0,0.5").stdout
    assert told.splitlines()[0].split()[:5] == ["width", "lr", "poison", "nets", "converged"]
    assert told.splitlines()[1].split()[:4] == ["6", "0.01", "0", "1"]
    assert "8 of 8 nets did not converge" in told
    names = {f"width-{w}-lr-{lr}-poison-{p}-seed-0.pt" for w in (6, 4) for lr in (0.01, 0.001) for p in (0, 0.5)}
    assert {path.name for path in tmp_path.iterdir()} == names
    found = json.loads(landscape(*words, "--poison", "0,0.5", "--json").stdout)
    assert found["axes"] == {"width": [6, 4], "lr": [0.01, 0.001], "poison": [0.0, 0.5]}
    assert found["rank_correlation"] is None
    for row in found["members"]:
        stored = torch.load(tmp_path / row["file"], weights_only=True)
        assert stored["axes"] == row["axes"]
        assert stored["state_dict"]["0.weight"].shape == (row["axes"]["width"], 2)
        assert len(stored["state_dict"]) == 6
        assert f"learning_rate={row['axes']['lr']:g}" in stored["settings"]
    alone = str(tmp_path / "alone.pt")
    landscape("train", "swiss-roll", "--set", "width=4", "--set", "lr=0.01", "--set", "depth=2", "--steps", "4", "-q",
              "--out", alone)  # fmt: skip
    first, second = (
        torch.load(path, weights_only=True)["state_dict"]
        for path in (alone, tmp_path / "width-4-lr-0.01-poison-0-seed-0.pt")
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert landscape("doctor", alone, "--cutoff", "2").exit_code == 0


def test_two_processes_train_the_same_nets(tmp_path: Path) -> None:
    """Fresh ones; other tests of a pool use forks."""
    words = ["sweep", "swiss-roll", "--poison", "0.2,0.4", "--seeds", "1", "--steps", "20", "-q", "--out"]
    for folder, jobs in (("one", 1), ("two", 2)):
        done = landscape(*words, tmp_path / folder, "--jobs", jobs)
        assert done.exit_code == 0, done.output
    for path in (tmp_path / "one").iterdir():
        first, second = (torch.load(p, weights_only=True)["state_dict"] for p in (path, tmp_path / "two" / path.name))
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_nets_that_diverge_are_named(tmp_path: Path) -> None:
    words = ["sweep", "swiss-roll", "--vary", "lr=0.01,1e38", "--seeds", "1", "--steps", "9", "--jobs", "1", "-q"]
    words += ["--out", str(tmp_path)]
    told = landscape(*words)
    assert told.exit_code == 0
    assert "1 of 2 nets diverged and have no checkpoint: lr-1e+38-seed-0" in told.stdout
    found = json.loads(landscape(*words, "--json").stdout)
    assert found["diverged"] == ["lr-1e+38-seed-0"]
    assert [row["axes"] for row in found["members"]] == [{"lr": 0.01}]
    words[3] = "lr=1e38"
    none = landscape(*words)
    assert none.exit_code == 2
    assert "every net diverged" in none.output


def test_ctrl_c_says_that_the_same_command_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the second net of three; the first is kept. Ctrl-C in a study says the same."""
    train = family.train_group

    def stopped(begin: Any, out: Path, group: Group, on_step: Any) -> None:
        if any(out.glob("*.pt")):
            raise KeyboardInterrupt
        train(begin, out, group, on_step)

    monkeypatch.setattr(family, "train_group", stopped)
    monkeypatch.setattr(load_recipe("swiss-roll"), "NETS_TOGETHER", 1)
    out = tmp_path / "family"
    words = ["--poison", "0", "--seeds", "3", "--steps", "2", "--jobs", "1", "-q", "--out", str(out)]
    done = landscape("sweep", "swiss-roll", *words)
    assert done.exit_code == 130
    assert done.stderr == f"interrupted; the same command continues from what {out} keeps\n"
    assert len(list(out.glob("*.pt"))) == 1

    def pressed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(study_run, "train_study", pressed)
    done = landscape("reproduce", "swiss-roll", "--quick", "--jobs", "1", "-q", "--out", str(tmp_path))
    assert done.exit_code == 130
    assert done.stderr == f"interrupted; the same command continues from what {tmp_path} keeps\n"
