"""What a reader must find on any figure: its words, whole, and apart from each other."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

#: what pyparsing says from 3.3 on of its old names, by which older versions of matplotlib call it
_OLD_NAMES = r"'\w+' (argument is deprecated,|deprecated -) use '\w+'"


@contextmanager
def no_warnings() -> Iterator[None]:
    """Make every warning an error, except that matplotlib calls pyparsing by old names."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", _OLD_NAMES, DeprecationWarning)
        yield


def laid_out(figure: Figure) -> RendererAgg:
    """Give everything on a figure its place, without a picture of it, unless it has one. Return what measures texts."""
    canvas = FigureCanvasAgg(figure)
    if figure.stale:
        figure.draw_without_rendering()
    return canvas.get_renderer()


def words(figure: Figure) -> str:
    laid_out(figure)
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def boxes(figure: Figure) -> list[tuple[Any, Bbox]]:
    """Everything with words on it and the space that it takes: axes with their ticks, titles, notes, legends."""
    renderer = laid_out(figure)
    found: list[Any] = []
    for part in (figure, *figure.subfigs):
        found += [*part.texts, *part.legends, part._suptitle]  # type: ignore[attr-defined]
    for axes in figure.findobj(Axes):
        found += [
            getattr(axes, name, None) for name in ("xaxis", "yaxis", "zaxis", "title", "_left_title", "_right_title")
        ]
        found += [*axes.texts, axes.get_legend()]  # type: ignore[attr-defined]
    sized = [(part, part.get_tightbbox(renderer)) for part in found if part is not None]
    return [(part, box) for part, box in sized if box is not None and box.width]


def assert_nothing_is_cut_off(figure: Figure) -> None:
    found = boxes(figure)
    assert len(found) >= 3, "a figure has a title and two axes"
    for part, box in found:
        inside = box.x0 > -1 and box.y0 > -1 and box.x1 < figure.bbox.x1 + 1 and box.y1 < figure.bbox.y1 + 1
        assert inside, (part, box)


def assert_tick_labels_stay_apart(figure: Figure, least: int = 2) -> None:
    """On the x axis of each part. ``least``: how many labels the figure shows at least."""
    renderer = laid_out(figure)
    count = 0
    for axes in figure.axes:
        labels = [label for label in axes.get_xticklabels() if label.get_text() and label.get_visible()]
        extents = [label.get_window_extent(renderer) for label in labels]
        shown = [box for box in extents if axes.bbox.x0 - 1 < (box.x0 + box.x1) / 2 < axes.bbox.x1 + 1]
        count += len(shown)
        for left, right in pairwise(sorted(shown, key=lambda box: box.x0)):
            assert left.x1 < right.x0
    assert count >= least
