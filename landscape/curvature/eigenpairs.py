"""The outermost eigenpairs of an operator, by Lanczos, with a search for what it missed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from landscape.curvature.lanczos import ROUNDING, Krylov, Ritz
from landscape.curvature.operator import Operator
from landscape.curvature.probes import check_count, check_operator, spending
from landscape.errors import CurvatureError
from landscape.rays.directions import check_seed
from landscape.results import Eigenpairs

WHICH = ("largest", "smallest", "magnitude")
BASIS_BYTES = 2**30  #: of the basis; a larger one is compressed
MOST_VECTORS = 600  #: of the basis: beyond it the small problem would cost more than products
_STUCK = 1.5  # residual over its rounding below which further products hardly help
_CHANCE = 0.01  # that a search overlooks an eigenvalue
_LEAST_PRODUCTS = 500
RULED_OUT, OPEN, NEEDED = "ruled out", "open", "needed"


def top_eigenpairs(
    op: Operator,
    k: int = 5,
    *,
    which: str = "largest",
    rtol: float = 1e-4,
    max_products: int | None = None,
    check: bool = True,
    seed: int = 0,
) -> Eigenpairs:
    """Return the ``k`` outermost eigenpairs of a symmetric operator, each with its residual and whether it converged.

    Lanczos with full reorthogonalisation, stopped at the first product after which |A v - λ v| <= rtol · |λ| for all k
    pairs. The basis is kept; where it would exceed 1 GiB (or 600 vectors) it is compressed to Ritz vectors (thick
    restart), and more products are needed.

    An eigenvalue is missed if the random start vector is orthogonal to its eigenvector, which is so for all but one
    copy of a multiple eigenvalue. With ``check``, a second chain starts from a random vector orthogonal to the basis
    and goes on until its moments show that no eigenvector outside the basis has an eigenvalue beyond the k-th (see
    :meth:`Search.share`); where it finds one, that is a pair like the others, and a further chain starts.
    ``complete`` then says that nothing was missed, multiplicities counted, but for a chance of 1 in 100 over the
    random vectors. Where a gap follows the k-th value this costs about three products, else up to a third more.

    Accuracy: vectors are kept in the dtype of the operator, so in float32 a residual stays at about 1e-7 to 1e-6 of the
    largest |λ|. A pair that this keeps from ``rtol`` is returned unconverged, without further products, and the notes
    say so.

    Args:
        op: the operator, n rows.
        k: number of pairs, at most n.
        which: ``largest``, ``smallest`` (most negative) or ``magnitude`` (largest |λ|).
        rtol: bound of the residual over |λ|.
        max_products: limit; by default 500, or 10 k where that is more. A run that reaches it returns what it has.
        check: whether to search for what was missed.
        seed: of the random vectors.

    Raises:
        CurvatureError: k > n, an unknown ``which``, a limit below k, products that are NaN, or an operator that is not
            symmetric.

    >>> from landscape.curvature.operator import Dense
    >>> pairs = top_eigenpairs(Dense(torch.diag(torch.tensor([3.0, 1.0, 3.0, 2.0], dtype=torch.float64))), k=3)
    >>> pairs.values.round(6), pairs.converged.all()
    (array([3., 3., 2.]), np.True_)
    """
    limit = _validate(op, k, which, rtol, max_products)
    krylov = Krylov(op, _room(op, k), -1.0 if which == "smallest" else 1.0, check_seed(seed))
    with spending(op) as spent:
        ritz, chosen, complete = _iterate(krylov, k, which, rtol, limit, check)
        chosen = chosen[np.argsort(-krylov.sign * ritz.values[chosen], kind="stable")]
        vectors = krylov.vectors(ritz.weights[:, chosen]).double()
        vectors /= vectors.norm(dim=1, keepdim=True)
        vectors *= torch.sign(vectors.gather(1, vectors.abs().argmax(1, keepdim=True)))
    converged = _converged(ritz, rtol, op.dtype)[chosen]
    dtype = str(op.dtype).removeprefix("torch.")
    settings = {"k": k, "which": which, "rtol": rtol, "max_products": limit, "check": check, "seed": seed}
    return Eigenpairs(
        values=krylov.sign * ritz.values[chosen] + 0.0,
        vectors=vectors.to(op.dtype).T.contiguous().cpu().numpy(),
        residuals=ritz.residuals[chosen],
        converged=converged,
        complete=complete,
        rounding=float(ritz.rounding[chosen].max()),
        which=which,
        dimension=op.size,
        notes=tuple(_notes(ritz, chosen, converged, dtype, _tiny(ritz, op.dtype), limit))
        + (() if complete or not converged.all() else (_unsearched(check, spent.cost.evaluations >= limit, limit),)),
        config={**op.describe(), "dtype": dtype, **settings},
        cost=spent.cost,
    )


def _iterate(krylov: Krylov, k: int, which: str, rtol: float, limit: int, check: bool) -> tuple[Ritz, np.ndarray, bool]:
    """Multiply until all is found or nothing more can be; return Ritz pairs, those wanted, and if none was missed."""
    n, products, next_one = krylov.op.size, 0, -1
    while True:
        if not krylov.waiting:
            krylov.start()
        krylov.multiply(next_one)
        next_one = -1
        products += 1
        if len(krylov.multiplied) < k:
            continue
        ritz = krylov.ritz()
        chosen = _choose(ritz.values, k, which)
        converged = _converged(ritz, rtol, krylov.op.dtype)[chosen]
        if len(krylov.multiplied) == n:
            return ritz, chosen, True
        cramped = krylov.room == 0 and krylov.limit < n
        if converged.all():
            state = _search_state(krylov, ritz, chosen, which, rtol) if check else OPEN
            if state == RULED_OUT:
                return ritz, chosen, True
            if not check or cramped or products >= limit:
                return ritz, chosen, False
            if state == NEEDED:
                if krylov.room < krylov.limit // 2 and krylov.limit < n:
                    krylov.compress(ritz, _choose(ritz.values, k, which))
                if krylov.room:
                    krylov.start()
        elif products >= limit or _only_rounding(ritz, chosen, converged):
            return ritz, chosen, False
        elif cramped:
            krylov.compress(ritz, _choose(ritz.values, _kept(krylov, k), which))
        elif krylov.waiting:
            next_one = krylov.coupled(ritz.weights[:, chosen[~converged]])


def _search_state(krylov: Krylov, ritz: Ritz, chosen: np.ndarray, which: str, rtol: float) -> str:
    """Return whether a search has ruled out that an eigenvalue further out was missed, is going on, or must start."""
    search, both = krylov.search, which == "magnitude"
    values = np.abs(ritz.values[chosen]) if both else ritz.values[chosen]
    last = float(values.min())
    beyond = last + max(rtol * abs(last), _tiny(ritz, krylov.op.dtype))
    signs = (1.0, -1.0) if both else (1.0,)
    if search is None or any(search.furthest(sign) > beyond for sign in signs):
        return NEEDED
    least = least_share(krylov.op.size, _CHANCE / len(signs))
    return RULED_OUT if all(search.share(beyond, sign) < least for sign in signs) else OPEN


def least_share(n: int, chance: float) -> float:
    """Return the share (u . z)^2 / |z|^2 that a random z in n dimensions has along a unit vector u but for this chance.

    n times the share is nearly chi-squared, which lies below eps with probability sqrt(2 · eps / pi) for small eps.

    >>> round(least_share(1000, 0.01) * 1e7, 3)
    1.571
    """
    return chance**2 * float(np.pi) / 2 / n


def _choose(values: np.ndarray, k: int, which: str) -> np.ndarray:
    """Return the positions of the ``k`` outermost of these values, ascending."""
    if which == "magnitude":
        return np.sort(np.argsort(-np.abs(values), kind="stable")[:k])
    return np.arange(len(values) - k, len(values))


def _converged(ritz: Ritz, rtol: float, dtype: torch.dtype) -> np.ndarray:
    """Return which pairs have a residual of at most rtol · |value|, or are pairs of 0 to rounding."""
    tiny = _tiny(ritz, dtype)
    size = np.abs(ritz.values)
    return (ritz.residuals <= rtol * size) | ((ritz.residuals <= tiny) & (size <= tiny))


def _tiny(ritz: Ritz, dtype: torch.dtype) -> float:
    return ROUNDING * torch.finfo(dtype).eps * ritz.scale


def _only_rounding(ritz: Ritz, chosen: np.ndarray, converged: np.ndarray) -> bool:
    """Return whether rounding is most of every residual that is too large, so that products do not help."""
    left = chosen[~converged]
    return bool((ritz.residuals[left] <= _STUCK * ritz.rounding[left]).all())


def _kept(krylov: Krylov, k: int) -> int:
    """Return how many Ritz vectors a restart keeps: the wanted ones, and half of the room for those that come next."""
    room = krylov.limit - len(krylov.waiting) - 1
    return min(k + (room - k) // 2, len(krylov.multiplied))


def _room(op: Operator, k: int) -> int:
    """Return how many vectors the basis may hold."""
    most = min(MOST_VECTORS, BASIS_BYTES // (op.size * op.dtype.itemsize))
    return min(op.size, max(most, 2 * k + 20))


def _validate(op: Operator, k: int, which: str, rtol: float, max_products: int | None) -> int:
    """Refuse settings that make no sense, and return the limit of products."""
    if which not in WHICH:
        raise CurvatureError(f"which={which!r} is none of the ends of a spectrum: pass one of {', '.join(WHICH)}.")
    if check_count("k", k, 1) > check_operator(op).size:
        raise CurvatureError(
            f"an operator with n = {op.size:,} rows has no {k:,} eigenpairs.\n"
            f"Pass k={op.size} or less, or widen the scope."
        )
    if not 0 < rtol < 1:
        raise CurvatureError(f"rtol must lie between 0 and 1 (1e-4 asks for four digits), not {rtol!r}.")
    limit = max(_LEAST_PRODUCTS, 10 * k) if max_products is None else check_count("max_products", max_products, 1)
    if limit < k:
        raise CurvatureError(
            f"{k} eigenpairs need at least {k} products; max_products={limit} allows fewer.\n"
            f"Pass max_products={20 + 5 * k} or more, or a smaller k."
        )
    return limit


def _notes(ritz: Ritz, chosen: np.ndarray, converged: np.ndarray, dtype: str, tiny: float, limit: int) -> Iterator[str]:
    """Say what a reader must know before quoting the values."""
    zero = int((converged & (np.abs(ritz.values[chosen]) <= tiny)).sum())
    if zero and tiny > 0:
        yield f"{zero} of these values are 0 to the rounding of {dtype}: below {tiny:.1e}, of which no digit is right."
    left = ritz.residuals[chosen][~converged]
    stuck = int((left <= _STUCK * ritz.rounding[chosen][~converged]).sum())
    if stuck:
        yield (
            f"rounding in {dtype} keeps {stuck} of {len(converged)} pairs from rtol: their residuals are as small as "
            "products in this precision allow. Use float64 for more."
        )
    if len(left) > stuck:
        yield (
            f"stopped at max_products = {limit:,} with {len(left) - stuck} of {len(converged)} pairs not converged: "
            "they may be far from the eigenvalues meant."
        )


def _unsearched(check: bool, exhausted: bool, limit: int) -> str:
    """Say why nothing is known of missed eigenvalues."""
    why = f"stopped at max_products = {limit:,}" if exhausted else "ran out of memory for its vectors"
    return (
        f"the search for missed eigenvalues {why if check else 'was not asked for'}; copies of a multiple "
        "eigenvalue may be missing."
    )
