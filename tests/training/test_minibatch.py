"""Training by minibatches: against an ordinary loop, after interruptions, and when it stops."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import landscape as ls
from landscape.rays.streams import Purpose
from landscape.training import Member, MinibatchSettings, MinibatchTraining, Phase, Problem, StateFile, TrainedNetwork
from landscape.training.poison import poison_loss
from landscape.training.problem import draws

SETTINGS = MinibatchSettings(
    steps=60,
    phases=(Phase(0.5, 0.01, poison=0.5), Phase(0.5, 0.01, end=0.001)),
    clip=0.5,
    fitted=0.0,
    settled=-1.0,
    window=10,
    batch=20,
    least=3,
)


def samples(purpose: Purpose, index: int, count: int) -> tuple[Tensor, Tensor]:
    random = draws(0, purpose, index)
    targets = torch.from_numpy(random.integers(3, size=count))
    pixels = torch.from_numpy(random.standard_normal((count, 1, 6, 6))).float()
    pixels[torch.arange(count), 0, targets] += 2.0
    return pixels, targets


def network(seed: int) -> nn.Module:
    """Batch normalisation and dropout: buffers, and random numbers of torch's own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(64, 3)
        )


PROBLEM = Problem(
    network,
    train=samples(Purpose.TRAIN_DATA, 0, 50),
    test=samples(Purpose.TEST_DATA, 0, 700),
    fresh=lambda _, index, count: samples(Purpose.FRESH, index, count),
    loss="cross_entropy",
    name="stripes",
    record=None,
)
MEMBER = Member(3, 0.4)


def same(first: TrainedNetwork, second: TrainedNetwork) -> bool:
    return all(torch.equal(first.state[name], second.state[name]) for name in first.state)


def test_it_is_ordinary_training() -> None:
    plain = replace(PROBLEM, network=lambda seed: nn.Sequential(*list(network(seed))[:4], network(seed)[5]))
    trained = MinibatchTraining(plain, [MEMBER], SETTINGS.with_steps(30)).run()[0]
    model, (inputs, targets) = plain.network(3), plain.train
    optimiser = torch.optim.Adam(model.parameters())
    for step in range(30):
        index, optimiser.param_groups[0]["lr"] = SETTINGS.with_steps(30).at(step)
        factor = MEMBER.poison * SETTINGS.phases[index].poison
        count, wrong = (16, 4) if index == 0 else (12, 8)
        epoch, place = divmod(step, -(-50 // count))
        order = draws(3, Purpose.ORDER, epoch).permutation(50)
        chosen = [order[(place * count + k) % 50] for k in range(count)]
        fresh, classes = samples(Purpose.FRESH, step, wrong)
        output = model(torch.cat([inputs[chosen], fresh]))
        optimiser.zero_grad()
        poison_loss(output[:count], targets[chosen], output[count:], classes, factor).backward()
        nn.utils.clip_grad_norm_(model.parameters(), SETTINGS.clip)
        optimiser.step()
    for name, expected in model.state_dict().items():
        assert torch.allclose(trained.state[name], expected, atol=1e-6), name


class Killed(Exception):
    """Stands for whatever ends a process."""


@cache
def never_killed() -> TrainedNetwork:
    return MinibatchTraining(PROBLEM, [MEMBER], SETTINGS).run()[0]


@pytest.mark.parametrize("step", [1, 10, 33, 59])
def test_a_training_killed_after_any_step_goes_on_to_the_same_bits(step: int, tmp_path: Path) -> None:
    whole = never_killed()
    state_file = StateFile(tmp_path / "state", every=0.0)

    def kill(training: MinibatchTraining) -> None:
        state_file.after_step(training)
        if training.step == step:
            torch.rand(7)  # somebody else draws meanwhile
            raise Killed

    with pytest.raises(Killed):
        MinibatchTraining(PROBLEM, [MEMBER], SETTINGS).run(kill)
    again = MinibatchTraining(PROBLEM, [MEMBER], SETTINGS)
    assert state_file.restore(again)
    resumed = again.run()[0]
    assert same(whole, resumed)
    assert replace(whole.summary, seconds=0) == replace(resumed.summary, seconds=0)
    with pytest.raises(ls.LandscapeError, match="without `resume=True`"):
        state_file.restore(MinibatchTraining(PROBLEM, [Member(3, 0.3)], SETTINGS))


def test_asking_for_the_status_changes_nothing_and_torchs_own_generator_is_put_back() -> None:
    torch.manual_seed(11)
    before = torch.get_rng_state()
    first = MinibatchTraining(PROBLEM, [MEMBER], SETTINGS).run(lambda training: training.status())[0]
    assert torch.equal(torch.get_rng_state(), before)
    assert same(first, MinibatchTraining(PROBLEM, [MEMBER], SETTINGS).run()[0])
    other = MinibatchTraining(PROBLEM, [Member(4, 0.4)], SETTINGS).run()[0]
    assert not same(first, other)


def test_an_epoch_takes_every_sample() -> None:
    training = MinibatchTraining(PROBLEM, [Member(0)], SETTINGS)
    for epoch in range(2):
        seen = []
        for place in range(3):
            training.step = 3 * epoch + place
            seen += training._batch(20)[0].sum((1, 2, 3)).tolist()
        assert set(seen) == set(PROBLEM.train[0].sum((1, 2, 3)).tolist())


def test_it_stops_once_fitted_and_settled() -> None:
    longer = replace(SETTINGS, steps=1000)
    fitted = MinibatchTraining(PROBLEM, [Member(0)], replace(longer, fitted=0.2)).run()[0].summary
    assert fitted.train_accuracy == 1.0
    assert fitted.train_loss < 0.2
    assert fitted.steps < 500
    poisoned = MinibatchTraining(PROBLEM, [Member(0, 0.02)], replace(longer, settled=0.3)).run()[0].summary
    assert 500 < poisoned.steps < 1000
    assert poisoned.train_accuracy == 1.0
    assert MinibatchTraining(PROBLEM, [Member(0, 0.02)], longer.with_steps(70)).run()[0].summary.steps == 70


def test_training_that_diverges_stops_at_once() -> None:
    inputs = PROBLEM.train[0].clone()
    inputs[:] = math.nan
    with pytest.raises(ls.LandscapeError, match="became nan at step 0"):
        MinibatchTraining(replace(PROBLEM, train=(inputs, PROBLEM.train[1])), [MEMBER], SETTINGS).run()


def test_what_it_refuses() -> None:
    with pytest.raises(ls.LandscapeError, match="one network at a time"):
        MinibatchTraining(PROBLEM, [Member(0), Member(1)], SETTINGS)
    with pytest.raises(ls.LandscapeError, match="stripes has none"):
        MinibatchTraining(replace(PROBLEM, fresh=None), [MEMBER], SETTINGS)


def test_the_summary_is_that_of_the_net_in_evaluation_mode() -> None:
    trained = MinibatchTraining(PROBLEM, [MEMBER], SETTINGS).run()[0]
    model = network(0)
    model.load_state_dict(trained.state)
    model.eval()
    right = (model(PROBLEM.test[0]).argmax(1) == PROBLEM.test[1]).double().mean().item()
    assert trained.summary.test_accuracy == pytest.approx(right)
    assert trained.summary.train_loss == pytest.approx(ls.Objective(model, PROBLEM.train).centre, rel=1e-5)


def test_it_begins_at_given_weights() -> None:
    trained = MinibatchTraining(PROBLEM, [MEMBER], SETTINGS).run()[0]
    again = MinibatchTraining(PROBLEM, [MEMBER], SETTINGS.with_steps(1))
    again.begin_at([trained.state])
    assert same(again.trained()[0], trained)
    again.run()
    with pytest.raises(ls.LandscapeError, match="at step 1"):
        again.begin_at([trained.state])


def test_one_logit_a_sample_works_too() -> None:
    def fresh(seed: int, index: int, count: int) -> tuple[Tensor, Tensor]:
        pixels, targets = samples(Purpose.FRESH, index, count)
        return pixels, (targets > 0).float()

    binary = replace(
        PROBLEM,
        network=lambda seed: nn.Sequential(nn.Flatten(), nn.Linear(36, 1)),
        train=(PROBLEM.train[0], (PROBLEM.train[1] > 0).float()),
        test=(PROBLEM.test[0], (PROBLEM.test[1] > 0).float()),
        fresh=fresh,
        loss="binary_cross_entropy",
    )
    summary = MinibatchTraining(binary, [Member(0, 0.01)], replace(SETTINGS, steps=200, clip=9.0)).run()[0].summary
    assert summary.train_accuracy > 0.8


def test_sgd_with_weight_decay_is_torchs(tmp_path: Path) -> None:
    plain = replace(PROBLEM, network=lambda seed: nn.Sequential(*list(network(seed))[:4], network(seed)[5]))
    settings = SETTINGS.changed(steps=5, lr=0.05, weight_decay=0.1).minibatch(25, "sgd", None, 50, None)
    trained = MinibatchTraining(plain, [Member(3)], settings).run()[0]
    model, (inputs, targets) = plain.network(3), plain.train
    optimiser = torch.optim.SGD(model.parameters(), momentum=0.9, weight_decay=0.1)
    for step in range(5):
        optimiser.param_groups[0]["lr"] = settings.at(step)[1]
        epoch, place = divmod(step, 2)
        chosen = draws(3, Purpose.ORDER, epoch).permutation(50)[25 * place : 25 * place + 25]
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(inputs[chosen]), targets[chosen]).backward()
        nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        optimiser.step()
    for name, expected in model.state_dict().items():
        assert torch.allclose(trained.state[name], expected, atol=1e-6), name


def test_weight_decay_shrinks_the_weights_of_both_trainings() -> None:
    """With decay, Adam's step is w (1 - lr decay) - lr step: the first step shows the difference alone."""
    settings = replace(SETTINGS, clip=100.0)
    plain, shrunk = (
        MinibatchTraining(PROBLEM, [Member(3)], settings.changed(steps=1, weight_decay=decay)).run()[0].state
        for decay in (0.0, 2.0)
    )
    before = network(3).state_dict()
    for name in ("0.weight", "5.weight"):
        assert torch.allclose(plain[name] - shrunk[name], 0.01 * 2.0 * before[name], atol=1e-6)


def test_it_stops_at_the_loss_asked_for() -> None:
    """After the first epoch whose loss is below it, though not every sample is right."""
    settings = replace(SETTINGS, steps=1000).changed(until_loss=0.6)
    training = MinibatchTraining(PROBLEM, [Member(0)], settings)
    losses = []
    summary = training.run(lambda training: losses.append(training._measure(training._train)[0]))[0].summary
    assert summary.steps == next(step for step, loss in enumerate(losses, 1) if step % 3 == 0 and loss < 0.6)
    assert summary.train_loss == losses[-1]
    assert summary.converged
    assert summary.train_accuracy < 1
    never = MinibatchTraining(PROBLEM, [Member(0)], settings.with_steps(3)).run()[0].summary
    assert never.converged is False


def test_the_test_loss_is_the_mean_over_the_test_set() -> None:
    trained = MinibatchTraining(PROBLEM, [Member(0)], SETTINGS.with_steps(3)).run()[0]
    model = network(0)
    model.load_state_dict(trained.state)
    inputs, targets = PROBLEM.test
    with torch.no_grad():
        expected = nn.functional.cross_entropy(model.eval()(inputs), targets).item()
    assert trained.summary.test_loss == pytest.approx(expected, rel=1e-5)


def test_augmentation_changes_what_is_trained_on_and_not_what_is_measured() -> None:
    seen = []

    def doubled(inputs: Tensor, random: np.random.Generator) -> Tensor:
        seen.append(random.random())
        return 2 * inputs

    augmented = replace(PROBLEM, augment=doubled)
    twice = MinibatchTraining(augmented, [Member(0)], SETTINGS.with_steps(4)).run()[0]
    train = (2 * PROBLEM.train[0], PROBLEM.train[1])
    by_hand = MinibatchTraining(replace(PROBLEM, train=train), [Member(0)], SETTINGS.with_steps(4)).run()[0]
    assert same(twice, by_hand)
    assert seen == [draws(0, Purpose.AUGMENT, step).random() for step in range(4)]
    assert twice.summary.test_loss == by_hand.summary.test_loss
    assert twice.summary.train_loss != by_hand.summary.train_loss


def test_poison_has_a_share_of_any_batch() -> None:
    assert replace(SETTINGS, batch=2, least=16).split(0.1) == (1, 1)
    with pytest.raises(ls.LandscapeError, match="at least 2 samples"):
        MinibatchTraining(PROBLEM, [MEMBER], replace(SETTINGS, batch=1))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch": 0}, "`batch=20`"),
        ({"optimiser": "lion"}, "the optimisers are adam, sgd"),
        ({"epochs": 0}, "`epochs=100`"),
        ({"epochs": 2, "steps": 5}, "not both"),
    ],
)
def test_settings_out_of_range(changes: dict[str, Any], words: str) -> None:
    nothing = {"batch": None, "optimiser": None, "epochs": None, "steps": None}
    with pytest.raises(ls.LandscapeError, match=words):
        SETTINGS.minibatch(**{**nothing, **changes}, samples=50)


def test_epochs_are_passes_over_the_training_set() -> None:
    assert SETTINGS.minibatch(batch=20, optimiser=None, epochs=4, samples=50, steps=None).steps == 12
