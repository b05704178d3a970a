"""Curvature as sharpness: the largest eigenvalue, the trace and the Frobenius norm of the Hessian in the metric."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from landscape.curvature.probes import Probes, finite
from landscape.measures.draws import PRODUCT_COST, Draws
from landscape.measures.reading import Reading
from landscape.measures.registry import measure
from landscape.measures.top_pair import top_pair
from landscape.objective import Objective
from landscape.results.sharpness import EXACT, LOWER_BOUND, UNKNOWN

_AT_ONCE = 10  # products between two looks at the clock; they share one graph


@dataclass(frozen=True)
class Products:
    """Products of the Hessian with random signs z: z · Hz and |Hz|² of each, shape (m,)."""

    forms: np.ndarray
    squares: np.ndarray
    weight: float
    exact: bool
    reasons: tuple[str, ...] = ()


@measure(
    "lambda-max",
    larger="sharper",
    closed_form=True,
    core=True,
    invariant=("permutation",),
    adaptive=("relu-rescaling",),
)
def lambda_max(objective: Objective, draws: Draws) -> Reading:
    """Return the largest eigenvalue of C H C, by Lanczos, with its residual as the error.

    An interval of value ± residual holds an eigenvalue for certain. After half of the budget that is left the search
    ends, and the value is a lower bound: no value of Lanczos lies above the largest eigenvalue.
    """
    pairs = top_pair(draws)
    if draws.cut and not pairs.converged[0]:
        reason = "the search ended with the budget; pass a larger `budget=...`"
        return Reading(float(pairs.values[0]), float(pairs.residuals[0]), LOWER_BOUND, (reason,))
    complete = pairs.complete and bool(pairs.converged[0])
    reasons = () if complete else ("the search for a larger eigenvalue ran out of products",)
    return Reading(float(pairs.values[0]), float(pairs.residuals[0]), EXACT if complete else UNKNOWN, reasons)


@measure(
    "trace", larger="sharper", closed_form=True, core=True, invariant=("permutation",), adaptive=("relu-rescaling",)
)
def trace(objective: Objective, draws: Draws) -> Reading:
    """Return the trace of C H C, by products with random signs (Hutchinson 1990)."""
    products = shared_products(draws)
    samples = products.weight * products.forms
    return Reading(float(samples.mean()), _error(samples, products.exact), reasons=products.reasons, samples=samples)


@measure(
    "frobenius", larger="sharper", closed_form=True, core=True, invariant=("permutation",), adaptive=("relu-rescaling",)
)
def frobenius(objective: Objective, draws: Draws) -> Reading:
    """Return the Frobenius norm of C H C, the root of E |CHC z|² over random signs, from the products of the trace."""
    products = shared_products(draws)
    samples = products.weight * products.squares
    value = math.sqrt(float(samples.mean()))
    square_error = _error(samples, products.exact)
    return Reading(value, square_error / (2 * value) if value else 0.0, reasons=products.reasons, samples=samples)


def shared_products(draws: Draws) -> Products:
    """Return products of C H C with random signs, made once; unit vectors, and exact, if n is at most ``probes``.

    Fewer than ``probes``, but at least ten, if they would take more than half of the budget that is left.
    """

    def multiply() -> Products:
        op = draws.hessian
        probes = Probes.of(op, draws.settings.probes, draws.settings.seed)
        forms, squares, made = [], [], 0
        enough = draws.left() / 2
        for block in range(0, probes.count, _AT_ONCE):
            if made and not probes.exact and draws.left() < enough:
                draws.cut = True
                break
            made = min(block + _AT_ONCE, probes.count)
            z = probes.block(block, made, op)
            image = finite(op @ z, op).double()
            forms.append((z.double() * image).sum(0).cpu().numpy())
            squares.append((image * image).sum(0).cpu().numpy())
            draws.charge(PRODUCT_COST * (made - block), made - block)
        short = f"{made} of {probes.count} products fitted into the budget; pass a larger `budget=...`"
        reasons = () if made == probes.count else (short,)
        return Products(np.concatenate(forms), np.concatenate(squares), probes.weight, probes.exact, reasons)

    return draws.once("products", multiply)


def _error(samples: np.ndarray, exact: bool) -> float:
    return 0.0 if exact else float(samples.std(ddof=1) / math.sqrt(len(samples)))
