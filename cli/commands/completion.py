"""``landscape completion``: names of commands and options, completed by the shell."""

from __future__ import annotations

from pathlib import Path

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")
#: by shell, the file that it reads when it starts, in the home folder
_FILES = {"bash": ".bashrc", "zsh": ".zshrc", "fish": ".config/fish/completions/landscape.fish"}
_MARK = b"# completion of landscape"
VARIABLE = "_LANDSCAPE_COMPLETE"  #: by which click is asked for completions


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS), metavar="bash|zsh|fish")
@click.option("--install", is_flag=True, help="Add it to the file that SHELL reads when it starts, once.")
@click.pass_context
def command(context: click.Context, shell: str, install: bool) -> None:
    """Print the script by which SHELL completes the names of commands and options, or install it.

    After --install open a new shell, type "landscape vol", and press Tab.
    """
    if not install:
        kind = get_completion_class(shell)
        assert kind is not None
        click.echo(kind(context.find_root().command, {}, "landscape", VARIABLE).source())
        return
    file = Path.home() / _FILES[shell]
    known = file.read_bytes() if file.is_file() else b""
    if _MARK in known:
        click.echo(f"{file} completes landscape already")
        return

    from landscape.store.atomic import make_folder, write_atomically

    make_folder(file.parent)
    gap = b"\n" if known and not known.endswith(b"\n") else b""
    write_atomically(file, known + gap + _MARK + b"\n" + line(shell).encode() + b"\n")
    click.echo(f"wrote {file}; open a new shell")


def line(shell: str) -> str:
    """Return what the shell runs when it starts; it asks landscape, so that a new version completes new options.

    >>> line("bash")
    'eval "$(landscape completion bash)"'
    """
    return f"landscape completion {shell} | source" if shell == "fish" else f'eval "$(landscape completion {shell})"'
