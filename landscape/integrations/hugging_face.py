"""Follow the shape of the loss in a training run of Hugging Face's Trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Unpack

from torch import nn
from torch.utils.data import DataLoader

from landscape.errors import LandscapeError, MissingExtraError
from landscape.integrations.tracker import Options, Recorder, check_every, is_due, numbers
from landscape.objective.reading import untouched_rng
from landscape.results import Snapshot

try:
    from transformers import TrainerCallback
except ImportError as error:
    raise MissingExtraError("transformers", "training", "HuggingFaceCallback") from error


class HuggingFaceCallback(TrainerCallback):
    """Measures the net of a Trainer every few steps or epochs, and leaves the training bit for bit as it is.

    Add it to the trainer that it gets: ``trainer.add_callback(HuggingFaceCallback(trainer, ...))``. The numbers go
    through ``trainer.log``: to TensorBoard, W&B and whatever else the run reports to, and into ``trainer_state.json``.
    Process 0 alone measures; the others wait for it.

    Args:
        trainer: the trainer.
        data: the held data, as for :class:`landscape.integrations.Tracker`; by default the trainer's evaluation data.
        every_steps, every_epochs: when to measure; by default after each epoch.
        out, resume, overwrite, strict: as for :class:`landscape.integrations.Tracker`.
        options: as there; the loss is that of the model itself by default.

    Attributes:
        latest: the latest snapshot; None before the first.

    Raises:
        LandscapeError: for options that make no sense, a file that holds snapshots already, and a trainer without
            evaluation data if ``data`` is left out.
    """

    def __init__(
        self,
        trainer: Any,
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
        if every_steps is None and every_epochs is None:
            every_epochs = 1
        check_every(every_steps=every_steps, every_epochs=every_epochs)
        if not callable(getattr(trainer, "log", None)):
            raise LandscapeError(
                f"the first argument must be the Trainer, not {type(trainer).__name__}: "
                "trainer.add_callback(HuggingFaceCallback(trainer, ...))."
            )
        self.every_steps, self.every_epochs = every_steps, every_epochs
        self.latest: Snapshot | None = None
        self._trainer = trainer
        options.setdefault("loss", "model")
        self._recorder = Recorder(
            _evaluation_data(trainer) if data is None else data,
            out=out, resume=resume, overwrite=overwrite, strict=strict, options=options,
        )  # fmt: skip
        self._measured = -1

    def on_train_begin(self, args: Any, state: Any, control: Any, model: nn.Module | None = None, **_: Any) -> None:
        """Read the held data and open the file, so that what is missing shows before the first step."""
        self._measured = -1
        if model is not None:
            self._recorder.begin(model, measuring=state.is_world_process_zero)

    def on_step_end(self, args: Any, state: Any, control: Any, model: nn.Module | None = None, **_: Any) -> None:
        """Measure if the step is due."""
        if is_due(state.global_step, self.every_steps):
            self._measure(state, control, model)

    def on_epoch_end(self, args: Any, state: Any, control: Any, model: nn.Module | None = None, **_: Any) -> None:
        """Measure if the epoch is due."""
        if is_due(round(state.epoch or 0), self.every_epochs):
            self._measure(state, control, model)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Let other writers into the file."""
        self._recorder.close()

    def _measure(self, state: Any, control: Any, model: nn.Module | None) -> None:
        step = state.global_step
        if step == self._measured or not state.is_world_process_zero or model is None:
            return
        self._measured = step
        snapshot = self._recorder.measure(model, step, float(state.epoch or 0.0))
        if snapshot is None:
            return
        self.latest = snapshot
        found = numbers(snapshot)
        if not found:
            return
        due = control.should_log, control.should_save, control.should_evaluate
        self._recorder.tried(lambda: self._trainer.log(found))
        # logging tells the trainer that its own numbers of this step are logged, and they are not yet
        control.should_log, control.should_save, control.should_evaluate = due


def _evaluation_data(trainer: Any) -> DataLoader[Any]:
    """Return the evaluation data of a trainer as a loader of its own, with the trainer's way to make batches.

    The trainer's loader itself is left alone: it counts who reads it, and that decides when gradients are applied.
    """
    if getattr(trainer, "eval_dataset", None) is None:
        raise LandscapeError(
            "the trainer has no evaluation data to measure on. Pass `eval_dataset=...` to the Trainer, or the held "
            "data: HuggingFaceCallback(trainer, data)."
        )
    with untouched_rng():
        theirs = trainer.get_eval_dataloader()
    return DataLoader(theirs.dataset, trainer.args.eval_batch_size, shuffle=False, collate_fn=theirs.collate_fn)
