"""One draw of the chains: Hamiltonian and Langevin moves on all data, and Langevin moves on minibatches.

With U the energy and ε the step size, a Langevin proposal is w - ε/2 ∇U + √ε ξ, ξ standard normal. A Hamiltonian
trajectory of one leapfrog step of length √ε proposes the same. So ε means the same for every sampler here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from landscape.measures.llc.posterior import Minibatches, Posterior, State
from landscape.rays.streams import Purpose, stream
from landscape.volume.body.points import normals

EXACT_SAMPLERS = ("hmc", "mala")  #: on all data, with an acceptance test, so that the step has no bias
# Each draw takes 0.1 to 1.1 of the step. Where the posterior narrows, only short steps are accepted: chains with one
# step size for all draws would stay out of there, and give values that are too small with errors that are too small.
_SHORTEST = 0.1


@dataclass(frozen=True)
class Kernel:
    """How chains move; frozen before the draws that count.

    Attributes:
        sampler: one of :data:`landscape.measures.settings.SAMPLERS`.
        step_size: ε.
        leaps: leapfrog steps of a trajectory; 1 for Langevin moves.
        scale: for ``rmsprop-sgld``, the factor of ε of each entry, shape (n,); otherwise None.
        minibatches: for samplers on minibatches; otherwise None.
    """

    sampler: str
    step_size: float
    leaps: int = 1
    scale: Tensor | None = None
    minibatches: Minibatches | None = None


def draw(posterior: Posterior, kernel: Kernel, state: State, seed: int, part: int, index: int) -> tuple[State, float]:
    """Return the chains after one draw, and the mean acceptance probability.

    Args:
        posterior, kernel: where and how they move.
        state: of the chains. For samplers on minibatches only its offsets count, and the state that comes back is the
            one that was left: its rise is what the minibatch says of the offsets before the move.
        seed, part, index: of the random numbers.
    """
    random = stream(Purpose.POSTERIOR, seed, index, part=part)
    if kernel.minibatches is None:
        return _hamiltonian(posterior, kernel, state, random)
    return _langevin(posterior, kernel, kernel.minibatches, state.x, random), 1.0


def _hamiltonian(
    posterior: Posterior, kernel: Kernel, state: State, random: np.random.Generator
) -> tuple[State, float]:
    """Return chains after a trajectory that is accepted with probability min(1, exp(H - H')) (Duane et al. 1987).

    With one leap this is MALA (Roberts & Tweedie 1996). A force that is cut (0 in place of NaN) keeps it exact, since
    it depends on the place alone.
    """
    step = math.sqrt(kernel.step_size) * (_SHORTEST + random.random())
    velocity = normals(random, state.x)
    before = state.energy + _kinetic(velocity)
    now = state
    for _ in range(kernel.leaps):
        half = torch.sub(velocity, now.gradient, alpha=step / 2)
        now = posterior.at(torch.add(now.x, half, alpha=step))
        velocity = half.sub_(now.gradient, alpha=step / 2)
    with np.errstate(invalid="ignore", over="ignore"):
        gain = before - now.energy - _kinetic(velocity)
        accepted = np.where(np.isnan(gain), 0.0, np.exp(np.minimum(gain, 0.0)))
    taken = random.random(len(accepted)) < accepted
    return state.where(taken, now), float(accepted.mean())


def _langevin(
    posterior: Posterior, kernel: Kernel, minibatches: Minibatches, x: Tensor, random: np.random.Generator
) -> State:
    """Return the state of the chains before a move, with their offsets after it (Welling & Teh 2011)."""
    which = int(random.choice(len(minibatches), p=minibatches.shares)) if len(minibatches) > 1 else 0
    here = posterior.on(minibatches, which, x)
    noise = normals(random, x)
    drift, size = here.gradient, math.sqrt(kernel.step_size)
    if kernel.scale is not None:
        drift, noise = drift * kernel.scale, noise * kernel.scale.sqrt()
    moved = x.sub(drift, alpha=kernel.step_size / 2).add_(noise, alpha=size)
    return State(moved, here.rise, here.energy, here.gradient)


def _kinetic(velocity: Tensor) -> np.ndarray:
    return velocity.double().square().sum(1).cpu().numpy() / 2
