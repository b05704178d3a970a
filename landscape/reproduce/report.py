"""Figures -> one HTML page that needs no other file. What it looks like is in templates/."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from landscape.pages import environment, picture_data
from landscape.reproduce.captioned_figure import CaptionedFigure

_TITLE = "Good and bad minima of one loss"
_TEMPLATES = environment("landscape.reproduce")


def page(sections: Mapping[str, str]) -> str:
    """Return the page.

    Args:
        sections: recipe -> what :func:`section` returned for its study.
    """
    return _TEMPLATES.get_template("page.html.jinja").render(title=_TITLE, sections=sections)


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
        return picture_data(folder / name)

    return _TEMPLATES.get_template("section.html.jinja").render(
        recipe=recipe, figures=figures, folder=folder, command=command, summary=summary, nets=nets, picture=picture
    )
