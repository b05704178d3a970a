"""How every figure looks: colours, width, axes and numbers, and how it is saved.

Figures are made without pyplot: no window, no global state. Colours come from cividis: its steps look even, also to
colour-blind readers, and it runs from dark to light in greyscale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib import figure as mpl_figure
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter

from landscape.errors import LandscapeError
from landscape.store.atomic import make_folder, write_atomically

Colour = tuple[float, float, float, float]
COLOURS = "cividis"  #: name of the colour map
CLASSES = ("#1f4e8c", "#c8861a")  #: of two classes or two nets; they differ for colour-blind readers and in greyscale
WIDTH = 6.4  #: inches
METRIC_UNITS = {
    "filter": "1 = each filter's own norm",
    "layer": "1 = each layer's own norm",
    "identity": "Euclidean distance",
}
_DPI = 160
_LONGEST = 34  # characters of a name
_SHOWN_DPI = 100  #: how large a notebook shows a figure; its pixels are finer
_LINE_STYLES = ("-", "--", ":", "-.")


class Figure(mpl_figure.Figure):
    """A figure that shows itself at the end of a notebook cell, though pyplot knows nothing of it."""

    def draw(self, renderer: RendererBase) -> None:
        """Draw everything; before a file is written, only give everything its place.

        Matplotlib draws each file twice. The first drawing serves the layout alone and is thrown away.
        """
        engine = self.get_layout_engine()
        if self.canvas.is_saving() and isinstance(engine, ConstrainedLayoutEngine):
            engine.execute(self)
        else:
            super().draw(renderer)

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """Return the picture and its size on the page, as IPython asks for it."""
        file = BytesIO()
        self.savefig(file, dpi=_DPI, format="png")
        width, height = (round(inches * _SHOWN_DPI) for inches in self.get_size_inches())
        return file.getvalue(), {"width": width, "height": height}


def shades(count: int, lightest: float = 0.75) -> list[Colour]:
    """Return so many colours in even steps, dark to light; by default without the light end, which white would hide."""
    places = np.linspace(0.0, lightest, count) if count > 1 else np.array([0.15])
    return [(r, g, b, a) for r, g, b, a in colormaps[COLOURS](places).tolist()]


def cutoff_styles(cutoffs: Sequence[float]) -> list[tuple[float, Colour, str]]:
    """Return (cutoff, colour, line style): the line style tells neighbours apart in greyscale too."""
    colours = shades(len(cutoffs))
    return [(cutoff, colours[i], _LINE_STYLES[i % len(_LINE_STYLES)]) for i, cutoff in enumerate(cutoffs)]


def bare(axes: Axes) -> None:
    """Remove the top and the right edge, which carry no scale."""
    axes.spines[["top", "right"]].set_visible(False)


def number(value: float) -> str:
    """Return a number for a label, short and without an exponent if that is short.

    >>> number(1000.0), number(0.03981), number(2e-7)
    ('1,000', '0.0398', '2e-07')
    """
    return f"{value:,.0f}" if 100 <= abs(value) < 1e6 else f"{value:.3g}"


def with_checkpoint(title: str, config: Mapping[str, Any]) -> str:
    """Return a title with the name of the checkpoint on a line of its own, if a command has written it down.

    >>> with_checkpoint("Loss", {"checkpoint": "nets/a.pt"}), with_checkpoint("Loss", {})
    ('Loss\\nnets/a.pt', 'Loss')
    """
    return f"{title}\n{short_name(str(config['checkpoint']))}" if config.get("checkpoint") else title


def short_name(name: str) -> str:
    """Return a name of a file or a tensor, without its beginning if it is long."""
    return name if len(name) <= _LONGEST else "…" + name[1 - _LONGEST :]


SHORT_NUMBERS = FuncFormatter(lambda value, _: number(value))  #: three digits
PERCENT = FuncFormatter(lambda share, _: f"{100 * share:.3g} %")
ALL_DIGITS = FuncFormatter(lambda value, _: f"{value:,.12g}")  #: no exponent, no digit dropped


def save(figure: mpl_figure.Figure, path: Path) -> None:
    """Write a figure in the format that the ending of the name says: png (if there is none), svg or pdf.

    Missing folders are made.

    Raises:
        LandscapeError: if the file cannot be written.
    """
    try:
        path = path if path.suffix else path.with_name(f"{path.name}.png")
        make_folder(path.parent)
        write_atomically(path, lambda file: figure.savefig(file, dpi=_DPI, format=path.suffix[1:]))
    except OSError as error:
        raise LandscapeError(
            f"the figure {path} cannot be written ({error.strerror or error}).\nPass another path, a folder or a file."
        ) from error
