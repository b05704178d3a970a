"""Ctrl-C is never lost."""

from __future__ import annotations

import signal
from enum import EnumMeta, IntEnum
from typing import Any

import numpy as np
import pytest

from landscape_cli.interrupts import check_pressed, noticing
from landscape_cli.progress import Display


def test_ctrl_c_that_a_library_swallows_still_stops_the_run() -> None:
    """Numpy drops whatever is raised while it asks an object for its attributes; so Ctrl-C can go by unseen there."""

    class Swallowing(EnumMeta):
        def __getattr__(cls, name: str) -> Any:
            signal.raise_signal(signal.SIGINT)

    class Status(IntEnum, metaclass=Swallowing):
        DONE = 1

    display, steps = Display(10, 0, quiet=True), []

    def measure() -> None:
        with noticing():
            assert (np.arange(2) == Status.DONE).tolist() == [False, True]
            steps.append("went on")
            display.show(1, 10)

    with pytest.raises(KeyboardInterrupt):
        measure()
    assert steps == ["went on"]
    check_pressed()  # the next run in this process begins anew
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
