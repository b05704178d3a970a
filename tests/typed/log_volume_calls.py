"""What mypy says of calls of ``log_volume``: ``mypy`` fails if an ignored error is none, or if another one appears.

Nothing here runs.
"""

from __future__ import annotations

from typing import assert_type

import landscape as ls
from landscape.results import AnnealedVolume, CountedVolume, LaplaceVolume


def right(objective: ls.Objective, criterion: str) -> None:
    """Each estimator has its own options and returns its own result."""
    assert_type(ls.log_volume(objective), ls.Volume)
    assert_type(ls.log_volume(objective, [0.1], budget="5min", directions=200, progress=True), ls.Volume)
    assert_type(ls.log_volume(objective, estimator="uniform", rtol=1e-6, criterion=criterion), ls.Volume)
    assert_type(ls.log_volume(objective, estimator="counted", hits=50), CountedVolume)
    assert_type(ls.log_volume(objective, estimator="annealed", budget=20_000, sigma=0.1), AnnealedVolume)
    assert_type(ls.log_volume(objective, estimator="importance", proposal="slopes", rank=5), ls.Volume)
    assert_type(ls.log_volume(objective, estimator="laplace", curvature="ggn", probes=50), LaplaceVolume)
    assert_type(ls.Objective.from_checkpoint("ckpt.pt", batch_size=3), ls.Objective)


def wrong(objective: ls.Objective) -> None:
    """A typo, an option of another estimator, a value of another type."""
    ls.log_volume(objective, estimator="annealed", buget="5min")  # type: ignore[call-overload]
    ls.log_volume(objective, estimator="laplace", directions=200)  # type: ignore[call-overload]
    ls.log_volume(objective, estimator="counted", hits="many")  # type: ignore[call-overload]
    ls.log_volume(objective, estimator="aneal")  # type: ignore[call-overload]
    ls.Objective.from_checkpoint("ckpt.pt", batchsize=3)  # type: ignore[call-arg]
