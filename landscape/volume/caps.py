"""From one run of annealed chains: the volume under smaller caps, and the chance of a ray that reaches a cap.

At every temperature the chains carry weights that turn a mean over them into one over *uniform* directions
(:attr:`Chains.path_log_weights`). So one run says of any function g of the radius what E[g(r)] is: g = min(r, c)^n
gives the volume under the cap c, and g = 1 where r >= c the chance that a ray reaches c. By a Gaussian measure what a
ray holds up to min(r, c) takes the place of min(r, c)^n.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from landscape.errors import LandscapeError
from landscape.results import CapRow, Caps, Chains
from landscape.volume.annealed import RELIABLE_UNSEEN, is_settled, volume_from_chains
from landscape.volume.ray_weights import statistics as w
from landscape.volume.ray_weights.radial_integral import log_radial_mass

CAPS = (0.25, 0.5, 1.0, 2.0)
_SAME = 1e-12  # of a log radius
_SURE = 3.0  # standard errors by which a mean is clearly below another
_PIECE = 4096  # rays that are integrated along at a time


def volumes_at_caps(chains: Chains, caps: Sequence[float] | None = None) -> Caps:
    """Return log V under each cap, and the chance that a uniform ray reaches it, from one run of annealed chains.

    With u the log-weights at one temperature and r the radii there, log V_c = log ω_n + log mean exp(u) min(r, c)^n
    and log P(r >= c) = log mean exp(u) over the chains with r >= c: unbiased at every temperature. Which one is settled
    on the run of half effort, where the log-weights scatter least of those whose mean is not clearly below another's,
    and applied to that of full effort, which drew other random numbers; so the estimate stays unbiased, and verdict,
    interval and lower bound are those of :func:`landscape.volume.annealed.volume_from_chains`. At the cap of the run V
    is what that function says.

    A body cut by a smaller cap is a basin of its own, and chains led to r^n may lie elsewhere: the verdict tells.

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
    >>> round(math.exp(row.log_volume) / math.pi, 6), round(math.exp(row.log_chance), 6)
    (1.0, 1.0)
    """
    volume = volume_from_chains(chains)
    limit = chains.max_radius
    chosen = [cap for cap in (*CAPS, limit) if cap <= limit] if caps is None else list(caps)
    for cap in chosen:
        if not 0 < cap <= limit:
            raise LandscapeError(
                f"the cap {cap:g} is not positive, or above the cap {limit:g} of the run, beyond which it saw nothing. "
                "Pass smaller caps, or measure with a larger max_radius."
            )
    rows = []
    for column, whole in enumerate(volume.results):
        for cap in sorted(set(chosen)):
            body = _Part.of(chains, column, cap)
            found = body.volume()
            if cap == limit:
                found = _Mean(whole.log_volume, whole.interval, whole.ess, whole.verdict)
            chance = body.chance() if math.isfinite(cap) else _Mean(-math.inf, (-math.inf, -math.inf), 0.0, "reliable")
            rows.append(
                CapRow(
                    cutoff=whole.cutoff,
                    cap=cap,
                    log_volume=found.value,
                    interval=found.interval,
                    ess=found.ess,
                    verdict=found.verdict,
                    log_chance=chance.value,
                    chance_interval=chance.interval,
                    chance_ess=chance.ess,
                    chance_verdict=chance.verdict,
                )
            )
    return Caps(tuple(rows), chains.dimension, chains.config, chains.cost)


@dataclass(frozen=True)
class _Mean:
    """The log of a mean, and how far it can be trusted."""

    value: float
    interval: tuple[float, float]
    ess: float
    verdict: str


@dataclass(frozen=True)
class _Part:
    """The body of one cutoff inside one cap.

    Attributes:
        log_weights, log_radii: at the temperatures of half and of full effort, shape (temperatures, chains).
        extents: of volume log min(r, c); by another measure log m / n of the ray up to there, same shape.
        rays, ray_extents: the same of the uniform rays of the first look, shape (rays,).
        log_cap: log c.
        dimension: n.
        rtol: relative tolerance of a radius.
        steepness: how much more log m changes than log r, at most; n for volume.
        most: log of the largest mean of m.
        whole: whether no search for a radius was given up, and no chains were resampled.
        shared: whether chains were resampled, so that they are one draw.
    """

    log_weights: tuple[np.ndarray, np.ndarray]
    log_radii: tuple[np.ndarray, np.ndarray]
    extents: tuple[np.ndarray, np.ndarray]
    rays: np.ndarray
    ray_extents: np.ndarray
    log_cap: float
    dimension: int
    rtol: float
    steepness: float
    most: float
    whole: bool
    shared: bool

    @classmethod
    def of(cls, chains: Chains, column: int, cap: float) -> _Part:
        full = int(chains.config["temperatures"])
        weights, radii = chains.path_log_weights[column], chains.path_log_radii[column]
        n, log_cap = chains.dimension, math.log(cap)
        with np.errstate(divide="ignore"):
            rays = np.log(chains.look[:, column])
        along, look_along = chains.path_along, chains.look_along
        extents = _extents(radii, along[column] if along.size else None, log_cap, n)
        return cls(
            (weights[0, : full // 2], weights[1]),
            (radii[0, : full // 2], radii[1]),
            (extents[0, : full // 2], extents[1]),
            rays,
            _extents(rays, look_along[:, column] if look_along.size else None, log_cap, n),
            log_cap,
            n,
            float(chains.config["rtol"]),
            chains.steepness,
            -w.log_unit_ball(n) if chains.of_probability else n * log_cap,
            not chains.unfinished[column].any() and not any(chains.resamplings(column)),
            chains.resamplings(column)[1] > 0,
        )

    def volume(self) -> _Mean:
        """Return log V under the cap."""
        n, ball = self.dimension, w.log_unit_ball(self.dimension)
        logs = [u + n * extent for u, extent in zip(self.log_weights, self.extents, strict=True)]
        # no weight is larger than those at the cap: where they are few but not rare, they alone are enough
        scatter = np.minimum(_scatter(logs[0]), _scatter(self._reaching()[0]))
        half, full, last = self._chosen(logs, scatter)
        # of what the first look's rays show beyond some extent, how much the chains lack
        inside = np.sort(self.ray_extents)[::-1]
        with np.errstate(over="ignore"):
            shown = np.exp(np.logaddexp.accumulate(n * inside) - math.log(len(inside)) - w.log_mean(full))
        tolerance = self.steepness * self.rtol
        met = np.array([w.share(full, last > edge - 2 * tolerance / n) for edge in inside])
        found = self._judged(half, full, float((shown - met).max()), tolerance, self.most)
        low, high = found.interval
        return _Mean(ball + found.value, (ball + low, ball + high), found.ess, found.verdict)

    def chance(self) -> _Mean:
        """Return log P(r >= c)."""
        logs = self._reaching()
        half, full, _ = self._chosen(logs, _scatter(logs[0]))
        seen = float((self.rays >= self.log_cap - _SAME).mean())
        found = self._judged(half, full, seen / max(math.exp(w.log_mean(full)), 1e-300) - 1 if seen else 0.0, 0.0, 0.0)
        low = min(found.interval[0], 0.0)  # weights need not add up to one
        return replace(found, value=min(found.value, 0.0), interval=(low, found.interval[1]))

    def _reaching(self) -> list[np.ndarray]:
        """Return the log-weights of the chains whose ray reaches the cap, minus infinity for the others."""
        return [
            np.where(np.isnan(r), np.nan, np.where(r >= self.log_cap - _SAME, u, -np.inf))
            for u, r in zip(self.log_weights, self.log_radii, strict=True)
        ]

    def _chosen(self, logs: list[np.ndarray], scatter: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the log-weights of half and full effort, and extents, at the temperature that half effort settles."""
        half, full = logs
        steady = np.isfinite(scatter)
        means = np.array([w.log_mean(row) for row in half[steady]])
        surely = means - _SURE * np.sqrt(scatter[steady] / half.shape[1])
        # where chains have left behind what carries the mean, they scatter little around too little
        enough = np.zeros(len(half), dtype=bool)
        enough[steady] = means >= np.max(surely, initial=-math.inf)
        place = int(np.where(enough, scatter, math.inf).argmin()) / len(half)
        known = np.flatnonzero(~np.isnan(full).any(axis=1))  # which are known does not depend on the random numbers
        at = int(known[np.argmin(np.abs(known / len(full) - place))])
        return half[round(place * len(half))], full[at], self.extents[1][at]

    def _judged(self, half: np.ndarray, full: np.ndarray, unseen: float, tolerance: float, most: float) -> _Mean:
        """Return the mean of the weights with its verdict."""
        value = w.log_mean(full)
        finite = bool(np.isfinite(half).all() and np.isfinite(full).all())
        if not finite and not np.isfinite(full).any():
            return _Mean(-math.inf, (-math.inf, most), 0.0, "lower bound")
        if finite and self.whole and unseen <= RELIABLE_UNSEEN and is_settled(half, full, tolerance):
            low, high = w.interval_of(full)
            return _Mean(
                value, (low - tolerance, min(high + tolerance, most)), w.effective_sample_size(full), "reliable"
            )
        lower = value + math.log(1 - w.CONFIDENCE) - tolerance
        ess = w.effective_sample_size(full)
        return _Mean(value, (lower, most), min(ess, 1.0) if self.shared else ess, "lower bound")


def _extents(log_radii: np.ndarray, along: np.ndarray | None, log_cap: float, n: int) -> np.ndarray:
    """Return the extents of rays cut by the cap, shape as ``log_radii``; ``along`` has one axis more."""
    cut = np.minimum(log_radii, log_cap)
    if along is None:
        return cut
    flat = along.reshape(-1, along.shape[-1])
    pieces = range(_PIECE, len(flat), _PIECE)
    lost = [
        log_radial_mass(n, a, b, np.exp(inner)) - log_radial_mass(n, a, b, np.exp(outer))
        for (_, a, b), inner, outer in zip(
            (part.T for part in np.split(flat, pieces)),
            np.split(cut.ravel(), pieces),
            np.split(log_radii.ravel(), pieces),
            strict=True,
        )
    ]
    return (flat[:, 0] + np.concatenate(lost) / n).reshape(log_radii.shape)


def _scatter(log_weights: np.ndarray) -> np.ndarray:
    """Return log(E[w²] / E[w]²) at each temperature, shape (temperatures,), were those not zero normal.

    It is their variance - log of their share. The sample's own moments would call a temperature calm at which no chain
    has met what carries the mean. Infinite where fewer than two are known and not zero.
    """
    found = np.full(len(log_weights), np.inf)
    for k, row in enumerate(log_weights):
        hit = row[np.isfinite(row)]
        if len(hit) > 1 and not np.isnan(row).any():
            found[k] = hit.var(ddof=1) - math.log(len(hit) / len(row))
    return found
