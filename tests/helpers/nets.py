"""Small networks that the tests share."""

from __future__ import annotations

import types
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from landscape import load_checkpoint


def mlp(inputs: int = 2, hidden: int = 8, classes: int = 3) -> nn.Sequential:
    """Two linear layers with a tanh between them; names ``0.weight``, ``0.bias``, ``2.weight``, ``2.bias``."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, classes))


class ConvNet(nn.Module):
    """Convolution, BatchNorm, pooling and a linear layer, for images of any size."""

    def __init__(self, channels: int = 3, width: int = 4, classes: int = 10) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.fc = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(F.relu(self.norm(self.conv(images))).mean(dim=(2, 3)))


class TiedNet(nn.Module):
    """An embedding whose table is also the weight of the output layer."""

    def __init__(self, words: int = 7, width: int = 4) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        self.head = nn.Linear(width, words, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, words: Tensor) -> Tensor:
        return self.head(self.embedding(words).mean(dim=1))


class Logits(nn.Module):
    """Logistic regression, its logit alone or beside a constant second one."""

    def __init__(self, both: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.5, -0.3, 0.8], dtype=torch.float64))
        self.both = both

    def forward(self, x: Tensor) -> Tensor:
        logit = x @ self.weight
        return torch.stack([torch.zeros_like(logit), logit], -1) if self.both else logit


def fake_transformers(missing: list[str], architectures: list[str]) -> types.ModuleType:
    """Return a module with the two calls of transformers that building a model needs."""
    module = types.ModuleType("transformers")

    class AutoConfig:
        @staticmethod
        def from_pretrained(folder: str, local_files_only: bool, trust_remote_code: bool) -> types.SimpleNamespace:
            assert local_files_only
            return types.SimpleNamespace(architectures=architectures)

    class TinyNet:
        @staticmethod
        def from_pretrained(folder: str, *, config: Any, local_files_only: bool, output_loading_info: bool) -> Any:
            net = load_checkpoint(folder, mlp())
            return net, {"missing_keys": missing, "mismatched_keys": []}

    module.AutoConfig, module.TinyNet, module.__version__ = AutoConfig, TinyNet, "5"  # type: ignore[attr-defined]
    return module
