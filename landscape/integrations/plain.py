"""Follow the shape of the loss in a training loop of one's own."""

from __future__ import annotations

import math
from operator import index
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack

from torch import nn

from landscape.errors import LandscapeError
from landscape.integrations.tracker import Log, Options, Recorder, check_every, is_due, is_first_process, numbers
from landscape.results import Snapshot


class Tracker:
    """Measures a net every few steps or epochs of any training loop, and leaves the training bit for bit as it is.

    Call it after each step with the model and the number of finished steps. It measures if that is due.

    Args:
        data: the held data: a pair of tensors, a Dataset, a DataLoader or any iterable of batches. Read once.
        every_steps, every_epochs: when to measure. At least one.
        log: where the numbers go: a function of (numbers, step), or a TensorBoard ``SummaryWriter``. Names are such as
            ``landscape/trace`` and ``landscape/trace_standard_error``.
        out: an HDF5 file that gets one group per step, such as ``run.h5``.
        resume: add to what the file holds.
        overwrite: drop the snapshots that the file holds.
        strict: raise if something cannot be measured, instead of going on with a gap and a note.
        options: what to measure: ``measures``, ``cutoff``, ``budget`` and the other fields of
            :class:`landscape.integrations.Quantities`. How the loss is made: ``loss``, ``forward``, ``scope`` and the
            other fields of :class:`landscape.integrations.Held`.

    Attributes:
        latest: the latest snapshot; None before the first.

    Raises:
        LandscapeError: for options that make no sense, and a file that holds snapshots already.

    >>> import torch
    >>> net = nn.Linear(2, 1, bias=False)
    >>> _ = nn.init.ones_(net.weight)
    >>> tracker = Tracker((torch.eye(2), torch.zeros(2)), loss="mse", measures=["loss", "trace"], every_steps=10)
    >>> tracker(net, step=9)
    {}
    >>> tracker(net, step=10)
    {'landscape/loss': 1.0, 'landscape/trace': 2.0}
    """

    def __init__(
        self,
        data: Any,
        *,
        every_steps: int | None = None,
        every_epochs: int | None = None,
        log: Log | Any = None,
        out: str | Path | None = None,
        resume: bool = False,
        overwrite: bool = False,
        strict: bool = False,
        **options: Unpack[Options],
    ) -> None:
        check_every(every_steps=every_steps, every_epochs=every_epochs)
        self.every_steps, self.every_epochs = every_steps, every_epochs
        self.latest: Snapshot | None = None
        self._log = _logging(log)
        self._recorder = Recorder(
            data, out=out, resume=resume, overwrite=overwrite, strict=strict, options=options
        )  # fmt: skip
        self._measured = -1

    def __call__(self, model: nn.Module, step: int, epoch: int | None = None) -> dict[str, float]:
        """Measure the model if that is due, and return the numbers by name; an empty dict if not.

        The first call reads the held data and opens the file, so that what is wrong shows at once.

        Args:
            model: the model in training, also one that is wrapped for several processes. Rank 0 alone measures.
            step: number of finished steps.
            epoch: number of finished epochs, if this call ends one.
        """
        step = _count("step", step)
        self._recorder.begin(model, measuring=is_first_process())
        due = is_due(step, self.every_steps) or (epoch is not None and is_due(epoch, self.every_epochs))
        if not due or step == self._measured:
            return {}
        return self.measure(model, step, epoch)

    def measure(self, model: nn.Module, step: int, epoch: int | None = None) -> dict[str, float]:
        """Measure the model now, and return the numbers by name."""
        self._measured = step = _count("step", step)
        if not is_first_process():
            return {}
        snapshot = self._recorder.measure(model, step, math.nan if epoch is None else epoch)
        if snapshot is None:
            return {}
        self.latest = snapshot
        found = numbers(snapshot)
        log = self._log
        if log is not None and found:
            self._recorder.tried(lambda: log(found, step))
        return found

    def close(self) -> None:
        """Let other writers into the file."""
        self._recorder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _count(name: str, value: Any) -> int:
    try:
        count = index(value)
    except TypeError:
        count = -1
    if count < 0:
        raise LandscapeError(f"`{name}` must be a whole number of at least 0, not {value!r}.")
    return count


def _logging(log: Any) -> Log | None:
    """Return a function of (numbers, step) for what the caller logs with."""
    if log is None or (callable(log) and not hasattr(log, "add_scalar")):
        found: Log | None = log
        return found
    add = getattr(log, "add_scalar", None)
    if not callable(add):
        raise LandscapeError(
            f"`log` must be a function of (numbers, step) or a SummaryWriter, not {type(log).__name__}."
        )

    def write(found: dict[str, float], step: int) -> None:
        for name, value in found.items():
            add(name, value, step)

    return write
