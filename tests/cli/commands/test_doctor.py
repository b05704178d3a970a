"""``landscape doctor``: what is in a checkpoint, what a run will cost, and what is broken."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch._subclasses.fake_tensor import FakeTensor

from helpers.commands import TASK, flat, run, strict
from helpers.models import CausalLM
from landscape.objective import large
from landscape.rays.reach import reach
from landscape_cli import doctor_checks
from landscape_cli.doctor_checks import Report
from landscape_cli.main import cli

# show and plot


# doctor


def test_doctor_says_everything(here: Path) -> None:
    done = run("doctor ckpt.pt --task my_task.py --scope all --directions 500")
    text = flat(done.stdout)
    for words in (
        "Sequential, 42 parameters in 4 tensors, float32 on cpu", "no buffers", "nothing frozen",
        "all: 42 entries in 4 tensors", "n = 42; no filter has norm zero", "64 samples, loss cross_entropy",
        "loss 0.01", "the same every time", "100.0 %", "points at a time", "per evaluation; 500 rays",
        "next: landscape volume ckpt.pt --task my_task.py --directions 500 --scope all --out run.h5",
    ):  # fmt: skip
        assert words in text
    assert max(len(line) for line in done.stdout.splitlines() if "landscape volume" not in line) <= 80


def test_doctor_and_a_run_say_what_was_done_to_the_pixels(here: Path) -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 3))
    torch.save(net.state_dict(), "net.pt")
    (here / "net.py").write_text(
        "import torch\ndef make():\n    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 3))\n"
    )
    images = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 3)).astype(np.uint8)
    np.savez("images.npz", inputs=images, targets=np.arange(20) % 3)
    words = "inputs holds uint8 images: they were divided by 255, so pixels lie in [0, 1], and no mean was subtracted."
    options = "net.pt --model net.py:make --data images.npz"
    told = flat(run(f"doctor {options}").stdout)
    assert words in told
    assert "If the net was trained on normalised images, write these to the file instead" in told
    assert words in strict(run(f"doctor {options} --json").stdout)["notes"][0]
    assert words in flat(run(f"curvature {options} --trace --probes 2").stderr)


def test_doctor_json(here: Path) -> None:
    found = strict(run("doctor ckpt.pt --task my_task.py --json --cutoff 1e-9 --cutoff 1").stdout)
    assert found["parameters"] == 42
    assert found["dimension"] == 32
    assert found["accuracy"] == 1.0
    assert found["seconds_per_evaluation"] > 0
    impossible, possible = found["cutoffs"]
    assert (impossible["cutoff"], impossible["possible"]) == (1e-9, False)
    assert (possible["cutoff"], possible["possible"]) == (1.0, True)
    assert 0 < possible["rays_inside_cap"] <= found["rays_tried"]
    assert not found["ready"]


def test_doctor_advises_a_command_that_runs(here: Path) -> None:
    done = run("doctor ckpt.pt --task my_task.py --cutoff 1e-9 --directions 20")
    assert "FAILED: 1e-09" in done.stdout
    advice = done.stdout.splitlines()[-1].strip().removeprefix("landscape ")
    run(f"{advice} --estimator uniform")


def test_doctor_advises_cutoffs_inside_the_cap(here: Path) -> None:
    """A cutoff that no ray reaches is possible, but its basin is the ball of the cap: the next command has others."""
    line = "doctor ckpt.pt --task my_task.py --cutoff 0.1 --cutoff 1000"
    text = flat(run(line).stdout)
    assert "inside the cap r = 1, of 16 random rays 16 reach 0.1, 0 reach 1000" in text
    assert "few rays reach 1000, so most of the ball of the cap is basin. Type --cutoff" in text
    assert text.endswith("--cutoff 0.1 --out run.h5")
    found = strict(run("doctor ckpt.pt --task my_task.py --cutoff 1000 --json").stdout)
    assert found["ready"]
    typed = " ".join(f"--cutoff {cutoff:g}" for cutoff in found["suggested_cutoffs"])
    assert f"{typed} --out run.h5" in found["next"]
    rays = strict(run(f"radius ckpt.pt --task my_task.py {typed} --directions 50 --json").stdout)["rays"]
    assert np.mean([[status == "crossed" for status in ray["status"]] for ray in rays]) > 0.8


def test_doctor_without_a_cap_says_what_is_above_the_centre(here: Path) -> None:
    text = flat(run("doctor ckpt.pt --task my_task.py --cutoff 1e-9 --metric identity").stdout)
    assert "so there is no basin. Type --cutoff 0.05. Or type --criterion rise" in text


def test_doctor_says_if_the_point_is_no_minimum(here: Path) -> None:
    """A loss that falls along every ray has no cutoff to suggest, and no command to type next."""
    Path("falling.py").write_text(TASK.replace('"cross_entropy"', "lambda out, y: 2000 - out.square().mean()"))
    text = flat(run("doctor ckpt.pt --task falling.py --max-radius 0.1").stdout)
    assert "does not rise above that of the centre, so it is no minimum" in text
    assert "next: correct what failed (cutoffs)" in text


def test_doctor_counts_the_passes_of_a_ray_alone(here: Path) -> None:
    """The pilot rays come once: with few points at a time they must not count as passes of the trial rays."""
    found = strict(run("doctor ckpt.pt --task my_task.py --lanes 1 --directions 100 --json").stdout)
    radii = strict(run("radius ckpt.pt --task my_task.py --directions 8 --json").stdout)["rays"]
    measured = np.mean([ray["evaluations"] for ray in radii])
    assert found["evaluations_per_ray"] == pytest.approx(measured, rel=0.5)


def test_doctor_asks_what_the_output_is_and_takes_the_answer(here: Path) -> None:
    Path("own_loss.py").write_text(TASK.replace('"cross_entropy"', "lambda out, y: out.square().mean()"))
    line = "doctor ckpt.pt --task own_loss.py --criterion kl"
    asked = flat(run(line).stdout)
    assert "Pass --output logits, --output probabilities or --output log-probabilities" in asked
    assert "accuracy none" in asked
    told = flat(run(f"{line} --output logits").stdout)
    assert "accuracy 100.0 %" in told
    assert "--output logits --criterion kl" in told


def test_doctor_names_other_weights_that_fit_too(here: Path) -> None:
    weights = torch.load("ckpt.pt", weights_only=True)
    torch.save({"state_dict": weights, "ema_state_dict": weights}, "two.pt")
    text = flat(run("doctor two.pt --task my_task.py").stdout)
    assert "taken before those under 'ema_state_dict', which fit too (--weights chooses)" in text


def test_doctor_reads_a_checkpoint_once(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large one takes seconds to read, and as much memory as its model."""
    read = sys.modules["landscape.checkpoint.read"]
    original, paths = read._read, []

    def counted(path: Path, *, unsafe: bool) -> Any:
        paths.append(path)
        return original(path, unsafe=unsafe)

    monkeypatch.setattr(read, "_read", counted)
    assert strict(run("doctor ckpt.pt --task my_task.py --cutoff 1 --json").stdout)["ready"]
    assert paths == [Path("ckpt.pt")]


BROKEN = {
    "a missing checkpoint": ("missing.pt --task my_task.py", "", "does not exist"),
    "no task": ("ckpt.pt", "", "--task my_task.py"),
    "a task that raises": ("ckpt.pt --task broken.py", "def task():\n    return 1 / 0\n", "ZeroDivisionError"),
    "a net that fits not": ("ckpt.pt --task broken.py", TASK.replace("8", "9"), "9"),
    "inputs of another width": (
        "ckpt.pt --task broken.py", TASK.replace("data=(points", "data=(points[:, :1]"), "mat1 and mat2",
    ),
    "a loss that draws random numbers": (
        "ckpt.pt --task broken.py",
        TASK.replace('"cross_entropy"', "lambda out, y: out.mean() ** 2 + torch.rand(())"), "not deterministic",
    ),
    "a scope that matches nothing": ("ckpt.pt --task my_task.py --scope conv", "", "matches no parameter"),
    "a device that is not there": ("ckpt.pt --task my_task.py --device cuda:63", "", "cuda:63"),
}  # fmt: skip


@pytest.mark.parametrize(("line", "code", "words"), BROKEN.values(), ids=BROKEN.keys())
def test_doctor_describes_what_is_broken_and_goes_on(here: Path, line: str, code: str, words: str) -> None:
    Path("broken.py").write_text(code)
    done = run(f"doctor {line}")
    text = flat(done.stdout)
    assert "FAILED" in text
    assert words in text
    assert "next: correct what failed" in text
    found = strict(run(f"doctor {line} --json").stdout)
    assert not found["ready"]
    assert run(f"volume {line}", code=2).stderr.count("Traceback") == 0


def test_doctor_goes_on_after_a_failure(here: Path) -> None:
    """Data that do not fit leave the model, the scope and the metric to describe."""
    Path("broken.py").write_text(BROKEN["inputs of another width"][1])
    found = strict(run("doctor ckpt.pt --task broken.py --json").stdout)
    assert found["parameters"] == 42
    assert found["dimension"] == 32
    assert [check["name"] for check in found["checks"] if not check["passed"]] == ["objective"]


def test_any_failure_of_somebody_elses_code_is_a_line() -> None:
    def fails() -> None:
        raise RuntimeError("no such luck\nin two lines")

    report = Report()
    assert report.attempt("model", fails) is None
    assert report.checks[0].text == "RuntimeError: no such luck; in two lines"
    assert not report.ready


def test_doctor_says_that_it_exits_0() -> None:
    done = CliRunner().invoke(cli, ["doctor", "--help"])
    assert 'Exits 0 even if checks fail: --json has "ready"' in flat(done.output)
    assert "mps" not in done.output


LARGE_TASK = """
import torch
from helpers.models import CausalLM
from landscape import Task


def task():
    ids = torch.tensor([[1, 4, 2, 8, 5, 7]])
    return Task(model=CausalLM().bfloat16(), data={"input_ids": ids, "labels": ids}, loss="model")
"""


def test_doctor_makes_three_passes_of_a_large_model(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two are at the trained point and show how the weights are read, and one looks at the cap."""
    passes, forward = [], CausalLM.forward

    def counted(model: CausalLM, input_ids: torch.Tensor, labels: torch.Tensor | None = None) -> Any:
        output = forward(model, input_ids, labels)
        passes.append(not isinstance(output.logits, FakeTensor))
        return output

    (here / "lm.py").write_text(LARGE_TASK)
    torch.save(CausalLM().bfloat16().state_dict(), "lm.pt")
    monkeypatch.setattr(CausalLM, "forward", counted)
    for module in (large, doctor_checks):
        monkeypatch.setattr(module, "FLAT_LIMIT", 0)
    # as if a pass took long
    monkeypatch.setattr(sys.modules[reach.__module__], "_SECONDS", 0.0)
    monkeypatch.setattr(doctor_checks, "_TRIAL", 0.0)
    found = strict(run("doctor lm.pt --task lm.py --criterion rise --cutoff 0.01 --json").stdout)
    assert sum(passes) == 3
    assert found["curvature_bytes"] > 0
    assert found["seconds_per_evaluation"] > 0
    assert found["rays_tried"] == 1


def test_doctor_counts_buffers_and_frozen_tensors_and_says_why_there_is_no_curvature(here: Path) -> None:
    net = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))
    torch.save(net.state_dict(), "net.pt")
    (here / "own.py").write_text(
        TASK.replace("nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2)", "nn.Linear(2, 4), nn.BatchNorm1d(4), Stairs(4, 2)")
        .replace("return landscape", "net[0].weight.requires_grad_(False)\n    return landscape")
        .replace("def task", "class Stairs(nn.Linear):\n    def forward(self, x):\n"
                 "        return super().forward(x).detach()\n\n\ndef task")
    )  # fmt: skip
    told = flat(run("doctor net.pt --task own.py --cutoff 5 --directions 20").stdout)
    assert "3 buffers, which never move" in told
    assert "1 tensor frozen (0.weight); the scope moves them all the same" in told
    assert "curvature none: " in told


def test_the_estimators_are_not_loaded() -> None:
    """They need scipy, and take a tenth of the time that all imports take."""
    heavy = ("landscape.volume", "scipy")
    code = f"import sys, landscape_cli.doctor_checks; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
