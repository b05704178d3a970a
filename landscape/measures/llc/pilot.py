"""Pilot run: starts the chains, chooses step size, trajectory and preconditioner. Its draws are discarded."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from landscape.measures.llc.posterior import Minibatches, Posterior, State
from landscape.measures.llc.samplers import EXACT_SAMPLERS, Kernel, draw
from landscape.measures.settings import Settings
from landscape.rays.streams import Purpose, stream
from landscape.volume.body.points import normals

STEP_BIAS = 0.05  #: share of the value that the step of SGLD may add
START, PILOT, BURN_IN, SAMPLING = range(4)  #: parts of the random numbers
_MOST_LEAPS = 128
_FEWEST_DRAWS = 40  # in a chain; a trajectory has no more leaps than leave so many
_QUARTER_TURN = 2.5  # length of a trajectory before its step is varied, over the deviation 1/√γ of the pull alone
_TARGETS = {1: 0.574}  # acceptance at which Langevin moves mix fastest (Roberts & Rosenthal 1998)
_TARGET = 0.75  # of longer trajectories: between .65 and .8 (Beskos et al. 2013; Betancourt et al. 2014)
_HIGH = 0.9  # energy at which chains start from outside, over n; it is n/2 where they end
_TRIES = 40
_SHORTEST = 15  # passes of a pilot, at least
_LEAST_VALUE = 0.1  # of the LLC, where the bias of a step is weighed against it
_FLOOR = 0.1  # of a root mean square gradient, over that of all entries


@dataclass(frozen=True)
class Tuned:
    """What a pilot hands on.

    Attributes:
        kernel: how chains move from now on.
        state: where they are.
        step_bias: what the step of SGLD adds to the value, to first order; 0 for exact samplers.
    """

    kernel: Kernel
    state: State
    step_bias: float


class StepSearch:
    """Dual averaging of log √ε towards an acceptance (Hoffman & Gelman 2014), with their constants."""

    _SHRINK, _DELAY, _DECAY = 0.05, 10.0, 0.75

    def __init__(self, step_size: float) -> None:
        self.step_size = step_size
        self._centre = math.log(10.0) + math.log(step_size) / 2
        self._error, self._mean, self._count = 0.0, 0.0, 0

    def learn(self, acceptance: float, target: float) -> None:
        """Take a new step size after a draw with this acceptance."""
        self._count += 1
        weight = 1 / (self._count + self._DELAY)
        self._error += weight * (target - acceptance - self._error)
        log_step = self._centre - math.sqrt(self._count) / self._SHRINK * self._error
        decay = self._count**-self._DECAY
        self._mean = decay * log_step + (1 - decay) * self._mean
        self.step_size = math.exp(2 * log_step)

    @property
    def settled(self) -> float:
        """The mean step size, for use from now on."""
        return math.exp(2 * self._mean) if self._count else self.step_size


def run_pilot(posterior: Posterior, settings: Settings, late: Callable[[], bool]) -> Tuned:
    """Return tuned chains after half as many passes over the data as the draws will take, or fewer if it gets late.

    Whatever the sampler, the chains of the pilot are exact (MALA, or HMC for ``hmc``): they find the step size, and
    bring the chains to where they belong. For SGLD the step is then cut until its bias is ``STEP_BIAS`` of the value.
    """
    x, step_size = starts(posterior, settings.chains, settings.seed)
    search = StepSearch(step_size)
    state = posterior.at(x)
    exact = settings.sampler in EXACT_SAMPLERS
    minibatches = None if exact else Minibatches.of(posterior, settings.minibatch, settings.seed)
    steps = settings.steps or 0
    passes = max(_SHORTEST, steps / 2 / (1 if minibatches is None else len(minibatches)))

    def kernel(size: float) -> Kernel:
        size = (settings.step_size if exact else None) or size
        if settings.sampler == "hmc":
            return Kernel("hmc", size, leaps_of(size, posterior.gamma, steps))
        return Kernel("mala", size)

    done, index, values = 0, 0, []
    while done < passes and not late():
        now = kernel(search.step_size)
        state, acceptance = draw(posterior, now, state, settings.seed, PILOT, index)
        search.learn(acceptance, _TARGETS.get(now.leaps, _TARGET))
        values.append(posterior.nbeta * float(state.rise.mean()))
        done, index = done + now.leaps, index + 1
    if minibatches is None:
        return Tuned(kernel(search.settled), state, 0.0)
    value = float(np.mean(values[len(values) // 2 :])) if values else 0.0
    return _on_minibatches(posterior, minibatches, settings, search.settled, state, value)


def starts(posterior: Posterior, chains: int, seed: int) -> tuple[Tensor, float]:
    """Return offsets at which chains start, shape (chains, n), and a first step size.

    Half of them start at the trained point, where the energy is below that of the posterior. The others start in random
    directions, as far out as the energy is at most n, above it: chains that agree have forgotten where they began.
    """
    x = posterior.origin(chains)
    near = inside(chains)
    outside = normals(stream(Purpose.POSTERIOR, seed, 0, part=START), x[near:])
    weights = posterior.objective.scope.gather(posterior.objective.theta).double()
    root_mean_square = float(weights.square().mean().sqrt())
    length = np.full(len(outside), posterior.gamma**-0.5 if posterior.gamma else root_mean_square or 1.0)
    for _ in range(_TRIES):
        energy = posterior.energies(_scaled(outside, length))
        far = ~(energy <= posterior.dimension)
        if not far.any():
            break
        with np.errstate(divide="ignore", invalid="ignore"):
            shrink = np.sqrt(_HIGH * posterior.dimension / energy)
        length = np.where(far, length * np.clip(shrink, 0.05, 0.95), length)
    x[near:] = _scaled(outside, length)
    # a direction of mean curvature has the standard deviation `length`, and errors of a step add up over directions
    return x, float(np.median(length)) ** 2 * posterior.dimension**-0.5


def inside(chains: int) -> int:
    """Return how many chains start at the trained point: half of them."""
    return (chains + 1) // 2


def leaps_of(step_size: float, gamma: float, steps: int) -> int:
    """Return how many leaps make a quarter of the slowest swing, which the pull alone drives."""
    most = max(1, min(_MOST_LEAPS, steps // _FEWEST_DRAWS))
    if not gamma:
        return most
    return int(min(max(1.0, round(_QUARTER_TURN / math.sqrt(gamma * step_size))), most))


def _on_minibatches(
    posterior: Posterior, minibatches: Minibatches, settings: Settings, most: float, state: State, value: float
) -> Tuned:
    """Return chains tuned for SGLD, with a step size of at most ``most``.

    To first order its steps add ε/8 Σ G g (g + γ x) to the value, with g the gradient of nβ L on a minibatch and G the
    preconditioner. The discretisation and the noise of the minibatch both count. On a quadratic with exact gradients
    the mean of the sum is nβ Σ G h.
    """
    squares = torch.zeros_like(posterior.origin(1)[0], dtype=torch.float64)
    products = squares.clone()
    for which, share in enumerate(minibatches.shares):
        gradient = posterior.on(minibatches, which, state.x).gradient
        squares += share * gradient.double().square().mean(0)
        products += share * (gradient * (gradient - posterior.gamma * state.x)).double().mean(0)
    scale = None
    if settings.sampler == "rmsprop-sgld":
        scale = rmsprop_scale(squares)
        if float(squares.max()) > 0:
            most *= float(squares.max() / (squares * scale).max())
        products *= scale
        scale = scale.to(state.x.dtype)
    total = max(float(products.sum()), 0.0)
    allowed = 8 * STEP_BIAS * max(value, _LEAST_VALUE) / total if total > 0 else most
    step_size = settings.step_size or min(most, allowed)
    tuned = Kernel(settings.sampler, step_size, 1, scale, minibatches)
    return Tuned(tuned, state, step_size / 8 * total)


def rmsprop_scale(squares: Tensor) -> Tensor:
    """Return factors of the step 1 / (√V + floor), V the mean squared gradient of each entry; 1 where V is typical.

    Departures from Li et al. (2016): V is measured by the pilot and then frozen, so that the preconditioner is
    constant and needs no term of its own derivative; the floor is a tenth of the typical √V, whatever the scale of U.
    """
    roots = squares.sqrt()
    typical = float(squares.mean().sqrt()) or 1.0
    return (1 + _FLOOR) / (roots / typical + _FLOOR)


def _scaled(directions: Tensor, length: np.ndarray) -> Tensor:
    return directions * torch.as_tensor(length, dtype=directions.dtype, device=directions.device)[:, None]
