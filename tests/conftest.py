"""What holds for every test: one thread a process, and assertions in helpers that explain themselves."""

from __future__ import annotations

import os

import pytest

# Set before torch is imported, and inherited by the processes that tests start. Test workers fill the processors,
# so that more threads would only wait for each other. One thread also rounds sums alike on every machine.
os.environ["OMP_NUM_THREADS"] = "1"

pytest.register_assert_rewrite("helpers")
