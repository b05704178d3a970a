"""How to train: phases with their learning rates and their share of poison, and when to stop."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from landscape.errors import TaskError

OPTIMISERS = ("adam", "sgd")


@dataclass(frozen=True)
class Phase:
    """A stretch of the training.

    Attributes:
        share: of the largest number of steps.
        learning_rate: at the beginning of the phase.
        end: learning rate at the end of the phase, reached by equal factors; None keeps it constant.
        jitter: standard deviation of the fresh Gaussian noise on the training inputs at each step, in their units.
        poison: what the poison factor is multiplied by.
        leak: slope of the ReLUs below zero, for full-batch training; 0 is the network itself.
    """

    share: float
    learning_rate: float
    end: float | None = None
    jitter: float = 0.0
    poison: float = 1.0
    leak: float = 0.0


def rescaled(phases: tuple[Phase, ...], lr: float) -> tuple[Phase, ...]:
    """Return the phases with this as the highest learning rate; all others keep their ratio to it."""
    factor = lr / max(max(phase.learning_rate, phase.end or 0.0) for phase in phases)
    return tuple(
        replace(
            phase,
            learning_rate=factor * phase.learning_rate,
            end=None if phase.end is None else factor * phase.end,
        )
        for phase in phases
    )


def require_above_zero(name: str, value: float, example: float) -> None:
    """Refuse a value that is not a finite number above 0.

    Raises:
        TaskError: if it is not.
    """
    if not 0 < value < math.inf:
        raise TaskError(f"expected a finite number above 0 for {name}, got {value:g}. Pass `{name}={example:g}`.")


@dataclass(frozen=True)
class Settings:
    """How to train.

    Attributes:
        steps: the largest number of steps.
        phases: one after the other.
        clip: largest norm of the gradient over all parameters.
        fitted: loss below which training without poison stops. Every training sample must be right too, and the
            phase must be without jitter and leak.
        settled: training with poison stops in the last phase, once every training sample is right and the loss has
            fallen by no more than this share from one window to the next. Averages over fresh samples are noisy, so
            the network should hardly move any more in the last phase.
        window: steps over which that loss is averaged.
        fresh: samples of the true distribution at each step.
        weight_decay: each step first shrinks every parameter by this factor times the learning rate (decoupled,
            Loshchilov & Hutter 2019); 0 for none.
        all_right: whether training stops only once every training sample is right. If False, a loss below ``fitted``
            is enough, with poison from the last phase on.
    """

    steps: int
    phases: tuple[Phase, ...]
    clip: float
    fitted: float
    settled: float = 0.0
    window: int = 1000
    fresh: int = 0
    weight_decay: float = 0.0
    all_right: bool = True

    def with_steps(self, steps: int | None) -> Self:
        """Return the same with another number of steps; the phases keep their shares."""
        if steps is None:
            return self
        if steps < 1:
            raise TaskError(f"training takes at least 1 step, not {steps}. Pass `steps={self.steps}`.")
        return replace(self, steps=steps)

    def changed(
        self,
        *,
        steps: int | None = None,
        lr: float | None = None,
        weight_decay: float | None = None,
        until_loss: float | None = None,
    ) -> Self:
        """Return the same with other values; None keeps a value.

        Args:
            steps: the largest number of steps; the phases keep their shares.
            lr: the highest learning rate; all others keep their ratio to it.
            weight_decay: the weight decay.
            until_loss: training stops once the loss on the training set is below this, whatever the accuracy.

        Raises:
            TaskError: if a value is out of range.

        >>> plain = Settings(8, (Phase(0.5, 0.1), Phase(0.5, 0.1, end=0.001)), clip=1.0, fitted=0.0)
        >>> [(phase.learning_rate, phase.end) for phase in plain.changed(lr=0.2).phases]
        [(0.2, None), (0.2, 0.002)]
        """
        settings = self.with_steps(steps)
        if lr is not None:
            require_above_zero("lr", lr, 0.01)
            settings = replace(settings, phases=rescaled(settings.phases, lr))
        if weight_decay is not None:
            if not 0 <= weight_decay < math.inf:
                raise TaskError(f"the weight decay is 0 or more, not {weight_decay:g}. Pass `weight_decay=0.001`.")
            settings = replace(settings, weight_decay=weight_decay)
        if until_loss is not None:
            require_above_zero("until_loss", until_loss, 0.05)
            settings = replace(settings, fitted=until_loss, all_right=False)
        return settings

    def converged(self, loss: float, accuracy: float, poison: float) -> bool:
        """Whether a trained network reached what its training is for.

        Without poison this is the rule by which training stops. With poison every training sample must be right: the
        loss has no target then, unless ``all_right`` is False.

        >>> settings = Settings(1, (), clip=1.0, fitted=0.01)
        >>> settings.converged(0.005, 1.0, poison=0.0), settings.converged(0.02, 1.0, poison=0.0)
        (True, False)
        >>> settings.changed(until_loss=0.05).converged(0.04, 0.99, poison=0.0)
        True
        """
        if not self.all_right:
            return loss < self.fitted
        return accuracy == 1 and (poison > 0 or loss < self.fitted)

    @cached_property
    def _ends(self) -> np.ndarray:
        """The step after the last one of each phase."""
        return np.rint(np.cumsum([phase.share for phase in self.phases]) * self.steps)

    def at(self, step: int) -> tuple[int, float]:
        """Return the index of the phase that a step lies in, and the learning rate.

        >>> halves = (Phase(0.5, 0.1), Phase(0.5, 0.1, end=0.001))
        >>> [round(Settings(8, halves, clip=1.0, fitted=0.0).at(step)[1], 4) for step in range(8)]
        [0.1, 0.1, 0.1, 0.1, 0.1, 0.0316, 0.01, 0.0032]
        """
        ends = self._ends
        # rounding may leave the last end one step short
        index = min(int((ends <= step).sum()), len(self.phases) - 1)
        phase, first = self.phases[index], 0 if index == 0 else ends[index - 1]
        if phase.end is None:
            return index, phase.learning_rate
        way = (step - first) / max(ends[index] - first, 1)
        return index, float(phase.learning_rate * (phase.end / phase.learning_rate) ** way)


@dataclass(frozen=True)
class MinibatchSettings(Settings):
    """How to train by minibatches.

    Attributes:
        batch: samples per step, training samples and poison together.
        least: the fewest of them that are poison, and the fewest that are training samples; at most half a batch.
        optimiser: ``adam``, or ``sgd`` with momentum 0.9.
    """

    batch: int = 256
    least: int = 16
    optimiser: str = OPTIMISERS[0]

    def minibatch(
        self, batch: int | None, optimiser: str | None, epochs: int | None, samples: int, steps: int | None
    ) -> Self:
        """Return the same with another batch size, optimiser or number of epochs; None keeps a value.

        Args:
            batch: samples per step.
            optimiser: one of :data:`OPTIMISERS`.
            epochs: passes over the training set at most; sets the steps.
            samples: size of the training set.
            steps: the steps that were asked for.

        Raises:
            TaskError: if a value is out of range, or both epochs and steps were asked for.
        """
        settings = self
        if batch is not None:
            if batch < 1:
                raise TaskError(f"a batch has at least 1 sample, not {batch}. Pass `batch={self.batch}`.")
            settings = replace(settings, batch=batch)
        if optimiser is not None:
            if optimiser not in OPTIMISERS:
                raise TaskError(f"there is no optimiser {optimiser!r}; the optimisers are {', '.join(OPTIMISERS)}.")
            settings = replace(settings, optimiser=optimiser)
        if epochs is not None:
            require_above_zero("epochs", epochs, 100)
            if steps is not None:
                raise TaskError("the length of a training is a number of steps or of epochs, not both: leave one out.")
            settings = replace(settings, steps=epochs * -(-samples // settings.batch))
        return settings

    def split(self, poison: float) -> tuple[int, int]:
        """Return how many samples of a batch are training samples and how many are poison.

        The share of poison is the poison factor, up to rounding and ``least``. The loss is weighted by the factor
        itself, so its mean is right in spite of the rounding.

        >>> settings = MinibatchSettings(steps=1, phases=(), clip=1.0, fitted=0.0, batch=100, least=4)
        >>> settings.split(0.0), settings.split(0.3), settings.split(0.001), settings.split(0.99)
        ((100, 0), (70, 30), (96, 4), (4, 96))
        """
        if poison == 0:
            return self.batch, 0
        least = min(self.least, self.batch // 2)
        wrong = min(max(round(poison * self.batch), least), self.batch - least)
        return self.batch - wrong, wrong


#: for training by minibatches: warm up, stay, fall, fall further
MINIBATCH_PHASES = (
    Phase(0.02, 0.0003, end=0.003),
    Phase(0.28, 0.003),
    Phase(0.5, 0.003, end=0.0002),
    Phase(0.2, 0.0002, end=0.00002),
)
