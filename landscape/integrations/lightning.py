"""Follow the shape of the loss in a training run of Lightning."""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Unpack

from torch import Tensor, nn, tensor

from landscape.errors import LandscapeError, MissingExtraError
from landscape.integrations.tracker import Options, Recorder, check_every, is_due, numbers
from landscape.results import Snapshot

_PACKAGES = ("lightning.pytorch", "pytorch_lightning")  # the same code under two names


def _bases() -> tuple[type, ...]:
    """Return the class Callback of the packages that are imported; of the first that is installed if none is."""
    loaded = [module for name in _PACKAGES if (module := sys.modules.get(name)) is not None]
    for name in () if loaded else _PACKAGES:
        with suppress(ImportError):
            loaded = [import_module(name)]
            break
    if not loaded:
        raise MissingExtraError("lightning", "training", "LightningCallback")
    return tuple(module.Callback for module in loaded)


class LightningCallback(*_bases()):  # type: ignore[misc]
    """Measures the net of a Lightning run every few steps or epochs, and leaves the training bit for bit as it is.

    The numbers go to all loggers of the trainer and into ``trainer.callback_metrics``, so that
    ``ModelCheckpoint(monitor="landscape/trace")`` finds them. Rank 0 alone measures; the other processes wait for it.

    Args:
        data: the held data, as for :class:`landscape.integrations.Tracker`; by default the validation data of the run.
        every_steps, every_epochs: when to measure; by default after each epoch.
        out, resume, overwrite, strict, options: as for :class:`landscape.integrations.Tracker`.

    Attributes:
        latest: the latest snapshot; None before the first.

    Raises:
        LandscapeError: for options that make no sense, and a file that holds snapshots already.
    """

    def __init__(
        self,
        data: Any = None,
        *,
        every_steps: int | None = None,
        every_epochs: int | None = None,
        out: str | Path | None = None,
        resume: bool = False,
        overwrite: bool = False,
        strict: bool = False,
        **options: Unpack[Options],
    ) -> None:
        super().__init__()
        if every_steps is None and every_epochs is None:
            every_epochs = 1
        check_every(every_steps=every_steps, every_epochs=every_epochs)
        self.every_steps, self.every_epochs = every_steps, every_epochs
        self.latest: Snapshot | None = None
        self._recorder = Recorder(data, out=out, resume=resume, overwrite=overwrite, strict=strict, options=options)
        self._measured = -1

    def on_train_start(self, trainer: Any, pl_module: nn.Module) -> None:
        """Read the held data and open the file, so that what is missing shows before the first step."""
        self._measured = -1
        if self._recorder.data is None:
            self._recorder.data = _validation_data(trainer)
        self._recorder.begin(pl_module, measuring=trainer.is_global_zero)

    def on_train_batch_end(
        self, trainer: Any, pl_module: nn.Module, outputs: Any, batch: Any, batch_idx: int, *rest: Any
    ) -> None:
        """Measure if the step is due."""
        if is_due(trainer.global_step, self.every_steps):
            self._measure(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Any, pl_module: nn.Module) -> None:
        """Measure if the epoch is due."""
        if is_due(trainer.current_epoch + 1, self.every_epochs):
            self._measure(trainer, pl_module, trainer.current_epoch + 1)

    def teardown(self, trainer: Any, pl_module: nn.Module, stage: str) -> None:
        """Let other writers into the file."""
        self._recorder.close()

    def on_exception(self, trainer: Any, pl_module: nn.Module, exception: BaseException) -> None:
        """Let other writers into the file."""
        self._recorder.close()

    def _measure(self, trainer: Any, pl_module: nn.Module, epoch: int | None = None) -> None:
        step = trainer.global_step
        if step == self._measured or not trainer.is_global_zero:
            return
        self._measured = step
        snapshot = self._recorder.measure(pl_module, step, trainer.current_epoch if epoch is None else epoch)
        if snapshot is None:
            return
        self.latest = snapshot
        found = numbers(snapshot)
        if found:
            self._recorder.tried(lambda: _log(trainer, found, pl_module, counted=epoch is not None))


def _log(trainer: Any, found: dict[str, float], module: Any, *, counted: bool) -> None:
    """Hand the numbers to the loggers, at the step at which Lightning itself writes the metrics of this moment.

    Lightning counts from 0 there. ``counted``: whether its counter has gone on since the last batch.
    """
    batches = getattr(trainer.fit_loop.epoch_loop, "_batches_that_stepped", trainer.global_step)
    for logger in trainer.loggers:
        logger.log_metrics(found, step=max(batches - counted, 0))
    trainer.callback_metrics.update(_tensors(found, module))


def _tensors(found: dict[str, float], module: Any) -> dict[str, Tensor]:
    return {name: tensor(value, device=module.device) for name, value in found.items()}


def _validation_data(trainer: Any) -> Any:
    """Return the validation data of a run.

    Raises:
        LandscapeError: if it has none.
    """
    data = trainer.val_dataloaders
    if data is None:
        raise LandscapeError(
            "this run has no validation data to measure on. Pass the held data: "
            "LightningCallback(data=(inputs, targets))."
        )
    return data
