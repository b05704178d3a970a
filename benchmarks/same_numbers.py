"""Show that a change of the code leaves every number as it was, to the bit.

    python -m benchmarks.same_numbers write before.json     # with the code before the change
    python -m benchmarks.same_numbers check before.json     # with the code after it

It measures radii, slices, curvature, volumes and a short training of a fixed seed, through public names alone, and
keeps a hash of each array. Two processors may round differently, so make both files on the same machine. The script
imports nothing else of the project, so it also runs with an older tree: ``PYTHONPATH=OLD_TREE python same_numbers.py``.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import landscape as ls

Named = Iterator[tuple[str, Any]]  #: name and array
CUTOFFS = (0.5, 1.0)


class ConvNet(nn.Module):
    """Convolution, BatchNorm, pooling and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Linear(4, 5)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(F.relu(self.norm(self.conv(images))).mean(dim=(2, 3)))


def trained(model: nn.Module, inputs: Tensor, targets: Tensor) -> ls.Objective:
    """Return the objective of a model after 60 steps of gradient descent."""
    optimiser = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(60):
        optimiser.zero_grad()
        F.cross_entropy(model(inputs), targets).backward()
        optimiser.step()
    return ls.Objective(model.eval(), (inputs, targets), "cross_entropy", scope="all")


def dense_net() -> ls.Objective:
    """Return a dense net of two layers on 64 points."""
    torch.manual_seed(0)
    inputs = torch.randn(64, 4)
    return trained(nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)), inputs, (inputs[:, 0] > 0).long())


def image_net() -> ls.Objective:
    """Return a convolutional net with BatchNorm on 32 images."""
    torch.manual_seed(1)
    inputs = torch.randn(32, 3, 6, 6)
    return trained(ConvNet(), inputs, torch.arange(32) % 5)


def ellipsoid() -> ls.Objective:
    """Return a quadratic of 30 dimensions, condition 100."""
    curvatures = torch.logspace(0, 2, 30, dtype=torch.float64)
    return ls.Objective.from_function(lambda x: 0.5 * (curvatures * x**2).sum(-1), torch.zeros(30, dtype=torch.float64))


def radii() -> Named:
    """Yield radii in each metric and by each criterion."""
    for net in (dense_net(), image_net()):
        cutoffs = [net.centre + 0.5, net.centre + 1.0]
        for metric in ("filter", "layer", "identity"):
            measured = ls.basin_radii(net, cutoffs, metric=metric, directions=40, seed=3)
            for field in ("radii", "status", "lower", "upper", "calls", "profile_loss"):
                yield f"{net.dimension} {metric} {field}", getattr(measured, field)
        for criterion in ("rise", "kl"):
            measured = ls.basin_radii(net, [0.2, 0.4], criterion=criterion, directions=20)
            yield f"{net.dimension} {criterion}", measured.radii


def slices() -> Named:
    """Yield lines and planes along random and Hessian directions."""
    dense, image = dense_net(), image_net()
    line = ls.slice_1d(dense, steps=9, curvature=True)
    plane = ls.slice_2d(dense, steps=5, directions="hessian")
    lines = {"line": line, "recalibrated": ls.slice_1d(image, steps=7, recalibrate_bn=True)}
    planes = {"hessian": plane, "random": ls.slice_2d(image, steps=5, orthogonal=True)}
    for name, measured in {**lines, **planes}.items():
        for field, array in measured.arrays().items():
            yield f"{name} {field}", array


def curvature() -> Named:
    """Yield what is read from each operator."""
    net = dense_net()
    for operator in (ls.Hessian(net), ls.GaussNewton(net)):
        kind = type(operator).__name__
        pairs = ls.top_eigenpairs(operator, 3)
        yield f"{kind} eigenvalues", pairs.values
        yield f"{kind} eigenvectors", pairs.vectors
        for method in ("hutchinson", "hutch++", "xtrace"):
            trace = ls.trace(operator, 12, method=method)
            yield f"{kind} {method}", [trace.value, trace.standard_error]
        yield f"{kind} layers", ls.layer_traces(operator, 10).values
        yield f"{kind} diagonal", ls.diagonal(operator, 10).values
        yield f"{kind} density", ls.spectral_density(operator, 4, 12).nodes
        yield f"{kind} log det", ls.log_determinant(operator, 1.0, probes=4, steps=12).value
    for name, operator in {"image": ls.Hessian(image_net()), "ellipsoid": ls.Hessian(ellipsoid())}.items():
        yield f"{name} eigenvalues", ls.top_eigenpairs(operator, 2).values
        yield f"{name} trace", ls.trace(operator, 6).value


def volumes() -> Named:
    """Yield volumes by each estimator."""
    body, net = ellipsoid(), dense_net()
    plain: dict[str, Any] = {"metric": "identity", "seed": 5}
    runs = {
        "uniform": ls.log_volume(body, CUTOFFS, estimator="uniform", directions=200, **plain),
        "importance": ls.log_volume(body, CUTOFFS, estimator="importance", directions=150, **plain),
        "laplace": ls.log_volume(body, CUTOFFS, estimator="laplace", metric="identity"),
        "counted": ls.log_volume(body, [1.0], estimator="counted", max_radius=1.0, budget=2_000, **plain),
        "annealed": ls.log_volume(body, CUTOFFS, estimator="annealed", budget=400_000, **plain),
        "shell": ls.log_volume(body, [1.0], estimator="annealed", max_radius=1.0, budget=400_000, **plain),
        "auto": ls.log_volume(body, [1.0], estimator="auto", directions=100, budget=200_000, **plain),
        "gaussian": ls.log_volume(
            body, [1.0], estimator="uniform", directions=200, measure="gaussian", sigma=0.1, metric="identity"
        ),
        "net": ls.log_volume(net, [net.centre + 0.5], estimator="uniform", directions=100),
        "net annealed": ls.log_volume(net, [net.centre + 0.5], estimator="annealed", budget=200_000, max_radius=1.0),
        "rollouts": ls.volume_from_radii(ls.basin_radii(net, [net.centre + 0.3], directions=50)),
    }
    for name, volume in runs.items():
        yield f"{name} weights", volume.log_weights
        for row in volume.results:
            yield f"{name} {row.cutoff:.3g}", [row.log_volume, *row.interval, row.ess, row.pareto_k]
            yield f"{name} {row.cutoff:.3g} verdict", np.frombuffer(row.verdict.encode(), np.uint8)


def training() -> Named:
    """Yield the weights of a short training, without and with poison."""
    from landscape.recipes import train_swiss_roll

    for poison in (0.0, 0.5):
        for name, tensor in train_swiss_roll(0, poison=poison, steps=120)["state_dict"].items():
            yield f"poison {poison} {name}", tensor.numpy()


def measure() -> dict[str, Any]:
    """Return a hash of each array, and the mean of its finite entries for whoever looks for a difference."""
    numbers = {}
    for part in (radii, slices, curvature, volumes, training):
        for name, value in part():
            array = np.ascontiguousarray(value)
            finite = array[np.isfinite(array)] if array.dtype.kind == "f" else array
            digest = hashlib.sha256(str((array.shape, array.dtype)).encode() + array.tobytes()).hexdigest()
            numbers[f"{part.__name__}: {name}"] = [digest, float(finite.mean()) if finite.size else None]
    return {"machine": [platform.processor(), torch.__version__, torch.backends.cpu.get_cpu_capability()], **numbers}


def main(action: str, path: str) -> int:
    """Write the numbers of this code, or compare them with the numbers of a file."""
    torch.set_num_threads(1)
    now = measure()
    if action == "write":
        Path(path).write_text(json.dumps(now, indent=1))
        print(f"{len(now) - 1} arrays written to {path}")
        return 0
    then = json.loads(Path(path).read_text())
    other = [name for name in {**then, **now} if then.get(name) != now.get(name)]
    for name in other:
        print(f"differs: {name}: {then.get(name)} before, {now.get(name)} now")
    print(f"{len(now) - 1} arrays compared, {len(other)} differ")
    return 1 if other else 0


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("write", "check"):
        sys.exit("expected: python -m benchmarks.same_numbers write|check FILE.json")
    sys.exit(main(*sys.argv[1:]))
