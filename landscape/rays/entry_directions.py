"""Random directions of large models: made by entry, for the rows of a weight that is about to be used.

The direction is the one of :mod:`landscape.rays.directions` in law, from another generator
(:mod:`landscape.rays.entries`): entry i of the flat vector has the level q_i, and its step is

    s_i q_i / |q|    with |q| over the entries that move, summed in whole numbers

Filter norms are summed in whole numbers too (:mod:`landscape.rays.exact_norms`). So a direction is the same for any
division of the model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import ReferenceType, ref

import torch
from torch import Tensor

from landscape.errors import LandscapeError, ObjectiveError
from landscape.objective import Objective, Scope
from landscape.objective.batch_loss import ModelProgram
from landscape.objective.large import FLAT_LIMIT
from landscape.objective.moved_weights import PIECE, StepList, row_pieces
from landscape.objective.parameters import Entry
from landscape.rays.directions import RandomDirections, check_seed
from landscape.rays.entries import GENERATOR, levels, levels_at, square_sum, usual_length
from landscape.rays.exact_norms import largest, norms, whole_squares
from landscape.rays.metric import METRICS, Metric, dead_names, make_metric

_AHEAD = 2**19  # entries that each thread makes at once: the rows after those asked for are asked for next
_MATRIX = 2**18  # entries whose filters of norm zero are marked at a time


@dataclass(frozen=True)
class EntryMetric:
    """A metric of a large model: one number per filter, and no vector.

    Attributes:
        name, log_scale_sum, dead: as for :class:`landscape.rays.Metric`.
        scope: the entries that move; filters of zero norm have left it.
        scales: s of the entries of each tensor by its name, float64, in a shape that broadcasts to the tensor's; zero
            for the filters that have left the scope.
    """

    name: str
    scope: Scope
    scales: dict[str, Tensor]
    log_scale_sum: float
    dead: tuple[str, ...]

    @property
    def relative(self) -> bool:
        """Whether r is a share of the norm of the weights, so that its natural cap is 1."""
        return self.name != "identity"

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(iter(self.scales.values())).device

    @classmethod
    def of(cls, name: str, objective: Objective) -> EntryMetric:
        """Return the metric called ``name`` at the objective's trained point (:func:`landscape.rays.make_metric`)."""
        if name not in METRICS:
            raise ObjectiveError(f"the metric {name!r} is not known. Pass one of {', '.join(METRICS)}.")
        scope, weights = objective.scope, weights_of(objective)
        if name == "identity":
            ones = {entry.name: torch.ones(1, dtype=torch.float64) for entry in scope.entries}
            return cls(name, scope, {key: one.to(objective.device) for key, one in ones.items()}, 0.0, ())
        rms = {entry.name: filter_rms(weights[entry.name], entry, whole=name == "layer") for entry in scope.entries}
        dead = [word for entry in scope.entries for word in dead_names(entry, rms[entry.name])]
        alive = scope if not dead else Scope(scope.name, scope.layout, _alive(scope, rms))
        if alive.size == 0:
            raise ObjectiveError(
                f"every weight in scope {scope.name!r} is zero, so the metric {name!r} moves nothing.\n"
                "Pass `metric='identity'`."
            )
        root = math.sqrt(alive.size)
        log_sum = math.fsum(_log_sum(rms[entry.name] * root, entry.size) for entry in scope.entries)
        scales = {entry.name: as_tensor(rms[entry.name] * root, entry) for entry in alive.entries}
        return cls(name, alive, scales, log_sum, tuple(dead))


AnyMetric = Metric | EntryMetric


class EntryStep:
    """A random step by entry: that of entry i of a tensor is scale_i · q_i.

    Args:
        scales: of the entries of each tensor that moves, float64, in a shape that broadcasts to the tensor's.
        levels: q.
    """

    def __init__(self, scales: Mapping[str, Tensor], levels: KeptLevels) -> None:
        self.scales, self.levels = scales, levels
        self._room: Tensor | None = None
        self._last: tuple[Any, Tensor] | None = None

    def moves(self, entry: Entry) -> bool:
        return entry.name in self.scales

    def add(self, base: Tensor, out: Tensor, entry: Entry, rows: slice, coefficient: float) -> None:
        drawn = self.levels.rows(entry, rows)
        scaled = rows_of(self._scaled(entry, coefficient, out.dtype), rows)
        if base is not out:
            torch.addcmul(base, out.copy_(drawn.view(out.shape)), scaled, out=out)
            return
        # always the same room for the levels as numbers: fresh memory costs more than the sum
        room, count = self._room, drawn.numel()
        if room is None or (room.dtype, room.device) != (out.dtype, out.device) or room.numel() < count:
            room = torch.empty(max(PIECE, count), dtype=out.dtype, device=out.device)
            self._room = room if type(room) is Tensor else None  # a compiler may try the step without numbers
        numbers = room[:count].copy_(drawn).view(out.shape)
        torch.addcmul(base, numbers, scaled, out=out)

    def add_rows(self, block: Tensor, entry: Entry, rows: Tensor, coefficient: float) -> None:
        drawn = self.levels.chosen(entry, rows).to(block.dtype)
        block.addcmul_(drawn.view(block.shape), rows_of(self._scaled(entry, coefficient, block.dtype), rows))

    def sample(self) -> bytes:
        return repr((self.levels.key, [float(scale.sum()) for scale in self.scales.values()])).encode()

    def _scaled(self, entry: Entry, coefficient: float, dtype: torch.dtype) -> Tensor:
        """Return what one level of each entry moves it; that of a tensor is asked for once for each of its pieces."""
        key = entry.name, coefficient, dtype
        if self._last is not None and self._last[0] == key:
            return self._last[1]
        scaled = (self.scales[entry.name] * coefficient).to(dtype)
        self._last = (key, scaled) if type(scaled) is Tensor else None
        return scaled


class KeptLevels:
    """The levels of one direction, by rows of a tensor. Some are kept from one use to the next.

    Args:
        seed, index: which direction.
        room: where they are kept, int16, shape (entries,), on the device of the model.
    """

    def __init__(self, seed: int, index: int, room: Tensor) -> None:
        self.key = (seed, index)
        self._device, self._room = room.device, room
        self._kept: dict[str, Tensor] = {}
        self._ahead = 0, torch.empty(0, dtype=torch.int16)

    def rows(self, entry: Entry, rows: slice) -> Tensor:
        """Return the levels of some rows, int16, shape (entries,)."""
        width = width_of(entry)
        start, stop = rows.start * width, rows.stop * width
        kept = self._kept.get(entry.name)
        if kept is not None and stop <= kept.numel():
            return kept[start:stop]
        start, stop = entry.start + start, entry.start + stop
        first, drawn = self._ahead
        if not first <= start <= stop <= first + drawn.numel():
            last = min(entry.stop, max(stop, start + _AHEAD * torch.get_num_threads()))
            first, drawn = self._ahead = start, levels(*self.key, start, last, device=self._device)
        return drawn[start - first : stop - first]

    def chosen(self, entry: Entry, rows: Tensor) -> Tensor:
        """Return the levels of any rows, whose numbers are int64, shape (rows,): int16, shape (rows, width)."""
        width = width_of(entry)
        kept = self._kept.get(entry.name)
        if kept is not None and kept.numel() == entry.size:
            return kept.view(-1, width)[rows]
        return levels_at(*self.key, entry.start + rows[:, None] * width + torch.arange(width, device=rows.device))

    def read(self, entry: Entry) -> Iterator[tuple[slice, Tensor]]:
        """Yield all rows of a tensor and their levels, and keep the first ones while there is room."""
        width = width_of(entry)
        count = min(entry.size, self._room.numel()) // width * width
        kept, self._room = self._room[:count], self._room[count:]
        self._kept[entry.name] = levels(*self.key, entry.start, entry.start + count, out=kept)
        for rows in row_pieces(entry.shape):
            yield rows, self.rows(entry, rows)


def room_for_levels(entries: Sequence[Entry], kept_bytes: int, device: torch.device) -> Tensor:
    """Return memory for the levels of these tensors, or of as many as may be kept: int16, shape (entries,)."""
    count = min(kept_bytes // torch.int16.itemsize, sum(entry.size for entry in entries))
    return torch.empty(count, dtype=torch.int16, device=device)


def uniform_step(metric: EntryMetric, seed: int, index: int, room: Tensor, *, rough: bool = False) -> EntryStep:
    """Return the step for r = 1 of a uniform direction: scale_i = s_i / |q|, with the usual |q| if ``rough``."""
    held = KeptLevels(seed, index, room)
    length = usual_length(metric.scope.size) if rough else _length(metric, held)
    return EntryStep({name: scale / length for name, scale in metric.scales.items()}, held)


def _length(metric: EntryMetric, held: KeptLevels) -> float:
    """Return |q| over the entries that move; the first levels are kept on the way."""
    total = 0
    for entry in metric.scope.entries:
        scale = metric.scales[entry.name]
        whole = bool((scale > 0).all())
        for rows, drawn in held.read(entry):
            moving = drawn if whole else drawn.view(-1, *entry.shape[1:]) * (rows_of(scale, rows) > 0)
            total += square_sum(moving)
    return math.sqrt(total)


def width_of(entry: Entry) -> int:
    """Return the number of entries in a row of a tensor."""
    return entry.size // (entry.shape[0] if entry.shape else 1)


def rows_of(scale: Tensor, rows: slice | Tensor) -> Tensor:
    """Return what belongs to some rows, of numbers whose shape broadcasts to a tensor's."""
    return scale if scale.shape[0] == 1 else scale[rows]


class EntryDirections:
    """Uniform directions on the unit sphere of R^n, as steps of a large model.

    Args:
        metric: the scale.
        seed: keys the directions.
        keep: bytes of levels that all steps of one call of :meth:`steps` keep together.
        rough: take the usual length of so many levels for that of each direction. The directions of more than 2^25
            entries are then right to about 1e-4 of their length, and are had at once.
    """

    def __init__(self, metric: EntryMetric, seed: int, keep: int, *, rough: bool = False) -> None:
        self.metric, self.seed, self._keep = metric, check_seed(seed), keep
        self._rough = rough and metric.scope.size > FLAT_LIMIT
        self._rooms: list[Tensor] = []
        self._lent: list[ReferenceType[KeptLevels]] = []

    def steps(self, indices: Sequence[int]) -> StepList:
        """Return the steps for r = 1 with these indices; each depends only on its own index."""
        pairs = zip(indices, self._rooms_for(len(indices)), strict=True)
        steps = [uniform_step(self.metric, self.seed, int(index), room, rough=self._rough) for index, room in pairs]
        self._lent = [ref(step.levels) for step in steps]
        return StepList(steps, self.metric.device)

    def _rooms_for(self, count: int) -> list[Tensor]:
        """Return where each of some steps keeps levels: the memory of the last ones, once nobody has them."""
        if len(self._rooms) != count or any(held() is not None for held in self._lent):
            self._rooms = []
            entries, each = self.metric.scope.entries, 0 if self._rough else self._keep // max(count, 1)
            self._rooms = [room_for_levels(entries, each, self.metric.device) for _ in range(count)]
        return self._rooms

    def describe(self) -> dict[str, Any]:
        """Return which generator the directions come from."""
        return {"generator": GENERATOR}


def metric_of(objective: Objective, metric: str | AnyMetric, *, flat: bool = False) -> AnyMetric:
    """Return the metric called ``metric`` at theta, in the form that serves the objective's model.

    Args:
        objective: the loss around the trained point.
        metric: a name, or a metric, which is returned as it is.
        flat: return the metric of flat vectors even for a large model.
    """
    if isinstance(metric, Metric | EntryMetric):
        return metric
    if objective.large and not flat:
        return EntryMetric.of(metric, objective)
    return make_metric(metric, objective.theta, objective.scope)


def random_directions(
    objective: Objective, metric: AnyMetric, seed: int, *, rough: bool = False
) -> RandomDirections | EntryDirections:
    """Return uniform directions of this metric: by entry if the metric is, and otherwise flat.

    ``rough`` is for :class:`EntryDirections`.
    """
    if isinstance(metric, EntryMetric):
        return EntryDirections(metric, seed, objective.plan.step_bytes, rough=rough)
    return RandomDirections(metric, seed, objective.theta)


def measured_by_entry(objective: Objective, config: Mapping[str, Any] | None) -> bool:
    """Whether directions are made by entry: for a large model, unless a stored result has flat ones.

    Raises:
        LandscapeError: if a stored result has directions of a generator that this version does not have.
    """
    if config is None:
        return objective.large
    generator = config.get("generator")
    if generator not in (None, GENERATOR):
        raise LandscapeError(
            f"the stored directions come from the generator {generator!r}, and this version has {GENERATOR!r}. Use the "
            "version of landscape that measured them, or --overwrite to start over."
        )
    return generator == GENERATOR


def stored_metric(objective: Objective, config: Mapping[str, Any]) -> AnyMetric:
    """Return the metric of stored radii, in the form in which they were measured."""
    return metric_of(objective, config["metric"], flat=not measured_by_entry(objective, config))


def weights_of(objective: Objective) -> dict[str, Tensor]:
    """Return the model's own parameters by name."""
    assert isinstance(objective.program, ModelProgram)
    return {entry.name: own.detach() for own, entry in objective.program.pairs}


def filter_rms(weight: Tensor, entry: Entry, *, whole: bool) -> Tensor:
    """Return |w_f| / sqrt(d_f) of each filter, float64, in the filter shape; axes within a filter have length 1."""
    values = weight.reshape(entry.filter_shape or (1,))
    axes = () if whole else entry.filter_axes
    maxima = largest(values, axes)
    count = entry.size // maxima.numel()
    return norms(whole_squares(values, axes, maxima, count), maxima, count) / math.sqrt(count)


def as_tensor(rms: Tensor, entry: Entry) -> Tensor:
    """Return numbers of filters in a shape that broadcasts to the tensor's own."""
    if rms.numel() == 1:
        return rms.reshape([1] * max(len(entry.shape), 1))
    if len(entry.filter_shape) == len(entry.shape):
        return rms
    wide = rms.expand(*entry.filter_shape[:2], *rms.shape[2:])  # groups and their channels are one axis of the tensor
    return wide.reshape(entry.shape[0], *rms.shape[2:])


def _log_sum(scale: Tensor, size: int) -> float:
    """Return the sum of log s_i over the entries of a tensor that move."""
    return float(scale[scale > 0].log().sum()) * (size // scale.numel())


def _alive(scope: Scope, rms: dict[str, Tensor]) -> Iterator[tuple[int, int]]:
    """Yield the ranges of the entries whose filters have a norm."""
    for entry in scope.entries:
        scale = as_tensor(rms[entry.name], entry)
        width = width_of(entry)
        for rows in row_pieces(entry.shape, _MATRIX):
            part = rows_of(scale, rows)
            moving = (part > 0).expand(rows.stop - rows.start, *entry.shape[1:]).reshape(-1).to(torch.int8)
            edges = torch.diff(torch.nn.functional.pad(moving, (1, 1)))
            starts, stops = (torch.nonzero(edges == sign).reshape(-1).tolist() for sign in (1, -1))
            first = entry.start + rows.start * width
            yield from ((first + start, first + stop) for start, stop in zip(starts, stops, strict=True))
