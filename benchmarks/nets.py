"""The nets that the benchmarks measure."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import landscape as ls

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"
sys.path.insert(0, str(ROOT / "tests"))  # the ResNet-20 class lives with the tests

CIFAR_MEAN, CIFAR_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def mlp(widths: list[int], seed: int = 0) -> nn.Sequential:
    """Return a ReLU net with these widths, input and output included."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for inner, outer in pairwise(widths):
        layers += [nn.Linear(inner, outer), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def resnet20() -> tuple[nn.Module, tuple[Tensor, Tensor]] | None:
    """Return the trained ResNet-20 and the 200 CIFAR-10 images, or None where the files are not at hand."""
    if not (DATA / "resnet20-cifar10.th").exists():
        return None
    from nets import ResNet20

    model = ls.load_checkpoint(DATA / "resnet20-cifar10.th", ResNet20())
    return model, cifar_images()


def cifar_images() -> tuple[Tensor, Tensor]:
    """Return the 200 original test images, normalised as the checkpoint expects, and their classes."""
    stored = np.load(DATA / "cifar10_lossless200.npz")
    images = torch.from_numpy(stored["X"]).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (CIFAR_MEAN, CIFAR_STD))
    return ((images - mean) / std).contiguous(), torch.from_numpy(stored["Y"]).long()
