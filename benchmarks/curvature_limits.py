"""The least time of a curvature product, what it spends its time on, and the variance of its probes.

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
from benchmarks.page import print_section
from benchmarks.timing import seconds
from landscape.results.table import percent

REPEATS = 15
SAMPLES = 128  #: vectors for the variance
_KERNELS = ("aten::convolution_backward", "aten::mkldnn_convolution")


def limits() -> list[str]:
    """Return the section; nothing if the checkpoint is missing."""
    if nets.resnet20() is None:
        return []
    return [
        "## What limits curvature products: ResNet-20, 256 images",
        "",
        *least_time(),
        *profile(),
        *variance_table(),
    ]


def least_time() -> list[str]:
    """Return the time of the convolutions of a product, as if nothing else had to be done."""
    model, batches = problem("8 x 32")
    objective = ls.Objective(model, batches, scope="all")
    once = _convolutions(model, batches[0][0]) * len(batches)
    hessian = ls.Hessian(objective)
    vectors = probes(10)
    product, form = (_best(call) / 10 for call in (lambda: hessian @ vectors, lambda: hessian.forms(vectors)))
    return [
        f"The convolutions of one forward pass alone, each called by itself in pieces of 32, take {once:.3f} s.",
        "A product needs each of them six times: two for the tangents forwards, four for the gradients backwards. "
        f"That is {6 * once:.2f} s, even if the backward kernels were as fast as the forward one. It takes "
        f"{product:.2f} s.",
        f"A quadratic form needs them three times, {3 * once:.2f} s, and takes {form:.2f} s. Best of {REPEATS // 5} "
        "runs of 10 vectors, graphs included. `python -m benchmarks.curvature_limits`",
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
        return sum(_best_time(module, x) for module, x in seen)


def _best_time(module: nn.Conv2d, x: Tensor) -> float:
    """Return the shortest of several times of one convolution."""

    def convolve() -> Tensor:
        return F.conv2d(x, module.weight, None, module.stride, module.padding, module.dilation, module.groups)

    return min(seconds(convolve) for _ in range(REPEATS))


def _best(call: Callable[[], object]) -> float:
    return min(seconds(call) for _ in range(REPEATS // 5))


def profile() -> list[str]:
    """Return the share of convolutions in the time of a product and of a quadratic form."""
    model, batches = problem("8 x 32")
    operator = ls.Hessian(ls.Objective(model, batches, scope="all"))
    vector = torch.ones(operator.size, 1)
    lines = ["This is the share of processor time in convolutions, for one vector once its graphs are kept"]
    for label, call in (("a product", lambda: operator @ vector), ("a quadratic form", lambda: operator.forms(vector))):
        call()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
            call()
        events = profiler.key_averages()
        spent = sum(event.self_cpu_time_total for event in events)
        inside = sum(event.self_cpu_time_total for event in events if "convolution" in event.key)
        count = sum(event.count for event in events if event.key in _KERNELS)
        lines.append(f"{label} {percent(inside / spent, 0)} ({count} calls of their kernels)")
    text = ". ".join([lines[0], ", ".join(lines[1:]).capitalize()])
    return [f"{text}. `python -m benchmarks.curvature_limits`", ""]


@dataclass(frozen=True)
class Variances:
    """How far quadratic forms v . A v scatter over random signs v.

    Attributes:
        common: standard deviation with the same signs for all batches.
        own: standard deviation with separate signs for each batch.
        ratio: of the two variances.
        error: standard error of the logarithm of the ratio.
    """

    common: float
    own: float
    ratio: float
    error: float


@cache
def variances(kind: type[ls.Hessian] | type[ls.GaussNewton]) -> Variances:
    """Measure the variances from forms of each batch; the error of the ratio is by jackknife."""
    forms = np.stack([part.forms(probes(SAMPLES)).numpy() for part in kind(_objective()).summands()])
    ratio, error = _ratio(forms)
    return Variances(forms.sum(0).std(ddof=1), np.sqrt(forms.var(axis=1, ddof=1).sum()), ratio, error)


def _objective() -> ls.Objective:
    model, batches = problem(f"1 x {IMAGES}")
    return ls.Objective(model, batches, scope="all")


def variance_table() -> list[str]:
    """Return how much less a trace scatters if each batch has signs of its own."""
    lines = [
        f"Variance of v . A v over {SAMPLES} random signs v. Other packages use the same signs for all data; landscape",
        f"uses separate signs for each of {_objective().batches} pieces of 32 images. The ratio of the two variances",
        "says how many times more vectors the other packages need for the same standard error.",
        "",
        "| matrix | sd, same signs | sd, separate signs | ratio of variances | 95 % interval (jackknife) |",
        "|---|---|---|---|---|",
    ]
    for kind in (ls.Hessian, ls.GaussNewton):
        scatter = variances(kind)
        low, high = (scatter.ratio * np.exp(sign * 1.96 * scatter.error) for sign in (-1, 1))
        lines.append(
            f"| {kind.__name__} | {scatter.common:.0f} | {scatter.own:.0f} | {scatter.ratio:.2f} "
            f"| {low:.2f} to {high:.2f} |"
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
    print_section(__doc__, limits)
