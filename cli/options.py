"""The options that several commands share. Nothing here imports torch: ``--help`` must answer at once."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import click

from landscape.errors import LandscapeError

CRITERIA = ("loss", "rise", "kl")
OUTPUTS = ("logits", "probabilities", "log-probabilities")
METRICS = ("filter", "layer", "identity")
ESTIMATORS = ("auto", "uniform", "counted", "annealed", "importance", "laplace")
PROPOSALS = ("low-rank", "diagonal", "low-rank-diagonal", "krylov", "squared-gradients", "slopes")
CURVATURES = ("hessian", "ggn")
DERIVATIVES = ("autograd", "difference")
MEASURES = ("lebesgue", "gaussian")
MEASURE_CENTRES = ("zero", "theta")
DTYPES = ("float32", "float64", "float16", "bfloat16")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class Size(click.ParamType):
    """A number of bytes, such as 512MB (10^6) or 2GiB (2^30)."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        size = value if isinstance(value, int) else parse_size(value)
        if not size:
            self.fail(f"expected a number and a unit, such as 512MB or 2GiB, got {value!r}.", param, ctx)
        return size


class RadiusCap(click.ParamType):
    """A radius, or ``none`` for no cap."""

    name = "number|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = math.inf if str(value).lower() == "none" else as_number(value)
        if not number > 0:
            self.fail(f"expected a positive number, or none for no cap, got {value!r}.", param, ctx)
        return number


class Number(click.ParamType):
    """A finite number; ``low`` and ``high`` themselves are not allowed."""

    name = "float"

    def __init__(self, low: float = -math.inf, high: float = math.inf) -> None:
        self.low, self.high = low, high

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = as_number(value)
        if not self.low < number < self.high:
            bounds = (("above", self.low), ("below", self.high))
            between = " and ".join(f"{side} {bound:g}" for side, bound in bounds if math.isfinite(bound))
            self.fail(f"expected a finite number{between and f' {between}'}, got {value!r}.", param, ctx)
        return number


class BudgetText(click.ParamType):
    """A budget, kept as it was typed."""

    name = "budget"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from landscape.rays.budget import Budget  # for speed alone: it imports numpy

        try:
            Budget.parse(value)
        except LandscapeError as error:
            raise click.UsageError(str(error).replace("\n", " "), ctx) from error
        return str(value)


def as_number(value: Any) -> float:
    """Return the number that a text holds; NaN if it holds none."""
    try:
        return float(value)
    except ValueError:
        return math.nan


def parse_size(text: str) -> int | None:
    """Return the bytes that a text such as ``512MB`` or ``2GiB`` means; None if it is not a size.

    >>> parse_size("2GiB"), parse_size("1.5 kB"), parse_size("plenty")
    (2147483648, 1500, None)
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        return None
    number, prefix, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** _POWERS[prefix.lower()])


def together(*options: Decorator) -> Decorator:
    """Return one decorator that adds these options; ``--help`` lists them in this order."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


checkpoint = click.argument("checkpoint", type=click.Path())
results_path = click.argument("run", type=click.Path())

task = together(
    click.option("--task", metavar="FILE.py", help="File whose function task() returns a landscape.Task."),
    click.option("--model", metavar="FILE.py:NAME", help="Function that makes the model, or pkg.mod:name."),
    click.option("--model-args", metavar="JSON", help="Keyword arguments of --model, such as '{\"size\": 32}'."),
    click.option(
        "--data",
        metavar="FILE|FILE.py:NAME",
        help="Inputs and targets (npz, npy, h5, pt, safetensors), or a function that returns batches.",
    ),
    click.option(
        "--loss",
        metavar="NAME|FILE.py:NAME",
        help="cross_entropy, binary_cross_entropy, mse, model (the output's own), or a function.",
    ),
    click.option(
        "--output",
        type=click.Choice(OUTPUTS),
        help="What the network returns; needed by accuracy and --criterion kl.  [default: what the loss says]",
    ),
    click.option(
        "--unsafe-load",
        "unsafe",
        is_flag=True,
        help="Unpickle the checkpoint and run any code in it. Only for trusted files.",
    ),
    click.option(
        "--weights", metavar="NAME", help="Which set of weights, if CHECKPOINT holds several, such as state_dict_ema."
    ),
    click.option("--trust-code", is_flag=True, help="Run code that a landscape.toml outside the working folder names."),
)

centre = together(
    click.option(
        "--scope",
        default=("weights",),
        show_default="weights",
        multiple=True,
        callback=lambda context, option, value: " | ".join(value),
        metavar="weights|all|REGEX",
        help="Which parameters move: weights (kernels; no biases, norms, embeddings), all, or matching names. "
        "May be repeated.",
    ),
    click.option(
        "--batch-size",
        type=click.IntRange(min=1),
        metavar="N",
        help="Samples per forward pass.  [default: fits the cache]",
    ),
    click.option("--max-samples", type=click.IntRange(min=1), metavar="N", help="Use the first N samples only."),
    click.option("--device", metavar="NAME", help="cpu, cuda, cuda:1.  [default: the model's]"),
    click.option("--dtype", type=click.Choice(DTYPES), help="Compute in this dtype.  [default: the model's]"),
    click.option(
        "--memory",
        type=Size(),
        help="Memory for points evaluated together, beyond the model: 512MB, 2GiB.  "
        "[default: 24 MiB on a CPU, 3 GiB on a GPU]",
    ),
)

objective = together(
    centre,
    click.option(
        "--lanes",
        type=click.IntRange(min=1),
        metavar="N",
        help="Most points evaluated together; fewer make more chunks for ranks.  [default: fits the cache]",
    ),
    click.option("--compile", is_flag=True, help="Compile the evaluation of many points: for long runs."),
)

processes = click.option(
    "--processes",
    type=click.IntRange(min=1),
    metavar="N",
    help="Measure with N processes of this machine, to the same bytes; each takes its share of the cores.",
)

rays = together(
    click.option(
        "--cutoff", "cutoffs", type=Number(), multiple=True, default=(0.1,), show_default=True,
        help="Value of the criterion that bounds the basin. May be repeated.",
    ),
    click.option(
        "--criterion", type=click.Choice(CRITERIA), default="loss", show_default=True,
        help="The loss, its rise above the centre, or the mean KL from the trained predictions.",
    ),
    click.option(
        "--directions", type=click.IntRange(min=1), metavar="N", default=1000, show_default=True,
        help="Number of random rays.",
    ),
    click.option(
        "--metric", type=click.Choice(METRICS), default="filter", show_default=True,
        help="Unit of r: each filter's norm, each layer's norm, or Euclidean length.",
    ),
    click.option("--max-radius", type=RadiusCap(), help="Cap on r.  [default: 1; none for identity]"),
    click.option(
        "--rtol", type=Number(0, 1), metavar="X",
        help="Relative accuracy of each radius.  [default: 0.001; finer for importance and annealed]",
    ),
    click.option(
        "--step-ratio", type=Number(1), metavar="Q",
        help="Resolution of the basin: ratio of neighbouring radii at which rays are tested.  [default: 2]",
    ),
    click.option(
        "--seed", type=click.IntRange(min=0), metavar="N", default=0, show_default=True, help="Seed of the rays."
    ),
)  # fmt: skip

second_derivatives = together(
    click.option(
        "--derivative", type=click.Choice(DERIVATIVES), default=DERIVATIVES[0], show_default=True,
        help="Second derivatives by autograd, or by differences of gradients, for operations without a second rule.",
    ),
    click.option(
        "--no-check", "check", is_flag=True, flag_value=False, default=True,
        help="Do not compare autograd with differences first.",
    ),
)  # fmt: skip

estimating = together(
    click.option(
        "--estimator", type=click.Choice(ESTIMATORS), default="auto", show_default=True,
        help="How to estimate V. uniform: the mean of r^n over uniform rays. counted: how many points of the cap's "
        "ball are in the basin. annealed: particles that walk to the long rays. importance: rays drawn where the "
        "curvature is small. laplace: the curvature alone. auto: uniform, then counted, then annealed, until one is "
        "reliable.",
    ),
    click.option(
        "--budget", type=BudgetText(), metavar="TIME|PASSES",
        help="auto, counted, annealed: what the run may cost, such as 300s, 5min or 200000 (full passes over the "
        "data). A time is a deadline.  [default: 2min]",
    ),
    click.option(
        "--proposal", type=click.Choice(PROPOSALS), default=PROPOSALS[0], show_default=True,
        help="importance: the part of the curvature that rays follow; slopes: gradients at the basin's wall.",
    ),
    click.option(
        "--rank", type=click.IntRange(min=1), metavar="K", default=20, show_default=True,
        help="importance: number of eigenpairs of the low-rank proposals.",
    ),
    click.option(
        "--curvature", type=click.Choice(CURVATURES),
        help="importance, laplace: Hessian or Gauss-Newton matrix.  [default: hessian; ggn for the criterion kl]",
    ),
    second_derivatives,
    click.option(
        "--probes", type=click.IntRange(min=1), metavar="N",
        help="importance, laplace: number of random probes of the curvature.  [default: 100, 30]",
    ),
    click.option(
        "--measure", type=click.Choice(MEASURES), default=MEASURES[0], show_default=True,
        help="lebesgue: volume; gaussian: probability that random parameters lie in the basin. Not for laplace.",
    ),
    click.option("--sigma", type=Number(0), metavar="X", help="gaussian: standard deviation of each parameter."),
    click.option(
        "--measure-centre", type=click.Choice(MEASURE_CENTRES), default=MEASURE_CENTRES[0], show_default=True,
        help="gaussian: its mean, 0 or theta, the trained point.",
    ),
)  # fmt: skip

keeping = together(
    click.option("--out", type=click.Path(dir_okay=False), metavar="RUN.h5", help="Store the run in this HDF5 file."),
    click.option("--resume", is_flag=True, help="Continue the run in --out, or start one if there is none."),
    click.option("--overwrite", is_flag=True, help="Replace the run in --out."),
)

json_flag = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
quiet = click.option("-q", "--quiet", is_flag=True, help="Print only errors on stderr.")

measuring = together(checkpoint, task, rays, objective, keeping, json_flag, quiet)
