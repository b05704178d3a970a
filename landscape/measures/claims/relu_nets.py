"""Small ReLU nets with and without BatchNorm in float64, and changes that leave their function as it is."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

SAMPLES = 12
CLASSES = 3
BATCH_NORM = nn.modules.batchnorm._BatchNorm


def filled(model: Any, seed: int = 0) -> Any:
    """Return the model with random weights and BatchNorm statistics, in float64, and nothing added to variances."""
    generator = torch.Generator().manual_seed(seed)
    model = model.double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / 2)
        norms: list[Any] = [module for module in model.modules() if isinstance(module, BATCH_NORM)]
        for norm in norms:
            norm.eps = 0.0
            norm.running_mean.copy_(torch.randn(norm.num_features, generator=generator))
            norm.running_var.copy_(torch.rand(norm.num_features, generator=generator) + 0.5)
    return model


def plain_net() -> Any:
    """Three linear layers; without BatchNorm."""
    return filled(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, CLASSES)))


def norm_net() -> Any:
    """Two convolutions with BatchNorm and a linear layer."""
    return filled(
        nn.Sequential(
            nn.Conv2d(1, 3, 2, bias=False), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 2), nn.BatchNorm2d(2),
            nn.ReLU(), nn.Flatten(), nn.Linear(8, CLASSES),
        )
    )  # fmt: skip


def data_for(model: Any) -> tuple[Tensor, Tensor]:
    """Return inputs, and the classes that the model takes to be right but for the first two samples."""
    shape = (4,) if isinstance(model[0], nn.Linear) else (1, 4, 4)
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(SAMPLES, *shape, generator=generator, dtype=torch.float64)
    classes = deepcopy(model).eval()(inputs).argmax(1)
    classes[:2] = (classes[:2] + 1) % CLASSES
    return inputs, classes


def rescaled(model: Any) -> Any:
    """Multiply each hidden unit by a factor of its own, and divide the next layer's weights by it.

    With BatchNorm the factor goes into its scale and shift; another goes into the layer before it and its statistics.
    """
    model, generator = deepcopy(model), torch.Generator().manual_seed(2)
    with torch.no_grad():
        for layer, norm, following in _hidden(model):
            inner, outer = torch.rand(2, layer.weight.shape[0], generator=generator, dtype=torch.float64) * 3 + 0.3
            if norm is not None:
                norm.running_mean *= inner
                norm.running_var *= inner.square()
                norm.weight *= outer
                norm.bias *= outer
            else:
                outer = inner
            _by_unit(layer).mul_(inner[:, None])
            if layer.bias is not None:
                layer.bias *= inner
            _by_input(following, len(outer)).div_(outer[:, None, None])
    return model


def permuted(model: Any) -> Any:
    """Exchange the units of each hidden layer."""
    model, generator = deepcopy(model), torch.Generator().manual_seed(3)
    with torch.no_grad():
        for layer, norm, following in _hidden(model):
            order = torch.randperm(layer.weight.shape[0], generator=generator)
            own = [layer.weight, layer.bias] if norm is None else [layer.weight, layer.bias, norm.weight, norm.bias]
            own += [] if norm is None else [norm.running_mean, norm.running_var]
            for tensor in own:
                if tensor is not None:
                    tensor.copy_(tensor[order].clone())
            columns = _by_input(following, len(order))
            columns.copy_(columns[order].clone())
    return model


def louder(model: Any) -> Any:
    """Multiply the logits by 3."""
    model = deepcopy(model)
    with torch.no_grad():
        model[-1].weight *= 3
        model[-1].bias *= 3
    return model


def _hidden(model: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Yield each layer but the last with the BatchNorm after it, if there is one, and the next layer."""
    layers = [i for i, module in enumerate(model) if isinstance(module, nn.Linear | nn.Conv2d)]
    for here, after in pairwise(layers):
        norm = model[here + 1]
        yield model[here], norm if isinstance(norm, BATCH_NORM) else None, model[after]


def _by_unit(layer: Any) -> Tensor:
    """Return the weights with a row per output unit, as a view."""
    return layer.weight.data.view(layer.weight.shape[0], -1)


def _by_input(layer: Any, units: int) -> Tensor:
    """Return the weights with a row per unit of the layer before, as a view; a linear layer may read images."""
    return layer.weight.data.view(layer.weight.shape[0], units, -1).transpose(0, 1)
