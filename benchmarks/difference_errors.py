"""How often the stated error of products by differences holds: against products of autograd in float64.

    python -m benchmarks.difference_errors [--vectors 20] [--seeds A:B]

Small nets on 100 samples, of two kinds and with three activations: six for each seed, untrained if it is even, else
after 60 steps. ``float32`` nets run in float64 for the differences. ``recorded`` nets are TorchScript modules, which
run in float32 alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import landscape as ls
from benchmarks.page import command_line, seed_range
from landscape.curvature.autograd.differences import USELESS

ACTIVATIONS: tuple[type[nn.Module], ...] = (nn.ReLU, nn.LeakyReLU, nn.GELU)
STEPS = (0, 60)  # of training: for even and for odd seeds
Pair = tuple[Tensor, Tensor]


def perceptron(activation: type[nn.Module]) -> nn.Module:
    """Return a dense net on 8 x 8 images."""
    layers = [nn.Linear(64, 40), activation(), nn.Linear(40, 40), activation(), nn.Linear(40, 3)]
    return nn.Sequential(nn.Flatten(), *layers)


def convolutions(activation: type[nn.Module]) -> nn.Module:
    """Return a convolutional net on 8 x 8 images."""
    layers = [nn.Conv2d(1, 8, 3, padding=1), activation(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, padding=1), activation()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(128, 3))


def trained(net: nn.Module, steps: int, data: Pair) -> nn.Module:
    """Return the net after some steps of SGD."""
    optimiser = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    for _ in range(steps):
        optimiser.zero_grad()
        F.cross_entropy(net(data[0]), data[1]).backward()
        optimiser.step()
    return net


def recorded(net: nn.Module, data: Pair) -> nn.Module:
    """Return the net as a TorchScript module."""
    script: nn.Module = torch.jit.trace(net, data[0][:5])
    return script


def errors(net: nn.Module, measured: nn.Module, data: Pair, vectors: int) -> np.ndarray:
    """Return the true and the stated relative error of products with random vectors, shape (vectors, 2)."""
    exact = ls.Hessian(ls.Objective(net, data, scope="all", dtype=torch.float64), check=False)
    objective = ls.Objective(measured, data, scope="all", batch_size=64)
    pairs = []
    for vector in torch.randn(vectors, exact.size):
        operator = ls.Hessian(objective, derivative="difference", check=False)  # a new one: its error is the largest
        wanted = exact @ vector.double()
        off = float(((operator @ vector).double() - wanted).norm() / wanted.norm())
        pairs.append((off, operator.difference_error))
    return np.array(pairs)


def rows(vectors: int, seeds: Iterable[int]) -> dict[str, np.ndarray]:
    """Return the errors of all nets, by kind of net, activation and arithmetic."""
    found: dict[str, list[np.ndarray]] = {}
    kinds: tuple[Callable[[type[nn.Module]], nn.Module], ...] = (perceptron, convolutions)
    for activation in ACTIVATIONS:
        for make in kinds:
            for seed in seeds:
                torch.manual_seed(seed)
                data = torch.randn(100, 1, 8, 8), torch.randint(0, 3, (100,))
                net = trained(make(activation), STEPS[seed % 2], data)
                double = data[0].double(), data[1]
                for arithmetic in ("float32", "float64", "recorded"):
                    name = f"{make.__name__}, {activation.__name__}, {arithmetic}"
                    if arithmetic == "float64":
                        each = errors(net.double(), net.double(), double, vectors)
                        net.float()
                    else:
                        each = errors(net, recorded(net, data) if arithmetic == "recorded" else net, data, vectors)
                    found.setdefault(name, []).append(each)
    return {name: np.concatenate(each) for name, each in found.items()}


def main() -> int:
    """Run the command."""
    parser = command_line(__doc__)
    parser.add_argument("--vectors", type=int, default=20)
    parser.add_argument("--seeds", type=seed_range, default=range(2), metavar="A:B", help="A to B - 1")
    given, wrong = parser.parse_args(), 0
    print("net: products, stated error too small, largest share of it; stated error: median, largest; useless")
    for name, pairs in rows(given.vectors, given.seeds).items():
        off, stated = pairs.T
        small = int((off > stated).sum())
        wrong += small
        useless = int((stated > USELESS).sum())
        share = (off / stated).max()
        errors_stated = f"{np.median(stated):.1g}, {stated.max():.1g}"
        print(f"{name:34} {len(off):4} {small:3} {share:.2f}; {errors_stated}; {useless}", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
