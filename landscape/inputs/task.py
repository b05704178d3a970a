"""A task: the network, the data and the loss that a checkpoint belongs to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from landscape.errors import TaskError
from landscape.inputs.lightning import is_data_module, training_batches
from landscape.objective.losses.predictions import OUTPUTS


@dataclass
class Task:
    """What the loss around a trained point is made of.

    Attributes:
        model: the network; its weights may be missing if a checkpoint supplies them.
        data: a pair of tensors (inputs, targets), a dict of tensors of equal length, a Dataset, or any iterable of
            batches. The training data of a LightningDataModule are taken in the order of their dataset.
        loss: ``cross_entropy``, ``binary_cross_entropy`` (on logits), ``mse``, ``model`` (the output's own ``.loss``),
            or a function of (output, target).
        forward: (model, batch) -> output, for batches that model(inputs) cannot take.
        output: what the predictions are: ``logits``, ``probabilities`` or ``log-probabilities``; None for what the loss
            says.
        name: what to call the task in results.
        count_samples: batch -> number of samples; by default the number of targets, or the length of a list.
        notes: what a user should know about the data, such as how pixels were scaled.

    Raises:
        TaskError: for a part of the wrong type.
    """

    model: nn.Module
    data: Any
    loss: str | Callable[..., Any] = "cross_entropy"
    forward: Callable[[nn.Module, Any], Any] | None = None
    name: str = ""
    output: str | None = None
    count_samples: Callable[[Any], int] | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.model, nn.Module):
            hint = " Call the class: model=Net()." if isinstance(self.model, type) else ""
            raise TaskError(f"a task's model must be a torch module, not {_kind(self.model)}.{hint}")
        if self.data is None or isinstance(self.data, str | Path):
            raise TaskError(
                f"a task's data must be tensors or batches, not {_kind(self.data)}. For a file: "
                "data=landscape.inputs.load_data('data.npz')."
            )
        if is_data_module(self.data):
            self.data = training_batches(self.data)
        if not (isinstance(self.loss, str) or callable(self.loss)):
            raise TaskError(f"a task's loss must be a name or a function of (output, target), not {_kind(self.loss)}.")
        if self.forward is not None and not callable(self.forward):
            raise TaskError(f"a task's forward must be a function of (model, batch), not {_kind(self.forward)}.")
        if self.count_samples is not None and not callable(self.count_samples):
            raise TaskError(f"a task's count_samples must be a function of a batch, not {_kind(self.count_samples)}.")
        if self.output is not None and self.output not in OUTPUTS:
            raise TaskError(f"a task's output must be one of {', '.join(OUTPUTS)}, not {self.output!r}.")


def _kind(thing: Any) -> str:
    """Return the type of a thing in words, for an error."""
    if thing is None:
        return "None"
    return f"the class {thing.__name__}" if isinstance(thing, type) else f"a value of type {type(thing).__name__}"
