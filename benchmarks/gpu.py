"""Check that a GPU gives the values of the CPU. Then time it. It takes at most eight minutes.

``python -m benchmarks.gpu`` first measures small nets on the CPU and on the GPU. It compares slices, radii, products,
traces, eigenvalues and volumes. It also compares nets without flat vectors, and a run that goes on on the other device.
It prints each largest relative difference. If one is larger than its tolerance, the script ends with exit code 1 after
the table.

Then it times a plane of ResNet-20, traces of its Hessian, and volumes of nets of 10^4 to 10^6 weights, against bare
forward passes and the packages that are installed. A part that would begin after the time limit is left out by name.

``--device cpu --quick`` runs every line on a CPU, with small sizes; its times mean nothing.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import landscape as ls
from benchmarks.nets import mlp, resnet20
from benchmarks.resnet_cifar import ResNetCifar
from landscape.rays.entries import levels

_LIMIT = 8 * 60.0  # seconds
_CLOSE = 1e-4  # relative: kernels of another device round otherwise
_LOOSE = 0.02  # of a radius: the crossing is searched to 1e-3, and rounding may move a point past the cutoff
_NORMALS = 2**25


@dataclass(frozen=True)
class Size:
    """How much is measured: on a GPU, or with ``--quick``."""

    samples: int
    images: int
    steps: int
    probes: int
    rays: int
    widths: tuple[int, ...]  #: of MLPs with two hidden layers and 64 inputs
    passes: int


FULL = Size(samples=256, images=200, steps=21, probes=10, rays=200, widths=(64, 280, 960), passes=50)
QUICK = Size(samples=16, images=2, steps=3, probes=2, rays=4, widths=(8,), passes=2)


class Tokens(nn.Module):
    """A net of attention, norms and a tied embedding: numbers -> logits of a class."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 16)
        self.block = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)

    def forward(self, numbers: Tensor) -> Tensor:
        return F.linear(self.block(self.embed(numbers)).mean(1), self.embed.weight)


def convolutions() -> nn.Module:
    """Return a small convolutional net with batch normalisation."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.Tanh(), nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3), nn.Tanh(), nn.Flatten(), nn.Linear(8 * 4, 4),
    )  # fmt: skip


def problems(samples: int) -> dict[str, tuple[nn.Module, tuple[Tensor, Tensor]]]:
    """Return small nets and their data, by name."""
    torch.manual_seed(0)
    return {
        "MLP": (mlp([6, 16, 3]), (torch.randn(samples, 6), torch.randint(0, 3, (samples,)))),
        "convolutions": (convolutions(), (torch.randn(samples, 1, 8, 8), torch.randint(0, 4, (samples,)))),
        "attention": (Tokens(), (torch.randint(0, 20, (samples, 6)), torch.randint(0, 20, (samples,)))),
    }


def values_of(objective: ls.Objective, size: Size) -> Iterator[tuple[str, np.ndarray, float]]:
    """Yield (what, numbers, tolerance) of all that one objective is asked for."""
    line = ls.slice_1d(objective, steps=5, span=0.5)
    yield "slice", line.loss, _CLOSE
    plane = ls.slice_2d(objective, steps=3, span=0.5, directions="li2018")
    yield "plane", plane.loss, _CLOSE
    cutoff = [objective.centre + 0.1, objective.centre + 0.5]
    radii = ls.basin_radii(objective, cutoff, directions=size.rays // 2, first_step=0.05)
    yield "radii", radii.radii, _LOOSE
    yield "volume, uniform", _nats(ls.volume_from_radii(radii)), _LOOSE
    op = ls.Hessian(objective)
    vector = torch.linspace(-1, 1, op.size, dtype=op.dtype, device=op.device)
    yield "product", (op @ vector).cpu().numpy(), _CLOSE
    yield "Gauss-Newton product", (ls.GaussNewton(objective) @ vector).cpu().numpy(), _CLOSE
    yield "trace", ls.trace(op, size.probes).samples, 10 * _CLOSE
    yield "eigenvalue", ls.top_eigenpairs(op, 1).values, 10 * _CLOSE


def compared(size: Size, device: str) -> list[tuple[str, str, float, float]]:
    """Return (net, what, largest relative difference, tolerance) of the device against the CPU."""
    rows = []
    for name, (model, data) in problems(size.samples).items():
        here, there = (ls.Objective(model.eval(), data, scope="all", device=place) for place in ("cpu", device))
        for one, other in zip(values_of(here, size), values_of(there, size), strict=True):
            rows.append((name, one[0], _apart(one[1], other[1]), one[2]))
        if name == "MLP":
            special = _special(model, data, here, there, size, device)
            rows += [(name, what, difference, tolerance) for what, difference, tolerance in special]
    return rows


def _special(
    model: nn.Module,
    data: tuple[Tensor, Tensor],
    here: ls.Objective,
    there: ls.Objective,
    size: Size,
    device: str,
) -> Iterator[tuple[str, float, float]]:
    """Yield what one net is enough for."""
    cutoff: dict[str, Any] = {"cutoffs": [here.centre + 0.2], "first_step": 0.05}
    first = ls.basin_radii(here, directions=size.rays // 4, **cutoff)
    both = ls.basin_radii(there, directions=size.rays // 2, resume=first, **cutoff)
    alone = ls.basin_radii(here, directions=size.rays // 2, **cutoff)
    yield "radii begun on the CPU", _apart(alone.radii, both.radii), _LOOSE
    first = ls.basin_radii(there, directions=size.rays // 4, **cutoff)
    both = ls.basin_radii(here, directions=size.rays // 2, resume=first, **cutoff)
    yield "radii begun on the GPU", _apart(alone.radii, both.radii), _LOOSE
    options: dict[str, Any] = {"estimator": "laplace", "probes": size.probes}
    one, other = (ls.log_volume(objective, cutoff["cutoffs"], **options) for objective in (here, there))
    yield "volume, laplace", _apart(_nats(one), _nats(other)), _LOOSE
    one, other = (ls.Objective(model, data, scope="all", device=place, flat=False) for place in ("cpu", device))
    lines = [ls.slice_1d(objective, steps=5, span=0.5).loss for objective in (one, other)]
    yield "slice without flat vectors", _apart(*lines), _CLOSE
    traces = [ls.trace(ls.Hessian(objective), size.probes).samples for objective in (one, other)]
    yield "trace without flat vectors", _apart(*traces), 10 * _CLOSE
    made = [levels(3, 1, 1000, 5000, device=torch.device(place)).cpu().numpy() for place in ("cpu", device)]
    yield "directions by entry", float((made[0] != made[1]).sum()), 0.0


def _nats(volume: ls.Volume) -> np.ndarray:
    return np.array([row.nats_below_ball for row in volume.results])


def _apart(one: Any, other: Any) -> float:
    """Return the largest difference, relative to the largest number."""
    one, other = (np.asarray(values, dtype=np.float64).reshape(-1) for values in (one, other))
    if one.shape != other.shape or not (np.isfinite(one) == np.isfinite(other)).all():
        return float("inf")
    known = np.isfinite(one)
    scale = np.abs(one[known]).max(initial=1e-30)
    return float(np.abs(one[known] - other[known]).max(initial=0.0) / scale)


@dataclass(frozen=True)
class Timer:
    """Times calls on a device until a limit.

    Attributes:
        device: where calls run.
        ends: when nothing more begins, by time.perf_counter().
    """

    device: str
    ends: float

    def seconds(self, call: Callable[[], object]) -> float:
        """Return the seconds of the second of two calls, after all work on the device is done."""
        call()
        self._settle()
        started = time.perf_counter()
        call()
        self._settle()
        return time.perf_counter() - started

    @property
    def over(self) -> bool:
        """Whether the limit is reached."""
        return time.perf_counter() >= self.ends

    def _settle(self) -> None:
        if self.device != "cpu":
            torch.cuda.synchronize(self.device)


def bare_pass(model: nn.Module, data: tuple[Tensor, Tensor], timer: Timer, size: Size) -> float:
    """Return the seconds of one forward pass with its loss, without anything of this library."""
    net, (inputs, targets) = model.to(timer.device).eval(), (item.to(timer.device) for item in data)

    def passes() -> None:
        with torch.no_grad():
            for _ in range(size.passes):
                F.cross_entropy(net(inputs), targets)

    seconds = timer.seconds(passes) / size.passes
    model.to("cpu")
    return seconds


def plane_row(timer: Timer, size: Size) -> str:
    """Return the time of a plane of ResNet-20 as a line."""
    model, data = _resnet(size)
    bare = bare_pass(model, data, timer, size)
    objective = ls.Objective(model, data, device=timer.device)
    took = timer.seconds(lambda: ls.slice_2d(objective, steps=size.steps))
    each = took / size.steps**2
    return (
        f"plane of ResNet-20, {size.steps} x {size.steps} points: {took:.2f} s, {each / bare:.2f} bare passes a point"
    )


def trace_row(timer: Timer, size: Size) -> str:
    """Return a line: the time of a trace of ResNet-20, ours and that of each installed package."""
    model, data = _resnet(size)
    bare = bare_pass(model, data, timer, size)
    op = ls.Hessian(ls.Objective(model, data, scope="all", device=timer.device), check=False)
    ours = timer.seconds(lambda: ls.trace(op, size.probes))
    words = (
        f"trace of ResNet-20, {size.probes} probes: {ours:.2f} s, {ours / size.probes / bare:.1f} bare passes a probe"
    )
    if importlib.util.find_spec("curvlinops") is None:
        return f"{words}; curvlinops is not installed"
    import curvlinops as peer

    net, moved = model.to(timer.device), tuple(item.to(timer.device) for item in data)
    parameters = list(net.parameters())
    other = peer.HessianLinearOperator(net, nn.CrossEntropyLoss(), parameters, [moved], check_deterministic=False)
    signs = torch.randn(sum(p.numel() for p in parameters), size.probes, device=timer.device).sign()
    theirs = timer.seconds(lambda: (signs * (other @ signs)).sum().item())
    return f"{words}; curvlinops {theirs:.2f} s, {theirs / ours:.1f} times ours"


def volume_row(timer: Timer, size: Size, width: int) -> str:
    """Return the time of a volume of an MLP as a line."""
    model = mlp([64, width, width, 10])
    weights = sum(parameter.numel() for parameter in model.parameters())
    data = torch.randn(size.samples, 64), torch.randint(0, 10, (size.samples,))
    bare = bare_pass(model, data, timer, size)
    objective = ls.Objective(model, data, device=timer.device)
    cutoffs, cost = [objective.centre + 0.1], [0.0]

    def volume() -> None:
        cost[0] = ls.basin_radii(objective, cutoffs, directions=size.rays).cost.evaluations

    took = timer.seconds(volume)
    return (
        f"uniform volume of an MLP with {weights:,} weights, {size.rays} rays: {took:.2f} s, "
        f"{took / cost[0] / bare:.3f} bare passes an evaluation"
    )


def normals_row(timer: Timer, size: Size) -> str:
    """Return how fast directions by entry are made on the device, as a line."""
    count, device = _NORMALS if size is FULL else 2**16, torch.device(timer.device)
    took = timer.seconds(lambda: levels(0, 0, 0, count, device=device))
    return f"directions by entry: {count / took / 1e6:,.0f} million normals a second"


def _resnet(size: Size) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    """Return ResNet-20 and its images: the published checkpoint if it is there, and random ones if not."""
    stored = resnet20()
    if stored is None:
        torch.manual_seed(0)
        data = torch.randn(size.images, 3, 32, 32), torch.randint(0, 10, (size.images,))
        return ResNetCifar().eval(), data
    model, (images, classes) = stored
    return model.eval(), (images[: size.images], classes[: size.images])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, or cpu to try the script")
    parser.add_argument("--quick", action="store_true", help="small sizes")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    if chosen.device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit("This machine has no CUDA device that torch can use: pass --device cpu --quick to try the script.")
    size, ends = QUICK if chosen.quick else FULL, time.perf_counter() + _LIMIT
    name = torch.cuda.get_device_name(chosen.device) if chosen.device != "cpu" else "CPU"
    print(f"torch {torch.__version__} on {name}\n\n| net | what | largest difference | tolerance |\n|---|---|---|---|")
    rows = compared(size, chosen.device)
    for net, what, difference, tolerance in rows:
        print(f"| {net} | {what} | {difference:.1e} | {tolerance:.0e} |", flush=True)
    timer = Timer(chosen.device, ends)
    parts: list[tuple[str, Callable[[], str]]] = [
        ("plane", lambda: plane_row(timer, size)),
        ("trace", lambda: trace_row(timer, size)),
        ("normals", lambda: normals_row(timer, size)),
    ]
    for width in size.widths:
        parts.append((f"volume, width {width}", lambda width=width: volume_row(timer, size, width)))  # type: ignore[misc]
    print()
    for part, call in parts:
        print(f"- {part}: left out, the time was over" if timer.over else f"- {call()}", flush=True)
    wrong = [row for row in rows if not row[2] <= row[3]]
    if wrong:
        sys.exit(f"{len(wrong)} of {len(rows)} values differ by more than their tolerance.")


if __name__ == "__main__":
    main()
