"""Figures inside a page: as SVG among the HTML, or as a picture if the SVG is large."""

from __future__ import annotations

import io
import re
from base64 import b64encode
from pathlib import Path

from markupsafe import Markup, escape
from matplotlib import rc_context
from matplotlib.figure import Figure

_LARGEST_SVG = 400_000  # characters; a figure of more shapes is embedded as pixels
_DPI = 160
_NOT_A_NAME = re.compile(r"[^A-Za-z0-9_-]+")


def as_svg(figure: Figure, name: str, description: str) -> Markup:
    """Return a figure as one ``<svg>`` element with an accessible name.

    Its identifiers begin with ``name``, so that several figures of one page do not share one. Text is drawn as shapes,
    so that no font is needed. If the SVG is large, the element holds a PNG of the figure instead.

    Args:
        figure: the drawing.
        name: unique within the page.
        description: what the figure shows, for those who do not see it.
    """
    out = io.StringIO()
    with rc_context({"svg.fonttype": "path", "svg.hashsalt": name}):
        figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    view = re.search(r'viewBox="([\d. ]+)"', text)
    if view is None:
        raise ValueError("matplotlib wrote an SVG without a viewBox")
    inside = text[text.index(">", text.index("<svg")) + 1 : text.rindex("</svg>")]
    inside = _small(inside, _NOT_A_NAME.sub("-", name))
    if len(inside) > _LARGEST_SVG:
        inside = f'<image width="100%" height="100%" href="{_png(figure)}"/>'
    head = f'<svg class="drawn" viewBox="{view[1]}" role="img" aria-label="{escape(description)}">'
    return Markup(f"{head}{inside}</svg>")


def picture_data(path: Path) -> str:
    """Return a picture file as an address that holds its bytes.

    Args:
        path: ends in the format, such as ``.png`` or ``.gif``.
    """
    return _address(path.suffix[1:], path.read_bytes())


def _png(figure: Figure) -> str:
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=_DPI)
    return _address("png", out.getvalue())


def _address(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{b64encode(content).decode()}"


def _small(svg: str, name: str) -> str:
    """Return SVG without comments, metadata and style sheet, with short coordinates and identifiers of its own."""
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' (d|points)="[^"]*"', lambda match: re.sub(r"(\.\d\d)\d+", r"\1", match[0]), svg)
    svg = re.sub(r' id="([^"]+)"', rf' id="{name}-\1"', svg)
    svg = re.sub(r'xlink:href="#', f'href="#{name}-', svg).replace("xlink:href", "href")
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    return re.sub(r"\n\s*", "\n", svg)
