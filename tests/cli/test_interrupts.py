"""Ctrl-C is never lost."""

from __future__ import annotations

import signal
from enum import EnumMeta, IntEnum
from typing import Any

import numpy as np
import pytest

from landscape.errors import LandscapeError
from landscape.results import Progress
from landscape_cli.interrupts import INTERRUPTED, check_pressed, noticing
from landscape_cli.progress import Display, keep_measuring


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


@pytest.mark.parametrize("pressed", [True, False])
def test_ctrl_c_that_a_library_turns_into_an_error_is_no_error(
    pressed: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """torch does so in the midst of its own code; an error without Ctrl-C stays one."""

    def measure(on_progress: Any) -> str:
        on_progress(Progress(1, 2, lambda: "the first half"))
        try:
            if pressed:
                signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as error:
            raise LandscapeError("KeyboardInterrupt: <EMPTY MESSAGE>") from error
        raise LandscapeError("no value")

    kept: list[str] = []
    with noticing(), pytest.raises(SystemExit if pressed else LandscapeError) as caught:
        keep_measuring(measure, kept.append, Display(2, 0, quiet=True), lambda why, latest: f"{why}: {latest}")
    assert kept == ["the first half"]
    why = "interrupted" if pressed else "stopped by an error"
    assert capsys.readouterr().err == f"{why}: the first half\n"
    assert getattr(caught.value, "code", None) == (INTERRUPTED if pressed else None)
