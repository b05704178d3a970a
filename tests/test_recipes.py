"""The swiss roll: its data, its network, its training, and the checkpoint that carries its task."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import landscape as ls
from landscape.recipes import RECORD, swiss_roll, task_from_record
from landscape.task import resolve_task


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
    assert not torch.equal(swiss_roll.points(0, 20, 0)[0], swiss_roll.points(0, 20, 1)[0])


def test_training_fits_and_generalises() -> None:
    trained = swiss_roll.train(seed=0, steps=1500)
    assert trained.numbers.train_accuracy == 1.0
    assert trained.numbers.test_accuracy > 0.95
    assert trained.numbers.train_loss < 0.01


def test_the_same_seed_gives_the_same_weights_and_a_checkpoint_with_its_task(tmp_path: Path) -> None:
    first, second = (swiss_roll.train(seed=1, steps=60) for _ in range(2))
    assert all(torch.equal(first.state[name], second.state[name]) for name in first.state)
    first.save(tmp_path / "ckpt.pt")
    stored = torch.load(tmp_path / "ckpt.pt", weights_only=True)
    assert stored[RECORD] == {"recipe": "swiss-roll", "args": {"seed": 1}}
    task, _ = resolve_task(tmp_path / "ckpt.pt")
    objective = ls.Objective(task.model, task.data, task.loss)
    assert objective.centre == pytest.approx(first.numbers.train_loss, rel=1e-5)
    assert [path.name for path in tmp_path.iterdir()] == ["ckpt.pt"]


def test_training_that_diverges_stops_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swiss_roll, "points", lambda *_: (torch.full((4, 2), torch.nan), torch.zeros(4)))
    with pytest.raises(ls.LandscapeError, match="step 0"):
        swiss_roll.train(seed=0, steps=5)


@pytest.mark.parametrize(
    ("record", "words"),
    [({"recipe": "jelly-roll"}, "swiss-roll"), ({"recipe": "swiss-roll", "args": {"size": 3}}, "does not fit")],
)
def test_records_of_other_versions(record: dict[str, object], words: str) -> None:
    with pytest.raises(ls.LandscapeError, match=words):
        task_from_record(record)


def test_a_checkpoint_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    trained = swiss_roll.train(seed=0, steps=1)
    with pytest.raises(ls.LandscapeError, match="--out"):
        trained.save(tmp_path / "missing" / "ckpt.pt")
    assert not list(tmp_path.iterdir())
