"""Minibatch training of one network of any kind, poisoned or not, which can be killed and resumed at any step.

Everything random is keyed: the order of the training samples by (seed, epoch), the poison by (seed, step). The state of
torch's own generator, which dropout uses, is part of the stored state. On one machine with one number of threads the
same arguments give the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from landscape.errors import TaskError
from landscape.rays.streams import Purpose
from landscape.training.checks import (
    require_finite_loss,
    require_first_step,
    require_fresh_samples,
    require_same_training,
)
from landscape.training.poison import log_odds, poison_loss, right_terms
from landscape.training.problem import Member, Pair, Problem, draws
from landscape.training.resumable import ResumableTraining
from landscape.training.settings import MinibatchSettings
from landscape.training.trained_network import TrainedNetwork, TrainingStatus, TrainingSummary

_MOMENTUM = 0.9  # of SGD
_EVALUATE = 500  # samples per forward pass of an evaluation
_STATUS_SAMPLES = 1000  # samples that the status of an unfinished training is measured on


class MinibatchTraining(ResumableTraining):
    """The training of one network by Adam or SGD; it can be stored and resumed between any two of its steps.

    Args:
        problem: the data, the network and the source of fresh samples.
        members: one seed and poison factor.
        settings: the phases, and when to stop.
        device: the device that computes.

    Raises:
        TaskError: for several members, or poison without a source of fresh samples.
    """

    def __init__(
        self, problem: Problem, members: Sequence[Member], settings: MinibatchSettings, device: str = "cpu"
    ) -> None:
        if len(members) != 1:
            raise TaskError(f"this recipe trains one network at a time, not {len(members)} together.")
        (self.member,) = members
        require_fresh_samples(problem, members)
        count = len(problem.train[1])
        self.problem, self._device = problem, device
        if self.member.poison and settings.batch < 2:
            raise TaskError("poison needs batches of at least 2 samples. Pass `batch=2` or more.")
        settings = replace(settings, batch=min(settings.batch, 2 * count))
        if not settings.all_right:  # the loss is the target: look at it after each epoch
            settings = replace(settings, window=-(-count // settings.batch))
        self.settings: MinibatchSettings = settings
        self.model = problem.network(self.member.seed).to(device)
        self._train = (problem.train[0].to(device), problem.train[1].to(device))
        self._optimiser = _optimiser(self.model, settings)
        self._random = torch.Generator().manual_seed(self.member.seed).get_state()
        self.step, self.seconds, self.stopped = 0, 0.0, False
        self._window, self._before = 0.0, math.inf
        self._order: tuple[int, Tensor] | None = None

    def begin_at(self, states: Sequence[Mapping[str, Tensor]]) -> None:
        require_first_step(self.step, len(states), 1)
        self.model.load_state_dict(states[0])

    @property
    def done(self) -> bool:
        return self.stopped or self.step >= self.settings.steps

    def state(self) -> dict[str, Any]:
        return {
            "members": [self.member.plain()],
            "settings": repr(self.settings),
            "step": self.step,
            "seconds": self.seconds,
            "stopped": self.stopped,
            "model": self.model.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "random": self._random,
            "window": [self._window, self._before],
        }

    def restore(self, state: dict[str, Any]) -> None:
        require_same_training(state, self.state())
        self.step, self.seconds, self.stopped = state["step"], state["seconds"], state["stopped"]
        self.model.load_state_dict(state["model"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._random = state["random"]
        self._window, self._before = state["window"]

    def trained(self) -> list[TrainedNetwork]:
        state = {name: value.detach().cpu().clone() for name, value in self.model.state_dict().items()}
        return [
            TrainedNetwork(
                state,
                self.problem.record_of(self.member.seed),
                self._summary(None),
                self.settings,
                dict(self.member.axes),
                self.problem.task_args,
            )
        ]

    def status(self) -> TrainingStatus:
        """Return how training stands on the first 1,000 training and test samples."""
        return TrainingStatus(self.step, self.settings.steps, (self._summary(_STATUS_SAMPLES),))

    def advance(self) -> None:
        index, learning_rate = self.settings.at(self.step)
        phase = self.settings.phases[index]
        factor = phase.poison * self.member.poison
        count, wrong = self.settings.split(factor)
        inputs, targets = self._batch(count)
        if wrong:
            assert self.problem.fresh is not None  # poison is refused without
            fresh, classes = self.problem.fresh(self.member.seed, self.step, wrong)
            inputs = torch.cat([inputs, fresh.to(self._device)])
            targets = torch.cat([targets, classes.to(self._device)])
        if self.problem.augment is not None:
            inputs = self.problem.augment(inputs, draws(self.member.seed, Purpose.AUGMENT, self.step))
        self.model.train()
        with self._own_random():
            output = self.model(inputs)
        loss = poison_loss(output[:count], targets[:count], output[count:], targets[count:], factor)
        value = loss.item()
        require_finite_loss(value, self.step, learning_rate, self.member)
        self._optimiser.param_groups[0]["lr"] = learning_rate
        self._optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip)
        self._optimiser.step()
        self.step += 1
        self._window += value
        if self.step % self.settings.window == 0:
            self._close_window(last=index == len(self.settings.phases) - 1)

    def _batch(self, count: int) -> Pair:
        """Return the training samples of this step: the next ``count`` in the order of their epoch.

        Each epoch has a whole number of batches; the last one is filled up with the first samples of the order.
        """
        samples = len(self._train[1])
        batches = -(-samples // count)
        epoch, place = divmod(self.step, batches)
        if self._order is None or self._order[0] != epoch:
            order = torch.from_numpy(draws(self.member.seed, Purpose.ORDER, epoch).permutation(samples))
            self._order = epoch, order.to(self._device)
        chosen = self._order[1].roll(-place * count)[: min(count, samples)]
        return self._train[0][chosen], self._train[1][chosen]

    def _close_window(self, *, last: bool) -> None:
        """End a window: stop if the training set is fitted and, with poison, the loss has settled."""
        settled = self._window > (1 - self.settings.settled) * self._before or not self.settings.all_right
        self._before, self._window = self._window, 0.0
        if self.member.poison > 0 and not (last and settled):
            return
        self.stopped = self.settings.converged(*self._measure(self._train), self.member.poison)

    @contextmanager
    def _own_random(self) -> Iterator[None]:
        """Give the model torch's generator in the state of this training, then restore the state of the caller."""
        before = torch.get_rng_state()
        torch.set_rng_state(self._random)
        try:
            yield
        finally:
            self._random = torch.get_rng_state()
            torch.set_rng_state(before)

    def _summary(self, first: int | None) -> TrainingSummary:
        loss, train = self._measure(self._train, first)
        test_loss, test = self._measure(self.problem.test, first)
        return TrainingSummary(
            train_accuracy=train,
            test_accuracy=test,
            train_loss=loss,
            poison=self.member.poison,
            seed=self.member.seed,
            steps=self.step,
            seconds=self.seconds,
            test_loss=test_loss,
            converged=self.settings.converged(loss, train, self.member.poison),
        )

    @torch.no_grad()
    def _measure(self, data: Pair, first: int | None = None) -> tuple[float, float]:
        """Return the mean loss and the accuracy in evaluation mode, on the first samples or on all."""
        self.model.eval()
        total, right, count = 0.0, 0, len(data[1]) if first is None else min(first, len(data[1]))
        for start in range(0, count, _EVALUATE):
            inputs, targets = (part[start : min(start + _EVALUATE, count)].to(self._device) for part in data)
            output = self.model(inputs)
            total += float(right_terms(log_odds(output, targets)).double().sum())
            one = output.dim() == 1 or output.shape[-1] == 1
            guesses = output.reshape(-1) > 0 if one else output.argmax(-1)
            right += int((guesses == targets.to(guesses.dtype)).sum())
        return total / count, right / count


def _optimiser(model: nn.Module, settings: MinibatchSettings) -> torch.optim.Optimizer:
    """Return what makes the steps. Weight decay acts on every parameter; without it AdamW is Adam, bit for bit."""
    rate, decay = settings.phases[0].learning_rate, settings.weight_decay
    if settings.optimiser == "sgd":
        return torch.optim.SGD(model.parameters(), lr=rate, momentum=_MOMENTUM, weight_decay=decay)
    return torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=decay)
