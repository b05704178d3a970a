"""The options of sharpness measures, for the commands that take them."""

from __future__ import annotations

from typing import Any

import click

from landscape_cli import options

SAMPLERS = ("auto", "hmc", "mala", "sgld", "rmsprop-sgld")
SCALES = (*options.METRICS, "adaptive")


class Sizes(click.ParamType):
    """Positive numbers with commas between them."""

    name = "R,R,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        numbers = tuple(options.as_number(part) for part in str(value).split(","))
        if not all(0 < number < float("inf") for number in numbers):
            self.fail(
                f"expected positive numbers with commas between them, such as 0.05,0.1, got {value!r}.", param, ctx
            )
        return numbers


noise = options.together(
    click.option(
        "--draws", type=click.IntRange(min=4), default=20, show_default=True, metavar="N", help="Random perturbations."
    ),
    click.option(
        "--probes", type=click.IntRange(min=2), default=50, show_default=True, metavar="N",
        help="Products with random vectors, for traces.",
    ),
)  # fmt: skip
seed = click.option(
    "--seed", type=click.IntRange(min=0), metavar="N", default=0, show_default=True, help="Seed of everything random."
)
start = click.option(
    "--start", type=click.Path(), metavar="CKPT", help="distance: the weights at the start of training."
)

settings = options.together(
    click.option(
        "--metric", type=click.Choice(SCALES), default="identity", show_default=True,
        help="Scale of a perturbation: 1, |w| (adaptive), or each filter's or layer's norm.",
    ),
    click.option("--rho", type=Sizes(), help="Size of perturbations.  [default: that of each measure's source]"),
    noise,
    seed,
    click.option(
        "--normalise-logits", is_flag=True,
        help="Centre the logits and give them norm 1, so that no measure sees their scale.",
    ),
    click.option("--nbeta", type=options.Number(0), metavar="X", help="llc: samples times inverse temperature."),
    click.option("--gamma", type=options.Number(), metavar="X", help="llc: pull towards the trained point."),
    click.option(
        "--sampler", type=click.Choice(SAMPLERS), default="auto", show_default=True,
        help="llc: exact chains on all data (hmc, mala), or on minibatches. auto: hmc for small nets.",
    ),
    click.option(
        "--chains", type=click.IntRange(min=2), default=4, show_default=True, metavar="N", help="llc: number of chains."
    ),
    click.option(
        "--steps", type=click.IntRange(min=8), metavar="N",
        help="llc: gradients of each chain after its pilot and burn-in.  [default: 1000, or 200 for large nets]",
    ),
    click.option("--step-size", type=options.Number(0), metavar="X", help="llc: ε.  [default: a pilot chooses it]"),
    click.option(
        "--minibatch", type=click.IntRange(min=1), metavar="N",
        help="llc: samples per gradient of sgld.  [default: an eighth of the data]",
    ),
    click.option("--layer", metavar="NAME", help="relative-flatness: the layer's weight.  [default: the last but one]"),
    start,
    click.option(
        "--cutoff", type=options.Number(), default=0.1, show_default=True, help="log-volume: loss at the basin's edge."
    ),
    click.option(
        "--budget", type=options.BudgetText(), default="10min", show_default=True, metavar="TIME|PASSES",
        help="What each checkpoint may cost: a time, or a number of passes over the data.",
    ),
)  # fmt: skip
