"""What to type next: the command that continues a run, and the line that says so."""

from __future__ import annotations

import shlex

import click
from click.core import ParameterSource

_NOT_REPEATED = ("resume", "overwrite", "as_json", "as_csv", "quiet")  #: options about results, not about the run


def resume_command(context: click.Context) -> str:
    """Return the command that continues the run of these options."""
    words = ["landscape", str(context.info_name), *typed_options(context)]
    if context.params.get("out") is not None:
        words.append("--resume")
    return shlex.join(words)


def typed_options(context: click.Context) -> list[str]:
    """Return the arguments and options that were typed, without those that only say what to do with the results."""
    words: list[str] = []
    for parameter in context.command.params:
        name = str(parameter.name)
        value = context.params.get(name)
        if context.get_parameter_source(name) != ParameterSource.COMMANDLINE or name in _NOT_REPEATED:
            continue
        if isinstance(parameter, click.Argument):
            words += map(str, value) if isinstance(value, tuple) else [str(value)]
            continue
        flag = parameter.opts[0]
        if isinstance(value, bool):
            words.append(flag)
            continue
        for item in value if isinstance(value, tuple) else (value,):
            words += [flag, "none" if item == float("inf") else str(item)]
    return words


def stopped_line(done: str | None, out: str | None, command: str) -> str:
    """Return the one line that says what a stopped run leaves and how to continue it.

    >>> stopped_line("interrupted after 4 of 9 rays", None, "landscape volume net.pt")
    'interrupted after 4 of 9 rays; nothing was kept (with --out run.h5 it can be continued)'
    """
    if done is None:
        return "interrupted before anything was measured; nothing was kept"
    if out is None:
        return f"{done}; nothing was kept (with --out run.h5 it can be continued)"
    return f"{done}, kept in {out}; continue with: {command}"
