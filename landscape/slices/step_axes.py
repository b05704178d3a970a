"""The axes of a slice of a large model: steps that no flat vector holds.

They are those of :mod:`landscape.slices.axes`, with directions by entry (:mod:`landscape.rays.entries`) for ``random``
and ``li2018``. The axes ``hessian`` and ``pca`` are flat vectors for a model of any size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from landscape.errors import ObjectiveError
from landscape.objective import Objective
from landscape.objective.digest import digest, digest_of, raw_bytes
from landscape.objective.moved_weights import Combination, PointList, Step, StepList, flat_step, row_pieces, wide
from landscape.objective.parameters import Entry
from landscape.rays.directions import check_seed
from landscape.rays.entries import GENERATOR
from landscape.rays.entry_directions import (
    EntryDirections,
    EntryMetric,
    EntryStep,
    KeptLevels,
    as_tensor,
    filter_rms,
    room_for_levels,
    weights_of,
)
from landscape.slices.axes import Axes, refuse_collinear, refuse_shape

RANDOM_AXES = ("random", "li2018")  #: axes that are drawn, by entry for a large model


@dataclass(frozen=True)
class StepAxes(Axes):
    """Axes without vectors: ``steps`` takes their place, and ``entries`` are the tensors of the model."""

    steps: StepList = field(default_factory=lambda: StepList((), torch.device("cpu")))
    entries: tuple[Entry, ...] = ()

    def flat(self, number: int) -> Tensor:
        """Return one of the steps as a flat vector, shape (D,)."""
        return flat_step(self.steps[number], self.entries, self.steps.device)

    def points_at(self, theta: Callable[[], Tensor], coefficients: np.ndarray) -> PointList:
        """Return the points at coefficients (k, axes)."""
        return self.steps.points(coefficients)


@dataclass(frozen=True)
class StepRequest:
    """The arguments of :func:`make_step_axes`."""

    objective: Objective
    count: int
    metric: str
    seed: int
    orthogonal: bool
    others: tuple[Tensor | nn.Module, ...]


def make_step_axes(request: StepRequest, choice: str | Tensor | Sequence[Tensor]) -> StepAxes:
    """Return the axes of this choice, as :func:`landscape.slices.axes.make_axes` does."""
    check_seed(request.seed)
    if not isinstance(choice, str):
        return _given(request, choice)
    if choice == "toward":
        return _toward(request)
    if request.others:
        raise ObjectiveError(
            f"{len(request.others)} other checkpoints were given, and the direction {choice!r} uses none.\n"
            "Pass `directions='toward'` or 'pca', or leave the checkpoints out."
        )
    return _random(request) if choice == "random" else _li2018(request)


def _random(request: StepRequest) -> StepAxes:
    objective = request.objective
    metric = EntryMetric.of(request.metric, objective)
    steps = EntryDirections(metric, request.seed, objective.plan.step_bytes).steps(range(request.count))
    if request.orthogonal and request.count == 2:
        steps = StepList([steps[0], _orthogonal_in(metric, steps)], steps.device)
    settings = {
        "metric": metric.name,
        "seed": request.seed,
        "dead_filters": len(metric.dead),
        "generator": GENERATOR,
    }
    return _through_centre(request, "random", steps, metric.scope.size, settings)


def _orthogonal_in(metric: EntryMetric, steps: StepList) -> Step:
    """Return the second direction made orthogonal to the first in the coordinates of the metric, of unit length."""
    signs = {name: (scale > 0).double() for name, scale in metric.scales.items()}
    unit = [EntryStep(signs, step.levels) for step in steps if isinstance(step, EntryStep)]
    products = products_of(unit, metric.scope.entries, steps.device)
    cosine = products[0, 1] / math.sqrt(products[0, 0] * products[1, 1])
    if metric.scope.size < 2:
        raise ObjectiveError("a plane needs two directions, and only one entry is in scope. Pass a wider `scope=...`.")
    sine = math.sqrt(1 - cosine**2)
    return Combination([(1 / sine, steps[1]), (-cosine / sine, steps[0])])


def _li2018(request: StepRequest) -> StepAxes:
    objective = request.objective
    weights = weights_of(objective)
    entries = [entry for entry in objective.scope.entries if len(entry.shape) > 1]
    norms = {entry.name: filter_rms(weights[entry.name], entry, whole=False) for entry in entries}
    norms = {name: norm for name, norm in norms.items() if bool((norm > 0).any())}
    if not norms:
        raise ObjectiveError(
            f"li2018 moves the filters of tensors with two or more dimensions, and in scope {objective.scope.name!r} "
            "there are none, or all are zero.\nPass `directions='random'`, or a wider `scope=...`."
        )
    if request.orthogonal and request.count == 2:
        raise ObjectiveError(
            "two directions of li2018 are made orthogonal within each filter, which needs flat vectors.\n"
            "Leave out `orthogonal=...`, or pass `flat=True` to Objective."
        )
    steps, moving = [], 0
    for index in range(request.count):
        room = room_for_levels(entries, objective.plan.step_bytes // request.count, objective.device)
        held = KeptLevels(request.seed, index, room)
        scales = {}
        for entry in entries:
            if entry.name in norms:
                squares = _filter_squares(held, entry)
                root = math.sqrt(entry.size / norms[entry.name].numel())  # norm = root mean square times this
                scales[entry.name] = as_tensor(norms[entry.name] * root / squares.sqrt(), entry)
        steps.append(EntryStep(scales, held))
    for entry in entries:
        if entry.name in norms:
            norm = norms[entry.name]
            moving += int((norm > 0).sum()) * (entry.size // norm.numel())
    settings = {"seed": request.seed, "generator": GENERATOR}
    return _through_centre(request, "li2018", StepList(steps, objective.device), moving, settings)


def _filter_squares(held: KeptLevels, entry: Entry) -> Tensor:
    """Return the sum of the squares of the levels of each filter, float64, in the filter shape."""
    inside = [axis for axis in range(len(entry.filter_shape)) if axis not in entry.filter_axes]
    if len(entry.filter_shape) != len(entry.shape):  # a transposed convolution: its filters are no ranges of rows
        drawn = torch.cat([part for _, part in held.read(entry)])
        return drawn.view(entry.filter_shape).double().square().sum(inside, keepdim=True)
    sums = []
    for _, drawn in held.read(entry):
        sums.append(drawn.view(-1, *entry.shape[1:]).double().square().sum(inside, keepdim=True))
    return torch.cat(sums) if 0 in entry.filter_axes else torch.stack(sums).sum(0)


def _through_centre(
    request: StepRequest, name: str, steps: StepList, dimension: int, settings: dict[str, Any]
) -> StepAxes:
    points = np.zeros((0, request.count))
    entries = request.objective.layout.entries
    products = products_of(list(steps), entries, steps.device)
    return StepAxes(
        name, torch.zeros(0), dimension, settings, points, products=products, steps=steps, entries=entries
    )  # fmt: skip


class _Toward:
    """The difference from the trained weights to other tensors of the same shapes, in the dtype of theta."""

    def __init__(self, own: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
        self._own, self._other = own, other

    def moves(self, entry: Entry) -> bool:
        return entry.name in self._other

    def add(self, base: Tensor, out: Tensor, entry: Entry, rows: slice, coefficient: float) -> None:
        own, other = (_rows(held[entry.name], rows).to(out) for held in (self._own, self._other))
        torch.add(base, other - own, alpha=coefficient, out=out)

    def add_rows(self, block: Tensor, entry: Entry, rows: Tensor, coefficient: float) -> None:
        own, other = (held[entry.name][rows].to(block) for held in (self._own, self._other))
        block.add_(other - own, alpha=coefficient)

    def sample(self) -> bytes:
        return b"".join(bytes(raw_bytes(tensor.reshape(-1)[:64]).data) for tensor in self._other.values())


class _Given:
    """A flat vector of the user, shape (D,), as a step."""

    def __init__(self, vector: Tensor, entries: Sequence[Entry]) -> None:
        parts = ((entry, vector[entry.start : entry.stop].view(entry.shape or (1,))) for entry in entries)
        self._parts = {entry.name: part for entry, part in parts if bool(part.any())}

    def moves(self, entry: Entry) -> bool:
        return entry.name in self._parts

    def add(self, base: Tensor, out: Tensor, entry: Entry, rows: slice, coefficient: float) -> None:
        torch.add(base, self._parts[entry.name][rows].to(out), alpha=coefficient, out=out)

    def add_rows(self, block: Tensor, entry: Entry, rows: Tensor, coefficient: float) -> None:
        block.add_(self._parts[entry.name][rows].to(block), alpha=coefficient)

    def sample(self) -> bytes:
        return b"".join(bytes(raw_bytes(part.reshape(-1)[:64]).data) for part in self._parts.values())


def _toward(request: StepRequest) -> StepAxes:
    objective, own = request.objective, weights_of(request.objective)
    if len(request.others) != request.count:
        shape = ("line joins this checkpoint and one other", "plane goes through this checkpoint and two others")
        raise ObjectiveError(
            f"the {shape[request.count - 1]}; {len(request.others)} others given. Pass {request.count}."
        )
    steps, digests = [], []
    for number, other in enumerate(request.others, start=1):
        tensors = _tensors_of(objective, other, number)
        moved = {name: tensor for name, tensor in tensors.items() if not _same(tensor, own[name])}
        _refuse_outside(objective, moved)
        if not moved:
            raise ObjectiveError(
                f"other checkpoint {number} holds the same weights as this one, so there is no line to it."
            )
        steps.append(_Toward(own, moved))
        digests.append(digest_of(_flat_pieces(objective, tensors)))
    points = np.concatenate([np.zeros((1, request.count)), np.eye(request.count)])
    vectors, along = _made_orthogonal(request, steps)
    if request.count == 2 and request.orthogonal:
        points[2, 0] = along
    return StepAxes(
        "toward", torch.zeros(0), objective.scope.size, {"others": digests}, points, np.zeros(len(points)),
        products=products_of(list(vectors), objective.layout.entries, vectors.device), steps=vectors,
        entries=objective.layout.entries,
    )  # fmt: skip


def _given(request: StepRequest, choice: Tensor | Sequence[Tensor]) -> StepAxes:
    objective, size = request.objective, request.objective.layout.size
    vectors = list(choice.reshape(-1, choice.shape[-1])) if isinstance(choice, Tensor) else list(choice)
    if len(vectors) != request.count or any(tuple(vector.shape) != (size,) for vector in vectors):
        raise ObjectiveError(
            f"the directions must have shape ({request.count}, {size}), one entry per parameter, "
            f"not {[tuple(vector.shape) for vector in vectors]}."
        )
    vectors = [vector.detach().to(objective.device) for vector in vectors]
    if not all(bool(torch.isfinite(vector).all()) and bool(vector.any()) for vector in vectors):
        raise ObjectiveError("a given direction is zero, or holds NaN or infinite values.")
    steps = [_Given(vector, objective.layout.entries) for vector in vectors]
    for vector in vectors:
        parts = {entry.name: vector[entry.start : entry.stop] for entry in objective.layout.entries}
        _refuse_outside(objective, {name: part for name, part in parts.items() if bool(part.any())})
    settings = {"given": [digest(vector.to(objective.dtype)) for vector in vectors]}
    return _through_centre(request, "given", _made_orthogonal(request, steps)[0], objective.scope.size, settings)


def _made_orthogonal(request: StepRequest, steps: Sequence[Step]) -> tuple[StepList, float]:
    """Return the steps, the second orthogonal to the first if that is asked for, and its share of the first."""
    objective, along = request.objective, 0.0
    if request.count == 2:
        products = products_of(steps, objective.layout.entries, objective.device)
        along = products[0, 1] / products[0, 0]
        away = math.sqrt(max(products[1, 1] - along * products[0, 1], 0.0))
        refuse_collinear(away, math.sqrt(products[1, 1]))
        if request.orthogonal:
            steps = [steps[0], Combination([(1.0, steps[1]), (-along, steps[0])])]
    return StepList(steps, objective.device), float(along)


def products_of(steps: Sequence[Step], entries: Sequence[Entry], device: torch.device) -> np.ndarray:
    """Return the inner products of steps, shape (k, k), summed in float64."""
    total = np.zeros((len(steps), len(steps)))
    for entry in entries:
        moving = [step.moves(entry) for step in steps]
        for rows in row_pieces(entry.shape) if any(moving) else ():
            shape = (len(steps), rows.stop - rows.start, *entry.shape[1:])
            blocks = torch.zeros(shape, dtype=wide(entry.dtype), device=device)
            for block, step in zip(blocks, steps, strict=True):
                if step.moves(entry):
                    step.add(block, block, entry, rows, 1.0)
            flat = blocks.view(len(steps), -1).double()
            total += (flat @ flat.T).cpu().numpy()
    return total


def _tensors_of(objective: Objective, other: Tensor | nn.Module, number: int) -> dict[str, Tensor]:
    """Return the tensors of another checkpoint by name, after a check that it fits."""
    layout, size = objective.layout, objective.layout.size
    if isinstance(other, nn.Module):
        held = {name: tensor.detach() for name, tensor in other.named_parameters()}
        own = {entry.name: entry.shape for entry in layout.entries}
        shapes = {name: tuple(tensor.shape) for name, tensor in held.items()}
        wrong = next((name for name in [*own, *shapes] if own.get(name) != shapes.get(name)), None)
        if wrong is not None:
            refuse_shape(number, f"its {wrong}", shapes.get(wrong), own.get(wrong))
    else:
        if tuple(other.shape) != (size,):
            refuse_shape(number, "it", tuple(other.shape), (size,))
        held = {entry.name: other.detach()[entry.start : entry.stop].view(entry.shape) for entry in layout.entries}
    held = {name: tensor.to(objective.device) for name, tensor in held.items()}
    if not all(bool(torch.isfinite(tensor).all()) for tensor in held.values()):
        raise ObjectiveError(f"other checkpoint {number} holds NaN or infinite values: the training has diverged.")
    return held


def _refuse_outside(objective: Objective, moved: Mapping[str, Tensor]) -> None:
    inside = {entry.name for entry in objective.scope.entries}
    outside = next((name for name in moved if name not in inside), None)
    if outside is not None:
        raise ObjectiveError(
            f"the direction also moves {outside}, outside the scope {objective.scope.name!r}, so a slice in scope "
            "would not reach the other checkpoint.\nPass `scope='all'`."
        )


def _flat_pieces(objective: Objective, tensors: Mapping[str, Tensor]) -> Iterator[Tensor]:
    """Yield the flat vector of these tensors, which is never made, piece by piece."""
    for entry in objective.layout.entries:
        tensor = tensors[entry.name].reshape(entry.shape or (1,))
        for rows in row_pieces(entry.shape):
            yield tensor[rows].to(objective.dtype)


def _same(one: Tensor, other: Tensor) -> bool:
    return torch.equal(one.to(other.dtype), other) if one.dtype != other.dtype else torch.equal(one, other)


def _rows(weight: Tensor, rows: slice) -> Tensor:
    return (weight.reshape(1) if weight.dim() == 0 else weight)[rows]
