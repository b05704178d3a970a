"""The folder of real data beside the repository; tests that need it skip where it is absent."""

from __future__ import annotations

from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data"


def shared_data(name: str) -> Path:
    """Return the path of a file in the shared data folder, or skip the test."""
    path = FOLDER / name
    if not path.exists():
        pytest.skip(f"needs the real data file {path}, which is not here")
    return path
