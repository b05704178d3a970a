"""How many points to evaluate together, and how many samples at a time: rules found by measuring.

*Lanes* are points that run in one batched program. That pays while overhead dominates a single evaluation. It stops
paying when the points and their activations leave the cache. The rules depend only on sizes, never on a timing during
the run, so that two runs of one command do the same arithmetic. ``benchmarks/engine.py`` shows the evaluations per
second that they give.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from landscape.errors import ObjectiveError, shortened, type_and_line
from landscape.objective.batch_loss import ModelProgram, Program, evaluating
from landscape.objective.first_pass import Sizes
from landscape.objective.moved_weights import AnyPoint
from landscape.objective.read_weights import LARGE_LINEAR

_MiB = 2**20
LANE_BUDGET = {"cpu": 8 * _MiB, "cuda": 1024 * _MiB}  #: bytes that all lanes may take: about the cache on a CPU
_ACTIVATION_SHARE = 4  # of a large model: its largest activation may take this part of the model's bytes
_KEPT_SHARE = 0.5  # of a large model: levels of directions that are kept may take this part of its bytes; 1/2 is all
_KEPT_OF_16_BITS = 0.15  # the same for a model in 16 bits
_LEVEL_BYTES = 2
_SHORT = 120  # characters of an error in a note
SAMPLE_BUDGET = {"cpu": 2 * _MiB, "cuda": 1024 * _MiB}  #: bytes that the largest activation of a batch may take
MOST_LANES = {"cpu": 128, "cuda": 1024}  #: at most this many points together
FEWEST_LANES = 4  #: if fewer fit, points run one at a time
#: directions per lane in a block: rays need different numbers of points, and spare rays keep the lanes full
BLOCK_LANES = 4


@dataclass(frozen=True)
class Plan:
    """How evaluations are grouped.

    Attributes:
        lanes: points evaluated together.
        block: directions searched together (a multiple of ``lanes``); results are committed by block.
        lane_bytes: memory of one lane: its point, a copy of the point or of its step, and its activations; for a large
            model one weight at a point, and the activations.
        step_bytes: memory of one direction of a block: its step; for a large model what is kept of it.
        notes: why points run one at a time, if a reader might expect otherwise.
        room: number of directions whose steps fit the memory budget; None without a budget.
        limit: the memory budget in bytes; None without one.
        copies: bytes of ``lane_bytes`` for copies in float32, of one operation in 16 bits.
    """

    lanes: int
    block: int
    lane_bytes: int
    step_bytes: int
    notes: tuple[str, ...] = ()
    room: int | None = None
    limit: int | None = None
    copies: int = 0

    def block_on(self, ranks: int) -> int:
        """Return how many directions to search together on this number of ranks.

        Points that run one at a time give the same numbers in a block of any size. Others keep their block: which
        points share a program can change the last digits.
        """
        wanted = self.block if self.lanes > 1 or ranks == 1 else BLOCK_LANES * ranks
        return wanted if self.room is None else min(wanted, max(self.room, self.block))

    @property
    def bytes(self) -> int:
        """Peak memory of points, steps and activations, without the model and theta."""
        return self.lane_bytes * self.lanes + self.step_bytes * self.block


def sample_limit(sample_bytes: int, samples: int, device: torch.device, model_bytes: int = 0) -> int:
    """Return how many samples to run at a time, in equal pieces, so that the largest activation fits the cache.

    Every pass moves each weight of a large model, given its bytes. So there the pieces are as large as memory allows.
    """
    budget = max(SAMPLE_BUDGET.get(device.type, SAMPLE_BUDGET["cuda"]), model_bytes // _ACTIVATION_SHARE)
    pieces = -(-samples * sample_bytes // budget)
    return -(-samples // max(pieces, 1))


def _working(sizes: Sizes) -> int:
    """Return the bytes of an operation at work: what it reads and what it gives, and copies of both in float32."""
    return 2 * sizes.activation + sizes.copies


def plan_lanes(program: Program, theta: Tensor, sizes: Sizes, memory: int | None, most: int | None = None) -> Plan:
    """Return the plan for a program. Points run together only if that gives the same numbers, which is checked.

    Args:
        program: the loss.
        theta: the centre, shape (D,).
        sizes: what a pass over the largest batch takes.
        memory: bytes that points evaluated together may take.
        most: points that may be evaluated together.

    Raises:
        ObjectiveError: if ``memory`` is too small for a single point.
    """
    kind = theta.device.type
    vector = theta.numel() * theta.element_size()
    lane_bytes = 2 * vector + _working(sizes)
    if memory is not None and memory < lane_bytes + vector:
        raise ObjectiveError(
            f"the memory budget is {memory:,} bytes, and one point needs {lane_bytes + vector:,} (its step, the point "
            "and its activations). Pass a larger `memory=...`, or a smaller `batch_size=...`."
        )
    lanes = min(LANE_BUDGET.get(kind, LANE_BUDGET["cuda"]) // lane_bytes, MOST_LANES.get(kind, MOST_LANES["cuda"]))
    notes: tuple[str, ...] = ()
    apart = isinstance(program, ModelProgram) and (lanes < FEWEST_LANES or program.sharded)
    if isinstance(program, ModelProgram) and not apart:
        notes = _why_apart(program, theta)
        apart = bool(notes)
    lanes = 1 if apart else max(1, lanes)
    if most is not None:
        lanes = min(lanes, most)
    if memory is not None:
        lanes = min(lanes, memory // (lane_bytes + vector))
    block = lanes * BLOCK_LANES if lanes > 1 else 1
    room = None if memory is None else max(lanes, (memory - lanes * lane_bytes) // vector)
    if room is not None:
        block = max(lanes, min(block, room // lanes * lanes))
    if isinstance(program, ModelProgram) and not apart:
        program.run_together(lanes)
    elif isinstance(program, ModelProgram) and program.compile:
        notes += ("compile has no effect: it serves points that run together, and these run one at a time",)
    return Plan(lanes, block, lane_bytes, vector, notes, room, memory, sizes.copies)


def plan_points(program: Program, theta: AnyPoint, sizes: Sizes, memory: int | None, most: int | None = None) -> Plan:
    """Return the plan for a program: :func:`plan_lanes` for flat vectors, :func:`plan_large` for a large model."""
    if isinstance(theta, Tensor):
        return plan_lanes(program, theta, sizes, memory, most)
    assert isinstance(program, ModelProgram)
    return plan_large(program, sizes, memory)


def plan_large(program: ModelProgram, sizes: Sizes, memory: int | None) -> Plan:
    """Return the plan for a large model: one point at a time, whose weights are made one after the other.

    Args:
        program, sizes, memory: as for :func:`plan_lanes`.

    Raises:
        ObjectiveError: if ``memory`` is too small for the largest weight.
    """
    layers = (module for module in program.model.modules() if isinstance(module, nn.Linear | nn.Embedding))
    in_parts = {id(layer._parameters.get("weight")) for layer in layers}
    most = ((own, LARGE_LINEAR if id(own) in in_parts else own.numel()) for own, _ in program.pairs)
    weight = max(min(own.numel(), entries) * own.element_size() for own, entries in most)
    lane_bytes = weight + _working(sizes)
    if memory is not None and memory < lane_bytes:
        raise ObjectiveError(
            f"the memory budget is {memory:,} bytes, and one point needs {lane_bytes:,} (its largest weight and its "
            "activations). Pass a larger `memory=...`, or a smaller `batch_size=...`."
        )
    share = _KEPT_SHARE if max(own.element_size() for own, _ in program.pairs) > 2 else _KEPT_OF_16_BITS
    kept = min(program.layout.size * _LEVEL_BYTES, int(share * _model_bytes(program)))
    if memory is not None:
        kept = min(kept, memory - lane_bytes)
    room = None if memory is None else max(1, (memory - lane_bytes) // max(kept, 1))
    return Plan(1, 1, lane_bytes, kept, (), room, memory, sizes.copies)


def bytes_of(theta: AnyPoint, program: ModelProgram) -> int:
    """Return the bytes of a large model's parameters; 0 if points are flat vectors."""
    return 0 if isinstance(theta, Tensor) else _model_bytes(program)


def _model_bytes(program: ModelProgram) -> int:
    return sum(own.numel() * own.element_size() for own, _ in program.pairs)


def _why_apart(program: ModelProgram, theta: Tensor) -> tuple[str, ...]:
    """Say why points cannot run together; say nothing if they can, with the same numbers."""
    pair = torch.stack([theta * 0.9, theta * 1.1])  # at the centre a loss near 0 would be only rounding
    with program.running():
        with evaluating(program, 0, "at 0.9 and 1.1 times the trained parameters"):
            apart = program.totals(pair, 0)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about operations without a batching rule: slower, but right
                joint = program.joint_totals(pair, 0)
        except Exception as error:
            reason = shortened(type_and_line(error), _SHORT)
            return (f"points run one at a time: the model cannot run under torch.vmap ({reason})",)
    if not torch.allclose(apart, joint, rtol=1e-3, atol=1e-5, equal_nan=True):
        return ("points run one at a time: under torch.vmap the model gives other numbers",)
    return ()


def chosen_steps(steps: Tensor, part: slice, rows: np.ndarray | None) -> Tensor:
    """Return the steps of some points; a copy only if they are not consecutive."""
    if rows is None:
        return steps[part]
    rows = rows[part]
    if np.array_equal(rows, np.arange(rows[0], rows[0] + len(rows))):
        return steps[rows[0] : rows[0] + len(rows)]
    return steps[torch.as_tensor(rows, device=steps.device)]
