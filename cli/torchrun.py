"""The command line under ``torchrun``: all ranks measure; only the first one prints and writes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from landscape import distributed

SPREAD = ("volume", "radius", "slice", "curvature")


@contextmanager
def spreading() -> Iterator[None]:
    """Share what the block measures among the processes that ``torchrun`` started; do nothing without it."""
    if distributed.launched() == 1:
        yield
        return
    if os.environ.get("RANK") != "0":
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(nowhere, stream.fileno())
    command = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    if command not in SPREAD:
        raise click.UsageError(
            f"landscape {command} would do the same on every rank: only {', '.join(SPREAD)} share their work. "
            "Type it without torchrun."
        )
    with distributed.spread():
        yield
