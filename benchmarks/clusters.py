"""A classifier of random clusters: a net of any width that is trained in seconds, without any file."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES, CLUSTERS, INPUTS, SAMPLES = 10, 60, 64, 512
NOISE = 0.8  #: standard deviation of a cluster, whose centre has entries of standard deviation 1
STEPS, BATCH = 300, 64


def clusters() -> tuple[Tensor, Tensor]:
    """Return samples of 60 Gaussian clusters, shape (512, 64), and the class of each."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(CLUSTERS, INPUTS, generator=generator)
    which = torch.randint(0, CLUSTERS, (SAMPLES,), generator=generator)
    return centres[which] + NOISE * torch.randn(SAMPLES, INPUTS, generator=generator), which % CLASSES


def trained(width: int, seed: int = 0) -> nn.Sequential:
    """Return a ReLU net with two hidden layers, trained by SGD to a loss of about 0.002."""
    x, y = clusters()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Linear(INPUTS, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, CLASSES)
        )
        optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        for _ in range(STEPS):
            chosen = torch.randint(0, SAMPLES, (BATCH,))
            optimiser.zero_grad()
            F.cross_entropy(model(x[chosen]), y[chosen]).backward()
            optimiser.step()
    return model
