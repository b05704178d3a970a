"""The errors a user can cause: one base class, a few kinds."""

from __future__ import annotations


class LandscapeError(Exception):
    """Something the caller can put right; the message says what arrived and what to type."""


class CheckpointError(LandscapeError):
    """A file could not be turned into a trained model."""


class TaskError(LandscapeError):
    """The model, the data or the loss do not fit together, or one of them is missing."""


class ObjectiveError(LandscapeError):
    """The loss around the trained point is not a function that can be measured."""


class CurvatureError(LandscapeError):
    """A curvature cannot be computed: an operator, a vector or a setting makes no sense."""


class RankError(LandscapeError):
    """The processes that share a measurement have come apart, or one of them is gone."""


class StoreError(LandscapeError):
    """A results file cannot be read, written or continued."""


class MissingExtraError(LandscapeError):
    """An optional dependency is needed and not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package}, which is not installed.\n"
            f"Install it with: pip install 'landscape-lab[{extra}]'"
        )
