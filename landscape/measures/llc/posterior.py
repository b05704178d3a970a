"""The localised posterior of the LLC: energy and gradient of many points, on all data or on a minibatch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from landscape import distributed
from landscape.measures.draws import Draws
from landscape.objective.batch_loss import ModelProgram, Program
from landscape.objective.batches import Batch, join_batches, make_batch, shuffled, split_batches
from landscape.objective.evaluate import GRADIENT_COST, run_backward, run_pass
from landscape.rays.streams import Purpose, stream

FEWEST_SAMPLES = 32  #: of a minibatch, if its size is not given
_PIECES = 8  # minibatches in a pass, if their size is not given
_SHUFFLE = 2**40  # index of the stream that shuffles the samples


@dataclass(frozen=True)
class State:
    """Chains at one moment.

    Attributes:
        x: offsets from the trained point of the entries in scope, shape (k, n).
        rise: loss minus the loss at the trained point, shape (k,), float64; infinite in place of NaN.
        energy: nβ rise + γ |x|² / 2, shape (k,), float64.
        gradient: of the energy, shape (k, n); 0 in place of NaN.
    """

    x: Tensor
    rise: np.ndarray
    energy: np.ndarray
    gradient: Tensor

    def where(self, taken: np.ndarray, other: State) -> State:
        """Return these chains, but ``other`` for those that are ``taken``, shape (k,), bool."""
        rows = torch.as_tensor(taken, device=self.x.device)[:, None]
        return State(
            torch.where(rows, other.x, self.x),
            np.where(taken, other.rise, self.rise),
            np.where(taken, other.energy, self.energy),
            torch.where(rows, other.gradient, self.gradient),
        )


class Posterior:
    """exp(-nβ L(w) - γ |w - w*|² / 2), with w* the trained point. Use it while the objective is running.

    Args:
        draws: the objective, and the count of passes.
        nbeta: inverse temperature times number of samples.
        gamma: strength of the pull towards w*.
    """

    def __init__(self, draws: Draws, nbeta: float, gamma: float) -> None:
        self.draws, self.nbeta, self.gamma = draws, nbeta, gamma
        self.objective = draws.objective

    @property
    def dimension(self) -> int:
        """n, the number of entries in scope."""
        return self.objective.dimension

    def origin(self, chains: int) -> Tensor:
        """Return the trained point as offsets of this number of chains, shape (k, n)."""
        return self.objective.theta.new_zeros(chains, self.dimension)

    def energies(self, x: Tensor) -> np.ndarray:
        """Return the energy at offsets (k, n), shape (k,), from forward passes only."""
        return self._energies(self.rises(x), x)

    def rises(self, x: Tensor) -> np.ndarray:
        """Return the loss on all data minus that at the trained point, shape (k,), from forward passes only."""
        program = self.objective.program
        pieces = distributed.each(
            x.split(self.objective.plan.lanes),
            lambda part: run_pass(program, self._points(part)).values,
            lambda: distributed.sample(x),
        )
        self.draws.charge(len(x), len(x))
        return _finite(np.concatenate(pieces) - self.objective.centre)

    def at(self, x: Tensor) -> State:
        """Return the state of chains at these offsets, shape (k, n), on all data."""
        values, gradient = self._slopes(self.objective.program, x)
        self.draws.charge(GRADIENT_COST * len(x), len(x))
        return self._state(x, values - self.objective.centre, gradient)

    def on(self, minibatches: Minibatches, which: int, x: Tensor) -> State:
        """Return the state as one minibatch estimates it.

        The rise is that of the minibatch's own loss, so that its level does not add noise.
        """
        values, gradient = self._slopes(minibatches.programs[which], x)
        share = minibatches.shares[which]
        self.draws.charge(GRADIENT_COST * len(x) * share, len(x))
        return self._state(x, values - minibatches.centres[which], gradient)

    def _state(self, x: Tensor, rise: np.ndarray, gradient: Tensor) -> State:
        rise = _finite(rise)
        slope = gradient.mul_(self.nbeta).add_(x, alpha=self.gamma).nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)
        return State(x, rise, self._energies(rise, x), slope)

    def _energies(self, rise: np.ndarray, x: Tensor) -> np.ndarray:
        pull = x.double().square().sum(1).cpu().numpy() if self.gamma else 0.0
        with np.errstate(over="ignore"):  # a trajectory with too large a step; it is not accepted
            energy: np.ndarray = self.nbeta * rise + self.gamma / 2 * pull
        return energy

    def _points(self, x: Tensor) -> Tensor:
        objective = self.objective
        steps = objective.scope.scatter(x, objective.theta.new_zeros(len(x), objective.layout.size))
        return steps.add_(objective.theta)

    def _slopes(self, program: Program, x: Tensor) -> tuple[np.ndarray, Tensor]:
        """Return the loss at offsets, shape (k,), and its gradient by them, shape (k, n)."""
        place = x.device if distributed.count() == 1 else torch.device("cpu")  # results are sent from the CPU

        def at(part: Tensor) -> tuple[np.ndarray, Tensor]:
            values, gradient = run_backward(program, self._points(part))
            return values, self.objective.scope.gather(gradient).to(place)

        pieces = distributed.each(x.split(self.objective.plan.lanes), at, lambda: distributed.sample(x))
        return np.concatenate([each[0] for each in pieces]), torch.cat([each[1] for each in pieces]).to(x.device)


@dataclass(frozen=True)
class Minibatches:
    """A fixed random partition of the data, whose parts are drawn in proportion to their terms.

    Attributes:
        programs: the loss of each part alone.
        centres: its mean at the trained point, one per part.
        shares: of the terms in each part; the chance that it is drawn.
        samples: of the largest part.
    """

    programs: tuple[Program, ...]
    centres: np.ndarray
    shares: np.ndarray
    samples: int

    @classmethod
    def of(cls, posterior: Posterior, size: int | None, seed: int) -> Minibatches:
        """Return minibatches of at most ``size`` samples; by default an eighth of the data, and 32 or more.

        The objective's own batches serve if they cannot be cut, or if their samples act on each other.
        """
        objective = posterior.objective
        program = objective.program
        if not isinstance(program, ModelProgram):
            return cls((program,), np.array([objective.centre]), np.ones(1), objective.samples)
        size = size or max(FEWEST_SAMPLES, -(-objective.samples // _PIECES))
        batches = program.batches
        if objective.describe()["batch_sizes"] is None and not any(batch.whole for batch in batches):
            raws, counts = join_batches([batch.raw for batch in batches], [batch.samples for batch in batches])
            pieces = [make_batch(raw, count) for raw, count in zip(raws, counts, strict=True)]
            batches = split_batches([_in_random_order(piece, seed) for piece in pieces], size)
        programs = tuple(program.with_batches((batch,)) for batch in batches)
        theta = objective.theta[None]
        centres = np.array([run_pass(each, theta).values[0] for each in programs])
        posterior.draws.charge(1.0, len(programs))
        terms = np.array([float(sum(each.counts)) for each in programs])
        return cls(programs, centres, terms / terms.sum(), max(batch.samples for batch in batches))

    def __len__(self) -> int:
        return len(self.programs)


def _in_random_order(batch: Batch, seed: int) -> Batch:
    order = stream(Purpose.POSTERIOR, seed, _SHUFFLE).permutation(batch.samples)
    return shuffled(batch, torch.from_numpy(order))


def _finite(rise: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(rise), np.inf, rise)
