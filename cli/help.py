"""``--help`` on one screen: the options that most runs need, the names of the others, and an example.

``--help-all`` explains every option, as docs/commands.md does.
"""

from __future__ import annotations

import re
import textwrap
from typing import Any

import click

from landscape_cli.beside import beside

_TASK = ("task", "model", "data", "loss")
_KEPT = ("out", "resume", "as_json")
#: by command, what ``--help`` explains; a command that is not here explains all its options
COMMON = {
    "volume": ("estimator", "budget", "cutoffs", "criterion", "metric", "scope", *_TASK, *_KEPT),
    "radius": ("cutoffs", "criterion", "directions", "metric", "scope", *_TASK, *_KEPT, "as_csv"),
    "slice": ("dim", "directions", "steps", "span", "metric", "curvature", "scope", *_TASK, *_KEPT, "exports"),
    "curvature": ("k", "trace", "layers", "density", "shift", "operator", "metric", "scope", *_TASK, *_KEPT),
    "sharpness": ("measures", "metric", "rho", "draws", "budget", "scope", *_TASK, *_KEPT),
    "track": ("measures", "cutoff", "metric", "budget", "scope", *_TASK, *_KEPT),
    "doctor": ("cutoffs", "criterion", "metric", "scope", *_TASK, "as_json"),
    "benchmark": ("table", "measures", "target", "axes", "keep_all", "outs", "resume", "jobs", "budget", "task"),
    "train": ("out", "poison", "seed", "steps", "start", "keep_every", "assigned", "resume", "device", "as_json"),
    "sweep": ("factors", "varied", "seeds", "out", "steps", "jobs", "assigned", "device", "as_json"),
}
EXAMPLES = {
    "volume": (
        "ckpt.pt --cutoff 0.1 --budget 5min --out run.h5",
        "net.safetensors --model net.py:make --data data.npz",
    ),
    "radius": ("ckpt.pt --cutoff 0.1 --directions 500 --out run.h5",),
    "slice": ("ckpt.pt --dim 2 --steps 31 --out run.h5", "a.pt b.pt --directions toward"),
    "curvature": ("ckpt.pt --top 3 --trace --density --out run.h5",),
    "sharpness": ("ckpt.pt --measures trace,average-case --rho 0.05,0.1",),
    "track": ("run/*.ckpt --measure loss --measure trace --out run.h5",),
    "doctor": ("ckpt.pt --model net.py:make --data data.npz",),
    "show": ("run.h5",),
    "plot": ("run.h5 --out figures --format pdf",),
    "report": ("run.h5", "good.h5 bad.h5 --out compared.html"),
    "compare": ("first.h5 second.h5",),
    "train": ("swiss-roll --out ckpt.pt", "my_task.py --set width=32 --out ckpt.pt"),
    "sweep": ("swiss-roll --vary width=16,32 --seeds 3 --out family",),
    "benchmark": ("family --measures core --out bench.h5", "--table runs.csv --out bench.html"),
    "reproduce": ("swiss-roll --quick --out study",),
    "completion": ("bash --install",),
}
#: what ``--help`` says of an option that several commands have; by command where it means something else there
SHORT = {
    "task": "Python file with a function task().",
    "model": "Function that makes the network.",
    "data": "Data file, or function of batches.",
    "loss": "Name, or function.",
    "scope": "Which parameters move.",
    "cutoffs": "Where the basin ends.",
    "cutoff": "Where the basin ends.",
    "criterion": "What reaches the cutoff.",
    "metric": "Unit of a distance.",
    "estimator": "How to estimate the volume.",
    "budget": "The most it may cost: 5min, or passes.",
    "out": "Store the results here.",
    "outs": "Write results, page (.html) or CSV.",
    "resume": "Continue what --out holds.",
    "as_json": "Print one JSON object.",
    "as_csv": "Print one line per ray and cutoff.",
    "exports": "Write a plane for ParaView or a browser.",
    "curvature": "Also the second derivative.",
    "span": "Distance on either side.",
    "operator": "Which matrix.",
    "layers": "The trace of each tensor's block.",
    "measures": "Which measures.",
    "rho": "Size of perturbations.",
    "table": "Rank the numbers of a table.",
    "target": "What to predict.",
    "axes": "What was varied.",
    "slice directions": "Which directions.",
    "curvature metric": "Coordinates of the matrix.",
    "sharpness metric": "Scale of a perturbation.",
    "track metric": "Scale of a perturbation.",
}
WORDS = "landscape_cli.help.words"  #: in the context's meta: what was typed after ``landscape``
_ALL = "landscape_cli.help.all"  # in the context's meta: whether to explain every option


class ShortHelp(click.Command):
    """A command whose ``--help`` fits one screen. It may run as several processes."""

    @classmethod
    def of(cls, command: click.Command, name: str) -> ShortHelp:
        """Return the same command with short help."""
        return cls(
            name, command.context_settings, command.callback, command.params, command.help,
            no_args_is_help=command.no_args_is_help, epilog=example_of(name),
        )  # fmt: skip

    def invoke(self, ctx: click.Context) -> Any:
        with beside(ctx.params.pop("processes", None), ctx.find_root().meta[WORDS]):
            return super().invoke(ctx)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        params = super().get_params(ctx)
        return [*params, _help_all()] if self.rare(ctx, params) else params

    def rare(self, ctx: click.Context, params: list[click.Parameter]) -> list[click.Option]:
        """Return the options that ``--help`` only names."""
        common = COMMON.get(str(self.name))
        options = [each for each in params if isinstance(each, click.Option) and "--help" not in each.opts]
        return [each for each in options if common and each.name not in (*common, "help", "help_all")]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        params = self.get_params(ctx)
        rare = [] if ctx.meta.get(_ALL) else self.rare(ctx, params)
        if not rare:
            super().format_options(ctx, formatter)
            return
        by_name = {each.name: each for each in params}
        shown = [by_name[name] for name in (*COMMON[str(self.name)], "help_all") if name in by_name]
        with formatter.section("Options"):
            formatter.write_dl([self.short_record(each, ctx) for each in shown])
        with formatter.section(f"More options ({ctx.command_path} --help-all explains them)"):
            names = "  ".join(each.opts[-1] for each in rare)
            for line in textwrap.wrap(names, formatter.width - 2, break_on_hyphens=False):
                formatter.write(f"  {line}\n")

    def short_record(self, option: click.Parameter, ctx: click.Context) -> tuple[str, str]:
        """Return the flags of an option, and in few words what it is."""
        flags, words = option.get_help_record(ctx) or ("", "")
        few = SHORT.get(f"{self.name} {option.name}", SHORT.get(str(option.name), ""))
        return flags, in_short(words, few)


def in_short(words: str, few: str = "") -> str:
    """Return the first sentence of the help of an option, or ``few`` words in its place, and its default.

    >>> in_short("Number of rays. Equal seeds give equal rays.  [default: 1000; x>=1]")
    'Number of rays.  [default: 1000]'
    >>> in_short("Nets at the same time.  [default: one per core]  [x>=1]")
    'Nets at the same time.  [default: one per core]'
    """
    text, bracket, default = words.replace("]  [", "] [").partition("  [")
    first = few or re.split(r"(?<=[.:]) (?=[A-Z]|[a-z_-]+: )", text, maxsplit=1)[0]
    kept = re.sub(r"(; |\] \[)?(\d+<=?)?x[<>]=?[\d.]+(?=\]?$)", "", default.removesuffix("]"))
    return f"{first}{bracket}{kept}]" if kept else first


def example_of(name: str) -> str | None:
    """Return the lines below the options: how the command may be typed."""
    lines = EXAMPLES.get(name, ())
    head = "Example:" if len(lines) == 1 else "Examples:"
    return "\n".join(["\b", head, *(f"  landscape {name} {line}" for line in lines)]) if lines else None


def _help_all() -> click.Option:
    def show(ctx: click.Context, option: click.Parameter, value: Any) -> None:
        if value:
            ctx.meta[_ALL] = True
            click.echo(ctx.get_help(), color=ctx.color)
            ctx.exit()

    return click.Option(
        ["--help-all"], is_flag=True, expose_value=False, is_eager=True, callback=show, help="Explain every option."
    )
