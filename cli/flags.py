"""Keywords in the library's messages -> flags of the command line."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterable, Iterator

import click

from landscape_cli import options

_VALUES = {
    "inf": "none",
    "math.inf": "none",
    "torch.float32": "float32",
    "torch.float64": "float64",
}  #: what the command line calls a value
_WORDS = {
    "`resume=None`": "--overwrite",
    "`slice_1d`": "--dim 1",
    "`slice_2d`": "--dim 2",
    "`Hessian`": "--operator hessian",
}  #: what the command line has in place of a function, or of a keyword with one value


def in_flags(message: str, command: click.Command | None = None) -> str:
    """Return a message of the library in the words of the command line.

    The library marks a keyword by backticks. Nothing else changes: no path, no code to copy, no words of a user. If the
    command has ``--set``, a keyword without an option of its own goes there.

    Args:
        message: names keywords: ```directions=1000```, or ```directions=...``` if the value is open.
        command: its own options count too, besides those that several commands share.

    >>> in_flags("Pass `directions=1000`, `max_radius=math.inf` or another `estimator=...`.")
    'Pass --directions 1000, --max-radius none or another --estimator.'
    >>> print(in_flags('For instance `model_args={"size": 32}`.'))
    For instance --model-args '{"size": 32}'.
    """
    for words, typed in _WORDS.items():
        message = message.replace(words, typed)
    shared = click.command()(options.measuring(options.estimating(lambda: None)))
    known = {name: option for each in (shared, command) if each for name, option in _options(each.params)}
    names = "|".join(sorted(known, key=len, reverse=True))

    def flag(match: re.Match[str]) -> str:
        option, value = known[match["name"]], match["value"].strip("'\"")
        if value in ("...", "") or option.is_flag:
            return option.opts[0]
        values = ast.literal_eval(value) if option.multiple and value.startswith("['") else [value]
        return " ".join(f"{option.opts[0]} {shlex.quote(_VALUES.get(item, item))}" for item in values)

    message = re.sub(rf"`(?P<name>{names})=(?P<value>[^`\n]*)`", flag, message)
    if "set" not in known:
        return message
    return re.sub(r"`([a-z_]+)=([^`\n]*)`", lambda match: f"--set {match[1].replace('_', '-')}={match[2]}", message)


def _options(parameters: Iterable[click.Parameter]) -> Iterator[tuple[str, click.Option]]:
    """Yield each option under the name of its parameter and under that of its flag; they may differ."""
    for parameter in parameters:
        if isinstance(parameter, click.Option):
            yield parameter.opts[0].lstrip("-").replace("-", "_"), parameter
            yield str(parameter.name), parameter
