"""Which tests one worker of pytest-xdist does together.

A file goes to one worker, since its tests share fixtures and modules that they alone import. The group of xdist_group
marks is lost under pytest 9.2, where a test's name no longer changes.
"""

from __future__ import annotations

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

ALONE = "tests/test_docs.py::test_the_page_runs"  #: each page of the docs is work of its own
RANKS = (
    "tests/cli/test_beside",
    "tests/integrations/test_processes",
    "tests/objective/shards/",
    "tests/test_distributed",
)
SLOW_TO_IMPORT = (
    "tests/curvature/checks/test_derivatives",
    "tests/integrations/test_hugging_face",
    "tests/integrations/test_lightning",
    "tests/objective/test_batch_loss",
    "tests/objective/test_first_pass",
    "tests/objective/test_moved_language_models",
    "tests/objective/test_moved_weights",
    "tests/objective/test_narrow_products",
    "[training-loops.md]",
)


class FilesTogether(LoadScopeScheduling):
    """Whole files in the order of collection. Doctests are collected last, so the shortest files come last."""

    def __init__(self, config: pytest.Config, log: Producer | None = None) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)


def scope_of(nodeid: str) -> str:
    """Return the name of the work that a test belongs to."""
    if any(part in nodeid for part in SLOW_TO_IMPORT):
        return "slow to import"  # the compiler of torch, lightning and transformers take seconds, in each worker
    if nodeid.startswith(RANKS):
        return "ranks"  # their processes are forks of one, which takes seconds to import what they need
    return nodeid if nodeid.startswith(ALONE) else nodeid.split("::", 1)[0]
