"""What an estimate may claim, from the least to the most, and the conditions that decide it."""

from __future__ import annotations

from dataclasses import dataclass

#: The verdicts, from the least to the most that they claim.
#:
#: - ``approximation``: the volume of another body, whose distance from the basin is unknown.
#: - ``lower bound``: log V is at least the lower end of the interval, with 95 % confidence.
#: - ``settled``: the interval holds log V of what chains reach from both starts, at the stated resolution.
#: - ``reliable``: the interval holds log V with 95 % confidence.
VERDICTS = ("approximation", "lower bound", "settled", "reliable")


@dataclass(frozen=True)
class Check:
    """One condition of a verdict.

    Attributes:
        name: short and fixed, such as ``"effective sample size"``.
        value: what was found.
        limit: what the verdict needs: a number, or words such as ``"between 0 and 3"``.
        met: whether the value meets it.
        words: the condition and the value in one sentence, for people.
    """

    name: str
    value: float
    limit: str | float
    met: bool
    words: str


def grade(verdict: str) -> int:
    """Return the place of a verdict in :data:`VERDICTS`: a larger one claims more.

    >>> grade("reliable") > grade("settled") > grade("lower bound") > grade("approximation")
    True
    """
    return VERDICTS.index(verdict)
