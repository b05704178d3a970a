"""From one run of annealed chains: the volume under smaller caps, and the probability that a ray reaches a cap.

At every temperature the chains carry weights that turn a mean over them into a mean over *uniform* directions
(:attr:`Chains.path_log_weights`). So one run gives E[g(r)] for any function g of the radius. g = min(r, c)^n gives the
volume under the cap c. g = 1 if r >= c, else 0, gives the probability that a ray reaches c. By a Gaussian measure the
mass of a ray up to min(r, c) takes the place of min(r, c)^n.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from landscape.errors import LandscapeError
from landscape.results import CapRow, Caps, Chains, VolumeEstimate
from landscape.volume.annealed import RELIABLE_UNSEEN, excess_on_long_rays, is_settled, volume_from_chains
from landscape.volume.ray_weights import statistics as w
from landscape.volume.ray_weights.radial_integral import log_radial_mass

CAPS = (0.25, 0.5, 1.0, 2.0)  # caps by default, up to the cap of the run
_SAME = 1e-12  # log radii closer than this are equal: a ray that ends at the cap may be a rounding short of it
_CLEARLY = 3.0  # standard errors by which one mean is clearly below another
_LEAST_PROBABILITY = 1e-300  # keeps a ratio of probabilities finite if no chain reaches the cap
_CHUNK = 4096  # rays integrated at a time, which bounds the memory


def volumes_at_caps(chains: Chains, caps: Sequence[float] | None = None) -> Caps:
    """Return log V under each cap, and the probability that a uniform ray reaches it, from one run of annealed chains.

    With u the log-weights at one temperature and r the radii there,

        log V_c = log ω_n + log mean exp(u) min(r, c)^n,    log P(r >= c) = log mean (exp(u) if r >= c else 0).

    Both are unbiased at every temperature. Half effort chooses the temperature: the one whose log-weights scatter
    least, among those whose mean is not clearly below another's. The estimate takes that temperature of full effort,
    which drew other random numbers, so it stays unbiased. Verdict, interval and lower bound are those of
    :func:`landscape.volume.annealed.volume_from_chains`. At the cap of the run V is the value of that function.

    A body cut by a smaller cap is a basin of its own, and chains led to r^n may be elsewhere. The verdict shows it.

    Args:
        chains: finished.
        caps: ascending, none above the cap of the run; by default those of 0.25, 0.5, 1, 2 up to it. ``inf`` stands for
            no cap.

    Raises:
        LandscapeError: for a run that is not finished, and a cap that is not positive or above that of the run.

    >>> import torch
    >>> from landscape.objective import Objective
    >>> from landscape.volume.annealing.anneal import anneal
    >>> bowl = Objective.from_function(lambda x: x.square().sum(-1), torch.zeros(2, dtype=torch.float64))
    >>> disc = anneal(bowl, [4.0], metric="identity", chains=16, temperatures=2)
    >>> row = volumes_at_caps(disc, [1.0]).rows[0]
    >>> round(math.exp(row.log_volume) / math.pi, 6), round(math.exp(row.log_probability), 6)
    (1.0, 1.0)
    """
    volume = volume_from_chains(chains)
    limit = chains.max_radius
    asked = [cap for cap in (*CAPS, limit) if cap <= limit] if caps is None else list(caps)
    for cap in asked:
        if not 0 < cap <= limit:
            raise LandscapeError(
                f"the cap {cap:g} is not positive, or above the cap {limit:g} of the run, beyond which it saw nothing. "
                "Pass smaller caps, or measure with a larger max_radius."
            )
    rows = [
        _row(chains, cutoff, whole, cap) for cutoff, whole in enumerate(volume.results) for cap in sorted(set(asked))
    ]
    return Caps(tuple(rows), chains.dimension, chains.config, chains.cost)


def _row(chains: Chains, cutoff: int, whole: VolumeEstimate, cap: float) -> CapRow:
    """Return what is known of the cutoff of this index under one cap; ``whole`` is the estimate of the run itself."""
    body = _CutBody.of(chains, cutoff, cap)
    volume = body.volume()
    if cap == chains.max_radius:
        volume = _Mean(whole.log_volume, whole.interval, whole.ess, whole.verdict)
    no_ray = _Mean(-math.inf, (-math.inf, -math.inf), 0.0, "reliable")  # no ray reaches an infinite cap
    probability = body.probability() if math.isfinite(cap) else no_ray
    return CapRow(
        cutoff=whole.cutoff,
        cap=cap,
        log_volume=volume.value,
        interval=volume.interval,
        ess=volume.ess,
        verdict=volume.verdict,
        log_probability=probability.value,
        probability_interval=probability.interval,
        probability_ess=probability.ess,
        probability_verdict=probability.verdict,
    )


@dataclass(frozen=True)
class _Mean:
    """The log of a mean, and how far it can be trusted."""

    value: float
    interval: tuple[float, float]
    ess: float
    verdict: str


@dataclass(frozen=True)
class _Effort:
    """The chains of half or of full effort at all their temperatures, each shape (temperatures, chains).

    Attributes:
        log_weights: for a mean over uniform directions.
        log_radii: log r.
        effective_log_radii: log min(r, c); for another measure log m / n of the ray up to there.
    """

    log_weights: np.ndarray
    log_radii: np.ndarray
    effective_log_radii: np.ndarray

    def terms_of_volume(self, n: int) -> np.ndarray:
        """Return the logs of the terms whose mean is V_c / ω_n."""
        return self.log_weights + n * self.effective_log_radii

    def terms_of_probability(self, log_cap: float) -> np.ndarray:
        """Return the logs of the terms whose mean is P(r >= c): minus infinity for rays short of the cap."""
        reached = np.where(self.log_radii >= log_cap - _SAME, self.log_weights, -np.inf)
        return np.where(np.isnan(self.log_radii), np.nan, reached)


@dataclass(frozen=True)
class _CutBody:
    """The body of one cutoff inside one cap.

    Attributes:
        half, full: the chains of each effort.
        log_radii, effective_log_radii: of the uniform reference rays, shape (rays,).
        log_cap: log c.
        dimension: n.
        tolerance: how far the tolerance of the radii may move log V.
        ceiling: log of the largest mean that the cap allows.
        complete: whether no search for a radius gave up, and no chains were resampled.
        one_draw: whether chains of full effort were resampled, so that all of them are one draw.
    """

    half: _Effort
    full: _Effort
    log_radii: np.ndarray
    effective_log_radii: np.ndarray
    log_cap: float
    dimension: int
    tolerance: float
    ceiling: float
    complete: bool
    one_draw: bool

    @classmethod
    def of(cls, chains: Chains, cutoff: int, cap: float) -> _CutBody:
        full = int(chains.config["temperatures"])
        n, log_cap = chains.dimension, math.log(cap)
        weights, radii = chains.path_log_weights[cutoff], chains.path_log_radii[cutoff]
        by_other_measure = chains.path_measure.size > 0
        effective = _cut(radii, chains.path_measure[cutoff] if by_other_measure else None, log_cap, n)
        with np.errstate(divide="ignore"):
            reference = np.log(chains.reference_radii[:, cutoff])
        return cls(
            half=_Effort(weights[0, : full // 2], radii[0, : full // 2], effective[0, : full // 2]),
            full=_Effort(weights[1], radii[1], effective[1]),
            log_radii=reference,
            effective_log_radii=_cut(
                reference, chains.reference_measure[:, cutoff] if by_other_measure else None, log_cap, n
            ),
            log_cap=log_cap,
            dimension=n,
            tolerance=chains.steepness * float(chains.config["rtol"]),
            ceiling=-w.log_unit_ball(n) if chains.of_probability else n * log_cap,
            complete=not chains.unfinished[cutoff].any() and not any(chains.resamplings(cutoff)),
            one_draw=chains.resamplings(cutoff)[1] > 0,
        )

    def volume(self) -> _Mean:
        """Return log V under the cap."""
        n, ball = self.dimension, w.log_unit_ball(self.dimension)
        half, full = self.half.terms_of_volume(n), self.full.terms_of_volume(n)
        # no weight exceeds those at the cap: if these are few but not rare, they alone are enough
        scatter = np.minimum(_scatter(half), _scatter(self.half.terms_of_probability(self.log_cap)))
        chosen = _steadiest(half, scatter)
        matching = _same_place(chosen, half, full)
        ends = self.full.effective_log_radii[matching]
        rays = np.sort(self.effective_log_radii)[::-1]
        unseen_share = excess_on_long_rays(rays, ends, full[matching], n, 2 * self.tolerance / n)
        mean = self._judged(half[chosen], full[matching], unseen_share, self.tolerance, self.ceiling)
        low, high = mean.interval
        return replace(mean, value=ball + mean.value, interval=(ball + low, ball + high))

    def probability(self) -> _Mean:
        """Return log P(r >= c)."""
        half, full = (effort.terms_of_probability(self.log_cap) for effort in (self.half, self.full))
        chosen = _steadiest(half, _scatter(half))
        matching = _same_place(chosen, half, full)
        seen = float((self.log_radii >= self.log_cap - _SAME).mean())
        by_chains = max(math.exp(w.log_mean(full[matching])), _LEAST_PROBABILITY)
        mean = self._judged(half[chosen], full[matching], seen / by_chains - 1 if seen else 0.0, _SAME, 0.0)
        # weights need not add up to one, so the mean may exceed it
        return replace(mean, value=min(mean.value, 0.0), interval=(min(mean.interval[0], 0.0), mean.interval[1]))

    def _judged(
        self, half: np.ndarray, full: np.ndarray, unseen_share: float, tolerance: float, ceiling: float
    ) -> _Mean:
        """Return the mean of the terms of full effort with its verdict."""
        if not np.isfinite(full).any():
            return _Mean(-math.inf, (-math.inf, ceiling), 0.0, "lower bound")
        value, ess = w.log_mean(full), w.effective_sample_size(full)
        no_zeros = bool(np.isfinite(half).all() and np.isfinite(full).all())
        if no_zeros and self.complete and unseen_share <= RELIABLE_UNSEEN and is_settled(half, full, tolerance):
            low, high = w.interval_of(full)
            return _Mean(value, (low - tolerance, min(high + tolerance, ceiling)), ess, "reliable")
        lower = value + math.log(1 - w.CONFIDENCE) - tolerance
        return _Mean(value, (lower, ceiling), min(ess, 1.0) if self.one_draw else ess, "lower bound")


def _steadiest(terms: np.ndarray, scatter: np.ndarray) -> int:
    """Return the temperature with the least scatter, of those whose mean is not clearly below another's.

    At a temperature at which the chains have left behind what carries the mean, they scatter little around too little.

    Args:
        terms: logs of the terms at each temperature, shape (temperatures, chains).
        scatter: of these terms, infinite if unknown, shape (temperatures,).
    """
    known = np.isfinite(scatter)
    means = np.array([w.log_mean(row) for row in terms[known]])
    lower_ends = means - _CLEARLY * np.sqrt(scatter[known] / terms.shape[1])
    enough = np.zeros(len(terms), dtype=bool)
    enough[known] = means >= np.max(lower_ends, initial=-math.inf)
    return int(np.where(enough, scatter, math.inf).argmin())


def _same_place(temperature: int, half: np.ndarray, full: np.ndarray) -> int:
    """Return the temperature of full effort at the same share of the path, or the nearest with known terms.

    Which terms are known does not depend on the random numbers, so the choice does not bias the estimate.
    """
    known = np.flatnonzero(~np.isnan(full).any(axis=1))
    return int(known[np.argmin(np.abs(known / len(full) - temperature / len(half)))])


def _cut(log_radii: np.ndarray, ray_measure: np.ndarray | None, log_cap: float, n: int) -> np.ndarray:
    """Return the effective log radii of rays cut by the cap, shape as ``log_radii``.

    Args:
        log_radii: log r.
        ray_measure: effective log radius, a and b of each ray, with one axis more; None for volumes.
        log_cap: log c.
        n: dimension.
    """
    inside = np.minimum(log_radii, log_cap)
    if ray_measure is None:
        return inside
    rows = ray_measure.reshape(-1, ray_measure.shape[-1])
    bounds = range(_CHUNK, len(rows), _CHUNK)
    lost = [
        log_radial_mass(n, a, b, np.exp(cut)) - log_radial_mass(n, a, b, np.exp(whole))
        for (_, a, b), cut, whole in zip(
            (chunk.T for chunk in np.split(rows, bounds)),
            np.split(inside.ravel(), bounds),
            np.split(log_radii.ravel(), bounds),
            strict=True,
        )
    ]
    return (rows[:, 0] + np.concatenate(lost) / n).reshape(log_radii.shape)


def _scatter(terms: np.ndarray) -> np.ndarray:
    """Return log(E[w²] / E[w]²) at each temperature, shape (temperatures,), as if the non-zero terms were log-normal.

    It is the variance of the non-zero logs minus the log of their share. The sample's own moments would call a
    temperature calm if no chain there has met what carries the mean. Infinite if fewer than two terms are non-zero, or
    if any is unknown.
    """
    scatter = np.full(len(terms), np.inf)
    for temperature, row in enumerate(terms):
        non_zero = row[np.isfinite(row)]
        if len(non_zero) > 1 and not np.isnan(row).any():
            scatter[temperature] = non_zero.var(ddof=1) - math.log(len(non_zero) / len(row))
    return scatter
