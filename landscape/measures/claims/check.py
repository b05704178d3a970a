"""Try every invariance that a measure claims on nets with and without BatchNorm, in float64."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from landscape.measures.claims.relu_nets import data_for, louder, norm_net, permuted, plain_net, rescaled
from landscape.measures.registry import Definition, find_measures
from landscape.measures.run import sharpness
from landscape.objective import Objective
from landscape.results import Measure

Z = 4.5  #: standard errors that two values with other random numbers may differ by
EXACT = 1e-6  #: relative difference of two values with the same random numbers: rounding, magnified by iterations
NETS = {"plain": plain_net, "norm": norm_net}
CHANGES = {"relu-rescaling": rescaled, "permutation": permuted, "logit-scale": louder}
_PROBES = 400  # more than any of the nets has weights, so that traces are exact
_BATCH = 5  # samples, for the claim that the batch size does not matter


@dataclass(frozen=True)
class Claim:
    """One claim of a measure, tried on one net.

    Attributes:
        measure, metric: what was measured.
        invariance: what is claimed.
        net: ``plain`` or ``norm`` (with BatchNorm).
        before, after: the value of the net as it is, and after the change.
        holds: whether they agree: to rounding, or within their errors if the change gives each weight another random
            number.
    """

    measure: str
    metric: str
    invariance: str
    net: str
    before: float
    after: float
    holds: bool


def check_claims(measures: str) -> list[Claim]:
    """Try what some measures claim: names as for :func:`landscape.sharpness`, your own among them.

    >>> from landscape.measures import REGISTRY, measure
    >>> @measure("doc-length", larger="sharper", invariant=("permutation", "relu-rescaling"))
    ... def length(objective, draws):
    ...     return float(objective.theta.norm())
    >>> [(claim.invariance, claim.holds) for claim in check_claims("doc-length") if claim.net == "plain"]
    [('permutation', True), ('relu-rescaling', False)]
    >>> del REGISTRY["doc-length"]
    """
    nets = ClaimNets()
    return [
        check(definition.name, metric, word, net, nets)
        for definition in find_measures(measures)
        for metric, word in claims_of(definition)
        for net in NETS
    ]


def claims_of(definition: Definition) -> Iterator[tuple[str, str]]:
    """Yield each metric and invariance that a measure claims; in ``adaptive`` only what it claims there alone."""
    yield from (("identity", word) for word in definition.invariant)
    yield from (("adaptive", word) for word in definition.adaptive)


class ClaimNets:
    """The nets before and after each change, and what was measured of them: claims and measures share both."""

    def __init__(self) -> None:
        self._objectives: dict[tuple[str, str | None], Objective] = {}
        self._measures: dict[tuple[str, str, str], Measure] = {}

    def measured(self, name: str, metric: str, net: str, word: str | None = None) -> Measure:
        """Return a measure of a net after the change of this name; None: of the net as it is."""
        if word is not None:
            return _measured(self._objective(net, word), name, metric)
        if (name, metric, net) not in self._measures:
            self._measures[name, metric, net] = _measured(self._objective(net, None), name, metric)
        return self._measures[name, metric, net]

    def _objective(self, net: str, word: str | None) -> Objective:
        if (net, word) not in self._objectives:
            model = NETS[net]()
            data = data_for(model)
            if word in CHANGES:
                model = CHANGES[word](model)
            self._objectives[net, word] = Objective(model, data, batch_size=_BATCH if word == "batch-size" else None)
        return self._objectives[net, word]


def check(name: str, metric: str, word: str, net: str, nets: ClaimNets) -> Claim:
    """Try one claim on one net."""
    before, after = nets.measured(name, metric, net), nets.measured(name, metric, net, word)
    if word == "permutation" and before.standard_error:
        holds = _agree(before, after)
    else:
        holds = abs(after.value - before.value) <= EXACT * abs(before.value)
    return Claim(name, metric, word, net, before.value, after.value, math.isfinite(before.value) and holds)


def _measured(objective: Objective, name: str, metric: str) -> Measure:
    return sharpness(
        objective, name, metric=metric, probes=_PROBES, start=torch.zeros_like(objective.theta),
        cutoff=2 * objective.centre, volume_budget=400, chains=4, steps=100,
    )[name]  # fmt: skip


def _agree(first: Measure, second: Measure) -> bool:
    """Whether two measures with other random numbers agree: bounds by their intervals, others within their errors."""
    if first.verdict == "lower bound" and math.isnan(first.standard_error):
        (low, high), (other_low, other_high) = (each.config["volume_interval"] for each in (first, second))
        return bool(low <= other_high and other_low <= high)
    return abs(second.value - first.value) <= Z * math.hypot(first.standard_error, second.standard_error)
