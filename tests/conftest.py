"""What holds for every test: one thread a process, and assertions in helpers that explain themselves."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

# Set before torch is imported, and inherited by the processes that tests start. Test workers fill the processors,
# so that more threads would only wait for each other. One thread also rounds sums alike on every machine.
os.environ["OMP_NUM_THREADS"] = "1"

pytest.register_assert_rewrite("helpers")

# A shell has commands in the background ignore Ctrl-C, and tests press it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests marked ``cuda`` on a machine without a GPU."""
    if item.get_closest_marker("cuda"):
        import torch  # here, since it must see the variable above

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device that torch can use")


def pytest_collection() -> None:
    """Collect no garbage meanwhile: what is imported stays, and looking it through takes a quarter of the time."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Spare what is imported by now, half a million objects, from every later collection of garbage; make them rare."""
    gc.freeze()
    gc.set_threshold(200_000, 20, 20)
    gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Give each worker whole files of tests."""
    from helpers.scheduling import FilesTogether  # here, since pytest runs without xdist too

    return FilesTogether(config, log)


@pytest.fixture(autouse=True)
def measures_of_a_test_end_with_it() -> Iterator[None]:
    """Forget the sharpness measures that a test or a page of the docs has entered: the next may use the same name."""
    from landscape.measures import REGISTRY  # here, since it imports torch, which must see the variable above

    before = dict(REGISTRY)
    yield
    REGISTRY.clear()
    REGISTRY.update(before)
