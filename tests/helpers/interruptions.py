"""Ctrl-C while ``landscape volume`` anneals islands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from landscape.results import Islands, OnProgress, Progress
from landscape.volume import run_islands
from landscape_cli import estimators


def interrupted(monkeypatch: pytest.MonkeyPatch, when: Callable[[Progress[Any]], bool]) -> None:
    """Press Ctrl-C as soon as islands say so."""

    def stopped(*arguments: Any, on_progress: OnProgress[Islands], **options: Any) -> Islands:
        def report(progress: Progress[Islands]) -> None:
            on_progress(progress)
            if when(progress):
                raise KeyboardInterrupt

        return run_islands(*arguments, on_progress=report, **options)

    monkeypatch.setattr(estimators, "run_islands", stopped)


def go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let islands run to their end again."""
    monkeypatch.setattr(estimators, "run_islands", run_islands)
