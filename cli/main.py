"""The command ``landscape``: a group whose commands are imported only when they run.

Exit codes: 0 done, 1 a bug (with its traceback), 2 misuse (one line that says what to type), 130 interrupted.
"""

from __future__ import annotations

import difflib
import errno
import os
import sys
import textwrap
from importlib import import_module
from typing import NoReturn

import click

from landscape._version import __version__
from landscape.errors import LandscapeError
from landscape_cli.clock import running
from landscape_cli.flags import in_flags
from landscape_cli.heartbeat import be_quiet, end, stage
from landscape_cli.help import WORDS, ShortHelp
from landscape_cli.interrupts import INTERRUPTED, kept_apart_from_errors, noticing
from landscape_cli.quiet import quiet_libraries
from landscape_cli.torchrun import spreading

MISUSE = 2
_COLUMNS = 80  # of a message
_LONGEST_SHOWN = 300  # characters of a path in an error
COMMANDS = {
    "volume": "Measure the log-volume of the basin around a checkpoint.",
    "radius": "Measure the basin radius along random rays.",
    "slice": "Measure the loss on a line or a plane through a checkpoint.",
    "curvature": "Measure the curvature of the loss at a checkpoint.",
    "sharpness": "Measure how sharp the loss is at checkpoints, by the measures of the literature.",
    "track": "Follow the shape of the loss over the checkpoints of a training run.",
    "doctor": "Examine a checkpoint and its task, and estimate what a run costs.",
    "show": "Show what is in a results file.",
    "plot": "Draw what is in a results file.",
    "report": "Write one page about all that results files hold.",
    "compare": "Compare two basins: which is larger, and by how much.",
    "train": "Train a network, poisoned or not, and write a checkpoint that carries its task.",
    "sweep": "Train a family of networks: every combination of axes with every seed.",
    "benchmark": "Rank sharpness measures by how well they predict generalisation over a family of nets.",
    "reproduce": "Draw the figures of the study of good and bad minima.",
    "completion": "Let the shell complete the names of commands and options.",
}
#: commands that work for long, so that they say at once what they do
LONG = (
    "volume", "radius", "slice", "curvature", "sharpness", "track", "doctor", "report", "compare", "train", "sweep",
    "benchmark", "reproduce",
)  # fmt: skip
_SAY_NOTHING = {"-q", "--quiet", "-h", "--help"}


class LazyGroup(click.Group):
    """A group that knows the name and first line of each command, and imports a command only when it is called."""

    def list_commands(self, ctx: click.Context | None) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context | None, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"landscape_cli.commands.{cmd_name}").command
        return ShortHelp.of(command, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"Did you mean: landscape {near[0]}?" if near else f"The commands are {', '.join(COMMANDS)}."
            raise click.UsageError(f"there is no command {args[0]!r}. {hint}", ctx)
        ctx.meta[WORDS] = list(args)
        be_quiet(bool(_SAY_NOTHING & set(args)))
        if args and args[0] in LONG:
            stage("loading")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> object:
        try:
            with spreading(), kept_apart_from_errors():
                return super().invoke(ctx)
        except LandscapeError as error:
            raise Misuse(in_flags(str(error), self.get_command(ctx, ctx.invoked_subcommand or ""))) from error
        except KeyboardInterrupt:
            # caught here, because click itself would print an empty line first
            interrupted()
        except BrokenPipeError:
            # caught here, because click itself would exit with 1, which means a bug
            raise PipeClosed from None
        except OSError as error:
            if error.filename is None:
                raise
            raise Misuse(path_text(error)) from error
        finally:
            end()


class Misuse(click.ClickException):
    """An error of the library on the command line: its message, and exit code 2."""

    exit_code = MISUSE


class PipeClosed(Exception):
    """The reader of the output has closed it, as in ``landscape show run.h5 | head``."""


def path_text(error: OSError) -> str:
    """Say which path the system refused, and why; a long path is cut in its middle.

    >>> path_text(OSError(36, "File name too long", "a" * 3000 + "/run.h5"))
    'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa ... aaaaaaaaaaaaa/run.h5: File name too long. Use another path.'
    """
    path = os.fsdecode(error.filename)
    shown = path if len(path) <= _LONGEST_SHOWN else f"{path[:48]} ... {path[-20:]}"
    return f"{shown}: {error.strerror}. Use another path."


def interrupted() -> NoReturn:
    """Say in one line that Ctrl-C was pressed, and leave."""
    # a terminal shows ^C; the message begins on the next line
    click.echo("\nInterrupted." if sys.stderr.isatty() else "Interrupted.", err=True)
    raise SystemExit(INTERRUPTED)


def output_is_full() -> bool:
    """Whether stdout itself has no space left, not only another file. Prints a line break to find out."""
    try:
        print(flush=True)
    except OSError:
        return True
    return False


def drop_output() -> None:
    """Discard what Python still holds for stdout, so that it does not raise again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def misuse_text(error: click.ClickException) -> str:
    """Return the message of an error. After an error in the options it says how to see them.

    >>> print(misuse_text(click.UsageError("No such option '--cutof'.", click.Context(cli, info_name="landscape"))))
    Error: No such option '--cutof'. See: landscape --help
    """
    text = f"Error: {error.format_message()}"
    if isinstance(error, click.UsageError) and error.ctx is not None:
        see = f"See: {error.ctx.command_path} --help"
        text += f" {see}" if len(text) + len(see) < _COLUMNS else f"\n{see}"
    return "\n".join(map(fitted, text.splitlines()))


def fitted(line: str) -> str:
    """Return a line of a message in lines of at most 80 columns; one that is indented is code, and stays as it is.

    >>> print(fitted("Pass " + "a long list of words, " * 4 + "then end."))
    Pass a long list of words, a long list of words, a long list of words, a long
      list of words, then end.
    """
    if line.startswith(" "):
        return line
    return textwrap.fill(line, _COLUMNS, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="landscape")
def cli() -> None:
    """The shape of a network's loss around a trained point, and how far each number can be trusted.

    \b
    Begin with:
      landscape train swiss-roll --out ckpt.pt
      landscape volume ckpt.pt
    """


def main() -> None:
    """Run the command line; the entry point of ``landscape``."""
    quiet_libraries()
    try:
        with running(), noticing():
            code = cli.main(prog_name="landscape", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        code = MISUSE
    except click.ClickException as error:
        click.echo(misuse_text(error), err=True)
        code = MISUSE
    except (KeyboardInterrupt, click.Abort):
        interrupted()
    except (PipeClosed, BrokenPipeError):
        drop_output()
        code = 0
    except OSError as error:
        if error.errno != errno.ENOSPC or not output_is_full():
            raise
        click.echo("Error: could not print: no space left on the output. Free some, or print elsewhere.", err=True)
        drop_output()
        code = MISUSE
    sys.exit(code if isinstance(code, int) else 0)
