"""How to train: phases with their learning rates and their share of poison, and when to stop."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from landscape.errors import TaskError


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


@dataclass(frozen=True)
class Settings:
    """How to train.

    Attributes:
        steps: the largest number of steps.
        phases: one after the other.
        clip: largest norm of the gradient over all parameters.
        fitted: loss below which training without poison stops. Every training sample must be right too, and the
            phase must be without jitter.
        settled: training with poison stops in the last phase, once every training sample is right and the loss has
            fallen by no more than this share from one window to the next. Averages over fresh samples are noisy, so
            the network should hardly move any more in the last phase.
        window: steps over which that loss is averaged.
        fresh: samples of the true distribution at each step.
    """

    steps: int
    phases: tuple[Phase, ...]
    clip: float
    fitted: float
    settled: float = 0.0
    window: int = 1000
    fresh: int = 0

    def with_steps(self, steps: int | None) -> Self:
        """Return the same with another number of steps; the phases keep their shares."""
        if steps is None:
            return self
        if steps < 1:
            raise TaskError(f"training takes at least 1 step, not {steps}. Pass `steps={self.steps}`.")
        return replace(self, steps=steps)

    def at(self, step: int) -> tuple[int, float]:
        """Return the index of the phase that a step lies in, and the learning rate.

        >>> halves = (Phase(0.5, 0.1), Phase(0.5, 0.1, end=0.001))
        >>> [round(Settings(8, halves, clip=1.0, fitted=0.0).at(step)[1], 4) for step in range(8)]
        [0.1, 0.1, 0.1, 0.1, 0.1, 0.0316, 0.01, 0.0032]
        """
        ends = np.rint(np.cumsum([phase.share for phase in self.phases]) * self.steps)
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
        least: the fewest of them that are poison, and the fewest that are training samples.
    """

    batch: int = 256
    least: int = 16

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
        wrong = min(max(round(poison * self.batch), self.least), self.batch - self.least)
        return self.batch - wrong, wrong


#: for training by minibatches: warm up, stay, fall, fall further
MINIBATCH_PHASES = (
    Phase(0.02, 0.0003, end=0.003),
    Phase(0.28, 0.003),
    Phase(0.5, 0.003, end=0.0002),
    Phase(0.2, 0.0002, end=0.00002),
)
