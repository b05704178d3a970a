"""What a curvature product could cost at least, what it spends its time on, and how far its probes scatter.

python -m benchmarks.curvature_limits
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import landscape as ls
from benchmarks import nets
from benchmarks.curvature_peers import IMAGES, probes, problem
from benchmarks.timing import seconds

REPEATS = 15
SCATTER = 128  #: vectors for the variance
_KERNELS = ("aten::convolution_backward", "aten::mkldnn_convolution")


def limits() -> list[str]:
    """Return the section; nothing where the checkpoint is not at hand."""
    if nets.resnet20() is None:
        return []
    return ["## What limits curvature products: ResNet-20, 256 images", "", *floor(), *profile(), *scatter()]


def floor() -> list[str]:
    """Return what the convolutions of a product would take if nothing else had to be done."""
    model, batches = problem("8 x 32")
    objective = ls.Objective(model, batches, scope="all")
    once = _convolutions(model, batches[0][0]) * len(batches)
    hessian = ls.Hessian(objective)
    vectors = probes(10)
    product, form = (_best(call) / 10 for call in (lambda: hessian @ vectors, lambda: hessian.forms(vectors)))
    return [
        f"The convolutions of one forward pass alone, each called by itself in pieces of 32, take {once:.3f} s.",
        "A product cannot do without six of each (two for the tangents forwards, four for the slopes backwards): "
        f"{6 * once:.2f} s even if the backward kernels were as fast as the forward one; it takes {product:.2f} s.",
        f"A quadratic form takes three, {3 * once:.2f} s; it takes {form:.2f} s. Best of {REPEATS // 5} runs of 10 "
        "vectors, graphs included. `python -m benchmarks.curvature_limits`",
        "",
    ]


def _convolutions(model: nn.Module, images: Tensor) -> float:
    """Return the seconds that the convolutions of a forward pass take by themselves, each at its best."""
    seen: list[tuple[nn.Conv2d, Tensor]] = []
    hooks = [
        module.register_forward_hook(lambda module, inputs, output: seen.append((module, inputs[0].detach())))
        for module in model.modules()
        if isinstance(module, nn.Conv2d)
    ]
    with torch.no_grad():
        model(images)
        for hook in hooks:
            hook.remove()
        return sum(_alone(module, x) for module, x in seen)


def _alone(module: nn.Conv2d, x: Tensor) -> float:
    """Return the least of several times of one convolution."""
    shape = (module.stride, module.padding, module.dilation, module.groups)
    return min(seconds(lambda: F.conv2d(x, module.weight, None, *shape)) for _ in range(REPEATS))


def _best(call: Callable[[], object]) -> float:
    return min(seconds(call) for _ in range(REPEATS // 5))


def profile() -> list[str]:
    """Return what a product and a quadratic form of ours spend their time on."""
    model, batches = problem("8 x 32")
    operator = ls.Hessian(ls.Objective(model, batches, scope="all"))
    vector = torch.ones(operator.size, 1)
    lines = ["Share of the processor's time in convolutions, of one vector once its graphs are kept"]
    for label, call in (("a product", lambda: operator @ vector), ("a quadratic form", lambda: operator.forms(vector))):
        call()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
            call()
        events = seen.key_averages()
        spent = sum(event.self_cpu_time_total for event in events)
        inside = sum(event.self_cpu_time_total for event in events if "convolution" in event.key)
        count = sum(event.count for event in events if event.key in _KERNELS)
        lines.append(f"{label} {inside / spent:.0%} ({count} calls of their kernels)")
    told = ": ".join([lines[0], ", ".join(lines[1:])])
    return [f"{told}. `python -m benchmarks.curvature_limits`", ""]


@dataclass(frozen=True)
class Variances:
    """Standard deviations of a form with signs common to all batches and of their own, the ratio of the variances, and
    the standard error of its logarithm.
    """

    common: float
    own: float
    ratio: float
    error: float


@cache
def variances(kind: type[ls.Hessian] | type[ls.GaussNewton]) -> Variances:
    """Measure how far quadratic forms scatter, batch by batch, and take the jackknife for the error."""
    forms = np.stack([part.forms(probes(SCATTER)).numpy() for part in kind(_objective()).summands()])
    ratio, error = _ratio(forms)
    return Variances(forms.sum(0).std(ddof=1), np.sqrt(forms.var(axis=1, ddof=1).sum()), ratio, error)


def _objective() -> ls.Objective:
    model, batches = problem(f"1 x {IMAGES}")
    return ls.Objective(model, batches, scope="all")


def scatter() -> list[str]:
    """Return how much less a trace scatters where each batch has signs of its own than with signs common to all."""
    lines = [
        f"Variance of v . A v over {SCATTER} random signs v common to all data, as peers have them, over that of a",
        f"trace of ours, whose {_objective().batches} pieces of 32 images are probed with signs of their own: so many",
        "times more vectors a peer needs for the same standard error.",
        "",
        "| matrix | common signs | own signs | variance, times | 95 % interval (jackknife) |",
        "|---|---|---|---|---|",
    ]
    for kind in (ls.Hessian, ls.GaussNewton):
        found = variances(kind)
        low, high = found.ratio * np.exp(-1.96 * found.error), found.ratio * np.exp(1.96 * found.error)
        lines.append(
            f"| {kind.__name__} | {found.common:.0f} | {found.own:.0f} | {found.ratio:.2f} | {low:.2f} to {high:.2f} |"
        )
    return [*lines, "", "`python -m benchmarks.curvature_limits`", ""]


def _ratio(forms: np.ndarray) -> tuple[float, float]:
    """Return the ratio of the two variances of forms, shape (batches, vectors), and the error of its logarithm."""

    def log_ratio(kept: np.ndarray) -> float:
        return float(np.log(kept.sum(0).var(ddof=1) / kept.var(axis=1, ddof=1).sum()))

    count = forms.shape[1]
    left_out = np.array([log_ratio(np.delete(forms, i, axis=1)) for i in range(count)])
    error = np.sqrt((count - 1) / count * np.square(left_out - left_out.mean()).sum())
    return float(np.exp(log_ratio(forms))), float(error)


if __name__ == "__main__":
    torch.manual_seed(0)
    print("\n".join(limits()))
