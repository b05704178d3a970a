"""Full-batch training of many small dense nets as one batched program, poisoned or not.

All nets share one training set and differ in seeds and poison factors. The steps of a net depend on its own seed and
factor alone. It comes out bit for bit the same alone, among others, and after the training was killed and resumed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import Tensor

from landscape.rays.streams import Purpose
from landscape.training.checks import (
    require_finite_loss,
    require_first_step,
    require_fresh_samples,
    require_same_training,
)
from landscape.training.poison import log_odds, right_terms
from landscape.training.problem import Member, Pair, Problem, draws
from landscape.training.resumable import ResumableTraining
from landscape.training.settings import Phase, Settings
from landscape.training.stacked_nets import ROWS, StackedNets, padded_to
from landscape.training.trained_network import TrainedNetwork, TrainingStatus, TrainingSummary

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8  # Adam's own
_BLOCK = 64  # steps whose fresh samples are drawn at once
_TEST_ROWS = 1024


class FullBatchTraining(ResumableTraining):
    """The training of many nets on one training set; it can be stored and resumed between any two of its steps.

    Args:
        problem: the data, the network and the source of fresh samples. The network must be of the kind that
            :class:`~landscape.training.stacked_nets.StackedNets` takes.
        members: seeds and poison factors.
        settings: the phases, and when to stop.

    Raises:
        TaskError: for poison without a source of fresh samples, or for a network of another kind.
    """

    def __init__(self, problem: Problem, members: Sequence[Member], settings: Settings) -> None:
        require_fresh_samples(problem, members)
        self.problem, self.members, self.settings = problem, tuple(members), settings
        networks = {seed: problem.network(seed) for seed in dict.fromkeys(member.seed for member in members)}
        self._stack = StackedNets(next(iter(networks.values())))
        self._inputs, self._targets = self._stack.pad(problem.train[0].flatten(1)), problem.train[1]
        self.step, self.seconds = 0, 0.0
        self.active = list(range(len(members)))  # members whose rows are below
        self.rows = self._stack.pack([networks[member.seed].state_dict() for member in members])
        self._first_moment, self._second_moment = torch.zeros_like(self.rows), torch.zeros_like(self.rows)
        # per row: the loss summed over this window, and over the window before
        self._window, self._before = (torch.zeros(len(members), dtype=torch.float64) for _ in range(2))
        self._before.fill_(math.inf)
        self.finished: dict[int, tuple[Tensor, int]] = {}
        self._drawn: tuple[int, tuple[int, ...], Pair] | None = None

    def begin_at(self, states: Sequence[Mapping[str, Tensor]]) -> None:
        require_first_step(self.step, len(states), len(self.members))
        self.rows = self._stack.pack(states)

    @property
    def done(self) -> bool:
        return not self.active or self.step >= self.settings.steps

    def state(self) -> dict[str, Any]:
        tensors = (self.rows, self._first_moment, self._second_moment, self._window, self._before)
        return {
            "members": [member.plain() for member in self.members],
            "settings": repr(self.settings),
            "step": self.step,
            "seconds": self.seconds,
            "active": list(self.active),
            "tensors": [tensor.clone() for tensor in tensors],
            "finished": {index: [row, step] for index, (row, step) in self.finished.items()},
        }

    def restore(self, state: dict[str, Any]) -> None:
        require_same_training(state, self.state())
        self.step, self.seconds, self.active = state["step"], state["seconds"], list(state["active"])
        tensors = [tensor.clone() for tensor in state["tensors"]]
        self.rows, self._first_moment, self._second_moment, self._window, self._before = tensors
        self.finished = {index: (row, step) for index, (row, step) in state["finished"].items()}

    def run(self, on_step: Callable[[Self], None] | None = None) -> list[TrainedNetwork]:
        with one_thread():
            return super().run(on_step)

    def trained(self) -> list[TrainedNetwork]:
        rows = dict(self.finished)
        for index, row in zip(self.active, self.rows, strict=True):
            rows[index] = (row, self.step)
        order = sorted(rows)
        summaries = self._summaries(order, torch.stack([rows[k][0] for k in order]), [rows[k][1] for k in order])
        return [
            TrainedNetwork(
                self._stack.unpack(rows[k][0]),
                self.problem.record_of(self.members[k].seed),
                summary,
                self.settings,
                dict(self.members[k].axes),
            )
            for k, summary in zip(order, summaries, strict=True)
        ]

    def status(self) -> TrainingStatus:
        """Return how the members still in training stand; costs about as much as 30 steps."""
        with one_thread():
            summaries = self._summaries(self.active, self.rows, [self.step] * len(self.active))
        return TrainingStatus(self.step, self.settings.steps, tuple(summaries))

    def advance(self) -> None:
        """Make one step with every member that does not stop before it."""
        phase_index, learning_rate = self.settings.at(self.step)
        phase = self.settings.phases[phase_index]
        factors = torch.tensor([phase.poison * self.members[k].poison for k in self.active])
        inputs, signs, weights = self._batch(factors, phase)
        self.rows.requires_grad_()
        logits = self._stack.logits(self.rows, inputs, phase.leak)
        terms = right_terms(signs[0] * log_odds(logits, signs[1]))
        losses = (terms * weights).sum(1)
        (gradient,) = torch.autograd.grad(losses.sum(), self.rows)
        self.rows = self.rows.detach()
        right = terms.detach()[:, : len(self._targets)]
        self._require_finite(losses.detach(), learning_rate)
        stopping = self._stopping(losses.detach().double(), right, phase_index)
        self._descend(gradient, learning_rate, stopping)
        self.step += 1
        if bool(stopping.any()):
            self._drop(stopping)

    def _batch(self, factors: Tensor, phase: Phase) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor]:
        """Return the inputs, (signs of the log-odds, targets) and weights of each member's rows of this step."""
        # The shape must not depend on which members are poisoned: a member alone would come out with other last bits.
        count, wanted = len(self._targets), self.settings.fresh if phase.poison else 0
        total = padded_to(count + wanted, ROWS)
        inputs = torch.zeros(len(factors), total, self._stack.inputs)
        targets = torch.zeros(len(factors), total, dtype=self._targets.dtype)
        inputs[:, :count], targets[:, :count] = self._inputs, self._targets
        if phase.jitter:
            for row, k in zip(inputs, self.active, strict=True):
                random = draws(self.members[k].seed, Purpose.JITTER, self.step)
                noise = random.standard_normal(self.problem.train[0].shape)
                row[:count, : noise[0].size] += phase.jitter * torch.from_numpy(noise).flatten(1).float()
        signs, weights = torch.ones(total), torch.zeros(len(factors), total)
        weights[:, :count] = ((1 - factors) / count)[:, None]
        if wanted and self.problem.fresh is not None:
            signs[count : count + wanted] = -1
            weights[:, count : count + wanted] = (factors / wanted)[:, None]
            fresh_inputs, fresh_targets = self._fresh()
            inputs[:, count : count + wanted], targets[:, count : count + wanted] = fresh_inputs, fresh_targets
        return inputs, (signs, targets), weights

    def _fresh(self) -> Pair:
        """Return the fresh samples of this step for each row; members of one seed get the same ones."""
        block, rows = self.step // _BLOCK, tuple(self.active)
        if self._drawn is None or self._drawn[:2] != (block, rows):
            self._drawn = block, rows, self._draw_block(block)
        inputs, targets = self._drawn[2]
        step = self.step % _BLOCK
        return inputs[:, step], targets[:, step]

    def _draw_block(self, block: int) -> Pair:
        assert self.problem.fresh is not None  # poison is refused without
        count, samples = self.settings.fresh, {}
        seeds = [self.members[k].seed for k in self.active]
        for seed in dict.fromkeys(seeds):
            inputs, targets = self.problem.fresh(seed, block, _BLOCK * count)
            padded = self._stack.pad(inputs.flatten(1)).view(_BLOCK, count, -1)
            samples[seed] = padded, targets.view(_BLOCK, count)
        return torch.stack([samples[s][0] for s in seeds]), torch.stack([samples[s][1] for s in seeds])

    def _require_finite(self, losses: Tensor, learning_rate: float) -> None:
        diverged = ~torch.isfinite(losses)
        if bool(diverged.any()):
            row = int(diverged.nonzero()[0])
            require_finite_loss(losses[row].item(), self.step, learning_rate, self.members[self.active[row]])

    def _stopping(self, losses: Tensor, right: Tensor, phase_index: int) -> Tensor:
        """Return which rows stop before this step, and add the losses to their window."""
        settings, last = self.settings, phase_index == len(self.settings.phases) - 1
        self._window += losses
        poisoned = torch.tensor([self.members[k].poison > 0 for k in self.active])
        # -log p < log 2 means that one logit is right; with more classes the test is stricter
        fits = (right < math.log(2)).all(1)
        below = right.mean(1) < settings.fitted
        if settings.phases[phase_index].jitter or settings.phases[phase_index].leak:  # not the loss of the net itself
            fits, below = torch.zeros_like(fits), torch.zeros_like(below)
        stopping = (below & fits if settings.all_right else below) & ~poisoned
        if (self.step + 1) % settings.window == 0:
            if last:
                settled = fits & (self._window > (1 - settings.settled) * self._before)
                stopping |= (settled if settings.all_right else below) & poisoned
            self._before, self._window = self._window, torch.zeros_like(self._window)
        return stopping

    def _descend(self, gradient: Tensor, learning_rate: float, stopping: Tensor) -> None:
        """Make one step of Adam with every row that does not stop; the norm of each gradient is clipped."""
        norms = gradient.square().sum(1, keepdim=True).sqrt()
        gradient = gradient * (self.settings.clip / (norms + 1e-6)).clamp(max=1)
        self._first_moment.lerp_(gradient, 1 - _BETA1)
        self._second_moment.mul_(_BETA2).addcmul_(gradient, gradient, value=1 - _BETA2)
        steps = self.step + 1
        spread = (self._second_moment / (1 - _BETA2**steps)).sqrt() + _EPSILON
        kept = self.rows * (1 - learning_rate * self.settings.weight_decay)
        moved = kept - learning_rate / (1 - _BETA1**steps) * (self._first_moment / spread)
        self.rows = torch.where(stopping[:, None], self.rows, moved)

    def _drop(self, stopping: Tensor) -> None:
        """Take the stopped rows out of the program."""
        stay = ~stopping
        for k, row, stops in zip(self.active, self.rows, stopping.tolist(), strict=True):
            if stops:
                self.finished[k] = (row.clone(), self.step - 1)
        self.active = [k for k, stays in zip(self.active, stay.tolist(), strict=True) if stays]
        self.rows = self.rows[stay]
        self._first_moment, self._second_moment = self._first_moment[stay], self._second_moment[stay]
        self._window, self._before = self._window[stay], self._before[stay]

    @torch.no_grad()
    def _summaries(self, order: Sequence[int], rows: Tensor, steps: Sequence[int]) -> list[TrainingSummary]:
        train, test = (measured(self._stack, rows, data) for data in (self.problem.train, self.problem.test))
        return [
            TrainingSummary(
                train_accuracy=train[at][1],
                test_accuracy=test[at][1],
                train_loss=train[at][0],
                poison=self.members[k].poison,
                seed=self.members[k].seed,
                steps=steps[at],
                seconds=self.seconds,
                test_loss=test[at][0],
                converged=self.settings.converged(*train[at], self.members[k].poison),
            )
            for at, k in enumerate(order)
        ]


def measured(stack: StackedNets, rows: Tensor, data: Pair) -> list[tuple[float, float]]:
    """Return the mean loss and the share of right predictions of each net: by the sign of one logit, or the largest."""
    right, losses = torch.zeros(len(rows), dtype=torch.int64), torch.zeros(len(rows), dtype=torch.float64)
    for inputs, targets in zip(data[0].split(_TEST_ROWS), data[1].split(_TEST_ROWS), strict=True):
        logits = stack.logits(rows, stack.pad(inputs.flatten(1)))
        losses += right_terms(log_odds(logits, targets.expand(len(rows), -1))).double().sum(1)
        guesses = (logits > 0) if logits.dim() == 2 else logits.argmax(-1)
        right += (guesses == targets.to(guesses.dtype)).sum(1)
    count = len(data[1])
    return [(loss / count, hits / count) for loss, hits in zip(losses.tolist(), right.tolist(), strict=True)]


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread: a net this small trains faster on it, and to the same bits on any number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
