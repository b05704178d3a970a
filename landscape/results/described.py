"""What the docstrings of result classes say of each field: results files and datasets explain themselves with it."""

from __future__ import annotations

import inspect
import re


def descriptions(cls: type) -> dict[str, str]:
    """Return what the docstring of a class, or of one that it is made from, says of each of its fields."""
    texts: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        text = inspect.cleandoc(base.__doc__ or "")
        entries = re.findall(r"^    (\w+(?:, \w+)*): (.*(?:\n {8}.*)*)", text, re.MULTILINE)
        plain = {names: re.sub(r":\w+:(?=`)|`", "", " ".join(text.split())) for names, text in entries}
        texts |= {name: text for names, text in plain.items() for name in names.split(", ")}
    return texts
