"""Figures -> one HTML page that needs no other file. What it looks like is in templates/."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from landscape._version import __version__
from landscape.reproduce.captioned_figure import CaptionedFigure

_TITLE = "Good and bad minima of one loss"
_TEMPLATES = Environment(
    loader=PackageLoader("landscape.reproduce"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def page(sections: Mapping[str, str]) -> str:
    """Return the page.

    Args:
        sections: recipe -> what :func:`section` returned for its study.
    """
    return _TEMPLATES.get_template("page.html.jinja").render(title=_TITLE, sections=sections, version=__version__)


def section(
    recipe: str,
    figures: Sequence[CaptionedFigure],
    folder: Path,
    command: str,
    summary: str,
    nets: Sequence[Sequence[str]],
) -> str:
    """Return the part of the page that shows the study of one recipe.

    Args:
        recipe: its name.
        figures: the figures, already written.
        folder: the folder of the figures; the page lies two folders above it.
        command: the command that draws all of them.
        summary: the settings in a sentence or two.
        nets: a table of the trained nets, its header first.
    """

    def picture(name: str) -> str:
        return b64encode((folder / name).read_bytes()).decode()

    return _TEMPLATES.get_template("section.html.jinja").render(
        recipe=recipe, figures=figures, folder=folder, command=command, summary=summary, nets=nets, picture=picture
    )
