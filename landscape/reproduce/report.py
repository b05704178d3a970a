"""Figures -> one HTML page that needs nothing beside it."""

from __future__ import annotations

import html
from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path

from landscape._version import __version__
from landscape.reproduce.figure import Panel

_STYLE = """
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; }
h1 { font-size: 1.6rem; line-height: 1.25; }
h2 { font-size: 1.15rem; margin: 3rem 0 .5rem; border-top: 1px solid #ddd; padding-top: 1.5rem; }
img { display: block; max-width: 100%; margin: 1rem auto; }
pre { background: #f4f4f2; padding: .7rem 1rem; overflow-x: auto; font-size: .8rem; }
table { border-collapse: collapse; font-size: .85rem; margin: 1rem 0; }
td, th { padding: .15rem .8rem; text-align: right; border-bottom: 1px solid #e5e5e5; white-space: nowrap; }
nav { font-size: .9rem; }
.files { font-size: .85rem; color: #555; }
"""


_TITLE = "Good and bad minima of one loss"


def page(sections: Mapping[str, str]) -> str:
    """Return the page.

    Args:
        sections: recipe -> what :func:`section` returned for its study.
    """
    links = " · ".join(f'<a href="#{recipe}">{recipe}</a>' for recipe in sections)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{_TITLE}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head><body>
<h1>{_TITLE}</h1>
<p>The figures of <em>Understanding Generalization through Visualizations</em> (Huang et al. 2019), made anew from nets
that were trained for them.</p>
{f"<nav>{links}</nav>" if len(sections) > 1 else ""}
{"".join(sections.values())}
<p class="files">Made by landscape {html.escape(__version__)}.</p>
</body></html>
"""


def section(
    recipe: str, panels: Sequence[Panel], folder: Path, command: str, summary: str, nets: Sequence[Sequence[str]]
) -> str:
    """Return the part of the page that shows the study of one recipe.

    Args:
        recipe: its name.
        panels: the figures, already written.
        folder: where; the page lies two folders above it.
        command: what made all of them.
        summary: the settings in a sentence or two.
        nets: a table of the trained nets, its header first.
    """
    links = " · ".join(
        f'<a href="#{recipe}-{p.name}">{number}. {html.escape(p.name)}</a>' for number, p in enumerate(panels, 1)
    )
    parts = [_figure(number, panel, folder, recipe) for number, panel in enumerate(panels, 1)]
    return f"""<h1 id="{recipe}">{recipe}</h1>
<p>{html.escape(summary)}</p>
<pre>{html.escape(command)}</pre>
<p>Further commands on this page are to be typed in the folder {recipe} beside it.</p>
<nav>{links}</nav>
{"".join(parts)}
<h2>The nets</h2>
{_table(nets)}
<p class="files">All measurements are in <a href="{recipe}/study.h5">{recipe}/study.h5</a>, which landscape show lists.
</p>
"""


def _figure(number: int, panel: Panel, folder: Path, recipe: str) -> str:
    title = html.escape(panel.title)
    pictures = "\n".join(
        f'<img alt="{title}" src="data:image/{name[-3:]};base64,{b64encode((folder / name).read_bytes()).decode()}">'
        for name in panel.pictures
    )
    files = ", ".join(f'<a href="{recipe}/{folder.name}/{name}">{name}</a>' for name in panel.files)
    typed = f"<pre>{html.escape(chr(10).join(panel.commands))}</pre>" if panel.commands else ""
    return f"""<h2 id="{recipe}-{panel.name}">{number}. {title}</h2>
{pictures}
<p>{html.escape(panel.caption)}</p>
{typed}
<p class="files">{files}</p>
"""


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = [[html.escape(cell) for cell in row] for row in rows]
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in body)
    return f"<table><tr>{''.join(f'<th>{cell}</th>' for cell in head)}</tr>{lines}</table>"
