"""``landscape train`` and ``landscape sweep`` as they are typed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from landscape.training.full_batch import Family
from landscape_cli.main import cli

MAIN = "from landscape_cli.main import main; main()"


def landscape(*words: str) -> Result:
    return CliRunner().invoke(cli, words, prog_name="landscape")


def test_poison_is_in_the_line_the_json_and_the_checkpoint(tmp_path: Path) -> None:
    out = tmp_path / "ckpt.pt"
    done = landscape("train", "swiss-roll", "--poison", "0.3", "--steps", "5", "--out", str(out), "--json")
    found = json.loads(done.stdout)
    assert (found["poison"], found["steps"]) == (0.3, 5)
    stored = torch.load(out, weights_only=True)
    assert stored["training"] == found
    assert "fresh=200" in stored["settings"]
    told = landscape("train", "swiss-roll", "--poison", "0.3", "--steps", "5", "--out", str(out), "-q").stdout
    assert told.startswith("swiss-roll, seed 0, poison 0.3: train accuracy ")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["train", "swiss-roll", "--out", "a.pt", "--poison", "1"], "--poison 0.3"),
        (["sweep", "swiss-roll", "--out", "a", "--poison", "0,x"], "numbers with commas"),
        (["sweep", "jelly-roll", "--out", "a", "--poison", "0"], "The recipes are swiss-roll"),
        (["sweep", "swiss-roll", "--out", "a", "--poison", "-0.5,0"], "--poison 0.3"),
    ],
)
def test_misuse(words: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = landscape(*words)
    assert done.exit_code == 2
    assert expected in done.output
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_checkpoints_on_the_way_are_those_of_a_shorter_look(tmp_path: Path) -> None:
    """They carry their task too, and the last is the checkpoint itself."""
    out = tmp_path / "net.pt"
    landscape("train", "swiss-roll", "--poison", "0.3", "--steps", "6", "--keep-every", "2", "--out", str(out), "-q")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["net-step00000002.pt", "net-step00000004.pt", "net-step00000006.pt", "net.pt"]
    stored = [torch.load(tmp_path / name, weights_only=True) for name in names]
    assert [item["training"]["steps"] for item in stored] == [2, 4, 6, 6]
    first, last = (item["state_dict"] for item in (stored[2], stored[3]))
    assert all(torch.equal(first[name], last[name]) for name in last)
    assert landscape("doctor", str(tmp_path / names[0]), "--cutoff", "2").exit_code == 0


def test_a_training_killed_goes_on_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGINT and SIGKILL, each at a moment of its own; the state is kept at each step."""
    words = ["train", "swiss-roll", "--poison", "0.3", "--steps", "800", "-q", "--out"]
    landscape(*words, str(tmp_path / "whole.pt"))
    eager = "from landscape.training.resumable import Keeper; d = Keeper.__init__; "
    eager += "d.__defaults__ = 0.0, d.__defaults__[1]; "
    out = tmp_path / "net.pt"
    state = tmp_path / "net.pt.unfinished"
    for number, kill in enumerate((signal.SIGINT, signal.SIGKILL)):
        resume = ["--resume"] if number else []
        child = subprocess.Popen(
            [sys.executable, "-c", eager + MAIN, *words, str(out), *resume], stderr=subprocess.PIPE, text=True
        )
        before = state.stat().st_mtime_ns if state.exists() else 0
        while not state.exists() or state.stat().st_mtime_ns == before:
            assert child.poll() is None, child.communicate()[1]
            time.sleep(0.005)
        time.sleep(0.1)
        os.kill(child.pid, kill)
        told = child.communicate()[1]
        assert child.returncode in (130, -signal.SIGKILL), told
        if kill == signal.SIGINT:
            assert "add --resume" in told
    assert not out.exists()
    step = torch.load(state, weights_only=True)["step"]
    assert 0 < step < 800
    made, advance = [], Family._advance
    monkeypatch.setattr(Family, "_advance", lambda family: (made.append(family.step), advance(family)))
    done = landscape(*words, str(out), "--resume")
    assert done.exit_code == 0
    assert made == list(range(step, 800))
    whole, resumed = (torch.load(path, weights_only=True) for path in (tmp_path / "whole.pt", out))
    assert all(torch.equal(whole["state_dict"][name], resumed["state_dict"][name]) for name in whole["state_dict"])
    assert {**whole["training"], "seconds": 0} == {**resumed["training"], "seconds": 0}
    assert not state.exists()


def test_training_goes_on_from_the_weights_of_another(tmp_path: Path) -> None:
    """As poisoned fine-tuning does: the first loss is that of the start."""
    start, out = tmp_path / "start.pt", tmp_path / "net.pt"
    good = json.loads(landscape("train", "swiss-roll", "--steps", "300", "--out", str(start), "--json", "-q").stdout)
    words = ["train", "swiss-roll", "--poison", "0.3", "--steps", "1", "--json", "-q", "--out", str(out)]
    fresh = json.loads(landscape(*words).stdout)
    tuned = json.loads(landscape(*words, "--start", str(start)).stdout)
    assert fresh["train_loss"] > 0.6
    assert tuned["train_loss"] < 10 * good["train_loss"] + 0.05
    done = landscape(*words, "--start", str(tmp_path / "none.pt"))
    assert done.exit_code == 2
    assert "none.pt does not exist" in done.output


def test_without_resume_it_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "net.pt.unfinished").write_bytes(b"of long ago")
    words = ["train", "swiss-roll", "--steps", "3", "--out", str(tmp_path / "net.pt"), "-q"]
    assert landscape(*words, "--resume").exit_code == 2
    assert landscape(*words).exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["net.pt"]


def test_a_log_gets_a_line_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("landscape_cli.training.LOG_EVERY", 0.0)
    monkeypatch.setattr("landscape_cli.training.SHOW_SHARE", 1e9)
    done = landscape("train", "swiss-roll", "--steps", "3", "--out", str(tmp_path / "net.pt"))
    assert "2 of 3 steps: loss 0.6" in done.stderr
    assert "train 5" in done.stderr


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
