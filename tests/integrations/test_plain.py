"""Tracking in a loop of one's own: the numbers, the file, and a training that is the same bit for bit."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import landscape as ls
from helpers.training import CHEAP, MEASURES, loader, make_net, points, same, seed_all, states
from landscape.errors import LandscapeError, StoreError
from landscape.integrations import Tracker
from landscape.integrations.held_data import apart
from landscape.results import Snapshot


def train(tracker: Tracker | None, epochs: int = 2, mixed: bool = False, device: str = "cpu") -> dict[str, Any]:
    """Train, and return all that the run leaves."""
    seed_all()
    net = make_net().to(device)
    net[1].register_forward_hook(lambda module, inputs, output: output * 1.0)
    frozen = net[4].bias.requires_grad_(False)
    optimizer = torch.optim.Adam([p for p in net.parameters() if p is not frozen], lr=0.05)
    scaler = torch.amp.GradScaler(device, enabled=mixed)
    step, seen = 0, []
    for epoch in range(1, epochs + 1):
        net.train()
        net[3].eval() if epoch == 2 else None  # a mode of its own
        for x, y in ((x.to(device), y.to(device)) for x, y in loader()):
            optimizer.zero_grad(set_to_none=step % 2 == 0)
            with torch.autocast(device, dtype=torch.bfloat16, enabled=mixed):
                loss = nn.functional.cross_entropy(net(x).float(), y)
                if tracker is not None and mixed:
                    tracker.measure(net, step)  # inside autocast, before the gradient
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            step += 1
            if tracker is not None:
                with torch.no_grad() if step % 2 else torch.enable_grad():
                    tracker(net, step, epoch if step % 3 == 0 else None)
            seen.append((float(loss), [m.training for m in net.modules()], torch.is_grad_enabled()))
    grads = [None if p.grad is None else p.grad.clone() for p in net.parameters()]
    return {
        "state": net.state_dict(), "optimizer": optimizer.state_dict(), "grads": grads, "seen": seen,
        "scaler": scaler.state_dict(), "random": states(), "autocast": torch.is_autocast_enabled(device),
        "hooks": [len(m._forward_hooks) for m in net.modules()],
    }  # fmt: skip


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def test_training_is_the_same_bit_for_bit(mixed: bool, device: str) -> None:
    held = loader(shuffle=True)
    with Tracker(held, measures=CHEAP if mixed else MEASURES, every_steps=2, criterion="rise", directions=8) as tracker:
        watched = train(tracker, mixed=mixed, device=device)
    assert tracker.latest is not None
    assert tracker.latest.step == 6
    alone = train(None, mixed=mixed, device=device)
    assert [name for name in alone if not same(alone[name], watched[name])] == []


def test_numbers_are_those_of_the_library_at_the_weights_of_the_moment() -> None:
    net, data = make_net(), points()
    logged: list[tuple[dict[str, float], int]] = []
    tracker = Tracker(data, measures=MEASURES, every_epochs=1, log=lambda found, step: logged.append((found, step)))
    assert tracker(net, step=3) == {}
    for epoch in (1, 2):
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.mul_(1.5)
            net[1].running_mean.add_(0.1)
        found = tracker(net, step=10 * epoch, epoch=epoch)
        objective = ls.Objective(net, data)
        table = ls.sharpness(objective, ["lambda-max", "trace", "average-case"])
        assert found["landscape/loss"] == objective.centre
        assert found["landscape/accuracy"] == objective.accuracy()
        for name, measure in table.items():
            assert found[f"landscape/{name}"] == measure.value
        assert found["landscape/average-case_standard_error"] == table["average-case"].standard_error
        assert logged[-1] == (found, 10 * epoch)


@pytest.mark.parametrize("around", [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)])
def test_what_is_switched_on_around_a_call_changes_no_number(around: Callable[[], Any]) -> None:
    net = make_net()
    before, inside = (Tracker(points(), measures=CHEAP, every_steps=1) for _ in range(2))
    plain = before(net, 1)
    with around():
        assert before(net, 2) == inside(net, 2) == plain


def test_the_file_has_one_group_per_step_and_is_continued(tmp_path: Path) -> None:
    out, net = tmp_path / "run.h5", make_net()
    with Tracker(points(), measures=CHEAP, every_steps=10, out=out) as tracker:
        for step in range(25):
            tracker(net, step, epoch=None)
        with pytest.raises(StoreError, match="being written by another run"):
            ls.Store(out)["other"] = tracker.latest
    assert ls.Store(out).names() == ["step-00000010", "step-00000020"]
    with h5py.File(out) as file:
        assert file["step-00000020"]["values"].shape == (2,)
    with pytest.raises(StoreError, match="already holds 2 snapshots"):
        Tracker(points(), every_steps=10, out=out)
    with pytest.raises(LandscapeError, match="seed: stored 0, asked 1"):
        Tracker(points(), every_steps=10, out=out, resume=True, seed=1)
    with Tracker(points(), measures=["loss"], every_steps=10, out=out, resume=True) as tracker:
        tracker(net, 30, epoch=3)
    assert len(ls.Store(out).names()) == 3
    stored = ls.Store(out)["step-00000030"]
    assert isinstance(stored, Snapshot)
    assert (stored.step, stored.epoch, stored.names) == (30, 3.0, ("loss",))
    assert stored.config["step"] == 30
    with Tracker(points(), measures=["loss"], every_steps=10, out=out, overwrite=True) as tracker:
        tracker(net, 40)
    assert ls.Store(out).names() == ["step-00000040"]


def test_a_killed_run_leaves_a_file_that_is_read_and_continued(tmp_path: Path) -> None:
    out = tmp_path / "run.h5"
    if not (child := os.fork()):
        tracker = Tracker(points(), measures=["loss"], every_steps=1, out=out)
        for step in range(1, 4):
            tracker(make_net(), step)
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert ls.Store(out).names() == [f"step-{step:08d}" for step in (1, 2, 3)]
    with Tracker(points(), measures=["loss"], every_steps=1, out=out, resume=True) as tracker:
        assert tracker(make_net(), 4)
    assert len(ls.Store(out).names()) == 4


class Breaks(nn.Module):
    """A net whose forward pass fails while it is measured."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            raise RuntimeError("no kernel for this")
        return self.net(x)


def test_what_cannot_be_measured_is_a_gap_with_one_note(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    tracker = Tracker(points(), measures=["loss", "radius"], cutoff=1e-6, every_steps=1, out=tmp_path / "run.h5")
    with caplog.at_level(logging.WARNING, "landscape"):
        for step in (1, 2):
            assert list(tracker(make_net(), step)) == ["landscape/loss"]
    (note,) = [record.getMessage() for record in caplog.records]
    assert "radius at step 1: the loss at the trained point is" in note
    assert tracker.latest is not None
    assert tracker.latest.verdicts == ("exact", "failed")
    diverged = make_net()
    diverged[0].weight.data[0, 0] = float("nan")
    for net, words in ((diverged, "the training has diverged"), (Breaks(), "no kernel for this")):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "landscape"):
            assert tracker.measure(net, 3) == {}
        assert words in caplog.text
    strict = Tracker(points(), measures=["loss", "radius"], cutoff=1e-6, every_steps=1, strict=True)
    with pytest.raises(LandscapeError, match="radius cannot be measured at step 1"):
        strict(make_net(), 1)


def test_a_summary_writer_gets_a_scalar_for_each_number() -> None:
    class Writer:
        def __init__(self) -> None:
            self.scalars: list[tuple[str, float, int]] = []

        def add_scalar(self, name: str, value: float, step: int) -> None:
            self.scalars.append((name, value, step))

    writer = Writer()
    found = Tracker(points(), measures=["loss", "accuracy"], every_steps=1, log=writer)(make_net(), 3)
    assert found
    assert writer.scalars == [(name, value, 3) for name, value in found.items()]


def test_a_loader_of_held_data_is_read_apart_from_training() -> None:
    """One of a sampler of the user's own keeps its order, and starts no workers; one in a list is that loader."""
    data = TensorDataset(*points())
    own = DataLoader(data, 8, sampler=[5, 3, 1], num_workers=1, persistent_workers=True)
    read = apart([own])
    assert (read.num_workers, own.num_workers) == (0, 1)
    assert torch.equal(next(iter(read))[0], points()[0][[5, 3, 1]])
    assert apart(DataLoader(data, 8, shuffle=True)).sampler.__class__.__name__ == "SequentialSampler"
    with pytest.raises(LandscapeError, match="the held data are several loaders"):
        apart([own, own])


def test_a_logger_that_fails_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def log(found: dict[str, float], step: int) -> None:
        raise ConnectionError("no network")

    with caplog.at_level(logging.WARNING, "landscape"):
        assert Tracker(points(), measures=["loss"], every_steps=1, log=log)(make_net(), 1)
    assert "the logger: ConnectionError: no network" in caplog.text
    with pytest.raises(ConnectionError):
        Tracker(points(), measures=["loss"], every_steps=1, log=log, strict=True)(make_net(), 1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "nothing says when to measure"),
        ({"every_steps": 0}, "`every_steps` must be a whole number of at least 1"),
        ({"every_steps": 1, "mesures": ["loss"]}, "`mesures=...` is no option of a callback"),
        (
            {"every_steps": 1, "measures": ["sharp"]},
            "measure 'sharp' is not known. Pass loss, accuracy, radius, core",
        ),
        ({"every_steps": 1, "measures": []}, "there is nothing to measure"),
        ({"every_steps": 1, "measures": [3]}, "`measures` must be names"),
        ({"every_steps": 1, "budget": "soon"}, "Invalid budget 'soon'"),
        ({"every_steps": 1, "cutoff": "low"}, "`cutoff` must be a finite number"),
        ({"every_steps": 1, "measures": ["log-volume"], "cutoff": [0.1, 1]}, "log-volume takes one cutoff"),
        ({"every_steps": 1, "cutoff": []}, "`cutoff` must be a finite number, or several"),
        ({"every_steps": 1, "directions": 0}, "`directions` must be a whole number"),
        ({"every_steps": 1, "log": 3}, "`log` must be a function"),
        ({"every_steps": 1, "metric": "round"}, "`metric` must be one of filter"),
        ({"every_steps": 1, "criterion": "high"}, "`criterion` must be one of loss, rise, kl"),
        ({"every_steps": 1, "seed": -1}, "the seed must be a whole number"),
        ({"every_steps": 1, "volume_budget": "soon"}, "Invalid budget 'soon'"),
        ({"every_steps": 1, "resume": True, "overwrite": True}, "Pass one of the two"),
    ],
)
def test_misuse_is_one_clear_error_before_training(options: dict[str, Any], words: str) -> None:
    with pytest.raises(LandscapeError, match=words.replace("(", r"\(")):
        Tracker(points(), **options)


@pytest.mark.parametrize(
    ("data", "options", "words"),
    [
        (None, {}, "the data must be batches"),
        ((torch.zeros(3, 2), torch.zeros(2)), {}, "their lengths differ"),
        (points(), {"scope": "nothing"}, "matches no parameter"),
        (points(), {"loss": "sharp"}, "the loss 'sharp' is not known"),
        (points(), {"out": "missing/run.h5"}, "cannot be written"),
        ({"a": loader(), "b": loader()}, {}, "several loaders"),
    ],
)
def test_what_does_not_fit_together_shows_at_the_first_call(data: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(LandscapeError, match=words):
        Tracker(data, every_steps=100, **options)(make_net(), 1)


@pytest.mark.parametrize("step", ["3", -1, 1.5])
def test_a_step_is_a_whole_number(step: Any) -> None:
    with pytest.raises(LandscapeError, match="`step` must be a whole number"):
        Tracker(points(), every_steps=1)(make_net(), step)


def test_the_distance_is_from_the_weights_of_the_first_call() -> None:
    net, tracker = make_net(), Tracker(points(), measures=["distance"], every_steps=2, scope="all")
    tracker(net, 0)
    with torch.no_grad():
        net[0].bias[0] += 3.0
        net[4].bias[0] += 4.0
    assert tracker(net, 2) == {"landscape/distance": pytest.approx(5.0)}


def test_a_sharded_model_is_refused() -> None:
    net = make_net()
    net[0].weight.ds_id = 3  # as ZeRO 3 marks it
    with pytest.raises(LandscapeError, match="landscape track"):
        Tracker(points(), every_steps=1)(net, 1)


def test_wrapped_models_are_measured_inside() -> None:
    net = make_net()
    compiled = nn.Module()  # the form of torch.compile(net), whose import takes seconds
    compiled._orig_mod = net
    tracker = Tracker(points(), measures=["loss"], every_steps=1)
    assert tracker(nn.DataParallel(net), 1) == tracker(compiled, 2) == tracker(net, 3) != {}
