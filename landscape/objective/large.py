"""How a large model is read: which models are large, and whether their weights can be moved where they are used."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from landscape.objective.batch_loss import ModelProgram
from landscape.objective.batches import Batch, copied
from landscape.objective.checks import attributes, close, differ, random_state, scale_of
from landscape.objective.losses.meanings import of_own_loss
from landscape.objective.losses.predictions import Reading, logits_of
from landscape.objective.losses.structure import tensors_of
from landscape.objective.moved_weights import FEW_OF_LARGE, AnyPoint, Point
from landscape.objective.noise import Noise
from landscape.objective.overwritten import Apart
from landscape.objective.parameters import Entry, home

FLAT_LIMIT = 2**25  #: parameters up to which points are flat vectors, unless the caller says otherwise
_PROBE = 0.5  # shift of the weights whose reading is checked, in their root mean square
_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}  # relative, of outputs that agree
_HALF_TOLERANCE = 0.05  # for the types of 16 bits
_LOSS_TOLERANCE = 1e-6  # relative, of two losses of one output: a loss that adds threads' sums may round otherwise


class Look(NamedTuple):
    """What the two passes at the trained point tell that show how a large model reads its weights.

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


def origin_of(program: ModelProgram, flat: bool | None, held: Mapping[str, Tensor], place: torch.device) -> AnyPoint:
    """Return the trained point in the form that serves this model."""
    if not is_large(program, flat):
        return program.layout.flatten(held, place)
    program.in_place = _holds_on(program.model)
    return Point()


def first_point(program: ModelProgram, theta: AnyPoint) -> AnyPoint:
    """Return the trained point for the first pass; there some weights of a large model move, by a step of length 0.

    So the pass has the loss of the trained point, and tries how weights are moved: the smallest of each kind.
    """
    if not isinstance(theta, Point) or program.in_place:
        return theta
    return Point(((0.0, Noise(list(_smallest_of_each_kind(program)))),))


def look_at_reading(program: ModelProgram, theta: AnyPoint, batch: Batch, seen: Any) -> Look:
    """Find out whether a large model reads its weights where points are placed; else set ``program.in_place``.

    It does not if it keeps a weight outside of its modules' parameters. Then it gives another output once the smallest
    tensor of each kind is overwritten, though its modules hold the trained ones.

    Args:
        program: the model; it is already in place if the model writes to a weight, or asks for its address.
        theta: the trained point.
        batch: some samples.
        seen: the output of the first pass on them.
    """
    if not isinstance(theta, Point) or program.in_place:
        return Look()
    trial = program.with_batches((copied(batch),))
    smallest = list(_smallest_of_each_kind(program))
    trained = Apart(program.pairs, Point(((_PROBE, Noise(smallest)),)))
    try:
        with program.running():
            before, held = random_state(), attributes(program)
            output = trial.output_with(trained)
            quiet = before == random_state() and not differ(held, attributes(program))
            caught = _agree(program, logits_of(seen), logits_of(output)) and _same_loss(trial, trained, seen)
    except Exception:  # what fails here fails again in a measurement, and is told there
        return Look()
    program.in_place = not caught
    if not caught:
        return Look()
    repeated = quiet and _equal(seen, output)
    if program.losses[0].name != "model" or batch.samples > FEW_OF_LARGE:
        return Look(repeated=repeated)
    try:
        return Look(of_own_loss(output, batch.target), repeated)
    except Exception:  # an output without a loss of its own
        return Look(repeated=repeated)


def _same_loss(trial: ModelProgram, trained: Apart, seen: Any) -> bool:
    """Whether the loss of this output stays the same while the model's own weights are overwritten."""
    loss, batch = trial.losses[0], trial.batches[0]

    def total() -> float:
        # a copy, since a loss may write to what it gets
        return float(loss.total(tree_map(lambda item: item.clone() if isinstance(item, Tensor) else item, seen), batch))

    try:
        return math.isclose(trial.with_weights(trained, total), total(), rel_tol=_LOSS_TOLERANCE)
    except Exception:  # what is wrong with the loss is told where it is measured
        return True


def _equal(one: Any, other: Any) -> bool:
    """Whether two outputs hold the same tensors to the last bit."""
    pairs = list(zip(tensors_of(one), tensors_of(other), strict=True))
    return bool(pairs) and all(torch.equal(first, second) for first, second in pairs)


def _agree(program: ModelProgram, one: Tensor, other: Tensor) -> bool:
    dtypes = {one.dtype, *(entry.dtype for entry in program.layout.entries)}
    tolerance = max(_TOLERANCE.get(dtype, _HALF_TOLERANCE) for dtype in dtypes if dtype.is_floating_point)
    return close(one, other, tolerance, scale_of(other))


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
