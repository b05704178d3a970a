"""A small convolutional net on handwritten digits, for ``landscape train benchmarks/small_cnn.py``: n = 24,080.

It needs the four files of MNIST, plain or compressed, in ``data/mnist`` or in the folder that the environment variable
MNIST names. The training set has 500 images, so a full pass takes some hundredths of a second on one core. The pool for
the poison is the rest of the training split.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor, nn

import landscape
from landscape.recipes.images import MNIST

IMAGES = 500


def task() -> landscape.Task:
    """Return the untrained net and its training set."""
    return landscape.Task(model=network(), data=_images("train", slice(IMAGES)), loss="cross_entropy")


def test() -> tuple[Tensor, Tensor]:
    """Return images that it is never trained on."""
    return _images("test", slice(None))


def pool() -> tuple[Tensor, Tensor]:
    """Return further true samples, for --poison."""
    return _images("train", slice(IMAGES, None))


def network() -> nn.Module:
    """Return three convolutions with stride, a mean over the image and a linear layer."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )


def _images(split: str, rows: slice) -> tuple[Tensor, Tensor]:
    images, labels = MNIST.read(Path(os.environ.get("MNIST", "data/mnist")), split)
    pixels = torch.from_numpy(images[rows]).float() / 255
    return (pixels - 0.13) / 0.31, torch.from_numpy(labels[rows]).long()
