"""Ctrl-C: that it is never lost."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130  #: exit code after Ctrl-C
_pressed = False


@contextmanager
def noticing() -> Iterator[None]:
    """Remember in a block that Ctrl-C was pressed, for :func:`check_pressed`.

    Python raises KeyboardInterrupt wherever it happens to be, and what is there may swallow it: numpy, for one, drops
    any exception while it asks an object for its attributes.
    """
    global _pressed
    before = signal.getsignal(signal.SIGINT)
    # whoever has Ctrl-C ignored, as a shell does for what runs in the background, means it
    if threading.current_thread() is not threading.main_thread() or before is not signal.default_int_handler:
        yield
        return

    def notice(number: int, frame: FrameType | None) -> None:
        global _pressed
        _pressed = True
        raise KeyboardInterrupt

    _pressed = False
    signal.signal(signal.SIGINT, notice)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        _pressed = False


def check_pressed() -> None:
    """Raise KeyboardInterrupt if Ctrl-C was pressed and nothing came of it."""
    if _pressed:
        raise KeyboardInterrupt


@contextmanager
def kept_apart_from_errors() -> Iterator[None]:
    """Raise KeyboardInterrupt in place of an error that ends a block after Ctrl-C was pressed.

    torch and HDF5 turn an interrupt in the midst of their own code into an error of theirs.
    """
    try:
        yield
    except Exception:
        check_pressed()
        raise
