"""The nets that the benchmarks measure."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

import landscape as ls
from benchmarks.resnet_cifar import ResNetCifar, imagenet_standardised
from landscape.inputs import load_data

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"


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
    model = ls.load_checkpoint(DATA / "resnet20-cifar10.th", ResNetCifar())
    return model, cifar_images()


def cifar_images() -> tuple[Tensor, Tensor]:
    """Return the 200 original test images, normalised as the checkpoint expects, and their classes."""
    images, classes = load_data(DATA / "cifar10_lossless200.npz")
    return imagenet_standardised(images).contiguous(), classes
