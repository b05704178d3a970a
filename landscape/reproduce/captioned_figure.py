"""A figure of the study with its caption, the numbers behind it, and the commands that give them."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib.figure import Figure

from landscape.plots import save
from landscape.store.atomic import write_atomically

TableCell = str | float | int


@dataclass(frozen=True)
class CaptionedFigure:
    """One figure of the study.

    Attributes:
        name: of its files.
        title: in a few words.
        caption: what the figure shows, and what the numbers say.
        figure: the drawing.
        header, rows: the table of the numbers behind it.
        animations: name -> the bytes of a GIF; if there are any, the page shows them instead of the drawing.
        commands: what to type to get the same numbers.
    """

    name: str
    title: str
    caption: str
    figure: Figure
    header: Sequence[str]
    rows: Sequence[Sequence[TableCell]]
    animations: Mapping[str, bytes] = field(default_factory=dict)
    commands: Sequence[str] = ()

    @property
    def pictures(self) -> list[str]:
        """The names of the files that the page shows."""
        return [f"{name}.gif" for name in self.animations] or [f"{self.name}.png"]

    @property
    def files(self) -> list[str]:
        """The names of all its files."""
        return [*(f"{name}.gif" for name in self.animations), *(f"{self.name}.{end}" for end in ("png", "svg", "csv"))]

    def write(self, folder: Path) -> None:
        """Write the drawing, the animations and the table into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.animations.items():
            write_atomically(folder / f"{name}.gif", content)
        save(self.figure, folder / f"{self.name}.png")
        self.figure.set_layout_engine("none")  # the layout stays the same, and computing it takes half of the drawing
        save(self.figure, folder / f"{self.name}.svg")
        table = io.StringIO(newline="")
        csv.writer(table).writerows([self.header, *self.rows])
        write_atomically(folder / f"{self.name}.csv", table.getvalue().encode())
