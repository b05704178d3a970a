"""What an evaluation of the loss costs beyond the forward pass, and how much memory radii take.

python -m benchmarks.engine
"""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import torch
from torch.func import functional_call
from torch.nn import functional as F

import landscape as ls
from benchmarks import nets
from benchmarks.page import ROOT, print_section
from benchmarks.timing import paired
from landscape.objective import Layout
from landscape.rays import RandomDirections, make_metric

_MEMORY_CHILD = """
import sys, torch
from pathlib import Path
import landscape as ls
from benchmarks.nets import mlp
rays, widths = int(sys.argv[1]), [int(w) for w in sys.argv[2].split(",")]
tiny = mlp([2, 3, 2])  # so that imports are not counted
objective = ls.Objective(tiny, (torch.randn(4, 2), torch.zeros(4).long()))
ls.log_volume(objective, [1.0], estimator="uniform", criterion="rise", directions=2)
model = mlp(widths)
data = (torch.randn(64, widths[0]), torch.zeros(64, dtype=torch.long))
with torch.no_grad():
    model(data[0])


def kib(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])


Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten (Linux)
before = kib("VmRSS")
if rays:
    objective = ls.Objective(model, data)
    ls.basin_radii(objective, [0.5], criterion="rise", directions=rays)
print(kib("VmHWM") - before, sum(p.numel() for p in model.parameters()) * 4 // 1024)
"""


def small_net() -> list[str]:
    """Return the section on a small MLP: many points together, next to a Python loop over functional_call."""
    model = nets.mlp([2, 32, 32, 24, 1]).eval()
    x = torch.randn(200, 2)
    y = (torch.rand(200) > 0.5).float()
    rays = 512
    layout = Layout.of(model)
    radii = np.full(rays, 0.1)
    lines = []
    for label, compiled in (("landscape", False), ("landscape, compile=True", True)):
        objective = ls.Objective(model, (x, y), "binary_cross_entropy", compile=compiled)
        metric = make_metric("filter", objective.theta, objective.scope)
        steps = RandomDirections(metric, 0, objective.theta).steps(range(rays))

        def ours(objective: ls.Objective = objective, steps: torch.Tensor = steps) -> None:
            with objective.running():
                objective.along(steps, radii)

        def loop(objective: ls.Objective = objective, steps: torch.Tensor = steps) -> None:
            with torch.no_grad():
                for step in steps:
                    parameters = layout.views(objective.theta + 0.1 * step)
                    F.binary_cross_entropy_with_logits(functional_call(model, parameters, (x,))[:, 0], y).item()

        pair = paired(loop, ours)
        low, high = pair.spread
        micro = [1e6 * np.median(times) / rays for times in (pair.b, pair.a)]
        lines.append(f"| {label} | {micro[0]:.1f} | {micro[1]:.1f} | {pair.ratio:.1f} ({low:.1f} to {high:.1f}) |")
    head = [
        f"## Time per evaluation: an MLP of {layout.size:,} parameters, 200 points",
        "",
        "512 points along rays, next to a Python loop over `torch.func.functional_call`. Microseconds per evaluation.",
        "`python -m benchmarks.engine`",
        "",
        "| | µs | loop, µs | times faster (range over runs) |",
        "|---|---|---|---|",
    ]
    return [*head, *lines, ""]


def resnet() -> list[str]:
    """Return the section on ResNet-20 and 256 images: an evaluation next to the bare forward passes."""
    checkpoint = nets.resnet20()
    if checkpoint is None:
        return []
    model, (images, classes) = checkpoint
    images, classes = torch.cat([images, images[:56]]), torch.cat([classes, classes[:56]])
    objective = ls.Objective(model, (images, classes))
    steps = RandomDirections(make_metric("filter", objective.theta, objective.scope), 0, objective.theta).steps([0])
    model.eval()
    lines = []
    size = -(-256 // objective.batches)

    def evaluate() -> None:
        with objective.running():
            objective.along(steps, np.array([0.01]))

    for pieces in (size, 256):

        def bare(pieces: int = pieces) -> None:
            with torch.no_grad():
                for part in images.split(pieces):
                    model(part)

        pair = paired(evaluate, bare, runs=15)
        low, high = pair.spread
        lines.append(
            f"| {pieces} | {1e3 * np.median(pair.b):.0f} | {1e3 * np.median(pair.a):.0f} | {pair.ratio:.3f} "
            f"({low:.3f} to {high:.3f}) |"
        )
    return [
        "## Time beyond the bare forward passes: ResNet-20, 256 images",
        "",
        f"An evaluation moves the weights, makes {objective.batches} forward passes of {size} images, and takes the "
        "loss. It stands next to bare",
        "forward passes `model(x)`, in pieces of the same size and in one batch. Milliseconds, medians of 15 pairs.",
        "`python -m benchmarks.engine`",
        "",
        "| images per bare pass | bare, ms | evaluation, ms | ratio (range over runs) |",
        "|---|---|---|---|",
        *lines,
        "",
    ]


def memory() -> list[str]:
    """Return the section on peak memory, by the number of rays and in copies of the parameters."""
    lines = []
    for widths, counts in (("100,256,10", (20, 200, 2000)), ("1000,4000,4000,10", (4, 20))):
        for rays in counts:
            command = [sys.executable, "-c", _MEMORY_CHILD, str(rays), widths]
            done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
            extra, size = (int(word) for word in done.stdout.split())
            lines.append(f"| {size * 256:,} | {rays} | {extra / 1024:.1f} | {extra / size:.1f} |")
    return [
        "## Memory",
        "",
        "Peak resident memory of a process beyond model and data, for radii along a number of rays, in MiB and in",
        "copies of the parameters. The large net runs one point at a time. Its step and its point are two copies, and",
        "theta and the scale of the metric two more. The rest, half a copy or more, is freed memory that the C library",
        "keeps. `python -m benchmarks.engine`",
        "",
        "| parameters | rays | MiB | copies of the parameters |",
        "|---|---|---|---|",
        *lines,
        "",
    ]


def section() -> list[str]:
    """Return the sections of the page."""
    return [*small_net(), *resnet(), *memory()]


if __name__ == "__main__":
    print_section(__doc__, section)
