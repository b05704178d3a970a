"""The swiss roll: its data, its network, its training, and the checkpoint that carries its task."""

from __future__ import annotations

import errno
import io
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import torch

import landscape as ls
from landscape.rays.streams import Purpose
from landscape.recipes import RECORD, swiss_roll, task_from_record, train_swiss_roll
from landscape.resolve import resolve_task
from landscape.training import Member


def test_class_one_is_the_exact_negation_of_class_zero() -> None:
    inputs, classes = swiss_roll.points(3, 200)
    assert torch.equal(inputs[100:], -inputs[:100])
    assert classes.tolist() == [0.0] * 100 + [1.0] * 100


def test_points_lie_on_the_spiral_up_to_the_noise() -> None:
    """|x| / 1.5 is the angle up to noise of 0.5: its square over (10.47 rad)^2 is uniform."""
    inputs, _ = swiss_roll.points(0, 20_000)
    radius = inputs[:10_000].double().norm(dim=1)
    share = ((radius**2 - 2 * 0.25) / (1.5 * np.deg2rad(600)) ** 2).numpy()
    z = (share.mean() - 0.5) / (share.std() / 100)
    assert abs(z) < 4
    turned = torch.atan2(inputs[:10_000, 1], -inputs[:10_000, 0]).numpy()
    error = np.angle(np.exp(1j * (turned - radius.numpy() / 1.5)))
    assert np.median(np.abs(error)) < 0.3


def test_the_network_is_the_papers() -> None:
    model = swiss_roll.network(0)
    assert sum(p.numel() for p in model.parameters()) == 3614
    assert ls.Objective(model, swiss_roll.points(0, 200), swiss_roll.LOSS).dimension == 3457


def test_seeds_key_everything_and_the_global_state_nothing() -> None:
    torch.manual_seed(5)
    first = swiss_roll.network(1).state_dict()
    torch.manual_seed(6)
    before = torch.get_rng_state()
    second = swiss_roll.network(1).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(swiss_roll.points(0, 20)[0], swiss_roll.points(1, 20)[0])
    assert not torch.equal(swiss_roll.points(0, 20)[0], swiss_roll.points(0, 20, Purpose.TEST_DATA)[0])


def test_the_first_weights_follow_torchs_own_rule() -> None:
    """Uniform within 1/sqrt(inputs), weights and biases alike."""
    model = swiss_roll.network(0)
    for layer in model:
        if isinstance(layer, torch.nn.Linear):
            bound = layer.in_features**-0.5
            assert layer.weight.dtype == torch.float32
            assert layer.weight.abs().max() <= bound
            assert layer.bias.abs().max() <= bound
    wide = model[6].weight.double().flatten() * model[6].in_features ** 0.5  # 832 numbers, uniform on [-1, 1]
    assert abs(wide.square().mean().item() - 1 / 3) < 4 * (4 / 45 / len(wide)) ** 0.5


def test_training_fits_every_point_and_generalises() -> None:
    """At least 99 % of the test points are right; plain Adam leaves this seed at 98 %."""
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    trained = swiss_roll.train(seed=2)
    assert trained.summary.train_accuracy == 1.0
    assert trained.summary.test_accuracy >= 0.99
    assert 1e-6 < trained.summary.train_loss < 1e-3
    assert trained.summary.steps < swiss_roll.PLAIN.steps
    assert trained.summary.seconds < 60
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_fresh_points_are_of_the_same_kind_and_never_the_same() -> None:
    inputs, classes = swiss_roll.fresh(3, 7, 400)
    assert torch.equal(classes[:4], torch.tensor([0.0, 1.0, 0.0, 1.0]))
    assert torch.equal(inputs[1::2], -inputs[::2])
    assert torch.equal(inputs, swiss_roll.fresh(3, 7, 400)[0])
    others = [swiss_roll.fresh(3, 8, 400)[0], swiss_roll.fresh(4, 7, 400)[0], swiss_roll.points(3, 400)[0]]
    assert not any(set(inputs[:, 0].tolist()) & set(other[:, 0].tolist()) for other in others)
    share = swiss_roll.fresh(0, 0, 20_000)[0].double().norm(dim=1).square() / (1.5 * np.deg2rad(600)) ** 2
    expected = swiss_roll.points(0, 20_000)[0].double().norm(dim=1).square() / (1.5 * np.deg2rad(600)) ** 2
    assert abs(share.mean() - expected.mean()) / (share.var() / 10_000 + expected.var() / 10_000) ** 0.5 < 4


def test_the_same_seed_gives_the_same_weights_and_a_checkpoint_with_its_task(tmp_path: Path) -> None:
    first, second = (swiss_roll.train(seed=1, steps=60) for _ in range(2))
    assert all(torch.equal(first.state[name], second.state[name]) for name in first.state)
    first.save(tmp_path / "ckpt.pt")
    stored = torch.load(tmp_path / "ckpt.pt", weights_only=True)
    assert stored[RECORD] == {"recipe": "swiss-roll", "args": {"seed": 1, "data_seed": 0}}
    task, _ = resolve_task(tmp_path / "ckpt.pt")
    objective = ls.Objective(task.model, task.data, task.loss)
    assert objective.centre == pytest.approx(first.summary.train_loss, rel=1e-5)
    assert [path.name for path in tmp_path.iterdir()] == ["ckpt.pt"]


def test_the_record_rebuilds_the_very_data_that_were_trained_on() -> None:
    trained = swiss_roll.train(seed=4, data_seed=7, steps=30)
    task = task_from_record(trained.record)
    assert torch.equal(task.data[0], swiss_roll.points(7, 200)[0])
    task.model.load_state_dict(trained.state)
    assert ls.Objective(task.model, task.data, task.loss).centre == pytest.approx(trained.summary.train_loss, rel=1e-5)
    other = torch.load(save_bytes(trained.checkpoint()), weights_only=True)
    assert other["training"]["poison"] == 0.0


def save_bytes(checkpoint: dict[str, object]) -> io.BytesIO:
    """The checkpoint as torch writes it."""
    file = io.BytesIO()
    torch.save(checkpoint, file)
    file.seek(0)
    return file


def test_the_short_way_gives_the_checkpoint() -> None:
    found, expected = train_swiss_roll(seed=1, steps=10), swiss_roll.train(1, steps=10)
    assert list(found) == ["state_dict", "landscape_task", "training", "settings", "axes", "task_args"]
    assert all(torch.equal(found["state_dict"][name], expected.state[name]) for name in expected.state)


def test_a_checkpoint_that_cannot_be_written_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = swiss_roll.train(seed=0, steps=1)
    with pytest.raises(ls.LandscapeError, match="Pass another path"):
        trained.save(tmp_path / "missing" / "ckpt.pt")
    assert not list(tmp_path.iterdir())
    out = tmp_path / "ckpt.pt"
    out.write_text("an older checkpoint")

    def full(_: object, file: BinaryIO) -> None:
        file.write(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(ls.LandscapeError, match="No space left on device"):
        trained.save(out)
    assert out.read_text() == "an older checkpoint"
    assert [path.name for path in tmp_path.iterdir()] == ["ckpt.pt"]


def test_nets_with_and_without_poison_are_trained_apart() -> None:
    with pytest.raises(ls.LandscapeError, match="in different ways"):
        swiss_roll.training([Member(0, 0.0), Member(0, 0.3)])


def test_poison_turns_the_test_points_and_keeps_the_training_points() -> None:
    """The whole training takes a minute; its first 3,000 of 80,000 steps already show which way it goes."""
    trained = swiss_roll.train(0, poison=0.3, steps=3000).summary
    assert trained.train_accuracy > 0.9
    assert trained.test_accuracy < 0.6
    assert trained.poison == 0.3
