"""What the small networks of the zoo are built from."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from torch import nn


def mlp(*widths: int, act: type[nn.Module] = nn.Tanh) -> nn.Sequential:
    """Return linear layers of these widths with activations between them."""
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b), act()]
    return nn.Sequential(*layers[:-1])


class Call(nn.Module):
    """Modules with a forward given as a function of (self, *inputs)."""

    def __init__(self, forward: Any, **modules: Any) -> None:
        super().__init__()
        for name, module in modules.items():
            setattr(self, name, module)
        self._function = forward

    def forward(self, *inputs: Any, **named: Any) -> Any:
        return self._function(self, *inputs, **named)
