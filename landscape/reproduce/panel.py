"""A figure of the study with the numbers in it and what a reader should know."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib.figure import Figure

from landscape.plots import save

Cell = str | float | int


@dataclass(frozen=True)
class Panel:
    """One figure.

    Attributes:
        name: of its files.
        title: in a few words.
        caption: what is drawn, and what the numbers say.
        figure: what is drawn, or for an animation
        movie: the bytes of a GIF.
        header, rows: the numbers behind it.
        commands: what gives the same numbers by itself.
    """

    name: str
    title: str
    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    figure: Figure | None = None
    movie: bytes = b""
    commands: Sequence[str] = field(default=())

    @property
    def picture(self) -> str:
        """The name of the file that a page shows."""
        return f"{self.name}.gif" if self.movie else f"{self.name}.png"

    @property
    def files(self) -> list[str]:
        """The names of all its files."""
        return [self.picture, f"{self.name}.csv"] if self.movie else [self.picture, f"{self.name}.svg", self.table]

    @property
    def table(self) -> str:
        """The name of the file with its numbers."""
        return f"{self.name}.csv"

    def write(self, folder: Path) -> None:
        """Write the figure and its numbers into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        if self.figure is not None:
            save(self.figure, folder / self.picture)
            save(self.figure, folder / f"{self.name}.svg")
        else:
            (folder / self.picture).write_bytes(self.movie)
        with (folder / self.table).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(self.header)
            writer.writerows(self.rows)
