"""A figure of the study with the numbers in it and what a reader should know."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib.figure import Figure

from landscape.plots import save
from landscape.store.atomic import write_atomically

Cell = str | float | int


@dataclass(frozen=True)
class Panel:
    """One figure.

    Attributes:
        name: of its files.
        title: in a few words.
        caption: what is drawn, and what the numbers say.
        figure: what is drawn.
        header, rows: the numbers behind it.
        movies: name -> the bytes of a GIF; where there are some, a page shows them and not the still figure.
        commands: what gives the same numbers by itself.
    """

    name: str
    title: str
    caption: str
    figure: Figure
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    movies: Mapping[str, bytes] = field(default_factory=dict)
    commands: Sequence[str] = ()

    @property
    def pictures(self) -> list[str]:
        """The names of the files that a page shows."""
        return [f"{name}.gif" for name in self.movies] or [f"{self.name}.png"]

    @property
    def files(self) -> list[str]:
        """The names of all its files."""
        return [*(f"{name}.gif" for name in self.movies), *(f"{self.name}.{end}" for end in ("png", "svg", "csv"))]

    def write(self, folder: Path) -> None:
        """Write the figure, the animations and the numbers into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.movies.items():
            write_atomically(folder / f"{name}.gif", content)
        for end in ("png", "svg"):
            save(self.figure, folder / f"{self.name}.{end}")
        table = io.StringIO(newline="")
        csv.writer(table).writerows([self.header, *self.rows])
        write_atomically(folder / f"{self.name}.csv", table.getvalue().encode())
