"""How a result draws itself although it stands below the figures: the package hands the drawing function in once.

Results know numpy alone, and figures import results. So ``landscape/__init__.py`` says here who draws.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Drawer = Callable[[Any, str | None], Any]  #: (result, name of a figure) -> matplotlib figure
_drawers: list[Drawer] = []


def draw_with(drawer: Drawer) -> None:
    """Take the function that draws every result from now on."""
    _drawers[:] = [drawer]


def draw(result: Any, figure: str | None) -> Any:
    """Return the matplotlib figure of a result."""
    return _drawers[0](result, figure)
