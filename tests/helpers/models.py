"""Models of every kind with data, and a copy of each standing at a point, for the tests of the objective."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from landscape.objective import Objective

SAMPLES = 23


def table(inputs: int = 6, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(SAMPLES, inputs), torch.randint(0, classes, (SAMPLES,))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


def conv() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout2d(0.5), nn.Flatten(), nn.Linear(4 * 4, 3)
    )


def images() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(SAMPLES, 2, 4, 4), torch.randint(0, 3, (SAMPLES,))


class Sequence(nn.Module):
    """A layer over time, and a head on its last step."""

    def __init__(self, layer: nn.Module, width: int) -> None:
        super().__init__()
        self.layer, self.head = layer, nn.Linear(width, 3)

    def forward(self, x):
        y = self.layer(x, x, x) if isinstance(self.layer, nn.MultiheadAttention) else self.layer(x)
        return self.head((y[0] if isinstance(y, tuple) else y)[:, -1])


class TinyLM(nn.Module):
    """Embedding tied to the head, a causal transformer layer, dropout, and a mask kept as a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
        self.head = nn.Linear(8, 11, bias=False)
        self.head.weight = self.table.weight
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(5))

    def forward(self, tokens):
        return self.head(self.layer(self.table(tokens), src_mask=self.mask))


def tokens() -> tuple[torch.Tensor, torch.Tensor]:
    target = torch.randint(0, 11, (SAMPLES, 5))
    target[::3, 3:] = -100
    return torch.randint(0, 11, (SAMPLES, 5)), target


def times() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(SAMPLES, 5, 4), torch.randint(0, 3, (SAMPLES,))


def hooked() -> nn.Module:
    model = mlp()
    model[0].register_forward_hook(lambda module, inputs, output: output * 2)
    model[2].register_forward_pre_hook(lambda module, inputs: (inputs[0] + 1,))
    return model


def pruned() -> nn.Module:
    model = mlp()
    prune.random_unstructured(model[0], "weight", 0.5)
    return model


def exported() -> nn.Module:
    shapes = ({0: torch.export.Dim("batch")},)
    return torch.export.export(conv().eval().double(), (images()[0].double(),), dynamic_shapes=shapes).module()


KINDS = {
    "mlp": (mlp, table),
    "conv": (conv, images),
    "grouped and transposed": (
        lambda: nn.Sequential(
            nn.ConvTranspose2d(2, 4, 3, groups=2), nn.Conv2d(4, 4, 3, groups=2), nn.Flatten(), nn.Linear(64, 3)
        ),
        images,
    ),
    "lstm": (lambda: Sequence(nn.LSTM(4, 6, batch_first=True, bidirectional=True), 12), times),
    "gru": (lambda: Sequence(nn.GRU(4, 6, batch_first=True), 6), times),
    "attention": (lambda: Sequence(nn.MultiheadAttention(4, 2, batch_first=True), 4), times),
    "transformer": (
        lambda: Sequence(nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), 2), 4),
        times,
    ),
    "language model": (TinyLM, tokens),
    "weight norm": (lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(6, 8)), *mlp()[1:]), table),
    "old weight norm": (lambda: nn.Sequential(nn.utils.weight_norm(nn.Linear(6, 8)), *mlp()[1:]), table),
    "spectral norm": (lambda: nn.Sequential(parametrizations.spectral_norm(nn.Linear(6, 8)), *mlp()[1:]), table),
    "pruned": (pruned, table),
    "hooks": (hooked, table),
    "scripted": (lambda: torch.jit.script(conv()), images),
    "traced": (lambda: torch.jit.trace(mlp(), table()[0]), table),
    "script inside": (lambda: nn.Sequential(torch.jit.script(nn.Linear(6, 8)), *mlp()[1:]), table),
    "exported": (exported, images),
}


def wide(data):
    return tuple(item.double() if item.is_floating_point() else item for item in data)


def moved(model: nn.Module, objective: Objective, point: torch.Tensor) -> nn.Module:
    """Return a copy of the model standing at a point, made with torch's own means."""
    other = deepcopy(model)
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            parameter.copy_(objective.layout.views(point)[name])
    for module in other.modules():
        module.training = False
    return other


def points_near(objective: Objective, count: int, size: float = 0.3) -> torch.Tensor:
    noise = torch.randn(count, objective.layout.size, dtype=torch.float64)
    return (objective.theta + size * noise).to(objective.theta.dtype)


def along(objective, radii, **options):
    steps = points_near(objective, len(radii), 1.0) - objective.theta
    with objective.running():
        return steps, objective.along(steps, np.asarray(radii), **options)


@dataclass
class LMOutput:
    """What transformers' models return: the logits and, if there are labels, the loss."""

    logits: torch.Tensor
    loss: torch.Tensor | None = None


class CausalLM(nn.Module):
    """A language model with the interface of transformers: its own loss moves the labels by one position."""

    def __init__(self, words: int = 11) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(words, 8), nn.Linear(8, words)

    def forward(self, input_ids, labels=None):
        logits = self.head(self.table(input_ids).cumsum(1))
        if labels is None:
            return LMOutput(logits)
        moved = nn.functional.pad(labels, (0, 1), value=-100)[:, 1:]
        return LMOutput(logits, nn.functional.cross_entropy(logits.flatten(0, 1), moved.flatten()))
