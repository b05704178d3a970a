"""Continuing a stored result: only if it was measured with the settings that are asked for now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from landscape.errors import LandscapeError


def require_same_config(stored: Mapping[str, Any], asked: Mapping[str, Any], what: str = "run") -> None:
    """Check that a stored result has the settings of the run that would continue it.

    Args:
        stored: the configuration in the result; it may hold more than ``asked``.
        asked: the configuration of this run. A key that ``stored`` lacks has the value None there.
        what: what to call the stored result in the message.

    Raises:
        LandscapeError: some settings differ; the message lists each with both values.

    >>> require_same_config({"seed": 0, "rtol": 0.001}, {"seed": 1}, "slice")
    Traceback (most recent call last):
    ...
    landscape.errors.LandscapeError: the stored slice was measured with other settings, so it cannot be continued:
      seed: stored 0, asked 1
    Pass the stored settings, or start over with `resume=None`, or write to another file.
    """
    different = [
        f"  {key}: stored {stored.get(key)!r}, asked {value!r}"
        for key, value in asked.items()
        if stored.get(key) != value
    ]
    if different:
        raise LandscapeError(
            f"the stored {what} was measured with other settings, so it cannot be continued:\n"
            + "\n".join(different)
            + "\nPass the stored settings, or start over with `resume=None`, or write to another file."
        )
