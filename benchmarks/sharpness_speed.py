"""Compare our measures by random perturbations with code written from the papers, in one run.

    python -m benchmarks.sharpness_speed        (prints the section for docs/sharpness.md)

The papers' way, a function each: a copy of the weights, noise added, a pass, weights restored. Average-case sharpness
with normal and uniform noise takes 20 draws each (Andriushchenko et al. 2023). PAC-Bayes flatness takes 15 bisections
of sigma with 10 draws each, plain and with the weights' magnitude (Jiang et al. 2020, Dziugaite et al. 2020). The
low-pass filter and local entropy take 100 draws each (Bisla et al. 2022). ``equal draws`` gives every measure of both
sides the same number of draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

import landscape as ls
from benchmarks.nets import mlp, resnet20
from benchmarks.page import print_section
from benchmarks.timing import paired

NAMES = ("average-case", "average-case-uniform", "pac-bayes", "pac-bayes-magnitude", "low-pass", "local-entropy")
BISECTIONS, TOP_SIGMA, FALL = 15, 2.0, 0.1


@dataclass
class Papers:
    """The measures as the papers' code takes them, on one net and one batch.

    Attributes:
        model, inputs, targets: the net and its data.
        draws: number of draws of average-case, of PAC-Bayes, and of the two smoothed losses.
        passes: how many passes were made.
    """

    model: nn.Module
    inputs: Tensor
    targets: Tensor
    draws: tuple[int, int, int] = (20, 10, 100)
    passes: int = field(default=0, init=False)

    @torch.no_grad()
    def all(self) -> dict[str, float]:
        """Return every measure."""
        average, pac, smooth = self.draws
        loss, accuracy = self.read()
        found = {}
        for name, noise in (("average-case", torch.randn_like), ("average-case-uniform", uniform_like)):
            found[name] = sum(self.moved(0.1, noise)[0] for _ in range(average)) / average - loss
        found["pac-bayes"] = self.bisect(accuracy, pac, magnitude=False)
        found["pac-bayes-magnitude"] = self.bisect(accuracy, pac, magnitude=True)
        found["low-pass"] = sum(self.moved(0.01)[0] for _ in range(smooth)) / smooth
        found["local-entropy"] = -math.log(sum(math.exp(-self.moved(0.1)[0]) for _ in range(smooth)) / smooth)
        return found

    def read(self) -> tuple[float, float]:
        """Return the loss and the accuracy of the net as it is."""
        self.passes += 1
        output = self.model(self.inputs)
        accuracy = (output.argmax(1) == self.targets).double().mean()
        return float(nn.functional.cross_entropy(output, self.targets)), float(accuracy)

    def moved(
        self, sigma: float, noise: Callable[[Tensor], Tensor] = torch.randn_like, *, magnitude: bool = False
    ) -> tuple[float, float]:
        """Return loss and accuracy at one perturbed point."""
        with self.restored() as weights:
            for weight in weights:
                scale = (sigma**2 * weight.square() + 1e-6).sqrt() if magnitude else sigma
                weight.add_(noise(weight) * scale)
            return self.read()

    @contextmanager
    def restored(self) -> Iterator[Sequence[Tensor]]:
        """Yield the kernels, and put them back afterwards."""
        weights = [weight for weight in self.model.parameters() if weight.dim() > 1]
        kept = [weight.clone() for weight in weights]
        yield weights
        for weight, own in zip(weights, kept, strict=True):
            weight.copy_(own)

    def bisect(self, accuracy: float, draws: int, *, magnitude: bool) -> float:
        """Return 1 / sigma² by bisections of sigma."""
        low, high = 0.0, TOP_SIGMA
        for _ in range(BISECTIONS):
            sigma = (low + high) / 2
            mean = sum(self.moved(sigma, magnitude=magnitude)[1] for _ in range(draws)) / draws
            low, high = (sigma, high) if accuracy - mean < FALL else (low, sigma)
        return 1 / sigma**2


def uniform_like(weight: Tensor) -> Tensor:
    """Return numbers uniform on [-1, 1]."""
    return 2 * torch.rand_like(weight) - 1


def trained_mlp() -> tuple[nn.Module, Tensor, Tensor]:
    """Return a net of 10,000 weights that has learnt 512 random points of four clusters."""
    model = mlp([20, 96, 80, 4])
    generator = torch.Generator().manual_seed(1)
    targets = torch.arange(512) % 4
    inputs = torch.randn(512, 20, generator=generator) + 2 * torch.randn(4, 20, generator=generator)[targets]
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(200):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(inputs), targets).backward()
        optimiser.step()
    return model, inputs, targets


def section() -> list[str]:
    """Measure both nets, and return the section."""
    nets = {"MLP, 10,000 weights, 512 samples": (*trained_mlp(), 5)}
    published = resnet20()
    if published is not None:
        model, (images, labels) = published
        nets["ResNet-20, 268,336 weights, 64 images"] = (model, images[:64], labels[:64], 1)
    lines = ["| net | draws | passes: papers | passes: ours | fewer | faster |", "|---|---|---|---|---|---|"]
    for name, (model, inputs, targets, runs) in nets.items():
        model.eval()
        objective = ls.Objective(model, (inputs, targets))
        for words, draws, own in (("the papers'; ours 20", (20, 10, 100), 20), ("20 each", (20, 20, 20), 20)):
            theirs = Papers(model, inputs, targets, draws)
            theirs.all()
            passes = theirs.passes
            ours = ls.sharpness(objective, NAMES, draws=own).cost.evaluations
            pair = paired(theirs.all, partial(ls.sharpness, objective, NAMES, draws=own), runs=runs, warmup=0)
            lines.append(f"| {name} | {words} | {passes} | {ours:.0f} | {passes / ours:.1f} x | {pair.ratio:.1f} x |")
            print(lines[-1], flush=True)
    return lines


if __name__ == "__main__":
    print_section(__doc__, section)
