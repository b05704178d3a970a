"""What curvature costs: products, traces and eigenpairs, next to other packages, and how the cost grows.

    python -m benchmarks.curvature

Packages that are not installed are left out; ``pip install -e '.[bench]'`` installs them.
"""

from __future__ import annotations

import importlib.util
import time

import numpy as np
import torch
from matplotlib.figure import Figure

import landscape as ls
from benchmarks import nets
from benchmarks.curvature_limits import limits, variances
from benchmarks.curvature_peers import CONTENDERS, FEW, IMAGES, PROBES, TOP, problem
from benchmarks.page import FIGURES, print_section
from benchmarks.workers import in_turn, ratio

MODULE = "benchmarks.curvature_peers"
FIGURE = FIGURES / "curvature_cost.png"
TASKS = (
    f"Hessian, 1 x {IMAGES}",
    "Hessian, 8 x 32",
    f"Gauss-Newton, 1 x {IMAGES}",
    "Gauss-Newton, 8 x 32",
)
_PACKAGES = {"curvlinops": "curvlinops", "hessian-eigenthings": "hessian_eigenthings", "PyHessian": "pyhessian"}
_SIZES = (10, 30, 100, 300, 1000, 3100)  #: widths, for about 10^3 to 10^7 parameters
_SAMPLES = (64, 256, 1024, 4096, 16384)
RUNS = 3
OURS = ("landscape, products", "landscape, quadratic forms")
_MiB = 2**20


def contenders(task: str) -> list[str]:
    """Return the contenders that can do a task: installed ones; PyHessian has no Gauss-Newton matrix."""
    missing = {peer for peer, package in _PACKAGES.items() if importlib.util.find_spec(package) is None}
    able = [name for name in CONTENDERS if name.split()[0] not in missing]
    if "Gauss-Newton" in task:
        able = [name for name in able if not name.startswith("PyHessian")]
    other = "forms" if "eigenpairs" in task else "check=False"
    return [name for name in able if other not in name]


def products() -> list[str]:
    """Return the section on products and quadratic forms; nothing if the checkpoint is missing."""
    if nets.resnet20() is None:
        return []
    lines = [
        f"## Curvature products: ResNet-20, all 272,474 parameters, {IMAGES} images",
        "",
        f"Seconds for each of {PROBES} vectors, graphs included. Each contender runs in a process of its own, in turn.",
        "A trace by random signs takes quadratic forms; the other packages make them from products. For the same",
        "standard error they need more vectors, by the ratio of variances below; the last ratio counts them in.",
        "Peak: resident memory beyond what the process held before. `python -m benchmarks.curvature`",
        "",
        "| task: matrix, data as batches x images | contender | s per vector | over ours, products (range over runs) | "
        "over ours, forms | over ours, trace of equal error | peak, MiB |",
        "|---|---|---|---|---|---|---|",
    ]
    thirds = []
    for task in TASKS:
        runs = in_turn(MODULE, task, contenders(task), runs=RUNS, warmup=False)
        ours = [runs[name] for name in OURS]
        for name, run in runs.items():
            pairs = [ratio(run, own) for own in ours]
            cells = [f"{pair.ratio:.2f} ({pair.spread[0]:.2f} to {pair.spread[1]:.2f})" for pair in pairs]
            more_vectors = variances(ls.GaussNewton if "Gauss-Newton" in task else ls.Hessian).ratio
            cells.append("" if name in OURS else f"{pairs[1].ratio * more_vectors:.1f}")
            seconds = float(np.median(run.seconds)) / PROBES
            lines.append(f"| {task} | {name} | {seconds:.3f} | {' | '.join(cells)} | {run.peak / _MiB:,.0f} |")
        peers = [float(np.median(run.seconds)) / PROBES for name, run in runs.items() if name not in OURS]
        thirds.append(f"{min(peers) / 3:.2f} s ({task})" if peers else "")
        answers = [run.answer for run in runs.values()]
        agree = max(answers) / min(answers) - 1
        lines.append(f"| {task} | the mean form of all contenders agrees within | {agree:.1e} | | | | |")
    return [
        *lines,
        "",
        "Compare the least time below with a third of the time of the fastest other package:",
        "",
        *(f"- {third}" for third in thirds if third),
        "",
    ]


def eigenpairs() -> list[str]:
    """Return the section on the top eigenpairs; nothing if the checkpoint is missing."""
    if nets.resnet20() is None:
        return []
    task = f"Hessian, 2 x 32, eigenpairs of {FEW} images"
    runs = in_turn(MODULE, task, contenders(task), runs=1, warmup=False)
    exact = _reference(task)
    lines = [
        f"## Top {TOP} eigenpairs of the Hessian to 1e-4: ResNet-20, {FEW} images in 2 batches of 32",
        "",
        f"Reference, by landscape to 1e-6: {', '.join(f'{value:.4f}' for value in exact)}. An eigenvalue is right",
        "within 1e-4 of itself.",
        "curvlinops runs scipy's `eigsh` (ARPACK), the others run their own method. All get the same tolerance.",
        "",
        "| contender | seconds | products | eigenvalues | right | peak, MiB |",
        "|---|---|---|---|---|---|",
    ]
    for name, run in runs.items():
        values, count = run.answer
        right = sum(abs(a - b) <= 1e-4 * abs(b) for a, b in zip(values, exact, strict=False))
        lines.append(
            f"| {name} | {run.seconds[0]:.1f} | {count and f'{count:.0f}'} | "
            f"{', '.join(f'{value:.4f}' for value in values)} | {right} of {TOP} | {run.peak / _MiB:,.0f} |"
        )
    lines += [f"| scipy `lobpcg` on our products | | {_lobpcg_products(task)} | | | |", ""]
    return lines


def _reference(task: str) -> list[float]:
    model, batches = problem(task)
    pairs = ls.top_eigenpairs(ls.Hessian(ls.Objective(model, batches, scope="all")), TOP, rtol=1e-6, seed=1)
    return [float(value) for value in pairs.values]


def _lobpcg_products(task: str) -> int:
    """Return how many products LOBPCG takes for the same residual."""
    from scipy.sparse.linalg import lobpcg

    model, batches = problem(task)
    operator = ls.Hessian(ls.Objective(model, batches, scope="all"))
    largest = float(_reference(task)[0])
    start = np.random.default_rng(0).standard_normal((operator.size, TOP)).astype(np.float32)
    lobpcg(operator.to_scipy(), start, largest=True, tol=1e-4 * largest, maxiter=60)
    return int(operator.cost.evaluations)


def scaling() -> list[str]:
    """Return the section on how a product's cost grows, and draw it."""
    by_size = [(size, _seconds(width, 256)) for width in _SIZES if (size := _count(width))]
    by_data = [(samples, _seconds(100, samples)) for samples in _SAMPLES]
    figure = Figure(figsize=(7.2, 3.2), layout="constrained", dpi=160)
    for axes, points, label in zip(
        figure.subplots(1, 2), (by_size, by_data), ("parameters n (256 samples)", "samples (n = 31,210)"), strict=True
    ):
        x, y = np.array(points).T
        slope = np.polyfit(np.log(x[-3:]), np.log(y[-3:]), 1)[0]
        axes.loglog(x, y, "o-", color="black")
        axes.set(xlabel=label, ylabel="seconds per Hessian product", title=f"last three points: slope {slope:.2f}")
        axes.grid(alpha=0.3)
    FIGURE.parent.mkdir(exist_ok=True)
    figure.savefig(FIGURE)
    row = lambda points: ", ".join(f"{x:,}: {y * 1e3:,.3g} ms" for x, y in points)  # noqa: E731
    return [
        "## How a Hessian product grows with n and with the data",
        "",
        f"A ReLU net of three linear layers. Against n: {row(by_size)}.",
        f"Against the number of samples: {row(by_data)}.",
        "A small net costs only overhead, so the left ends are flat. Towards the right both grow nearly in proportion.",
        "",
        f"![seconds per product against n and against the number of samples](figures/{FIGURE.name})",
        "",
    ]


def _widths(width: int) -> list[int]:
    return [100, width, width, 10]


def _count(width: int) -> int:
    return sum(p.numel() for p in nets.mlp(_widths(width)).parameters())


def _seconds(width: int, samples: int) -> float:
    """Return the median time of a product with one vector, once its graphs are kept."""
    generator = torch.Generator().manual_seed(0)
    data = torch.randn(samples, 100, generator=generator), torch.randint(0, 10, (samples,), generator=generator)
    operator = ls.Hessian(ls.Objective(nets.mlp(_widths(width)), data, scope="all"))
    vector = torch.randn(operator.size, generator=generator)
    times = []
    for _ in range(7):
        started = time.perf_counter()
        operator @ vector
        times.append(time.perf_counter() - started)
    return float(np.median(times[2:]))


def section() -> list[str]:
    """Return the sections of the page."""
    return [*products(), *limits(), *eigenpairs(), *scaling()]


if __name__ == "__main__":
    print_section(__doc__, section)
