"""How a large model is read: which models are large, and whether their weights can be moved where they are used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from landscape.objective.batch_loss import ModelProgram
from landscape.objective.batches import Batch, copied
from landscape.objective.checks import attributes, differ, random_state
from landscape.objective.losses.meanings import of_own_loss
from landscape.objective.losses.predictions import Reading, logits_of
from landscape.objective.losses.structure import tensors_of
from landscape.objective.moved_weights import FEW_OF_LARGE, AnyPoint, Point
from landscape.objective.noise import Noise
from landscape.objective.overwritten import Overwritten
from landscape.objective.parameters import Entry, home
from landscape.objective.read_weights import UncaughtError

FLAT_LIMIT = 2**25  #: parameters up to which points are flat vectors, unless the caller says otherwise
_PROBE = 0.5  # shift of the weights whose reading is checked, in their root mean square
_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}  # relative, of outputs that agree
_HALF_TOLERANCE = 0.05  # for the types of 16 bits


class Look(NamedTuple):
    """What the two passes near the trained point tell that show how a large model reads its weights.

    Attributes:
        reading: what the model's own loss takes its logits for, if they tell it.
        repeated: whether they gave the same output to the last bit, and drew no random numbers.
    """

    reading: Reading | None = None
    repeated: bool = False


def is_large(program: ModelProgram, flat: bool | None) -> bool:
    """Whether points of this model are moved weight by weight instead of as flat vectors.

    TorchScript holds tensors that cannot be replaced, and a rank holds a shard of a sharded model. So their points are
    always flat.
    """
    if program.scripted or program.sharded:
        return False
    return program.layout.size > FLAT_LIMIT if flat is None else not flat


def origin_of(
    program: ModelProgram, flat: bool | None, first: Batch, held: Mapping[str, Tensor], place: torch.device
) -> tuple[AnyPoint, Look]:
    """Return the trained point in the form that serves this model, after a look at how it reads its weights."""
    if not is_large(program, flat):
        return program.layout.flatten(held, place), Look()
    return Point(), settle_reading(program, first)


def settle_reading(program: ModelProgram, batch: Batch) -> Look:
    """Find out on one batch how the model reads its weights, and set ``program.in_place`` if that cannot be caught.

    It cannot if the model writes to a weight, asks for its address, keeps it outside of its modules' parameters, or
    gives another output with the smallest tensor of each kind moved than with that tensor overwritten.
    """
    if _holds_on(program.model):
        program.in_place = True
        return Look()
    caught, look = _caught(program, copied(batch))
    program.in_place = not caught
    return look if caught else Look()


def _caught(program: ModelProgram, batch: Batch) -> tuple[bool, Look]:
    """Return whether all reading of weights is seen, and what the two passes tell besides."""
    trial = program.with_batches((batch,))
    point = Point(((_PROBE, Noise(list(_smallest_of_each_kind(program)))),))
    try:
        with program.running():
            before, held = random_state(), attributes(program)
            seen = trial.output(point, 0)  # raises if the model writes
            output = trial.output_with(Overwritten(program.pairs, point, keep_all=False))
            quiet = before == random_state() and not differ(held, attributes(program))
            caught = _agree(program, logits_of(seen), logits_of(output))
    except UncaughtError:
        return False, Look()
    except Exception:  # what fails for another reason fails again, in the first pass, and is told there
        return True, Look()
    repeated = quiet and _equal(seen, output)
    if program.losses[0].name != "model" or batch.samples > FEW_OF_LARGE:
        return caught, Look(repeated=repeated)
    del seen
    try:
        return caught, Look(of_own_loss(output, batch.target), repeated)
    except Exception:  # an output without a loss of its own
        return caught, Look(repeated=repeated)


def _equal(one: Any, other: Any) -> bool:
    """Whether two outputs hold the same tensors to the last bit."""
    pairs = list(zip(tensors_of(one), tensors_of(other), strict=True))
    return bool(pairs) and all(torch.equal(first, second) for first, second in pairs)


def _agree(program: ModelProgram, one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    dtypes = {one.dtype, *(entry.dtype for entry in program.layout.entries)}
    tolerance = max(_TOLERANCE.get(dtype, _HALF_TOLERANCE) for dtype in dtypes if dtype.is_floating_point)
    scale = float(torch.nan_to_num(other, 0.0, 0.0, 0.0).abs().max())
    return torch.allclose(one, other, rtol=tolerance, atol=tolerance * scale, equal_nan=True)


def _smallest_of_each_kind(program: ModelProgram) -> Iterator[tuple[Tensor, Entry]]:
    """Yield the smallest tensor for each type of module and name of parameter."""
    owners = dict(program.model.named_modules(remove_duplicate=False))
    kinds: dict[tuple[type, str], tuple[Tensor, Entry]] = {}
    for own, entry in program.pairs:
        path, attribute = home(entry.name)
        kind = (type(owners[path]), attribute)
        if kind not in kinds or entry.size < kinds[kind][1].size:
            kinds[kind] = own, entry
    yield from kinds.values()


def _holds_on(model: nn.Module) -> bool:
    """Whether a module keeps a parameter in an attribute, or in a list or dict there; recurrent layers renew theirs."""
    held = {id(parameter) for parameter in model.parameters()}

    def holds(value: object) -> bool:
        if isinstance(value, Tensor):
            return id(value) in held
        if isinstance(value, dict):
            return any(isinstance(item, Tensor) and id(item) in held for item in value.values())
        return isinstance(value, list | tuple) and any(isinstance(item, Tensor) and id(item) in held for item in value)

    for module in model.modules():
        own = ("_parameters", "_buffers", "_modules", *(("_flat_weights",) if isinstance(module, nn.RNNBase) else ()))
        if any(holds(value) for key, value in vars(module).items() if key not in own):
            return True
    return False
