"""What holds for every test: one thread a process, and assertions in helpers that explain themselves."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

# Set before torch is imported, and inherited by the processes that tests start. Test workers fill the processors,
# so that more threads would only wait for each other. One thread also rounds sums alike on every machine.
os.environ["OMP_NUM_THREADS"] = "1"

pytest.register_assert_rewrite("helpers")


@pytest.fixture(autouse=True)
def measures_of_a_test_end_with_it() -> Iterator[None]:
    """Forget the sharpness measures that a test or a page of the docs has entered: the next may use the same name."""
    from landscape.measures import REGISTRY  # here, since it imports torch, which must see the variable above

    before = dict(REGISTRY)
    yield
    REGISTRY.clear()
    REGISTRY.update(before)
