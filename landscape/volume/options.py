"""The keyword options of :func:`landscape.log_volume` for each estimator.

Editors complete them, and a typo is refused before anything is measured. The defaults stand in the signatures of the
estimators alone. A test compares the names.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypedDict

import numpy as np
from torch import Tensor

from landscape.errors import LandscapeError
from landscape.rays import Directions
from landscape.results import Hits, Islands, OnProgress, Radii
from landscape.volume.body.linear_map import LinearMap

# a text that is only known at run time is right too; the literals are what editors offer
Criterion = Literal["loss", "rise", "kl"] | str
MetricName = Literal["filter", "layer", "identity"] | str
MeasureName = Literal["lebesgue", "gaussian"] | str
MeasureCentre = Literal["zero", "theta"] | str
Curvature = Literal["hessian", "ggn"] | str
Derivative = Literal["autograd", "difference"] | str
Proposal = Literal["low-rank", "diagonal", "low-rank-diagonal", "krylov", "squared-gradients", "slopes"] | str


class BasinOptions(TypedDict, total=False):
    """Which basin it is, and how it is searched: of all but ``laplace``."""

    criterion: Criterion
    metric: MetricName
    seed: int
    max_radius: float | None
    step_ratio: float
    first_step: float | None


class MeasureOptions(TypedDict, total=False):
    """By which measure the basin is weighed: a volume, or a probability of random parameters."""

    measure: MeasureName
    sigma: float | None
    measure_centre: MeasureCentre


class SecondDerivatives(TypedDict, total=False):
    """The curvature at the trained point."""

    curvature: Curvature | None
    probes: int
    check: bool
    derivative: Derivative


class RadiiOptions(BasinOptions, total=False):
    """Of :func:`landscape.basin_radii`."""

    directions: int
    rtol: float
    rays: Directions | None
    resume: Radii | None
    progress: bool
    on_progress: OnProgress[Radii] | None


class UniformOptions(RadiiOptions, MeasureOptions, total=False):
    """Of ``uniform``."""


class CountOptions(BasinOptions, total=False):
    """Of ``counted``."""

    hits: int
    directions: int
    budget: str | float | None
    adaptive: bool
    resume: Hits | None
    progress: bool
    on_progress: OnProgress[Hits] | None


class RunOptions(BasinOptions, MeasureOptions, total=False):
    """Of a run of islands."""

    budget: str | float
    rtol: float | None
    radii: Radii | None
    resume: Islands | None


class IslandOptions(RunOptions, total=False):
    """Of ``annealed``."""

    progress: bool
    on_progress: OnProgress[Islands] | None


class ImportanceOptions(BasinOptions, MeasureOptions, SecondDerivatives, total=False):
    """Of ``importance``."""

    proposal: Proposal | np.ndarray | Mapping[str, Tensor] | LinearMap
    rank: int
    directions: int
    rtol: float | None
    resume: Radii | None
    progress: bool
    on_progress: OnProgress[Radii] | None


class LaplaceOptions(SecondDerivatives, total=False):
    """Of ``laplace``."""

    criterion: Criterion
    metric: MetricName
    max_radius: float | None
    steps: int
    seed: int
    progress: bool
    on_progress: OnProgress[Any] | None


class AutoOptions(BasinOptions, MeasureOptions, total=False):
    """Of ``auto``."""

    budget: str | float
    directions: int
    rtol: float | None
    progress: bool
    on_progress: OnProgress[Any] | None


def refuse_unknown(call: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Refuse an option that a call does not have, and name those that it has.

    Raises:
        LandscapeError: for the first such option.

    >>> refuse_unknown("trace()", ["prob"], ["probes", "seed"])
    Traceback (most recent call last):
    ...
    landscape.errors.LandscapeError: trace() has no option `prob=...`. Did you mean `probes=...`?
    Its options: probes, seed.
    """
    names = sorted(known)
    for name in given:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f" Did you mean `{near[0]}=...`?" if near else ""
            raise LandscapeError(f"{call} has no option `{name}=...`.{hint}\nIts options: {', '.join(names)}.")
