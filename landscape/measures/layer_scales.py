"""Sharpness that does not depend on the scales of layers or units: the least value over all scales."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from landscape.curvature import Hessian
from landscape.curvature.probes import Probes, finite
from landscape.errors import LandscapeError
from landscape.measures.draws import PRODUCT_COST, Draws
from landscape.measures.reading import Reading
from landscape.measures.registry import measure
from landscape.objective import Objective
from landscape.objective.parameters import Entry

_ROUNDS, _CONVERGED = 10_000, 1e-12  # of the alternating solve; relative change of a round


@measure("minimum", larger="sharper", invariant=("permutation", "batch-size"))
def minimum(objective: Objective, draws: Draws) -> Reading:
    """Return the least trace of the Hessian over the scales of layers, D (product of tr H_l)^(1/D) for D layers.

    H_l is the Hessian's block of the weights of layer l; biases are left out. Multiplying layer l by a_l divides tr H_l
    by a_l², and the function is the same if the product of all a_l is 1. Rescaling whole layers leaves the value
    unchanged, rescaling single units does not. In the identity metric.

    Source: Ibayashi, Hamano, Imaizumi, Suzuki et al. 2021.
    """
    found, names = diagonals(draws), [entry.name for entry in _matrices(objective)]
    samples = np.stack([found.traces[name] for name in names], axis=1)
    traces = samples.mean(0)
    if (traces <= 0).any():
        worst = names[int(np.argmin(traces))]
        raise LandscapeError(
            f"the trace of the Hessian of {worst} is {traces.min():.3g}, not positive, so there is no least trace over "
            "the scales of layers. Pass more `probes=...`, or train further."
        )
    value = len(names) * math.exp(float(np.log(traces).mean()))
    shares = value * (samples / traces).mean(1)  # to first order
    error = 0.0 if found.exact else float(shares.std(ddof=1) / math.sqrt(len(shares)))
    return Reading(value, error, config={"layers": len(names)})


@measure("normalised", larger="sharper", invariant=("relu-rescaling", "permutation", "batch-size"))
def normalised(objective: Objective, draws: Draws) -> Reading:
    """Return the sum over layers of the least sum over i, j of h_ij a_i b_j + w_ij² / (a_i b_j), over all a, b > 0.

    Here h is the diagonal of the Hessian, a_i scales unit i and b_j scales input j of the layer. All weights of a
    convolution between two channels share their scale. If w_ij² / h_ij is a product of a factor of i and one of j, it
    is 2 · sum of sqrt(h_ij) |w_ij|. Entries of h below 0 count as 0. In the identity metric.

    ``probes`` products give h. With fewer than weights h is noisy, which shifts the value. Half of the probes show by
    how much: the value is extrapolated to no noise, and its error contains the shift.

    Source: Tsuzuku, Sato & Sugiyama 2020, as in the ICML paper, for the weight matrices.
    """
    found = diagonals(draws)
    whole = (found.halves[0] + found.halves[1]) / 2
    scope, layers = objective.scope, _matrices(objective)
    weights = objective.theta.double()

    def total(diagonal: torch.Tensor) -> tuple[float, float]:
        spread = scope.scatter(diagonal.clamp_min(0), torch.zeros_like(weights))
        noise = scope.scatter(found.variance, torch.zeros_like(weights))
        parts = [_layer(entry, weights, spread, noise) for entry in layers]
        return sum(value for value, _ in parts), sum(variance for _, variance in parts)

    value, variance = total(whole)
    negative = float((whole < 0).double().mean())
    config = {"layers": len(layers), "negative_share": negative}
    if found.exact:
        return Reading(value, config=config)
    shift = (total(found.halves[0])[0] + total(found.halves[1])[0]) / 2 - value
    return Reading(value - shift, math.hypot(math.sqrt(2 * variance), shift), config=config)


def least_over_scales(curvature: np.ndarray, squares: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the least sum of h a b + w² / (a b) over row scales a and column scales b, and a b, shape (rows, columns).

    The sum is convex in log a and log b, and the best a for given b is known, so the two take turns. Rows and columns
    without weights or without curvature add nothing: their scales would go to 0 or infinity.

    Args:
        curvature: h, at least 0, shape (rows, columns).
        squares: w², in the same shape.

    >>> value, scales = least_over_scales(np.array([[1.0, 4.0]]), np.array([[9.0, 1.0]]))
    >>> round(value, 9)
    10.0
    """
    rows = (curvature.sum(1) > 0) & (squares.sum(1) > 0)
    columns = (curvature[rows].sum(0) > 0) & (squares[rows].sum(0) > 0)
    scales = np.zeros_like(curvature)
    h, w = curvature[np.ix_(rows, columns)], squares[np.ix_(rows, columns)]
    a, b, before = np.ones(len(h)), np.ones(h.shape[1]), math.inf
    tiny = np.finfo(float).tiny
    value = 0.0
    for _ in range(_ROUNDS if h.size else 0):
        a = np.sqrt((w @ (1 / b)) / np.maximum(h @ b, tiny))
        b = np.sqrt(((1 / a) @ w) / np.maximum(a @ h, tiny))
        value = float(a @ h @ b + (1 / a) @ w @ (1 / b))
        if before - value <= _CONVERGED * value:
            break
        before = value
    scales[np.ix_(rows, columns)] = a[:, None] * b
    return value, scales


def _layer(entry: Entry, weights: torch.Tensor, diagonal: torch.Tensor, noise: torch.Tensor) -> tuple[float, float]:
    """Return the least sum of a layer, and its variance if the entries of the diagonal had these variances."""
    part = slice(entry.start, entry.stop)
    squares, h, variance = (
        _channels(entry, vector[part]) for vector in (weights.square(), diagonal, noise)
    )  # fmt: skip
    value, scales = least_over_scales(h, squares)
    return value, float((scales**2 * variance).sum())


def _channels(entry: Entry, values: torch.Tensor) -> np.ndarray:
    """Return the sums over the kernel's positions, shape (units, inputs)."""
    shaped = values.reshape(entry.shape)
    return np.asarray(shaped.flatten(2).sum(2).cpu().numpy() if shaped.dim() > 2 else shaped.cpu().numpy())


def _matrices(objective: Objective) -> list[Entry]:
    """Return the weight matrices in scope."""
    chosen = [entry for entry in objective.scope.entries if entry.kernel and len(entry.shape) > 1]
    if not chosen:
        raise LandscapeError("this measure needs weight matrices of layers, and the scope holds none.")
    return chosen


@dataclass(frozen=True)
class Diagonals:
    """The diagonal of the Hessian from random signs.

    Attributes:
        halves: its mean over every other probe, and over the others, shape (n,) each.
        variance: of the mean of both, shape (n,).
        traces: the sum over each layer per probe, by its name, shape (probes,).
        exact: whether unit vectors took the place of random signs.
    """

    halves: tuple[torch.Tensor, torch.Tensor]
    variance: torch.Tensor
    traces: Mapping[str, np.ndarray]
    exact: bool


def diagonals(draws: Draws) -> Diagonals:
    """Return the diagonal of the Hessian in the identity metric, from ``probes`` products that all measures share."""
    return draws.once("diagonals", lambda: _multiply(draws))


def _multiply(draws: Draws) -> Diagonals:
    plain = draws.metric.name == "identity"
    op = draws.hessian if plain else Hessian(draws.objective)
    probes = Probes.of(op, draws.settings.probes, draws.settings.seed)
    sums = torch.zeros(2, op.size, dtype=torch.float64, device=op.device)
    squares, pieces = torch.zeros_like(sums[0]), []
    for start, stop in probes.spans(op):
        entries = torch.zeros(op.size, stop - start, dtype=torch.float64, device=op.device)
        for index, summand in enumerate(probes.summands(op)):  # each with its own signs: less variance
            z = probes.block(start, stop, op, index)
            entries += (z * finite(summand @ z, op)).double()
        entries *= probes.weight
        squares += entries.square().sum(1)
        for which in range(2):
            sums[which] += entries[:, (which - start) % 2 :: 2].sum(1)
        pieces.append([entries[part.start : part.stop].sum(0).cpu().numpy() for part in op.parts])
    draws.charge(PRODUCT_COST * probes.count, probes.count)
    traces = {
        part.name: np.concatenate(column) for part, column in zip(op.parts, zip(*pieces, strict=True), strict=True)
    }
    mean, first = sums.sum(0) / probes.count, (probes.count + 1) // 2
    if probes.exact:
        return Diagonals((mean, mean), torch.zeros_like(mean), traces, exact=True)
    variance = (squares / probes.count - mean.square()).clamp_min(0) / (probes.count - 1)
    return Diagonals((sums[0] / first, sums[1] / (probes.count - first)), variance, traces, exact=False)
