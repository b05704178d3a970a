"""The command ``landscape``: a group whose commands are imported only when they run.

Exit codes: 0 done, 1 a bug (with its traceback), 2 misuse (one line that says what to type), 130 interrupted.
"""

from __future__ import annotations

import difflib
import os
import sys
from importlib import import_module

import click

from landscape import __version__
from landscape.errors import LandscapeError

COMMANDS = {
    "volume": "Measure the log-volume of the basin around a checkpoint.",
    "radius": "Measure the basin radius along random rays.",
    "doctor": "Say what a checkpoint holds, and what a run on it will cost.",
    "show": "Say what is in a results file.",
    "plot": "Draw what is in a results file.",
    "train": "Train a small network to try things on.",
}


class LazyGroup(click.Group):
    """A group that knows its commands' names and first lines, and imports a command when it is called."""

    def list_commands(self, ctx: click.Context | None) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context | None, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"landscape_cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"Did you mean: landscape {near[0]}?" if near else f"The commands are {', '.join(COMMANDS)}."
            raise click.UsageError(f"there is no command {args[0]!r}. {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except LandscapeError as error:
            raise Misuse(str(error)) from error


class Misuse(click.ClickException):
    """An error of the library on the command line: its message, and exit code 2."""

    exit_code = 2


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="landscape")
def cli() -> None:
    """The shape of a network's loss around a trained point, and how far each number can be trusted.

    Begin with:  landscape train swiss-roll --out ckpt.pt  and then  landscape volume ckpt.pt
    """


def main() -> None:
    """Run the command line; the entry point of ``landscape``."""
    try:
        code = cli.main(standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as done:
        code = done.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("Interrupted.", err=True)
        code = 130
    except BrokenPipeError:
        # whoever read our output has enough; what Python still holds must not raise again when it exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code if isinstance(code, int) else 0)
