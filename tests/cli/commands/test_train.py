"""``landscape train``: the checkpoint, what is printed, and training that is interrupted."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import termios
import time
from pathlib import Path

import pytest
import torch
from click.testing import Result

from helpers.children import Child, command
from helpers.commands import landscape
from landscape.training import FullBatchTraining, StateFile


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
        (["train", "swiss-roll", "--out", "a.pt", "--set", "width"], "such as width=16"),
        (
            ["train", "swiss-roll", "--out", "a.pt", "--set", "batch=8"],
            "It takes width, depth, lr, weight-decay, steps",
        ),
        (["train", "swiss-roll", "--out", "a.pt", "--set", "steps=9", "--steps", "8"], "steps is given twice"),
        (["train", "swiss-roll", "--out", "a.pt", "--set", "width=0"], "--set width=4"),
        (["train", "swiss-roll", "--out", "a.pt", "--set", "lr=-1"], "--set lr=0.01"),
        (["sweep", "swiss-roll", "--out", "a"], "--vary NAME=V,V,..."),
        (
            ["sweep", "swiss-roll", "--out", "a", "--vary", "wdth=8,16"],
            "It takes width, depth, lr, weight-decay, steps",
        ),
        (["sweep", "swiss-roll", "--out", "a", "--vary", "width=8,x"], "expected a whole number, got 'x'"),
        (["sweep", "swiss-roll", "--out", "a", "--vary", "poison=0,0.1"], "the poison has its own option"),
        (["sweep", "swiss-roll", "--out", "a", "--vary", "lr=1", "--vary", "lr=2"], "lr is given twice"),
        (["sweep", "swiss-roll", "--out", "a", "--vary", "steps=1,2", "--steps", "3"], "steps is given twice"),
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


def keep_each_step() -> None:
    defaults = StateFile.__init__.__defaults__
    assert defaults
    StateFile.__init__.__defaults__ = (0.0, *defaults[1:])


def test_a_training_killed_goes_on_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGINT and SIGKILL, each at a moment of its own; the state is kept at each step."""
    words = ["train", "swiss-roll", "--poison", "0.3", "--steps", "800", "-q", "--out"]
    landscape(*words, str(tmp_path / "whole.pt"))
    out = tmp_path / "net.pt"
    state = tmp_path / "net.pt.unfinished"
    for number, kill in enumerate((signal.SIGINT, signal.SIGKILL)):
        resume = ["--resume"] if number else []
        child = Child(command(*words, out, *resume, before=keep_each_step))
        before = state.stat().st_mtime_ns if state.exists() else 0
        while not state.exists() or state.stat().st_mtime_ns == before:
            assert child.poll() is None, child.communicate()[1]
            time.sleep(0.005)
        time.sleep(0.1)
        child.send_signal(kill)
        told = child.communicate()[1]
        assert child.returncode in (130, -signal.SIGKILL), told
        if kill == signal.SIGINT:
            assert "add --resume" in told
    assert not out.exists()
    step = torch.load(state, weights_only=True)["step"]
    assert 0 < step < 800
    steps, advance = [], FullBatchTraining.advance
    monkeypatch.setattr(FullBatchTraining, "advance", lambda training: (steps.append(training.step), advance(training)))
    done = landscape(*words, str(out), "--resume")
    assert done.exit_code == 0
    assert steps == list(range(step, 800))
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
    monkeypatch.setattr("landscape_cli.heartbeat.FIRST", (0.0,))
    monkeypatch.setattr("landscape_cli.heartbeat.EVERY", 0.0)
    monkeypatch.setattr("landscape_cli.training.SHOW_SHARE", 1e9)
    done = landscape("train", "swiss-roll", "--steps", "3", "--out", str(tmp_path / "net.pt"))
    assert re.search(r"2 of 3 steps at most, .* a second, at most .* left: loss 0.6", done.stderr)
    assert "train 5" in done.stderr


def train(*words: str) -> Result:
    """Type ``landscape train swiss-roll`` and some options."""
    return landscape("train", "swiss-roll", *words)


def test_train_prints_one_json_object(tmp_path: Path) -> None:
    done = train("--steps", "5", "--seed", "3", "--out", str(tmp_path / "ckpt.pt"), "--json")
    found = json.loads(done.stdout)
    assert list(found) == [
        *("train_accuracy", "test_accuracy", "train_loss", "poison", "seed", "steps", "seconds"),
        *("test_loss", "converged"),
    ]
    assert (found["seed"], found["steps"], found["poison"]) == (3, 5, 0.0)
    assert torch.load(tmp_path / "ckpt.pt", weights_only=True)["training"] == found


def test_train_says_what_to_type_next_and_that_the_points_are_not_fitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = train("--steps", "5", "--out", "my net.pt")
    assert done.stdout.endswith("landscape volume 'my net.pt'\n")
    assert "not all fitted" in done.stderr
    assert train("--steps", "5", "--out", "b.pt", "-q").stderr == ""


def test_train_shows_a_bar_with_both_accuracies(tmp_path: Path) -> None:
    """On a terminal; a log gets none."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, 100))
    with Child(command("train", "swiss-roll", "--steps", "5", "--out", tmp_path / "ckpt.pt"), stderr=slave) as child:
        assert child.wait() == 0
    os.close(slave)
    shown = os.read(master, 100_000).decode()
    os.close(master)
    assert re.search(r"loss 0\.\d+, train \d+\.\d %, test \d+\.\d %", shown)


def test_train_into_a_folder_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("landscape_cli.training.begin", lambda *_: pytest.fail("trained before it looked"))
    done = train("--out", str(tmp_path / "no" / "ckpt.pt"))
    assert done.exit_code == 2
    assert "mkdir -p" in done.output
    assert train("--out", str(tmp_path)).exit_code == 2
