"""What tests share is made once: a file goes to one worker, and so do the tests that import what takes seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.scheduling import ALONE, RANKS, SLOW_TO_IMPORT, scope_of

ROOT = Path(__file__).parents[1]
PAGE = "tests/test_docs.py::test_the_page_runs_and_shows_what_is_printed[{}]"


@pytest.mark.parametrize(
    ("test", "scope"),
    [
        ("tests/rays/test_radii.py::test_a", "tests/rays/test_radii.py"),
        ("tests/rays/test_radii.py::test_b[1::2]", "tests/rays/test_radii.py"),
        ("landscape/errors.py::landscape.errors", "landscape/errors.py"),
        (PAGE.format("volume.md"), PAGE.format("volume.md")),
        ("tests/test_docs.py::test_links_between_pages_lead_somewhere", "tests/test_docs.py"),
        ("tests/integrations/test_lightning.py::test_a", "slow to import"),
        ("tests/objective/test_batch_loss.py::test_a", "slow to import"),
        (PAGE.format("training-loops.md"), "slow to import"),
        ("tests/cli/test_beside.py::test_a", "ranks"),
        ("tests/objective/shards/test_sharded.py::test_a", "ranks"),
    ],
)
def test_the_work_that_a_test_belongs_to(test: str, scope: str) -> None:
    assert scope_of(test) == scope


def _forks(path: Path) -> bool:
    return "from helpers.processes import" in path.read_text() and path.name != "test_scheduling.py"


def test_what_is_named_is_there() -> None:
    file, _, name = ALONE.partition("::")
    assert f"def {name}" in (ROOT / file).read_text()
    *files, page = SLOW_TO_IMPORT
    forking = [f"{path.relative_to(ROOT)}" for path in sorted(ROOT.glob("tests/**/*.py")) if _forks(path)]
    assert forking
    assert [name for name in forking if not name.startswith(RANKS)] == []
    assert all((ROOT / f"{file}.py").exists() for file in files)
    assert (ROOT / "docs" / page.strip("[]")).exists()
