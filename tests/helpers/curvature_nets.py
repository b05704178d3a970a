"""Nets for the tests of second derivatives, in float64, with statistics that differ from those of an untrained net."""

from __future__ import annotations

import torch
from torch import nn

import landscape as ls
from helpers.models import KINDS, SAMPLES, Sequence, mlp, table, times, wide
from helpers.nets import ConvNet, TiedNet


def make(kind: str, **options):
    torch.manual_seed(0)
    build, draw = KINDS[kind]
    model = build() if kind == "exported" else build().double()
    with torch.no_grad():
        for name, buffer in model.named_buffers():  # statistics that differ from those of an untrained net
            if "running" in name:
                buffer.uniform_(0.5, 2)
    data = wide(draw())
    with torch.no_grad():
        model(data[0])  # old-style weight norm and pruning leave a product that can be copied
    return model, data, ls.Objective(model, data, scope="all", **options)


class Convolutions(nn.Module):
    """One, two and three dimensions; stride, padding by name and by number, dilation, groups, with and without bias."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv1d(2, 4, 3, padding="same", groups=2)
        self.norm = nn.BatchNorm1d(4, affine=False)
        self.two = nn.Conv2d(1, 3, 2, stride=(2, 1), padding=1, dilation=(1, 2), bias=False)
        self.three = nn.Conv3d(1, 2, (2, 1, 2))
        self.head = nn.Linear(32, 3)

    def forward(self, x):
        x = torch.tanh(self.norm(self.one(x)))
        x = torch.tanh(self.two(x[:, None]))
        x = torch.tanh(self.three(x[:, None]))
        return self.head(x.flatten(1)[:, :32])


NETS = {
    "convolutions": (Convolutions, lambda: (torch.randn(SAMPLES, 2, 6), torch.randint(0, 3, (SAMPLES,)))),
    "batch norm": (
        lambda: ConvNet(2, 3, 4),
        lambda: (torch.randn(SAMPLES, 2, 5, 5), torch.randint(0, 4, (SAMPLES,))),
    ),
    "attention": (lambda: Sequence(nn.TransformerEncoderLayer(4, 2, 6, batch_first=True), 4), times),
    "tied": (TiedNet, lambda: (torch.randint(0, 7, (SAMPLES, 3)), torch.randint(0, 7, (SAMPLES,)))),
    "mlp": (mlp, table),
}


def small(name: str, **options):
    torch.manual_seed(1)
    model, data = NETS[name][0]().double(), wide(NETS[name][1]())
    for name_, buffer in model.named_buffers():
        if "running" in name_:
            buffer.uniform_(0.5, 2)
    return model, data, ls.Objective(model, data, scope="all", batch_size=5, **options)
