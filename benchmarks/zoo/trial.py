"""One model of the zoo with a real batch of its kind, and its loss as its own framework computes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Build = Callable[[], "Trial"]


@dataclass(frozen=True)
class Trial:
    """A model, one batch, and two ways to its loss: through landscape, and as a user of the framework computes it.

    Attributes:
        model: the model.
        batch: one batch, as a data loader would give it.
        loss: what is passed to ``Objective``.
        own: (model, batch) -> the loss by the framework's own words, a scalar.
        forward: passed to ``Objective``.
        options: more options of ``Objective``.
    """

    model: nn.Module
    batch: Any
    loss: str | Callable[..., Any]
    own: Callable[[nn.Module, Any], Tensor]
    forward: Callable[[nn.Module, Any], Any] | None = None
    options: dict[str, Any] = field(default_factory=dict)


def classifier(model: nn.Module, inputs: Any, classes: int, **options: Any) -> Trial:
    """Return a trial of a model that maps one tensor to logits, shape (N, classes)."""
    targets = torch.arange(len(inputs)) % classes
    return Trial(model, (inputs, targets), "cross_entropy", cross_entropy, options=options)


def cross_entropy(model: nn.Module, batch: Any) -> Tensor:
    """Return the cross-entropy of logits."""
    *inputs, targets = batch
    return F.cross_entropy(model(*inputs), targets)


def mean_squared_error(model: nn.Module, batch: Any) -> Tensor:
    """Return the mean squared error."""
    *inputs, targets = batch
    return F.mse_loss(model(*inputs), targets)


def own_loss(model: nn.Module, batch: Any) -> Tensor:
    """Return the loss that a transformers model computes itself."""
    return model(**batch).loss


class Headed(nn.Module):
    """A layer, then a linear head on its flattened output.

    Args:
        layer: what is to be tried.
        example: the inputs of one batch, from which the size of the head follows.
        call: (layer, *inputs) -> tensor of shape (N, ...), for layers that return more.
    """

    def __init__(
        self, layer: nn.Module, *example: Tensor, call: Callable[..., Tensor] | None = None, classes: int = 3
    ) -> None:
        super().__init__()
        self.layer = layer
        self._call = call or (lambda layer, *inputs: layer(*inputs))
        with torch.no_grad():
            width = self._call(layer, *example).flatten(1).shape[1]
        self.head = nn.Linear(width, classes)

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.head(self._call(self.layer, *inputs).flatten(1))


def layer_trial(layer: nn.Module, *inputs: Tensor, call: Callable[..., Tensor] | None = None, **options: Any) -> Trial:
    """Return a trial of one layer with a linear head."""
    model = Headed(layer, *inputs, call=call)
    targets = torch.arange(len(inputs[0])) % 3
    return Trial(model, (*inputs, targets), "cross_entropy", cross_entropy, options={"scope": "all", **options})
