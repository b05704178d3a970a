"""Hook of mkdocs: the reference of the commands, made from the commands themselves."""

from __future__ import annotations

import html
import inspect
import re
from collections.abc import Iterator

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

from landscape_cli.main import cli

_COMMANDS = "<!-- every command -->"  #: where the page shows them


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put every command with its options in the place that the page marks."""
    return markdown.replace(_COMMANDS, "\n".join(reference())) if _COMMANDS in markdown else markdown


def reference() -> Iterator[str]:
    """Return the lines of all commands."""
    for name in cli.list_commands(None):
        command = cli.get_command(None, name)
        if command is not None:
            yield from section(command, f"landscape {name}")


def section(command: click.Command, name: str) -> Iterator[str]:
    """Return the lines of one command, and of those below it: heading, usage, help and options."""
    context = click.Context(command, info_name=name)
    yield from [f"## {name}", "", "```text", " ".join([name, *command.collect_usage_pieces(context)]), "```", ""]
    for words in (command.help, command.epilog):
        yield from paragraphs(words or "")
    yield from ["| option | meaning | default |", "|---|---|---|"]
    for parameter in command.params:
        record = parameter.get_help_record(context)
        if isinstance(parameter, click.Option) and record is not None:
            flags, words = record
            meaning, *notes = re.split(r"\s+\[(?=default: |required|x[<>]|\d+<=)", words)
            default = "; ".join(note.strip().removesuffix("]").removeprefix("default: ") for note in notes)
            name, _, choices = flags.partition(" [")
            if choices:
                meaning += f" One of {', '.join(choices.removesuffix(']').split('|'))}."
            yield f"| <code>{cell(name)}</code> | {cell(meaning)} | {cell(default)} |"
    yield ""
    if isinstance(command, click.Group):
        for child in command.commands:
            yield from section(command.commands[child], f"{name} {child}")


def paragraphs(words: str) -> Iterator[str]:
    """Return a help text as Markdown; what click keeps line by line (after a backspace) becomes a block."""
    for paragraph in inspect.cleandoc(words).split("\n\n"):
        if paragraph.startswith("\b\n"):
            yield from ["```text", paragraph.removeprefix("\b\n"), "```", ""]
        elif paragraph.strip():
            yield from [html.escape(paragraph, quote=False), ""]


def cell(words: str) -> str:
    """Return words as they may stand in a table."""
    return html.escape(" ".join(words.split()), quote=False).replace("|", "&#124;").replace("*", "\\*")
