"""Random numbers by purpose: every stream of this library, and the part of Philox's space that each purpose owns.

Philox (Salmon, Moraes, Dror & Shaw 2011) turns a key of two 64-bit words and a counter of four into random bits:

    key = (seed, index)    counter = (draws so far, part, step, stage)

A stream is one value of all words but the first of the counter, which counts on by itself. So a number depends on what
it is for and not on what was drawn before it, and any of them can be drawn again alone.

:class:`Purpose` lists the words that each purpose may use. No two purposes of a measurement share a stream, and no two
of a training do. A training and a measurement with the same seed share some: the noise of a training's first step, for
one, begins with the bits of ray 100. So a few rays among thousands share bits with the net's training. They stay as
they are, since other streams would change every trained net.

What torch draws (initial weights, dropout) comes from torch's own generator, seeded with the seed alone.
"""

from __future__ import annotations

from enum import Enum, unique
from typing import Any

import numpy as np
from numpy.random.bit_generator import ISeedSequence

_ZERO = range(1)
_ANY = range(2**64)
_CHAINS = range(2**64 - 2)  #: as index; the last two numbers are in use no more
_STEPS = range(2**32)  #: more than any run makes; larger ones are for rays from which a preconditioner is learnt
_STAGES = range(1, 2**63)


@unique
class Purpose(Enum):
    """What random numbers are for, and the ranges of (index, part, step, stage) that belong to it.

    The offsets that :func:`stream` takes count from the start of each range.
    """

    #: directions of large models, by entry (:mod:`landscape.rays.entries`); index: which
    ENTRY = (_ANY, _ZERO, _ZERO, range(2**63 + 80, 2**63 + 81))
    #: directions of rays, axes of slices, proposals of the Gaussian kind; index: which
    DIRECTION = (_ANY, _ZERO, _ZERO, _ZERO)
    #: rays of the counted kind; index: the group of rays, part: 0 for directions, 1 for radii
    GROUP_OF_RAYS = (_ANY, range(2), _ZERO, range(2**63 + 2, 2**63 + 3))
    #: start and moves of annealed particles and of their pilots; index: the group of islands
    CHAIN = (_CHAINS, _ZERO, _STEPS, _STAGES)
    #: rays from which a preconditioner is learnt; index: the ray, step: the round of learning
    PRECONDITIONER = (_CHAINS, _ZERO, range(2**33, 2**34), _STAGES)
    #: rays that are seen through a preconditioner; index: the ray
    PRECONDITIONED_RAY = (_CHAINS, _ZERO, range(2**34, 2**34 + 1), range(1, 2))
    #: random signs that probe a matrix; index: the probe, part: the summand of the matrix
    SIGN_PROBE = (_ANY, _ANY, _ZERO, range(2**63, 2**63 + 1))
    #: normal vectors at which Lanczos begins; index: which
    NORMAL_PROBE = (_ANY, _ZERO, range(1, 2), range(2**63, 2**63 + 1))
    #: perturbations of sharpness measures; index: the pair, part: 0 normal, 1 uniform
    PERTURBATION = (_ANY, range(2), range(2, 3), range(2**63, 2**63 + 1))
    #: chains of the local learning coefficient; index: the step of the chains, part: of what stage
    POSTERIOR = (_ANY, range(4), _ZERO, range(2**63 + 16, 2**63 + 17))

    #: of a training: points of a data set, or the order in which they are taken
    TRAIN_DATA = (range(1), _ZERO, _ZERO, _STEPS)
    #: test points of a recipe that draws its data
    TEST_DATA = (range(1, 2), _ZERO, _ZERO, _STEPS)
    #: initial weights of a recipe that draws them here
    NETWORK = (range(2, 3), _ZERO, _ZERO, _STEPS)
    #: noise on the training points; stage: the training step
    JITTER = (range(100, 101), _ZERO, _ZERO, _STEPS)
    #: fresh samples for the poison; stage: their block or training step
    FRESH = (range(101, 102), _ZERO, _ZERO, _STEPS)
    #: order of the training points in an epoch; stage: the epoch
    ORDER = (range(102, 103), _ZERO, _ZERO, _STEPS)
    #: shifts and reflections of the training images; stage: the training step
    AUGMENT = (range(103, 104), _ZERO, _ZERO, _STEPS)

    #: configurations of a ranking, drawn with replacement; index: the resample
    RESAMPLE = (_ANY, _ZERO, _ZERO, range(2**63 + 40, 2**63 + 41))
    #: configurations of a ranking in random order; index: the permutation
    PERMUTATION = (_ANY, range(1, 2), _ZERO, range(2**63 + 40, 2**63 + 41))
    #: values of the measure that is random; one for each net
    RANDOM_MEASURE = (_ANY, range(2, 3), _ZERO, range(2**63 + 40, 2**63 + 41))
    #: chains that test learnt coordinates; index: the cutoff, step: the move
    SECOND_START = (_ANY, _ZERO, _STEPS, range(2**63 + 60, 2**63 + 61))


class _NoEntropy(ISeedSequence):
    """The seed of a generator whose key and counter are set after it is made.

    ``Philox(key=...)`` asks the system for random numbers, does not use them, and takes most of its time for it.
    """

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> np.ndarray:
        """Return zeros."""
        return np.zeros(n_words, dtype)


_UNUSED: Any = _NoEntropy()
_NOTHING_DRAWN: dict[str, Any] = {
    "bit_generator": "Philox", "buffer": np.zeros(4, np.uint64), "buffer_pos": 4, "has_uint32": 0, "uinteger": 0
}  # fmt: skip


def words(purpose: Purpose, seed: int, index: int, part: int, step: int, stage: int) -> tuple[np.ndarray, np.ndarray]:
    """Return key and counter of a stream, shapes (2,) and (4,).

    Raises:
        ValueError: the place is outside the ranges of the purpose.
    """
    indices, parts, steps, stages = purpose.value
    index, part = indices.start + int(index), parts.start + int(part)
    step, stage = steps.start + int(step), stages.start + int(stage)
    if not (index in indices and part in parts and step in steps and stage in stages):
        raise ValueError(f"{purpose.name} has no stream at index {index}, part {part}, step {step}, stage {stage}.")
    # unsigned from the start: in a list, words above 2^63 would pass through float64 and lose their last digits
    return np.array([seed, index], dtype=np.uint64), np.array([0, part, step, stage], dtype=np.uint64)


def stream(
    purpose: Purpose, seed: int, index: int = 0, *, part: int = 0, step: int = 0, stage: int = 0, draws: int = 0
) -> np.random.Generator:
    """Return the random numbers of one purpose, seed and place, and of nothing else.

    ``draws`` leaves out the first ones: four words of 64 bits each.

    >>> one, again, other = (stream(Purpose.CHAIN, 0, 3, stage=1, step=step).random() for step in (9, 9, 10))
    >>> one == again, one == other
    (True, False)
    """
    source = np.random.Generator(np.random.Philox(_UNUSED))
    return restart(source, purpose, seed, index, part=part, step=step, stage=stage, draws=draws)


def restart(
    source: np.random.Generator,
    purpose: Purpose,
    seed: int,
    index: int = 0,
    *,
    part: int = 0,
    step: int = 0,
    stage: int = 0,
    draws: int = 0,
) -> np.random.Generator:
    """Return a stream that is read no more as another one, as :func:`stream` makes it, in half the time.

    >>> source = stream(Purpose.CHAIN, 0, 3)
    >>> source.random() == restart(source, Purpose.CHAIN, 0, 3).random()
    True
    """
    key, counter = words(purpose, seed, index, part, step, stage)
    counter[0] = draws
    state: Any = _NOTHING_DRAWN | {"state": {"counter": counter, "key": key}}
    source.bit_generator.state = state
    return source


def sample_order(seed: int, count: int) -> np.ndarray:
    """Return the order in which samples are taken for squared gradients, by PCG64, which shares no bits with Philox."""
    return np.random.default_rng([seed, 1]).permutation(count)
