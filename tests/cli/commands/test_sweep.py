"""``landscape sweep``: families of nets, their levels, and the same nets from several processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import torch

from helpers.commands import MAIN, landscape


def test_a_sweep_prints_its_levels_and_is_not_trained_twice(tmp_path: Path) -> None:
    folder = tmp_path / "family"
    words = ["sweep", "swiss-roll", "--poison", "0.4,0,0.1", "--seeds", "2", "--steps", "40", "--jobs", "1", "-q"]
    words += ["--out", str(folder)]
    told = landscape(*words).stdout
    assert told.splitlines()[0].split() == [
        "poison",
        "nets",
        "train",
        ">=",
        "train",
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
    assert len(found["levels"]) == 3


def test_two_processes_train_the_same_nets(tmp_path: Path) -> None:
    words = ["sweep", "swiss-roll", "--poison", "0.2,0.4", "--seeds", "1", "--steps", "20", "-q", "--out"]
    assert landscape(*words, str(tmp_path / "one"), "--jobs", "1").exit_code == 0
    script = f"import sys\nif __name__ == '__main__':\n    {MAIN}\n"
    (tmp_path / "main.py").write_text(script)
    done = subprocess.run([sys.executable, tmp_path / "main.py", *words, tmp_path / "two", "--jobs", "2"], check=True)
    assert done.returncode == 0
    for path in (tmp_path / "one").iterdir():
        first, second = (torch.load(p, weights_only=True)["state_dict"] for p in (path, tmp_path / "two" / path.name))
        assert all(torch.equal(first[name], second[name]) for name in first)
