"""The nets that the benchmarks measure, and the folder of published checkpoints and images beside the repository."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

import landscape as ls
from benchmarks.page import ROOT
from benchmarks.resnet_cifar import ResNetCifar, imagenet_standardised
from landscape.inputs import load_data

DATA = ROOT.parent / "shared" / "data"


def mlp(widths: list[int], seed: int = 0) -> nn.Sequential:
    """Return a ReLU net with these widths, input and output included."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for inner, outer in pairwise(widths):
        layers += [nn.Linear(inner, outer), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def resnet20() -> tuple[nn.Module, tuple[Tensor, Tensor]] | None:
    """Return the trained ResNet-20 and the 200 CIFAR-10 images, or None if the files are missing."""
    if not (DATA / "resnet20-cifar10.th").exists():
        return None
    model = ls.load_checkpoint(DATA / "resnet20-cifar10.th", ResNetCifar())
    return model, cifar_images()


def cifar_images() -> tuple[Tensor, Tensor]:
    """Return the 200 original test images, normalised as the checkpoint expects, and their classes."""
    data = load_data(DATA / "cifar10_lossless200.npz")
    assert isinstance(data, tuple)
    images, classes = data
    return imagenet_standardised(images).contiguous(), classes
