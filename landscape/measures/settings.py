"""The options that all sharpness measures share."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from landscape.errors import LandscapeError, check_count, is_number

SAMPLERS = ("auto", "hmc", "mala", "sgld", "rmsprop-sgld")  #: of ``llc``
CHAINS = 4  #: of ``llc``
DRAWS = 20  #: random perturbations, as in Andriushchenko et al. 2023
PROBES = 50  #: products with random vectors
CUTOFF = 0.1  #: loss that bounds the basin
BUDGET = "10min"  #: for all measures of one net
VOLUME_BUDGET = 2_000  #: passes for the volume: a quarter of them are uniform rays


@dataclass(frozen=True)
class Settings:
    """What determines the numbers, apart from the objective.

    Attributes:
        metric: scale c of a perturbation: ``identity`` (1), ``adaptive`` (|w|), or that of ``filter`` or ``layer``.
        rho: size of a perturbation; None for the default of each measure.
        draws: number of random perturbations.
        probes: number of products with random vectors.
        seed: of everything random.
        nbeta: inverse temperature times number of samples, for ``llc``; None for n / log n.
        gamma: strength of the pull towards the trained point, for ``llc``; None for 10 / mean squared weight.
        layer: name of the weight of the layer for measures of one layer; None for the last but one.
        start: the parameters at the start of training, shape (D,), for ``distance``; None if they are not known.
        cutoff: the loss that bounds the basin, for ``log-volume``.
        volume_budget: what ``log-volume`` may cost, a time or a number of passes; less if passes would take longer
            than the time that is left.
        sampler: of ``llc``: one of :data:`SAMPLERS`; ``auto`` is ``hmc`` if points run together, else ``sgld``.
        chains: number of chains of ``llc``.
        steps: gradients of each chain of ``llc``, without those of its pilot and burn-in; None for 1,000 if points run
            together, else 200.
        step_size: ε of ``llc``; None for the pilot's choice.
        minibatch: samples per gradient of SGLD; None for an eighth of the data, 32 or more.
    """

    metric: str = "identity"
    rho: float | None = None
    draws: int = DRAWS
    probes: int = PROBES
    seed: int = 0
    nbeta: float | None = None
    gamma: float | None = None
    layer: str | None = None
    start: torch.Tensor | None = field(default=None, compare=False, repr=False)
    cutoff: float = CUTOFF
    volume_budget: str | float = VOLUME_BUDGET
    sampler: str = "auto"
    chains: int = CHAINS
    steps: int | None = None
    step_size: float | None = None
    minibatch: int | None = None

    def __post_init__(self) -> None:
        for name in ("rho", "nbeta", "step_size", "cutoff"):
            value = getattr(self, name)
            if value is not None and not (is_number(value) and 0 < value < float("inf")):
                raise LandscapeError(f"`{name}` must be a positive number, not {value!r}.")
        if self.gamma is not None and not (is_number(self.gamma) and 0 <= self.gamma < float("inf")):
            raise LandscapeError(f"`gamma` must be a number of at least 0, not {self.gamma!r}.")
        if self.sampler not in SAMPLERS:
            raise LandscapeError(f"the sampler {self.sampler!r} is not known. Pass one of {', '.join(SAMPLERS)}.")
        for name, least in (("draws", 4), ("probes", 2), ("chains", 2), ("steps", 8), ("minibatch", 1)):
            value = getattr(self, name)
            if name in ("steps", "minibatch") and value is None:
                continue
            check_count(name, value, least)

    def describe(self) -> dict[str, Any]:
        """Return the settings as plain values; the start only as whether there is one."""
        return {**asdict(self), "start": self.start is not None}
