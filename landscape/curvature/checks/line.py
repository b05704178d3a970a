"""Whether autograd differentiates the loss of a large model: along a line through theta, where no gradient is held.

The slope of the loss along a direction v comes from torch's forward mode. It is compared with differences of the loss:
(L(h) - L(-h)) / 2h. The form v . H v is compared with differences of the slope. Both take one sample, in the model's
own dtype, so they see errors of a few per cent, not smaller ones. See :mod:`.differences` for what counts as
agreement.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial

import torch
from torch import Tensor
from torch.autograd import forward_ad

from landscape.curvature.autograd.grad import twice_differentiable
from landscape.curvature.checks.differences import Comparison, Outcome, compare
from landscape.errors import CurvatureError, ObjectiveError
from landscape.objective.batch_loss import CENTRE, ModelProgram, evaluating
from landscape.objective.noise import rms

#: relative to the size of each tensor: most language models say all with the first two; some bend within them, and
#: others show rounding there
_STEPS = ((3e-4, 1e-4), (3e-3, 1e-3), (1e-4, 3e-5), (1e-2, 3e-3))
_TILE = 2**20  # random entries of a direction, which repeat: making them all takes as long as a pass
_ROUNDINGS = 8  # a sum over a net is off by up to about this many roundings of its terms
_CANCELLED = 30.0  # how much larger the terms of a slope may be than the slope
_CONFIRMED = 2  # directions along which a derivative must fail
_DIRECTIONS = 3  # tried before nothing is claimed
TOO_COARSE = "autograd was not compared with differences: the model computes in a dtype too coarse for them"
UNRESOLVED = "autograd was not compared with differences: they do not converge, or the loss does not change enough"


class Line:
    """The total of one sample along lines through theta.

    Args:
        program: the loss of the sample, a single batch.
        leaves: the weights at theta.
        moves: which of them move.

    Attributes:
        eps: the relative rounding of the coarsest weight.
    """

    def __init__(self, program: ModelProgram, leaves: Sequence[Tensor], moves: Sequence[bool]) -> None:
        self._program, self._leaves, self._moves = program, leaves, moves
        self.eps = max(torch.finfo(leaf.dtype).eps for leaf in leaves)

    def direction(self, number: int) -> list[Tensor]:
        """Return a random direction, one tensor for each that moves: each moves by its own size."""
        longest = max(leaf.numel() for leaf, moves in zip(self._leaves, self._moves, strict=True) if moves)
        tile = torch.empty(min(_TILE, longest)).uniform_(-1, 1, generator=torch.Generator().manual_seed(number))
        vectors: list[Tensor] = []
        for leaf, moves in zip(self._leaves, self._moves, strict=True):
            if moves:
                vector = torch.empty(leaf.shape, dtype=leaf.dtype, device=leaf.device)
                values = tile.roll(1 + len(vectors)).to(leaf).mul_(rms(leaf) or 1.0)
                for piece in vector.view(-1).split(len(tile)):
                    piece.copy_(values[: len(piece)])
                vectors.append(vector)
        return vectors

    def at(self, vectors: Sequence[Tensor], t: float) -> tuple[Tensor, Tensor]:
        """Return the total and its slope at a distance along a direction, float64, shape ()."""
        left = iter(vectors)
        with torch.no_grad(), twice_differentiable(), forward_ad.dual_level(), evaluating(self._program, 0, CENTRE):
            points = []
            for leaf, moves in zip(self._leaves, self._moves, strict=True):
                if moves:
                    vector = next(left)
                    leaf = forward_ad.make_dual(
                        torch.add(leaf.detach(), vector, alpha=t) if t else leaf.detach(), vector
                    )
                points.append(leaf)
            total, slope = forward_ad.unpack_dual(self._program.total_of(points, 0))
        return total.double(), torch.zeros_like(total).double() if slope is None else slope.double()


def check_line(line: Line, form: Callable[[list[Tensor]], Tensor]) -> tuple[Outcome, str]:
    """Compare slopes and forms with differences, and return what they say about the form, and a note.

    Args:
        line: the loss of a sample.
        form: v -> v . H v of this sample.

    Raises:
        CurvatureError: if the slope is not the derivative of the loss.
    """
    if line.eps > torch.finfo(torch.float32).eps:
        return Outcome.UNRESOLVED, TOO_COARSE
    try:
        return _decided(line, form)
    except ObjectiveError as error:
        if isinstance(error.__cause__, NotImplementedError):  # no rule for torch's forward mode
            return Outcome.UNRESOLVED, UNRESOLVED
        raise


def _decided(line: Line, form: Callable[[list[Tensor]], Tensor]) -> tuple[Outcome, str]:
    wrong = {"slope": 0, "form": 0}
    outcome = Outcome.UNRESOLVED
    for number in range(_DIRECTIONS):
        slope, bent = _compared(line, line.direction(number), form)
        outcome = bent.outcome
        wrong["slope"] += slope.outcome is Outcome.WRONG
        wrong["form"] += bent.outcome is Outcome.WRONG
        if wrong["slope"] == _CONFIRMED:
            raise CurvatureError(
                "autograd's gradient is not the derivative of the measured loss. At the trained point, along a random "
                f"direction, it gives {slope.derivative:.4g}, and differences of the loss give {slope.difference:.4g}."
                "\nA part of the model may be detached or rounded. `check=False` skips this check; the numbers are "
                "then those of autograd."
            )
        if wrong["form"] == _CONFIRMED or not wrong["slope"] + wrong["form"]:
            break
    return outcome, "" if outcome is Outcome.AGREES else UNRESOLVED


def _compared(
    line: Line, vectors: list[Tensor], form: Callable[[list[Tensor]], Tensor]
) -> tuple[Comparison, Comparison]:
    """Return what differences say about the slope and the form along a direction."""
    at = cache(lambda t: line.at(vectors, t))
    total, slope = at(0.0)
    bend = form(vectors)
    size = max(abs(float(slope)), abs(float(total)))
    noise = _ROUNDINGS * line.eps
    derivatives, rounding = (slope, bend), (noise * abs(float(total)), noise * _CANCELLED * size)
    found = [Comparison(Outcome.UNRESOLVED)] * 2
    for steps in _STEPS:
        for which in (0, 1):
            if found[which].outcome not in (Outcome.AGREES, Outcome.WRONG):
                found[which] = compare(
                    partial(_part, at, which), [derivatives[which]], centre=[at(0.0)[which]],
                    scales=[0.0], rounding=[rounding[which]], steps=steps, plateau=2,
                )  # fmt: skip
    return found[0], found[1]


def _part(at: Callable[[float], tuple[Tensor, Tensor]], which: int, t: float) -> list[Tensor]:
    return [at(t)[which]]
