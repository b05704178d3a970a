"""What a user should know: how batches are cut, large tensors that stay fixed, frozen ones that move."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from landscape.errors import TaskError
from landscape.objective.batches import Batch
from landscape.objective.checks import NO_PARTS, Trial
from landscape.objective.parameters import Entry, Scope, is_hand_written_kernel
from landscape.objective.reading import Data

_LARGE = 100  # a tensor that stays fixed is mentioned if it holds one parameter in this many
_MOST_NAMES = 3


def kept_whole(given: Data, trial: Trial, batch_size: int | None) -> Data:
    """Return the data with what the trial says about its batches.

    Raises:
        TaskError: if ``batch_size`` is given, and the model does not run on a part of a batch.
    """
    if trial.why == NO_PARTS and batch_size is not None and batch_size < given.counts[0]:
        raise TaskError(
            f"`batch_size={batch_size}` cannot be kept: {NO_PARTS} ({given.counts[0]:,} samples).\n"
            "Leave `batch_size=...` out, or cut the data into batches yourself."
        )
    return given.time_major() if trial.time_major else given


def batch_notes(trial: Trial, batches: Sequence[Batch], batch_size: int | None) -> list[str]:
    """Return the notes on how the batches are cut."""
    sizes = [batch.samples for batch in batches]
    shown = f"{min(sizes):,}" if min(sizes) == max(sizes) else f"{min(sizes):,} to {max(sizes):,}"
    notes = []
    if trial.time_major:
        notes.append("the inputs are time-major: their second axis counts the samples")
    if trial.why:
        kept = "stay as they came" if batch_size is None else "have the size that was given, and the loss depends on it"
        notes.append(f"{trial.why}. So the batches {kept} (samples: {shown}).")
    if batch_size is not None and max(sizes) > batch_size:
        notes.append(
            f"`batch_size={batch_size}` has no effect on batches that cannot be cut (samples: {shown}): they hold more "
            "than dense tensors with one row per sample. Cut them in the data."
        )
    return notes


def scope_notes(scope: Scope, model: nn.Module) -> list[str]:
    """Return the notes on what the scope leaves out or moves against the expectation.

    1. kernels of hand-written layers: the scope ``weights`` knows kernels by their name;
    2. integers and complex numbers, which cannot move;
    3. tensors that training kept frozen, and that move.
    """
    notes = []
    fixed = left_out(scope)
    kernels = [entry for entry in fixed if is_hand_written_kernel(entry) and entry.size * _LARGE >= scope.layout.size]
    if kernels and "weights" in scope.parts:
        names = dict.fromkeys(entry.name.rpartition(".")[2] for entry in kernels)
        parts = ["weights", *names][: 1 + _MOST_NAMES]
        notes.append(
            f"the scope weights keeps {named(kernels)} fixed: these tensors have two or more dimensions, and no "
            f"'weight' in their names. If they are kernels, pass `scope={parts}`."
        )
    if scope.layout.fixed:
        notes.append(f"integer and complex parameters stay fixed: {named(scope.layout.fixed)}")
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    frozen = [entry for entry in scope.entries if entry.name not in learning]
    if frozen and learning:
        notes.append(f"the scope moves tensors that are frozen (requires_grad=False): {named(frozen)}")
    return notes


def left_out(scope: Scope) -> list[Entry]:
    """Return the tensors of which no entry is in scope, the largest first."""
    moving = {entry.name for entry in scope.entries}
    return sorted((e for e in scope.layout.whole.entries if e.name not in moving), key=lambda e: -e.size)


def named(entries: Sequence[Entry]) -> str:
    """Return the names and sizes of tensors, the first few of them."""
    shown = ", ".join(f"{entry.name} ({entry.size:,})" for entry in entries[:_MOST_NAMES])
    more = len(entries) - _MOST_NAMES
    return f"{shown} and {more} more" if more > 0 else shown
