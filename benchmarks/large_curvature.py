"""Trace and top eigenvalue of GPT-2 small by landscape, curvlinops, hessian-eigenthings and PyHessian.

``python -m benchmarks.large_curvature`` prints the tables of ``docs/large-models.md``. Peers that are not installed are
left out. All have the same weights, the same 4 x 64 tokens and all 124 million parameters. A trace takes 4 random
probes, one at a time. A search for the top eigenvalue ends at a residual of 1 % of the value in landscape and in
curvlinops (scipy's eigsh). hessian-eigenthings makes as many products as it is told: those that landscape needed.
PyHessian looks for the eigenvalue of largest absolute value, and ends at its own default, or after 60 products.

Each case runs in a fresh process. Its peak memory is what the operating system saw after the model was made, in copies
of the parameters beyond the loaded model. Seconds are of the processor, on one thread; the making of our ``Objective``
is a column of its own. Attention runs as plain operations for the peers, since its kernels have no second derivative.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import math
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

import landscape as ls
from benchmarks.large import gpt2, memory

PROBES = 4
RTOL = 0.01  #: residual of an eigenpair relative to its value
STEPS = 21  #: products with which Lanczos has reached it
MOST = 60  #: products of a power iteration
SAMPLES, TOKENS = 4, 64
PACKAGES = {
    "landscape": "landscape",
    "curvlinops": "curvlinops",
    "hessian-eigenthings": "hessian_eigenthings",
    "PyHessian": "pyhessian",
}
Values = dict[str, Any]


class Shifted(nn.Module):
    """A language model as a classifier of the next token: numbers -> logits, (B, T) -> (B (T - 1), V)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, numbers: Tensor) -> Tensor:
        logits = self.model(input_ids=numbers).logits[:, :-1]
        return logits.reshape(-1, logits.shape[-1])


def landscape(model: nn.Module, numbers: Tensor, task: str) -> Values:
    """Measure with this library, from the model as it is."""
    started = time.process_time()
    objective = ls.Objective(model, {"input_ids": numbers, "labels": numbers}, "model", scope="all")
    made = time.process_time() - started
    op = ls.Hessian(objective)
    if task == "trace":
        trace = ls.trace(op, PROBES)
        row = {"value": trace.value, "error": trace.standard_error, "products": trace.cost.evaluations}
    else:
        pairs = ls.top_eigenpairs(op, 1, rtol=RTOL, check=False)
        row = {"value": float(pairs.values[0]), "products": pairs.cost.evaluations}
    return row | {"objective": made}


def curvlinops(model: nn.Module, numbers: Tensor, task: str) -> Values:
    """Measure with curvlinops, and scipy's eigsh as its documentation shows."""
    import curvlinops as peer
    from scipy.sparse.linalg import LinearOperator, eigsh

    net, targets = Shifted(model), numbers[:, 1:].reshape(-1)
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    op = peer.HessianLinearOperator(
        net, nn.CrossEntropyLoss(), parameters, [(numbers, targets)], check_deterministic=False,
    )  # fmt: skip
    if task == "trace":
        return _trace(lambda v: op @ v, sum(parameter.numel() for parameter in parameters))
    linear, count = op.to_scipy(), [0]

    def product(vector: Any) -> Any:
        count[0] += 1
        return linear @ vector

    counted = LinearOperator(linear.shape, matvec=product, dtype=linear.dtype)
    values = eigsh(counted, 1, which="LA", tol=RTOL, return_eigenvectors=False)
    return {"value": float(values[0]), "products": count[0]}


def eigenthings(model: nn.Module, numbers: Tensor, task: str) -> Values:
    """Measure with hessian-eigenthings."""
    import hessian_eigenthings as peer

    net = Shifted(model)
    loss = peer.supervised_loss(nn.CrossEntropyLoss())
    op = peer.HessianOperator(net, [(numbers, numbers[:, 1:].reshape(-1))], loss)
    if task == "trace":
        return _trace(op.matvec, sum(parameter.numel() for parameter in net.parameters()))
    pairs = peer.lanczos(op, k=1, max_iter=STEPS, tol=0.0, which="LA", seed=0)
    return {"value": float(pairs.eigenvalues[0]), "products": pairs.iterations}


def pyhessian(model: nn.Module, numbers: Tensor, task: str) -> Values:
    """Measure with PyHessian, which finds the eigenvalue of largest absolute value."""
    from pyhessian import hessian

    source: Any = importlib.import_module("pyhessian.hessian")  # the package hides it behind the class
    count, inner = [0], source.hessian_vector_product

    def counted(*arguments: Any) -> Any:
        count[0] += 1
        return inner(*arguments)

    source.hessian_vector_product = counted
    op = hessian(Shifted(model), nn.CrossEntropyLoss(), data=(numbers, numbers[:, 1:].reshape(-1)), cuda=False)
    torch.manual_seed(0)
    if task == "trace":
        value = sum(op.trace(maxIter=PROBES, tol=-math.inf)) / PROBES
    else:
        value = op.eigenvalues(maxIter=MOST, top_n=1)[0][0]
    return {"value": float(value), "products": count[0]}


def _trace(product: Callable[[Tensor], Tensor], size: int) -> Values:
    """Return Hutchinson's estimate from products of another package."""
    generator = torch.Generator().manual_seed(0)
    total = 0.0
    for _ in range(PROBES):
        signs = torch.randint(0, 2, (size,), generator=generator, dtype=torch.int8).float().mul_(2).sub_(1)
        total += float(torch.dot(signs, product(signs)))
    return {"value": total / PROBES, "products": PROBES}


CONTENDERS: dict[str, Callable[[nn.Module, Tensor, str], Values]] = {
    "landscape": landscape,
    "curvlinops": curvlinops,
    "hessian-eigenthings": eigenthings,
    "PyHessian": pyhessian,
}


def measure(name: str, task: str) -> Values:
    """Return what one contender finds, and what it takes."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    model, data = gpt2(SAMPLES, TOKENS)
    size, loaded = sum(parameter.numel() * 4 for parameter in model.parameters()), memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    started = time.process_time()
    with nullcontext() if name == "landscape" else sdpa_kernel(SDPBackend.MATH):
        row = CONTENDERS[name](model, data["input_ids"], task)
    seconds = time.process_time() - started - row.setdefault("objective", 0.0)
    return row | {"name": name, "task": task, "seconds": seconds, "copies": (memory("VmHWM") - loaded) / size}


def table(rows: list[Values]) -> str:
    """Return the rows as a Markdown table."""
    lines = [
        "| | value | products | processor seconds | objective, seconds | beyond the model, in copies |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row['name']} | {row['value']:.6g} | {row['products']:.0f} | {row['seconds']:.1f} "
            f"| {row['objective']:.1f} | {row['copies']:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    if len(sys.argv) > 1 and sys.argv[1] in CONTENDERS:
        print(json.dumps(measure(sys.argv[1], sys.argv[2])))
        return
    for task in sys.argv[1:] or ("trace", "eigenvalue"):
        rows = []
        for name, package in PACKAGES.items():
            if importlib.util.find_spec(package) is None:
                print(f"{name} is not installed", file=sys.stderr)
                continue
            command = [sys.executable, "-m", "benchmarks.large_curvature", name, task]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
            if done.returncode:
                if name == "landscape":
                    raise SystemExit(f"landscape failed on {task}")
                print(f"{name} failed on {task}", file=sys.stderr)
                continue
            rows.append(json.loads(done.stdout.splitlines()[-1]))
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
        print(f"{task}\n\n{table(rows)}\n")


if __name__ == "__main__":
    main()
