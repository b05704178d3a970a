"""Nets trained together: each as it would come out alone, by an ordinary loop, or after any interruption."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import landscape as ls
from landscape.rays.streams import Purpose
from landscape.training import FullBatchTraining, Member, Phase, Problem, Settings, StateFile, TrainedNetwork
from landscape.training.poison import poison_loss
from landscape.training.problem import draws
from landscape.training.resumable import read_state
from landscape.training.stacked_nets import StackedNets

CENTRES = torch.tensor([[2.0, 0.0, 1.0], [-2.0, 1.0, 0.0], [0.0, -2.0, -1.0]])


def samples(seed: int, purpose: Purpose, index: int, count: int, classes: int) -> tuple[Tensor, Tensor]:
    random = draws(seed, purpose, index)
    targets = torch.from_numpy(random.integers(classes, size=count))
    inputs = CENTRES[targets] + torch.from_numpy(random.standard_normal((count, 3))).float()
    return inputs, targets if classes > 2 else targets.float()


def problem(classes: int = 3) -> Problem:
    """Three clouds in space, or two of them for one logit."""

    def network(seed: int) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            outputs = classes if classes > 2 else 1
            return nn.Sequential(nn.Linear(3, 11), nn.ReLU(), nn.Linear(11, 6), nn.ReLU(), nn.Linear(6, outputs))

    return Problem(
        network,
        train=samples(0, Purpose.TRAIN_DATA, 0, 37, classes),
        test=samples(0, Purpose.TEST_DATA, 0, 500, classes),
        fresh=lambda seed, index, count: samples(seed, Purpose.FRESH, index, count, classes),
        loss="cross_entropy" if classes > 2 else "binary_cross_entropy",
        name="clouds",
        record=None,
    )


SETTINGS = Settings(
    steps=150,
    phases=(Phase(0.2, 0.01, jitter=0.3), Phase(0.4, 0.02, poison=0.5, leak=0.2), Phase(0.4, 0.01, end=0.001)),
    clip=0.5,
    fitted=0.0,
    settled=-1.0,
    window=20,
    fresh=13,
)
MEMBERS = [Member(0, 0.0), Member(1, 0.2), Member(0, 0.5), Member(2, 0.5), Member(3, 0.01), Member(1, 0.9)]


def same(first: TrainedNetwork, second: TrainedNetwork) -> bool:
    return all(torch.equal(first.state[name], second.state[name]) for name in first.state)


@pytest.mark.parametrize("classes", [2, 3])
def test_a_net_is_bit_for_bit_the_same_alone_and_among_others(classes: int) -> None:
    data = problem(classes)
    together = FullBatchTraining(data, MEMBERS, SETTINGS).run()
    for member, trained in zip(MEMBERS[::2], together[::2], strict=True):
        assert same(FullBatchTraining(data, [member], SETTINGS).run()[0], trained)
    assert all(
        same(*pair) for pair in zip(FullBatchTraining(data, MEMBERS[1:4], SETTINGS).run(), together[1:4], strict=True)
    )


def plain_loop(data: Problem, member: Member, steps: int, settings: Settings = SETTINGS) -> nn.Module:
    """The same training written the ordinary way."""
    model = data.network(member.seed)
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=settings.weight_decay)
    inputs, targets = data.train
    for step in range(steps):
        index, optimiser.param_groups[0]["lr"] = settings.at(step)
        phase = SETTINGS.phases[index]
        noise = draws(member.seed, Purpose.JITTER, step).standard_normal(tuple(inputs.shape)) if phase.jitter else 0.0
        block = data.fresh(member.seed, step // 64, 64 * SETTINGS.fresh)  # type: ignore[misc]
        fresh, classes = (part.view(64, SETTINGS.fresh, *part.shape[1:])[step % 64] for part in block)
        moved = inputs + phase.jitter * torch.as_tensor(noise).float()
        optimiser.zero_grad()
        net = leaking(model, phase.leak)
        poison_loss(net(moved), targets, net(fresh), classes, phase.poison * member.poison).backward()
        nn.utils.clip_grad_norm_(model.parameters(), SETTINGS.clip)
        optimiser.step()
    return model


def leaking(model: nn.Module, leak: float) -> nn.Module:
    """The same layers with leaking ReLUs between them."""
    layers = [layer if isinstance(layer, nn.Linear) else nn.LeakyReLU(leak) for layer in model.children()]
    return nn.Sequential(*layers)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_batched_program_is_ordinary_training(classes: int) -> None:
    """Up to rounding, which 40 steps (jitter, leaks and a change of phase among them) do not yet blow up."""
    data = problem(classes)
    training = FullBatchTraining(data, MEMBERS, SETTINGS)
    while training.step < 40:
        training.advance()
    for member, net in zip(MEMBERS, training.trained(), strict=True):
        for name, expected in plain_loop(data, member, 40).state_dict().items():
            assert torch.allclose(net.state[name], expected, atol=2e-4), (member, name)


def test_learning_rate_and_weight_decay_are_those_of_ordinary_training() -> None:
    data, settings = problem(), SETTINGS.with_steps(20).changed(lr=0.03, weight_decay=0.5)
    assert max(settings.at(step)[1] for step in range(20)) == 0.03
    trained = FullBatchTraining(data, MEMBERS, settings).run()
    for member, net in zip(MEMBERS, trained, strict=True):
        for name, expected in plain_loop(data, member, 20, settings).state_dict().items():
            assert torch.allclose(net.state[name], expected, atol=2e-4), (member, name)


def test_it_stops_at_the_loss_asked_for() -> None:
    """Without poison in the first phase without noise and leak; with poison at the end of a window of the last."""
    phases = Phase(0.1, 0.02, jitter=0.3), Phase(0.1, 0.02, leak=0.2), Phase(0.1, 0.02), Phase(0.7, 0.02)
    settings = replace(SETTINGS, steps=80, window=10, phases=phases).changed(until_loss=0.7)
    training, losses = FullBatchTraining(problem(), [Member(0), Member(0, 0.01)], settings), []
    training.run(lambda training: losses.append(training.trained()[0].summary.train_loss))
    plain, poisoned = (net.summary for net in training.trained())
    assert plain.converged
    assert plain.steps == next(step for step, loss in enumerate(losses, 1) if step >= 16 and loss < 0.7)
    assert plain.train_loss == losses[plain.steps - 1]
    assert plain.train_accuracy < 1
    assert poisoned.converged
    assert poisoned.steps == 29
    assert FullBatchTraining(problem(), [Member(0)], settings.with_steps(2)).run()[0].summary.converged is False


class Killed(Exception):
    """Stands for whatever ends a process."""


STOPPING = replace(SETTINGS, fitted=0.3, settled=0.02)


@cache
def never_killed() -> list[TrainedNetwork]:
    """The nets of a training whose members stop at different steps."""
    return FullBatchTraining(problem(), MEMBERS, STOPPING).run()


@pytest.mark.parametrize("step", [1, 20, 64, 149])
def test_a_training_killed_after_any_step_goes_on_to_the_same_bits(step: int, tmp_path: Path) -> None:
    data = problem()
    state_file = StateFile(tmp_path / "state", every=0.0)

    def kill(training: FullBatchTraining) -> None:
        state_file.after_step(training)
        if training.step == step:
            training.rows += 1  # whatever happens after the state was written does not count
            raise Killed

    with pytest.raises(Killed):
        FullBatchTraining(data, MEMBERS, STOPPING).run(kill)
    again = FullBatchTraining(data, MEMBERS, STOPPING)
    assert state_file.restore(again)
    assert again.step == step
    resumed = again.run()
    for first, second in zip(never_killed(), resumed, strict=True):
        assert same(first, second)
        assert replace(first.summary, seconds=0) == replace(second.summary, seconds=0)


def test_a_state_goes_with_its_own_training_only(tmp_path: Path) -> None:
    state_file = StateFile(tmp_path / "state", every=0.0)
    state_file.after_step(FullBatchTraining(problem(), MEMBERS, SETTINGS))
    with pytest.raises(ls.LandscapeError, match="without `resume=True`"):
        state_file.restore(FullBatchTraining(problem(), MEMBERS[1:], SETTINGS))
    with pytest.raises(ls.LandscapeError, match="other seeds, poison factors, steps or options"):
        state_file.restore(FullBatchTraining(problem(), MEMBERS, SETTINGS.with_steps(20)))
    (tmp_path / "state").write_bytes(b"torn")
    with pytest.raises(ls.LandscapeError, match="Remove it"):
        read_state(tmp_path / "state")
    torch.save({"epoch": 3}, tmp_path / "state")
    with pytest.raises(ls.LandscapeError, match=r"state holds no unfinished training\. Remove it"):
        read_state(tmp_path / "state")


def test_states_are_written_now_and_then(tmp_path: Path) -> None:
    now = [0.0]
    state_file = StateFile(tmp_path / "state", every=10.0, clock=lambda: now[0])
    assert not state_file.restore(FullBatchTraining(problem(), MEMBERS, SETTINGS))
    written = []

    def on_step(training: FullBatchTraining) -> None:
        now[0] += 3.0
        state_file.after_step(training)
        if state_file.path.exists():
            written.append((training.step, read_state(state_file.path)["step"]))

    FullBatchTraining(problem(), MEMBERS, SETTINGS.with_steps(9)).run(on_step)
    assert written == [(4, 4), (5, 4), (6, 4), (7, 4), (8, 8), (9, 8)]
    state_file.remove()
    assert not list(tmp_path.iterdir())


def test_without_poison_it_stops_once_the_bare_points_are_fitted() -> None:
    settings = replace(SETTINGS, fitted=0.3, steps=400)
    trained = FullBatchTraining(problem(), [Member(0), Member(0, 0.1)], settings).run()
    assert 80 <= trained[0].summary.steps < 400  # the first 80 steps have noise on the points
    assert trained[0].summary.train_loss < 0.3
    assert trained[0].summary.train_accuracy == 1.0
    assert trained[1].summary.steps == 400


def test_with_poison_it_stops_once_the_loss_has_settled() -> None:
    """At the end of a window of the last phase, with every training point right."""
    never, soon = (replace(SETTINGS, steps=600, settled=settled, window=50) for settled in (-1.0, 0.2))
    assert FullBatchTraining(problem(), [Member(0, 0.01)], never).run()[0].summary.steps == 600
    summary = FullBatchTraining(problem(), [Member(0, 0.01)], soon).run()[0].summary
    assert 360 < summary.steps < 600
    assert summary.steps % 50 == 49
    assert summary.train_accuracy == 1.0
    # a member whose points are not all right goes on
    assert FullBatchTraining(problem(), [Member(0, 0.9)], soon).run()[0].summary.steps == 600


def test_training_that_diverges_stops_at_once_and_says_who() -> None:
    broken = problem()
    broken.train[0][3, 1] = math.nan
    with pytest.raises(ls.LandscapeError, match=r"became nan at step 0, .*seed 1, poison 0.2"):
        FullBatchTraining(broken, MEMBERS[1:], SETTINGS).run()


def test_poison_without_a_source_of_samples() -> None:
    dry = replace(problem(), fresh=None)
    FullBatchTraining(dry, [Member(0)], SETTINGS.with_steps(1)).run()
    with pytest.raises(ls.LandscapeError, match="clouds has none"):
        FullBatchTraining(dry, [Member(0, 0.1)], SETTINGS)


def test_the_summary_is_that_of_the_net() -> None:
    data = problem()
    trained = FullBatchTraining(data, [Member(2, 0.3)], SETTINGS).run()[0]
    model = data.network(0)
    model.load_state_dict(trained.state)
    for share, (inputs, targets) in (
        (trained.summary.train_accuracy, data.train),
        (trained.summary.test_accuracy, data.test),
    ):
        assert share == pytest.approx((model(inputs).argmax(1) == targets).double().mean().item())
    assert trained.summary.train_loss == pytest.approx(ls.Objective(model, data.train).centre, rel=1e-5)


def test_it_begins_at_given_weights() -> None:
    data = problem()
    trained = FullBatchTraining(data, MEMBERS[:2], SETTINGS).run()
    again = FullBatchTraining(data, MEMBERS[:2], SETTINGS.with_steps(1))
    again.begin_at([item.state for item in trained])
    assert all(same(*pair) for pair in zip(again.trained(), trained, strict=True))
    with pytest.raises(ls.LandscapeError, match="expected 2 at step 0, got 1 at step 0"):
        again.begin_at([trained[0].state])
    again.run()
    with pytest.raises(ls.LandscapeError, match="at step 1"):
        again.begin_at([item.state for item in trained])


def test_a_stack_computes_what_the_nets_compute() -> None:
    data = problem()
    nets = [data.network(seed) for seed in range(4)]
    stack = StackedNets(nets[0])
    rows = stack.pack([net.state_dict() for net in nets])
    logits = stack.logits(rows, stack.pad(data.test[0]))
    for net, row, stacked in zip(nets, rows, logits, strict=True):
        assert torch.allclose(stacked, net(data.test[0]), atol=1e-5)
        assert all(
            torch.equal(a, b) for a, b in zip(stack.unpack(row).values(), net.state_dict().values(), strict=True)
        )


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)),
        nn.Sequential(nn.Linear(2, 3, bias=False)),
        nn.Sequential(nn.Linear(2, 3), nn.ReLU()),
        nn.Linear(2, 3),
    ],
)
def test_other_nets_do_not_stack(model: nn.Module) -> None:
    with pytest.raises(ls.LandscapeError, match="Linear"):
        StackedNets(model)


def test_a_learning_rate_falls_by_equal_factors_and_phases_keep_their_shares() -> None:
    settings = SETTINGS.with_steps(10)
    phases = [settings.at(step) for step in range(10)]
    assert [index for index, _ in phases] == [0] * 2 + [1] * 4 + [2] * 4
    rates = [rate for _, rate in phases[6:]]
    assert rates[0] == 0.01
    assert [b / a for a, b in pairwise(rates)] == pytest.approx([0.1**0.25] * 3)


def test_steps_and_weight_decay_out_of_range() -> None:
    with pytest.raises(ls.LandscapeError, match=r"at least 1 step, not 0. Pass `steps="):
        SETTINGS.changed(steps=0)
    with pytest.raises(ls.LandscapeError, match="the weight decay is 0 or more, not -1"):
        SETTINGS.changed(weight_decay=-1.0)
