"""Residual networks for small images, with and without batch normalisation, in sizes from two cores to a GPU."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH = 16  #: channels of the first stage
_SLOPE = 0.1  # of the leaky ReLU


class Size(NamedTuple):
    """Blocks in each of the three stages, channels of the stages, and the stride of the first convolution."""

    blocks: int
    widths: tuple[int, int, int]
    stride: int


SIZES = {
    "resnet8": Size(1, (16, 32, 64), 2),  #: for two cores: minutes of training
    "resnet20": Size(3, (16, 32, 64), 1),  #: as in the paper: hours on two cores, minutes on a GPU
}
MODELS = tuple(name + norm for name in SIZES for norm in ("", "-bn"))


class Block(nn.Module):
    """x + conv(act(norm(conv(act(norm(x)))))), pre-activation (He et al. 2016).

    If shapes differ, the shortcut takes every second pixel of x and adds channels of zeros, which needs no parameters.
    Without normalisation the last convolution starts at zero (Zhang et al. 2019). So the untrained network is as
    shallow as its shortcuts, and trains at any depth.
    """

    def __init__(self, inner: int, outer: int, stride: int, *, norm: bool) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inner) if norm else nn.Identity()
        self.conv1 = nn.Conv2d(inner, outer, 3, stride, padding=1, bias=not norm)
        self.norm2 = nn.BatchNorm2d(outer) if norm else nn.Identity()
        self.conv2 = nn.Conv2d(outer, outer, 3, padding=1, bias=not norm)
        self.stride, self.added = stride, outer - inner
        nn.init.kaiming_normal_(self.conv1.weight, a=_SLOPE)
        nn.init.kaiming_normal_(self.conv2.weight, a=_SLOPE)
        if not norm:
            nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.conv1(F.leaky_relu(self.norm1(x), _SLOPE))
        branch = self.conv2(F.leaky_relu(self.norm2(branch), _SLOPE))
        return branch + F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.added))


class ResNet(nn.Module):
    """A first convolution, three stages of blocks, and a mean over the image. Later stages halve it, double channels.

    Args:
        size: blocks, widths and first stride.
        channels: of the images.
        classes: outputs.
        norm: whether there is batch normalisation before each activation.

    >>> paper = ResNet(SIZES["resnet20"], channels=3, classes=10, norm=True)
    >>> sum(p.numel() for p in paper.parameters())
    269722
    """

    def __init__(self, size: Size, channels: int, classes: int, *, norm: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, size.widths[0], 3, size.stride, padding=1, bias=not norm)
        nn.init.kaiming_normal_(self.conv.weight, a=_SLOPE)
        blocks: list[nn.Module] = []
        inner = size.widths[0]
        for stage, outer in enumerate(size.widths):
            for index in range(size.blocks):
                blocks.append(Block(inner, outer, 2 if stage and not index else 1, norm=norm))
                inner = outer
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(inner) if norm else nn.Identity()
        self.linear = nn.Linear(inner, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.norm(self.blocks(self.conv(x))), _SLOPE)
        return self.linear(x.mean((2, 3)))


def resnet(name: str, seed: int, *, channels: int, classes: int, width: int = WIDTH) -> ResNet:
    """Return an untrained network of one of ``MODELS``, keyed by the seed; torch's own random state does not change.

    ``width`` is the number of channels of the first stage; later stages have twice and four times as many.

    >>> resnet("resnet8", 0, channels=1, classes=10)(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        size = SIZES[name.removesuffix("-bn")]._replace(widths=(width, 2 * width, 4 * width))
        return ResNet(size, channels, classes, norm=name.endswith("-bn"))
