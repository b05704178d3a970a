"""Extension of griffe: docstrings as Markdown.

Roles such as ``:func:`landscape.trace``` become links, if the site describes the name. Doctests become blocks of code.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:func|class|mod|meth|attr|data|exc):`~?([\w.]+)`")
_DOCTEST = re.compile(r"^>>> .*(?:\n(?!\s*$).*)*", re.MULTILINE)


class Markdown(griffe.Extension):
    """Rewrite the docstrings of a package once all of it is read."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        rewrite(pkg)


def rewrite(parent: griffe.Object) -> None:
    """Rewrite the docstring of an object and those of its members."""
    if parent.docstring is not None:
        parent.docstring.value = as_markdown(parent.docstring.value, parent)
    for member in parent.members.values():
        if isinstance(member, griffe.Object):
            rewrite(member)


def as_markdown(docstring: str, parent: griffe.Object) -> str:
    """Return a docstring with links and fenced doctests."""

    def link(role: re.Match[str]) -> str:
        return f'<autoref identifier="{full_name(role[1], parent)}" optional><code>{role[1]}</code></autoref>'

    return _DOCTEST.sub(r"```pycon\n\g<0>\n```", _ROLE.sub(link, docstring))


def full_name(name: str, parent: griffe.Object) -> str:
    """Return the whole path of a name that a docstring mentions, as Python would look it up there."""
    first, dot, rest = name.partition(".")
    try:
        return parent.resolve(first) + dot + rest
    except griffe.NameResolutionError:
        return name
