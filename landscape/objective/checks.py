"""What is tried once, on the first batch: how the model runs, and whether samples act on each other.

Batches are cut to fit the cache, and joined. That is right only if the prediction for a sample depends on that sample
alone. Logits between all samples of a batch, attention across the batch, a mean over the batch or a dense graph break
that. So a few samples are compared with their two halves. If the outputs differ, the batches stay as they came.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from landscape.errors import LandscapeError, TaskError
from landscape.objective.batch_loss import ModelProgram, Program
from landscape.objective.batches import Batch, copied, is_plain, make_batch, rebuild, split_batches, spread
from landscape.objective.counting import items_of
from landscape.objective.first_pass import Sizes, first_pass
from landscape.objective.losses.predictions import logits_of
from landscape.objective.moved_weights import AnyPoint, Point

_PIECE = 2**20  # entries of an output that are compared at a time
_MANY = 16  # targets of a sample, such as tokens
_FEW = 8  # samples that are compared with their halves
_MOST = 512  # samples of a batch that is compared with its halves as a whole
_ROUNDING = {torch.float32: 1e-4, torch.float64: 1e-12}  # relative: kernels for other batch sizes round otherwise
_HALF_ROUNDING = 0.05  # the same for the types of 16 bits and fewer

MIXES = "the samples of a batch act on each other: the model gives other outputs for a batch than for its halves"
NO_PARTS = "the model runs on a whole batch and not on a part of it"


@dataclass(frozen=True)
class Trial:
    """The first pass of the model over data.

    Attributes:
        batch: what it ran on.
        output: the model's output.
        sizes: what the pass took in memory.
        mixing: whether the batches must stay as they came.
        why: what was found if they must; empty if that was known before.
        time_major: whether the second axis counts the samples, since the first one is time.
    """

    batch: Batch
    output: Any
    sizes: Sizes
    mixing: bool
    why: str = ""
    time_major: bool = False

    def sizes_on(self, batches: Sequence[Batch]) -> Sizes:
        """Return what a pass over the largest of these batches takes in memory."""
        samples, each = max(batch.samples for batch in batches), self.batch.samples
        return Sizes(self.sizes.activation // each * samples, self.sizes.copies * samples // each)

    def output_on(self, batches: Sequence[Batch]) -> Any:
        """Return the output if it is that on all data; otherwise None."""
        return self.output if len(batches) == 1 and batches[0].samples == self.batch.samples else None


def try_first_batch(program: ModelProgram, theta: AnyPoint, first: Batch, alone: Batch, *, mixing: bool) -> Trial:
    """Run the model on a few samples and on their halves; on the whole batch if it does not run on a part.

    The batches are copied, so that a model that writes to its inputs cannot change the caller's data.

    Args:
        program: the model and its loss; its flags ``writes`` and ``differentiates`` are set.
        theta: the centre, shape (D,).
        first: the first batch, or several batches of one sample together.
        alone: the first batch.
        mixing: whether it is known that batches must stay as they came.
    """

    def run(batch: Batch) -> tuple[Sizes, Any]:
        return first_pass(program, theta, copied(batch))

    try:
        few = copied(alone) if mixing else spread(first, _few_of(first, theta))
        sizes, output = run(few)
    except TaskError as error:
        if mixing or (first.samples == alone.samples and first.samples <= _FEW):
            raise
        sizes, output = run(alone)
        if _runs(run, few):  # then the part was not what failed
            raise error from None
        return Trial(alone, output, sizes, mixing=True, why=NO_PARTS)
    program.writes = program.writes or writes_to_parameters(program, theta, few)
    trial = Trial(few, output, sizes, mixing)
    part = spread(first, _few_of(first, theta))
    if part.whole or part.samples < 2 or program.training or (mixing and not _shares_two_axes(part)):
        return trial
    whole = run(part)[1] if mixing else output
    if not differs(program, theta, whole, _halves(part)):
        # capacities and other limits act only on more samples
        if mixing or not part.samples < alone.samples <= _MOST or not is_plain(alone.raw):
            return trial
        sizes, output = run(alone)
        return Trial(alone, output, sizes, True, MIXES) if differs(program, theta, output, _halves(alone)) else trial
    time_major = _shares_two_axes(part) and not differs(program, theta, whole, _halves_of_second_axis(part))
    if mixing:
        return replace(trial, time_major=time_major)
    sizes, output = run(alone)
    return Trial(alone, output, sizes, mixing=True, why=MIXES, time_major=time_major)


def _few_of(first: Batch, theta: AnyPoint) -> int:
    """Return how many samples to look at: for a large model two are enough if each holds many predictions."""
    long = isinstance(first.target, Tensor) and first.target.numel() >= _MANY * first.samples
    return 2 if long and isinstance(theta, Point) else _FEW


def _halves(batch: Batch) -> tuple[Batch, ...]:
    return split_batches([batch], -(-batch.samples // 2))


def _runs(run: Callable[[Batch], Any], batch: Batch) -> bool:
    try:
        run(batch)
    except TaskError:
        return False
    return True


def differs(program: ModelProgram, theta: AnyPoint, whole: Any, parts: Sequence[Batch]) -> bool:
    """Whether the outputs on the parts of a batch, one after the other, are others than those on the whole batch."""
    try:
        predictions = logits_of(whole).detach()
        with program.running():
            outputs = [program.with_batches((copied(part),)).output(theta, 0) for part in parts]
            apart = [logits_of(output).detach() for output in outputs]
    except TaskError:  # outputs without predictions are the loss's own business
        return False
    except Exception:
        return True
    if all(piece.shape == predictions.shape for piece in apart):
        return not all(_close(program, predictions, piece) for piece in apart)
    axis = _axis_of_samples(predictions, apart)
    if axis is None:
        return True
    wholes = predictions.split([piece.shape[axis] for piece in apart], axis)
    scale = scale_of(predictions)
    return not all(_close(program, whole, piece, scale) for whole, piece in zip(wholes, apart, strict=True))


def writes_to_parameters(program: ModelProgram, theta: AnyPoint, batch: Batch) -> bool:
    """Whether the forward pass writes to its parameters in place: at the trained point, or at twice its values.

    ``Embedding(max_norm=...)`` shortens its rows, and some layers clamp their weights.
    """
    if isinstance(theta, Point):  # whose weights the model cannot write to, or a copy of all is restored
        return False
    kinds = (module for module in program.model.modules() if isinstance(module, nn.Embedding | nn.EmbeddingBag))
    if any(module.max_norm is not None for module in kinds):
        return True
    other = program.with_batches((copied(batch),))
    for factor in (1.0, 2.0):
        point = theta * factor
        with program.running():
            views = other.views_at(point)
            places = [view.data_ptr() for view in views]
            try:
                other.output_with(views)
            except LandscapeError:
                raise
            except Exception:  # far away a model may fail; measurements tell that in their own words
                continue
            if not torch.equal(point, theta * factor) or places != [view.data_ptr() for view in views]:
                return True
    return False


def _close(program: ModelProgram, one: Tensor, other: Tensor, scale: float | None = None) -> bool:
    """Whether outputs agree to rounding, relative to ``scale``: by default the largest finite value of the first."""
    dtypes = {one.dtype, *(entry.dtype for entry in program.layout.entries)}
    tolerance = max(_ROUNDING.get(dtype, _HALF_ROUNDING) for dtype in dtypes if dtype.is_floating_point)
    return close(one, other, tolerance, scale_of(one) if scale is None else scale)


def close(one: Tensor, other: Tensor, tolerance: float, scale: float) -> bool:
    """Whether tensors of one shape agree to a tolerance, relative to each value or to ``scale``."""
    if one.shape != other.shape:
        return False
    pairs = zip(one.reshape(-1).split(_PIECE), other.reshape(-1).split(_PIECE), strict=True)
    return all(torch.allclose(a, b, rtol=tolerance, atol=tolerance * scale, equal_nan=True) for a, b in pairs)


def scale_of(values: Tensor) -> float:
    """Return the largest finite absolute value; 0 if there is none."""
    pieces = (piece[torch.isfinite(piece)].abs() for piece in values.reshape(-1).split(_PIECE))
    return max((float(piece.max()) for piece in pieces if piece.numel()), default=0.0)


def _axis_of_samples(whole: Tensor, parts: Sequence[Tensor]) -> int | None:
    """Return the axis along which the parts make up the whole; None if there is none."""
    for axis in range(whole.dim()):
        if any(part.dim() != whole.dim() for part in parts):
            return None
        rest = {part.shape[:axis] + part.shape[axis + 1 :] for part in (whole, *parts)}
        if len(rest) == 1 and sum(part.shape[axis] for part in parts) == whole.shape[axis]:
            return axis
    return None


def _shares_two_axes(batch: Batch) -> bool:
    """Whether inputs and targets agree in two axes, of which either could count the samples."""
    items = [item for _, item in items_of(batch.raw)]
    if len(items) < 2 or not isinstance(batch.target, Tensor) or not is_plain(batch.raw):
        return False
    shapes = {tuple(item.shape[:2]) for item in items}
    return len(shapes) == 1 and len(items[0].shape) > 1 and items[0].shape[1] > 1


def _halves_of_second_axis(batch: Batch) -> list[Batch]:
    middle = next(item for _, item in items_of(batch.raw)).shape[1] // 2
    cuts = (slice(None, middle), slice(middle, None))
    return [
        make_batch(rebuild(batch.raw, [item[:, part] for _, item in items_of(batch.raw)]), batch.samples)
        for part in cuts
    ]


def random_state() -> tuple[bytes, ...]:
    """Return the states of the random generators of torch, numpy and Python."""
    states = [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else ())]
    name, keys, *rest = np.random.get_state()  # noqa: NPY002 - the caller's global state
    others = repr((random.getstate(), name, rest)).encode()
    return (*(state.numpy().tobytes() for state in states), np.asarray(keys).tobytes(), others)


def attributes(program: Program) -> list[dict[str, Any]]:
    """Return what each module of the model holds now."""
    return [dict(vars(module)) for module in program.model.modules()] if isinstance(program, ModelProgram) else []


def differ(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> bool:
    """Whether a module holds other objects than before."""
    pairs = zip(before, after, strict=False)
    changed = (one.keys() != other.keys() or any(one[key] is not other[key] for key in one) for one, other in pairs)
    return len(before) != len(after) or any(changed)
