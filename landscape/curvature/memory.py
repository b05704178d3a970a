"""What a product with a second derivative takes in memory, and how a limit is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from landscape.curvature.autograd.graphs import Graph, Graphs, HessianGraph
from landscape.errors import CurvatureError
from landscape.objective import Objective
from landscape.objective.batch_loss import ModelProgram
from landscape.objective.batches import split_batches

_PER_GRAPH = 8  # peak of a product, in graphs of its batch: nets took 2.4 to 6, a form of attention by hand 7.7
_PER_VECTOR = 4  # steps, product, and the two in the coordinates of the metric
_VECTORS = 8  # besides: copies of the parameters, their gradients
_SAMPLES = (4, 8)  # from graphs of so many samples that of a batch is extrapolated
_FOR_VECTORS = 2  # one part in two of what a limit leaves is for vectors, the other for graphs that are kept
_NEGLIGIBLE = 2**20  # bytes: a product that takes less is never refused
_LIKE_ACTIVATIONS = 8  # a graph of unknown size, in points with their activations


@dataclass(frozen=True)
class ProductMemory:
    """The memory of a product of one vector, beyond the model.

    Attributes:
        graph: bytes of the graph of the largest batch.
        sample: bytes of it for each sample.
        samples: number of samples of that batch.
        vector: bytes of one flat vector.
    """

    graph: int
    sample: float
    samples: int
    vector: int

    def peak(self, width: int = 1) -> int:
        """Return the largest number of bytes at a time, with ``width`` vectors in one batched program."""
        return _PER_GRAPH * self.graph * width + self.vectors(width)

    def vectors(self, count: int) -> int:
        """Return the bytes of flat vectors in a block of ``count`` products."""
        return (_PER_VECTOR * count + _VECTORS) * self.vector

    @classmethod
    def of(cls, objective: Objective, ranges: Sequence[tuple[int, int]], kind: type[Graph]) -> ProductMemory:
        """Return the memory of products of this kind; the graph of a large batch is extrapolated from few samples."""
        theta, program = objective.theta, objective.program
        # the same on each rank of a sharded model, so that all plan alike
        vector = -(-objective.layout.size // objective.layout.holding.ranks) * theta.element_size()
        unknown = _LIKE_ACTIVATIONS * objective.plan.lane_bytes
        if not isinstance(program, ModelProgram):
            whole = Graphs(program, theta, kind, ranges, memory=0).bytes_of(0)
            return cls(unknown if whole is None else whole, 0.0, 1, vector)
        largest = max(program.batches, key=lambda batch: batch.samples)
        sizes = []
        for samples in _SAMPLES:
            piece = split_batches((largest,), samples)[:1]
            if piece[0].samples < largest.samples:
                few = program.with_batches(piece)
                few.together = False
                sizes.append(Graphs(few, theta, kind, ranges, memory=0).bytes_of(0))
        if len(sizes) < len(_SAMPLES) or None in sizes:  # a small batch, or one that cannot be cut
            number = program.batches.index(largest)
            whole = Graphs(program, theta, kind, ranges, memory=0).bytes_of(number)
            graph = unknown if whole is None else whole
            return cls(graph, 0.0, largest.samples, vector)
        first, second = (size for size in sizes if size is not None)
        sample = max(second - first, 0) / (_SAMPLES[1] - _SAMPLES[0])
        graph = round(first + sample * (largest.samples - _SAMPLES[0]))
        return cls(graph, sample, largest.samples, vector)

    def require(self, limit: int, width: int = 1) -> int:
        """Return the largest width up to ``width`` whose peak fits the limit, halved as often as it takes.

        Raises:
            CurvatureError: if not even one vector fits.
        """
        limit = max(limit, _NEGLIGIBLE)
        while width > 1 and self.peak(width) > limit:
            width //= 2
        if self.peak() <= limit:
            return width
        base = self.peak() - _PER_GRAPH * self.sample * self.samples
        samples = int((limit - base) / (_PER_GRAPH * self.sample)) if self.sample else 0
        advice = f"`batch_size={samples}` or " if samples > 0 else ""
        raise CurvatureError(
            f"a product with the second derivative takes up to {self.peak():,} bytes at a time, and the memory budget "
            f"is {limit:,}. Pass {advice}`memory={self.peak()}`."
        )


@dataclass(frozen=True)
class Room:
    """What a limit leaves next to the products: bytes for vectors, and for graphs that are kept."""

    vectors: int
    graphs: int

    @classmethod
    def beside(cls, memory: ProductMemory, limit: int, width: int) -> Room:
        """Return the room next to products of ``width`` vectors."""
        left = max(limit, _NEGLIGIBLE) - memory.peak(width)
        return cls(left // _FOR_VECTORS, left - left // _FOR_VECTORS)


def slope_lanes(objective: Objective, lanes: int) -> int:
    """Return how many points a second derivative along a line may take together under the objective's limit."""
    limit = objective.plan.limit
    if limit is None:
        return lanes
    return ProductMemory.of(objective, objective.scope.ranges, HessianGraph).require(limit, lanes)
