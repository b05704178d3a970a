"""A small plain convolutional network for families of many nets, each trained in seconds."""

from __future__ import annotations

import torch
from torch import nn

WIDTH = 16  #: channels of the first convolution


def cnn(seed: int, *, channels: int, classes: int, width: int = WIDTH) -> nn.Sequential:
    """Return an untrained network of three convolutions and one dense layer; torch's own random state does not change.

    The convolutions are 3 x 3 with stride 2 and ``width``, 2 ``width`` and 4 ``width`` channels, each followed by a
    ReLU. The dense layer reads the mean over the image. There is no normalisation.

    Args:
        seed: keys the weights (He et al. 2015).
        channels: of the images.
        classes: outputs.
        width: channels of the first convolution.

    >>> net = cnn(0, channels=3, classes=10, width=8)
    >>> sum(p.numel() for p in net.parameters()), net(torch.zeros(2, 3, 32, 32)).shape
    (6362, torch.Size([2, 10]))
    """
    layers: list[nn.Module] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for inner, outer in ((channels, width), (width, 2 * width), (2 * width, 4 * width)):
            convolution = nn.Conv2d(inner, outer, 3, stride=2, padding=1)
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            layers += [convolution, nn.ReLU()]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, classes))
