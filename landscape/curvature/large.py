"""Products of large models: no flat copy of the parameters, no gradient, and only some samples at a time.

A product takes the vector, the result, and the activations of a few samples (:mod:`.autograd.product_tape`). The leaves
are the model's own weights. A batch is cut into pieces of samples, if the loss of two samples is the sum of the
losses of each, which is tested away from the trained point.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from landscape.curvature.autograd.graphs import Graph, HessianGraph, check_once, refuse_once_differentiable
from landscape.curvature.autograd.product_tape import ProductTape
from landscape.curvature.autograd.tape_sizes import TapeSizes, sizes_of
from landscape.curvature.checks.differences import Outcome
from landscape.curvature.checks.line import Line, check_line
from landscape.curvature.large_memory import PER_FORM, PER_PRODUCT, VECTORS, LargeMemory, require_graph
from landscape.curvature.operator import column_products
from landscape.errors import CurvatureError
from landscape.objective import Objective, Scope
from landscape.objective.batch_loss import CENTRE, ModelProgram, evaluating
from landscape.objective.batches import Batch, split_batches
from landscape.objective.moved_weights import Point, PointList
from landscape.objective.noise import Noise
from landscape.objective.parameters import Entry

_BACKWARD_COPIES = 2  # a backward pass reads what the forward pass reads and the slope, and gives as many slopes
_ROOM_OF_PRODUCTS = 2.2  # without a limit, activations of products may take this many times the model's bytes
_ROOM_OF_FORMS = 3.1  # the same for forms, which have one vector less
_FEW = 2  # samples that are compared with each of them alone
_APART = 0.5  # shift of the weights at which pieces are compared with their batch, in their root mean square
_SEPARABLE = 1e-5  # relative difference between a batch and the sum of its pieces
_ROUNDINGS = 16  # the same in 16 bits, in units of the last place
_AGREEMENT = 1e-3  # relative difference between the products of a tape and of torch's graph


@dataclass
class _Pieces:
    """The batches, cut into pieces of samples, and the tapes of pieces that are kept.

    Attributes:
        program: the loss of the pieces.
        of_batch: the numbers of the pieces of each batch.
        kept: bytes of tapes that may be kept.
    """

    program: ModelProgram
    of_batch: list[list[int]]
    kept: int = 0
    tapes: dict[int, ProductTape] = field(default_factory=dict)

    @classmethod
    def cut(cls, whole: ModelProgram, rows: int, kept: int) -> _Pieces:
        """Cut each batch into equal pieces of at most so many samples."""
        pieces: list[Batch] = []
        of_batch = []
        for batch in whole.batches:
            count = -(-batch.samples // rows)
            parts = split_batches((batch,), -(-batch.samples // count))
            of_batch.append(list(range(len(pieces), len(pieces) + len(parts))))
            pieces += parts
        return cls(whole.with_batches(tuple(pieces)), of_batch, kept)

    @classmethod
    def whole(cls, whole: ModelProgram, kept: int = 0) -> _Pieces:
        """Leave the batches as they are."""
        return cls(whole, [[batch] for batch in range(len(whole.counts))], kept)


class LargeProducts:
    """Products and forms of a second derivative of a large model, in the coordinates of its scope.

    Args:
        objective: the loss around the trained point.
        scope: which tensors move.
        kind: that of the Hessian or of the Gauss-Newton matrix.

    Attributes:
        room: bytes that vectors may take besides, once :meth:`prepare` has run; None without a limit.
    """

    def __init__(self, objective: Objective, scope: Scope, kind: type[Graph] = HessianGraph) -> None:
        assert isinstance(objective.program, ModelProgram)
        self._objective, self._whole = objective, objective.program
        self._hessian = kind is HessianGraph
        self._for_products = self._for_forms = _Pieces.whole(self._whole)
        inside = {entry.name for entry in scope.entries}
        entries = self._whole.layout.entries
        self._moves = [entry.name in inside for entry in entries]
        self._entries: list[Entry] = [entry for entry in entries if entry.name in inside]
        self._leaves = self._whole.leaves(Point())
        self._forms_by_tape: bool | None = None  # whether a tape is right, once that is known
        self._products_by_tape: bool | None = None
        self._memory: LargeMemory | None = None
        self.room: int | None = None

    def prepare(self) -> None:
        """Measure a sample, and cut the batches so that products fit the memory budget.

        Raises:
            CurvatureError: if a product of a single sample does not.
        """
        if self._memory is not None:
            return
        objective, whole = self._objective, self._whole
        vector = sum(entry.size for entry in self._entries) * objective.dtype.itemsize
        limit, model = objective.plan.limit, sum(own.numel() * own.element_size() for own, _ in whole.pairs)
        most = max(batch.samples for batch in whole.batches)
        single = self._with_rows(1)
        rows = 1 if single is not None else most
        sizes = self._sizes_of_first(whole if single is None else single)
        kept, made, working = (-(-size // rows) for size in (sizes.kept, sizes.made, sizes.working))
        copies = -(-_BACKWARD_COPIES * objective.plan.copies // most)  # of a sample
        memory = LargeMemory(vector, kept, made, working, rows, 0, copies)
        if not self._hessian:
            sizes = self._sizes_of_first(self._one_sample(), hessian=True)
            check = LargeMemory(vector, sizes.kept, sizes.made, sizes.working, 1, 0, copies)
            memory = replace(memory, checked=round(check.each(PER_FORM)))
        least = memory.least()
        if limit is None:
            rooms = [round(share * model) for share in (_ROOM_OF_PRODUCTS, _ROOM_OF_FORMS)]
        elif least > limit:
            raise CurvatureError(
                f"a product with the second derivative takes {least:,} bytes at a time, and the memory budget is "
                f"{limit:,}. Pass `memory={least}` or more."
            )
        else:  # one half of what is left is for other vectors
            left = limit - VECTORS * vector
            rooms = [max(left // 2, least - VECTORS * vector)] * 2
            self.room = left - rooms[0]
        cuts = []
        for room, per_tape in zip(rooms, (PER_PRODUCT, PER_FORM), strict=True):
            each = memory.each(per_tape)
            count = rows if single is None else min(max(1, int(room / max(each, 1))), most)
            left_over = max(0, int(room - (each - kept) * count))
            cuts.append(_Pieces.whole(whole, left_over) if single is None else _Pieces.cut(whole, count, left_over))
            rows = count if len(cuts) == 1 else rows
        self._for_products, self._for_forms = cuts
        self._memory = replace(memory, rows=rows, room=rooms[0])

    @property
    def memory(self) -> LargeMemory:
        """What products take."""
        assert self._memory is not None, "prepare() comes first"
        return self._memory

    @property
    def kept_bytes(self) -> int:
        """Bytes of tapes that may be kept between products."""
        return self._for_products.kept

    def check(self) -> tuple[str, ...]:
        """Compare slopes and forms with differences on one sample; return notes (:mod:`.checks.line`).

        Raises:
            CurvatureError: if they disagree.
        """
        few = self._one_sample()

        def form(vectors: list[Tensor]) -> Tensor:
            return ProductTape(self._call(few, 0), self._moving()).form(vectors)

        outcome, note = check_line(Line(few, self._leaves, self._moves), form)
        if outcome is Outcome.AGREES:
            self._forms_by_tape = True
        elif outcome is Outcome.WRONG and self._agrees():
            raise CurvatureError(
                "autograd's second derivative is not that of the measured loss: differences of its slope along a "
                "random direction say otherwise.\n`check=False` skips this check; the numbers are then autograd's."
            )
        return (note,) if note else ()

    def form(self, vector: Tensor, batches: Sequence[int]) -> Tensor:
        """Return v . A v of these batches' totals, float64, for a vector of shape (n,)."""
        if self._forms_by_tape is None:
            self._forms_by_tape = self._products_by_tape = self._agrees()
        if not self._forms_by_tape:
            product = torch.zeros_like(vector)
            self._add_by_graph(self.split(vector), self.split(product), batches, 1.0)
            return column_products(vector[:, None], product[:, None])[0]
        pieces = self.split(vector)
        total = vector.new_zeros((), dtype=torch.float64)
        self._for_products.tapes.clear()
        for tape in self._each(self._for_forms, batches):
            total += tape.form(pieces)
        return total

    def add_product(self, vector: Tensor, out: Tensor, batches: Sequence[int], divisor: float) -> None:
        """Add A v / divisor of these batches' totals to ``out``; both have shape (n,)."""
        vectors, places = self.split(vector), self.split(out)
        if self._forms_by_tape is None:
            self._forms_by_tape = self._products_by_tape = self._agrees()
        if self._products_by_tape is None:
            self._products_by_tape = self._forms_by_tape and self._consistent(vector)
        if not self._products_by_tape:
            self._add_by_graph(vectors, places, batches, divisor)
            return
        out *= divisor
        self._for_forms.tapes.clear()
        for tape in self._each(self._for_products, batches):
            tape.add_product(vectors, places)
        out /= divisor

    def split(self, vector: Tensor) -> list[Tensor]:
        """Return the tensors of a vector, shape (n,), as views of it."""
        pieces = vector.split([entry.size for entry in self._entries])
        return [piece.view(entry.shape) for piece, entry in zip(pieces, self._entries, strict=True)]

    def forget(self) -> None:
        """Free the tapes that are kept."""
        self._for_products.tapes.clear()
        self._for_forms.tapes.clear()

    def _moving(self) -> list[Tensor]:
        for leaf, moves in zip(self._leaves, self._moves, strict=True):
            leaf.requires_grad_(moves)
        return [leaf for leaf in self._leaves if leaf.requires_grad]

    def _call(self, program: ModelProgram, piece: int) -> Callable[[], Tensor]:
        def total() -> Tensor:
            with evaluating(program, piece, CENTRE):
                return program.total_of(self._leaves, piece)

        return total

    def _sizes_of_first(self, program: ModelProgram, *, hessian: bool = False) -> TapeSizes:
        """Return the sizes of the tape of the first piece, from tensors that have shapes and no numbers.

        The model has run on this piece before, so whatever it caches holds numbers by now.
        """
        try:
            with program.running(), self._without_numbers():
                return sizes_of(*self._recorded(program, 0, hessian=hessian))
        except Exception:  # such as of a model that decides by numbers
            return sizes_of(*self._recorded(program, 0, hessian=hessian))

    @contextmanager
    def _without_numbers(self) -> Iterator[None]:
        """Give the model leaves that have shapes and no numbers."""
        leaves = self._leaves
        try:
            with FakeTensorMode(allow_non_fake_inputs=True) as fake:
                self._leaves = [fake.from_tensor(leaf) for leaf in leaves]
                yield
        finally:
            self._leaves = leaves

    def _tape(self, program: ModelProgram, piece: int) -> ProductTape:
        """Return the tape of a piece."""
        return ProductTape(*self._recorded(program, piece))

    def _recorded(self, program: ModelProgram, piece: int, *, hessian: bool = False) -> tuple[Any, ...]:
        """Return what a tape of a piece is made of. For the Gauss-Newton matrix, predictions and loss are apart."""
        if self._hessian or hessian:
            return self._call(program, piece), self._moving()
        loss, data = program.losses[piece], program.batches[piece]

        def predictions() -> Any:
            with evaluating(program, piece, CENTRE):
                output = program.output_of(self._leaves, piece)
            return output if loss.opaque else loss.reading.predictions(output)

        return predictions, self._moving(), lambda output: loss.total(output, data)

    def _each(self, cut: _Pieces, batches: Sequence[int]) -> Iterator[ProductTape]:
        for piece in (piece for batch in batches for piece in cut.of_batch[batch]):
            tape = cut.tapes.get(piece)
            if tape is None:
                tape = self._tape(cut.program, piece)
                if sum(held.bytes for held in cut.tapes.values()) + tape.bytes <= cut.kept:
                    cut.tapes[piece] = tape
            yield tape
            del tape

    def _with_rows(self, rows: int) -> ModelProgram | None:
        """Return the program of the first batch in pieces; None if its loss is not the sum of theirs."""
        whole = self._whole
        if any(loss is not whole.losses[0] for loss in whole.losses):
            return None
        first = whole.batches[0]
        if first.samples <= rows:
            return whole
        few = split_batches((first,), _FEW)[:1]
        one, many = whole.with_batches(few), whole.with_batches(split_batches(few, 1))
        if len(many.counts) != few[0].samples:
            return None
        # away from the trained point, where samples have different losses
        noise = Noise([pair for pair, moves in zip(whole.pairs, self._moves, strict=True) if moves])
        point = Point(((_APART, noise),))
        together, apart = (_total(program, point, self._objective.device) for program in (one, many))
        return many if abs(together - apart) <= _SEPARABLE * abs(together) else None

    def _one_sample(self) -> ModelProgram:
        return self._whole.with_batches(split_batches(self._whole.batches[:1], 1)[:1])

    def _consistent(self, vector: Tensor) -> bool:
        """Return whether the product of a tape, times the vector, is its form, which was compared with differences."""
        vectors, out = self.split(vector), torch.zeros_like(vector)
        tape = self._tape(self._one_sample(), 0)
        tape.add_product(vectors, self.split(out))
        form, product = tape.form(vectors), column_products(vector[:, None], out[:, None])[0]
        eps = max(torch.finfo(entry.dtype).eps for entry in self._entries)
        allowed = eps**0.5 * abs(form) + 10 * eps * float(vector.norm()) * float(out.norm())
        return bool(abs(product - form) <= allowed)

    def _agrees(self) -> bool:
        """Return whether the tape and torch's graph of the first piece give the same product."""
        if (limit := self._objective.plan.limit) is not None:
            with self._without_numbers():
                none = [torch.zeros_like(leaf) for leaf in self._moving()]
                require_graph(partial(self._add_by_graph, none, none, (0,), 1.0, first=True), self.memory.vector, limit)
        generator = torch.Generator(self._objective.device).manual_seed(0)
        moving = self._moving()
        vectors = [
            torch.randn(leaf.shape, generator=generator, dtype=leaf.dtype, device=leaf.device) for leaf in moving
        ]
        places = [torch.zeros_like(leaf) for leaf in moving]
        self._add_by_graph(vectors, places, (0,), -1.0, first=True)
        size = _length(places)
        try:
            ProductTape(self._call(self._for_products.program, 0), self._moving()).add_product(vectors, places)
        except Exception:  # whatever a model does, torch's graph remains
            return False
        eps = max(torch.finfo(entry.dtype).eps for entry in self._entries)
        return _length(places) <= max(_AGREEMENT, _ROUNDINGS * eps) * size

    def _add_by_graph(
        self,
        vectors: Sequence[Tensor],
        places: Sequence[Tensor],
        batches: Sequence[int],
        divisor: float,
        *,
        first: bool = False,
    ) -> None:
        """Add products by torch's double backward pass; the values of gradients are freed before it."""
        cut = self._for_products
        pieces = [piece for batch in batches for piece in cut.of_batch[batch]][: 1 if first else None]
        if not self._hessian and not first:
            raise CurvatureError(
                "products with the Gauss-Newton matrix of this large model need flat vectors: some of its operations "
                "cannot be recorded. Pass `flat=True` to Objective, or use `Hessian`."
            )
        for piece in pieces:
            moving = self._moving()
            with torch.enable_grad():
                total = self._call(cut.program, piece)()
                check_once(total)
                gradient = HessianGraph(total, moving).first
            refuse_once_differentiable(gradient, HessianGraph.without_rules)
            pairs = [(slope, v) for slope, v in zip(gradient, vectors, strict=True) if slope is not None]
            # of a view: with torch 2.6 an edge does not keep alive what an autograd function in Python has computed
            with torch.enable_grad():
                slopes = [slope.view_as(slope) for slope, _ in pairs if slope.requires_grad]
            edges = [torch.autograd.graph.get_gradient_edge(slope) for slope in slopes]
            weights = [v.to(slope.dtype) for slope, v in pairs if slope.requires_grad]
            del gradient, total, pairs, slopes
            products = torch.autograd.grad(edges, moving, weights, allow_unused=True) if edges else [None] * len(moving)
            for place, product in zip(places, products, strict=True):
                if product is not None:
                    place.add_(product, alpha=1 / divisor)


def _length(items: Sequence[Tensor]) -> float:
    return float(torch.stack([item.norm().double() for item in items]).norm())


def _total(program: ModelProgram, point: Point, device: torch.device) -> float:
    points = PointList([point], device)
    return sum(float(program.totals(points, batch)[0]) for batch in range(len(program.counts)))
