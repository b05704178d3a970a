"""Chains of the local learning coefficient: batched, one after the other, and by devinterp if it is installed.

    python -m benchmarks.llc_speed [--chains 16] [--steps 400]

Every contender takes the same number of SGLD steps on minibatches of the same size, with the same step size, on the
same net. devinterp 1.3.2 is the last version that takes images and points; later ones take tokens only.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor, nn

import landscape as ls
from landscape.measures.draws import Draws
from landscape.measures.llc.chains import run_chains
from landscape.measures.llc.pilot import Tuned
from landscape.measures.llc.posterior import Minibatches, Posterior
from landscape.measures.llc.samplers import Kernel
from landscape.measures.settings import Settings

SAMPLES, MINIBATCH, WIDTH = 400, 50, 32
GAMMA, STEP_SIZE = 10.0, 1e-4
RUNS = 3
NBETA = SAMPLES / math.log(SAMPLES)


def swiss_roll(samples: int = SAMPLES) -> tuple[Tensor, Tensor]:
    """Return points on two spirals, shape (samples, 2), and which of them each lies on."""
    generator = torch.Generator().manual_seed(0)
    angle = (0.5 + 2.5 * torch.rand(samples, generator=generator)) * math.pi
    arm = torch.randint(0, 2, (samples,), generator=generator)
    turned = angle + math.pi * arm
    points = torch.stack([angle * turned.cos(), angle * turned.sin()], 1) / 5
    return points + 0.05 * torch.randn(samples, 2, generator=generator), arm


def trained_net(points: Tensor, classes: Tensor) -> nn.Module:
    """Return a network of two hidden layers that fits the points."""
    torch.manual_seed(0)
    layers = [nn.Linear(2, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 2)]
    model = nn.Sequential(*layers)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2, weight_decay=1e-4)
    for _ in range(2_000):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(points), classes).backward()
        optimiser.step()
    return model


def ours(model: nn.Module, data: tuple[Tensor, Tensor], chains: int, steps: int, *, together: bool) -> float:
    """Return λ̂ by our chains: all in one program, or each by itself."""
    objective = ls.Objective(model, data, scope="all", lanes=None if together else 1)
    groups, values = ([chains] if together else [1] * chains), []
    with objective.running():
        posterior = Posterior(Draws(objective, Settings()), NBETA, GAMMA)
        minibatches = Minibatches.of(posterior, MINIBATCH, 0)
        kernel = Kernel("sgld", STEP_SIZE, minibatches=minibatches)
        for seed, group in enumerate(groups):
            tuned = Tuned(kernel, posterior.at(posterior.origin(group)), 0.0)
            values.append(run_chains(posterior, tuned, seed, 0, steps, lambda: False).rises[:, steps // 2 :].mean())
    return NBETA * float(np.mean(values))


def by_devinterp(model: nn.Module, data: tuple[Tensor, Tensor], chains: int, steps: int) -> float:
    """Return λ̂ by devinterp's SGLD; its step size means the same as ours."""
    from devinterp.optim import SGLD  # this and those below: an optional contender
    from devinterp.slt.sampler import LLCEstimator, sample
    from torch.utils.data import DataLoader, TensorDataset

    loader = DataLoader(TensorDataset(*data), batch_size=MINIBATCH, shuffle=True)
    with torch.no_grad():
        centre = nn.functional.cross_entropy(model(data[0]), data[1])
    estimator = LLCEstimator(chains, steps // 2, init_loss=centre, nbeta=NBETA)
    sample(
        model,
        loader,
        callbacks=[estimator],
        evaluate=lambda net, batch: nn.functional.cross_entropy(net(batch[0]), batch[1]),
        sampling_method=SGLD,
        optimizer_kwargs={"lr": STEP_SIZE, "localization": GAMMA, "nbeta": NBETA},
        num_draws=steps // 2,
        num_chains=chains,
        num_burnin_steps=steps - steps // 2,
        init_loss=centre,
        verbose=False,
        seed=0,
    )
    return float(estimator.get_results()["llc/mean"])


def main() -> None:
    """Time all contenders in turn and print the median of each, with its ratio to ours."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--chains", type=int, default=16)
    parser.add_argument("--steps", type=int, default=400)
    asked = parser.parse_args()
    data = swiss_roll()
    model = trained_net(*data)
    size = (asked.chains, asked.steps)
    contenders: dict[str, Callable[[], float]] = {
        "landscape, chains together": lambda: ours(model, data, *size, together=True),
        "landscape, one after the other": lambda: ours(model, data, *size, together=False),
    }
    if find_spec("devinterp") is None:
        print("devinterp is not installed: pip install devinterp==1.3.2")
    else:
        contenders["devinterp 1.3.2"] = lambda: by_devinterp(model, data, *size)
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    values: dict[str, float] = {}
    for _ in range(RUNS):
        for name, call in contenders.items():
            started = time.perf_counter()
            values[name] = call()
            seconds[name].append(time.perf_counter() - started)
    first = float(np.median(next(iter(seconds.values()))))
    print(f"{asked.chains} chains x {asked.steps} steps, {SAMPLES} samples in minibatches of {MINIBATCH}")
    for name, times in seconds.items():
        median = float(np.median(times))
        print(f"{name:32} {median:8.2f} s  {median / first:6.1f} x  λ̂ = {values[name]:.3f}")


if __name__ == "__main__":
    main()
