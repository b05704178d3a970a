"""The outermost eigenpairs of an operator, by Lanczos, with a search for what it missed."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

import numpy as np
import torch
from torch import Tensor

from landscape import distributed
from landscape.curvature.autograd.graphs import free_bytes
from landscape.curvature.counting_operator import counting
from landscape.curvature.lanczos import CHANCE, ROUNDING, Krylov, Ritz, least_share
from landscape.curvature.operator import Operator
from landscape.curvature.outermost import Asked, outermost_pair
from landscape.curvature.probes import check_operator, spending, within_room
from landscape.errors import CurvatureError, check_count
from landscape.rays.directions import check_seed
from landscape.results import Eigenpairs, OnProgress

WHICH = ("largest", "smallest", "magnitude")
BASIS_BYTES = 2**30  #: memory that the basis may take; a larger one is compressed
MOST_VECTORS = 600  #: vectors that the basis may hold: with more, the small eigenproblem costs more than products
_STUCK = 1.5  # residual over its rounding below which further products hardly help
_LEAST_LIMIT = 500  # products
_SMALL = 500  # rows up to which the search takes at most n products
_NEWEST = -1  # position of the newest waiting vector


class _Next(Enum):
    """What to do after a product."""

    NEWEST = auto()  # multiply the newest vector
    MOST_COUPLED = auto()  # multiply the waiting vector that holds most of the residuals
    COMPRESS = auto()  # make room: keep the wanted Ritz vectors and some of the next ones
    SEARCH = auto()  # start a search for missed eigenvalues
    STOP = auto()  # return what is known; something may have been missed
    STOP_COMPLETE = auto()  # return what is known; nothing was missed


class _Missed(Enum):
    """Whether an eigenvalue further out than those found may have been missed."""

    RULED_OUT = auto()
    OPEN = auto()  # a search goes on
    SEARCH_NEEDED = auto()


@dataclass(frozen=True)
class _Wanted:
    """Which pairs are wanted, how accurate, and at what cost: see :func:`top_eigenpairs`."""

    k: int
    which: str
    rtol: float
    limit: int  #: of products
    deadline: float  #: by time.perf_counter()
    check: bool


@dataclass(frozen=True)
class _RitzPairs:
    """The Ritz pairs after a product.

    Attributes:
        ritz: all of them.
        chosen: positions of the k wanted pairs, shape (k,).
        converged: which of the wanted pairs have converged, shape (k,).
        tiny: the absolute value below which an eigenvalue is 0 to rounding.
    """

    ritz: Ritz
    chosen: np.ndarray
    converged: np.ndarray
    tiny: float

    @classmethod
    def of(cls, krylov: Krylov, wanted: _Wanted) -> _RitzPairs:
        """Return the Ritz pairs on the basis."""
        ritz = krylov.ritz()
        tiny = ROUNDING * torch.finfo(krylov.op.dtype).eps * ritz.scale
        chosen = _choose(ritz.values, wanted.k, wanted.which)
        return cls(ritz, chosen, _converged(ritz, wanted.rtol, tiny)[chosen], tiny)

    @property
    def unconverged(self) -> np.ndarray:
        """Positions of the wanted pairs that have not converged."""
        return self.chosen[~self.converged]

    @property
    def stuck(self) -> np.ndarray:
        """For each of these, whether rounding is most of its residual, so that more products do not help."""
        return self.ritz.residuals[self.unconverged] <= _STUCK * self.ritz.rounding[self.unconverged]


def top_eigenpairs(
    op: Operator,
    k: int = 5,
    *,
    which: str = "largest",
    rtol: float = 1e-4,
    max_products: int | None = None,
    max_seconds: float = math.inf,
    check: bool = True,
    vectors: bool | None = None,
    seed: int = 0,
    progress: bool = False,
    on_progress: OnProgress[Eigenpairs] | None = None,
) -> Eigenpairs:
    """Return the ``k`` outermost eigenpairs of a symmetric operator, each with its residual and whether it converged.

    Lanczos with full reorthogonalisation. It stops at the first product after which |A v - λ v| <= rtol · |λ| for all k
    pairs. The basis is kept. If it would exceed 1 GiB (or 600 vectors), it is compressed to Ritz vectors (thick
    restart), which takes more products.

    An eigenvalue is missed if the random start vector is orthogonal to its eigenvector. That is so for all but one copy
    of a multiple eigenvalue. With ``check``, a second chain starts from a random vector orthogonal to the basis. It
    goes on until its moments show that no eigenvector outside the basis has an eigenvalue beyond the k-th (see
    :meth:`landscape.curvature.lanczos.Search.largest_share`). If it finds one, that pair counts like the others, and a
    further chain starts. ``complete`` then says that nothing was missed, multiplicities counted, with a probability of
    error of 1 in 100 over the random vectors. This costs about three products if a gap follows the k-th value, and up
    to a third more products otherwise.

    A single pair of a large model comes from Lanczos that keeps two vectors (:mod:`landscape.curvature.outermost`).

    Accuracy: vectors are kept in the dtype of the operator, so in float32 a residual stays at about 1e-7 to 1e-6 of the
    largest |λ|. A pair that this keeps from ``rtol`` is returned unconverged, without further products, and the notes
    say so.

    Args:
        op: the operator, n rows.
        k: number of pairs, at most n.
        which: ``largest``, ``smallest`` (most negative) or ``magnitude`` (largest |λ|).
        rtol: bound of the residual over |λ|.
        max_products: limit; by default 500, or 10 k if that is more. A run that reaches it returns what it has.
        max_seconds: the same for the time: no product begins after it, once there are k.
        check: whether to search for missed eigenvalues.
        vectors: whether to return eigenvectors; by default not for a single pair of a large model, where they take as
            many products again. The result then has vectors of shape (0, 1).
        seed: of the random vectors.
        progress, on_progress: as for :func:`landscape.trace`.

    Raises:
        CurvatureError: k > n, an unknown ``which``, a limit below k, products that are NaN, or an operator that is not
            symmetric.

    >>> from landscape.curvature.operator import Dense
    >>> pairs = top_eigenpairs(Dense(torch.diag(torch.tensor([3.0, 1.0, 3.0, 2.0], dtype=torch.float64))), k=3)
    >>> pairs.values.round(6), bool(pairs.converged.all())
    (array([3., 3., 2.]), True)
    """
    limit, began = _validate(op, k, which, rtol, max_products), time.perf_counter()
    if op.lean and k == 1:
        asked = Asked(which, rtol, limit, began + max_seconds, check, bool(vectors), check_seed(seed))
        with counting(op, most_products(op.size, limit), progress, on_progress) as op:
            return outermost_pair(op, asked)
    with counting(op, most_products(op.size, limit), progress, on_progress) as op, spending(op) as spent:
        krylov = Krylov(op, _room(op, k), -1.0 if which == "smallest" else 1.0, check_seed(seed))
        pairs, complete = _iterate(krylov, _Wanted(k, which, rtol, limit, began + max_seconds, check))
        order = np.argsort(-krylov.sign * pairs.ritz.values[pairs.chosen], kind="stable")
        ritz, chosen, converged = pairs.ritz, pairs.chosen[order], pairs.converged[order]
        found = krylov.vectors(ritz.weights[:, chosen]).double()
        found /= torch.tensor([op.norm(vector) for vector in found], dtype=torch.float64).to(found)[:, None]
        found *= _signs(op, found)[:, None]
    dtype = str(op.dtype).removeprefix("torch.")
    end = f"max_products = {limit:,}" if spent.cost.evaluations >= limit else f"max_seconds = {max_seconds:g}"
    notes = list(_notes(pairs, dtype, end))
    if op.holding.ranks > 1:
        notes.append(f"the vectors are those rows that each of the {op.holding.ranks} ranks holds, not all n")
    if converged.all() and not complete:
        late = _late(op, began + max_seconds)
        notes.append(_unsearched(check, end if spent.cost.evaluations >= limit or late else ""))
    settings = {"k": k, "which": which, "rtol": rtol, "max_products": limit, "check": check, "seed": seed}
    return Eigenpairs(
        values=krylov.sign * ritz.values[chosen] + 0.0,
        vectors=found.to(op.dtype).T.contiguous().cpu().numpy(),
        residuals=ritz.residuals[chosen],
        converged=converged,
        complete=complete,
        rounding=float(ritz.rounding[chosen].max()),
        which=which,
        dimension=op.size,
        notes=tuple(notes),
        config={**op.describe(), "dtype": dtype, **settings},
        cost=spent.cost,
    )


def _signs(op: Operator, vectors: Tensor) -> Tensor:
    """Return the sign of the largest entry of each vector, shape (k,), which may lie on another rank."""
    if op.holding.ranks == 1:
        return torch.sign(vectors.gather(1, vectors.abs().argmax(1, keepdim=True))[:, 0])
    ends = torch.stack([torch.stack(torch.cat([vector, vector.new_zeros(1)]).aminmax()) for vector in vectors])
    everyone = op.holding.everyone(ends)
    return torch.where(everyone[..., 1].amax(0) >= -everyone[..., 0].amin(0), 1.0, -1.0).to(vectors)


def _late(op: Operator, deadline: float) -> bool:
    """Return whether the time is over; ranks that work together take the clock of the first."""
    if deadline == math.inf:
        return False
    late = distributed.from_first(lambda: time.perf_counter() >= deadline)
    return bool(op.holding.everyone(torch.tensor([float(late)]))[0])


def _iterate(krylov: Krylov, wanted: _Wanted) -> tuple[_RitzPairs, bool]:
    """Multiply until all wanted pairs are found or nothing more can be; return them and whether none was missed."""
    products, position = 0, _NEWEST
    while True:
        if not krylov.waiting:
            krylov.start()
        krylov.multiply(position)
        products, position = products + 1, _NEWEST
        if len(krylov.multiplied) < wanted.k:
            continue
        pairs = _RitzPairs.of(krylov, wanted)
        exhausted = products >= wanted.limit or _late(krylov.op, wanted.deadline)
        match _decide(krylov, pairs, wanted, exhausted=exhausted):
            case _Next.STOP_COMPLETE:
                return pairs, True
            case _Next.STOP:
                return pairs, False
            case _Next.SEARCH:
                _start_search(krylov, pairs)
            case _Next.COMPRESS:
                krylov.compress(pairs.ritz, _choose(pairs.ritz.values, _kept(krylov, wanted.k), wanted.which))
            case _Next.MOST_COUPLED:
                position = krylov.most_coupled(pairs.ritz.weights[:, pairs.unconverged])


def _decide(krylov: Krylov, pairs: _RitzPairs, wanted: _Wanted, *, exhausted: bool) -> _Next:
    """Return what to do after a product; ``exhausted``: whether no further product is allowed."""
    if len(krylov.multiplied) == krylov.op.size:
        return _Next.STOP_COMPLETE
    full = krylov.room == 0 and krylov.limit < krylov.op.size
    if pairs.converged.all():
        return _decide_search(krylov, pairs, wanted, may_go_on=not (full or exhausted))
    if exhausted or pairs.stuck.all():
        return _Next.STOP
    if full:
        return _Next.COMPRESS
    return _Next.MOST_COUPLED if krylov.waiting else _Next.NEWEST


def _decide_search(krylov: Krylov, pairs: _RitzPairs, wanted: _Wanted, *, may_go_on: bool) -> _Next:
    """Return what to do once all wanted pairs have converged."""
    if not wanted.check:
        return _Next.STOP
    missed = _missed(krylov, pairs, wanted)
    if missed is _Missed.RULED_OUT:
        return _Next.STOP_COMPLETE
    if not may_go_on:
        return _Next.STOP
    return _Next.SEARCH if missed is _Missed.SEARCH_NEEDED else _Next.NEWEST


def _missed(krylov: Krylov, pairs: _RitzPairs, wanted: _Wanted) -> _Missed:
    """Return whether the search so far rules out that an eigenvalue further out was missed."""
    search, both = krylov.search, wanted.which == "magnitude"
    values = np.abs(pairs.ritz.values[pairs.chosen]) if both else pairs.ritz.values[pairs.chosen]
    last = float(values.min())
    beyond = last + max(wanted.rtol * abs(last), pairs.tiny)
    signs = (1.0, -1.0) if both else (1.0,)
    if search is None or any(search.largest_ritz_value(sign) > beyond for sign in signs):
        return _Missed.SEARCH_NEEDED
    least = least_share(krylov.op.size, CHANCE / len(signs))
    ruled_out = all(search.largest_share(beyond, sign) < least for sign in signs)
    return _Missed.RULED_OUT if ruled_out else _Missed.OPEN


def _start_search(krylov: Krylov, pairs: _RitzPairs) -> None:
    """Start a chain from a random vector, with at least half of the basis free for it."""
    if krylov.room < krylov.limit // 2 and krylov.limit < krylov.op.size:
        krylov.compress(pairs.ritz, pairs.chosen)
    if krylov.room:
        krylov.start()


def _choose(values: np.ndarray, k: int, which: str) -> np.ndarray:
    """Return the positions of the ``k`` outermost of these values, ascending."""
    if which == "magnitude":
        return np.sort(np.argsort(-np.abs(values), kind="stable")[:k])
    return np.arange(len(values) - k, len(values))


def _converged(ritz: Ritz, rtol: float, tiny: float) -> np.ndarray:
    """Return which pairs have a residual of at most rtol · |value|, or are pairs of 0 to rounding."""
    size = np.abs(ritz.values)
    return (ritz.residuals <= rtol * size) | ((ritz.residuals <= tiny) & (size <= tiny))


def _kept(krylov: Krylov, k: int) -> int:
    """Return how many Ritz vectors a restart keeps: the wanted ones, and as many further ones as fill half the room."""
    room = krylov.limit - len(krylov.waiting) - 1
    return min(k + (room - k) // 2, len(krylov.multiplied))


def _room(op: Operator, k: int) -> int:
    """Return how many vectors the basis may hold."""
    vector = op.size * op.dtype.itemsize
    most, least = min(MOST_VECTORS, within_room(op, BASIS_BYTES) // vector), min(2 * k + 20, op.size)
    if op.lean:
        free = free_bytes(op.device) if op.room is None else op.room
        if least * vector > free:
            raise CurvatureError(
                f"{k} eigenpairs keep {least} vectors, {least * vector:,} bytes, and there is room for {free:,}.\n"
                "Pass `k=1`, which keeps two vectors, or a larger `memory=...`."
            )
    return min(op.size, max(most, least))


def default_max_products(k: int) -> int:
    """Return the default limit of products for k eigenpairs."""
    return max(_LEAST_LIMIT, 10 * k)


def most_products(n: int, limit: int) -> int:
    """Return how many products a search takes at most: for a small matrix, no more than it has rows."""
    return min(n, limit) if n <= _SMALL else limit


def _validate(op: Operator, k: int, which: str, rtol: float, max_products: int | None) -> int:
    """Refuse settings that make no sense, and return the limit of products."""
    if which not in WHICH:
        raise CurvatureError(f"which={which!r} is not an end of a spectrum: pass one of {', '.join(WHICH)}.")
    if check_count("k", k, 1, CurvatureError) > check_operator(op).size:
        raise CurvatureError(
            f"an operator with n = {op.size:,} rows has fewer than {k:,} eigenpairs.\n"
            f"Pass `k={op.size}` or less, or widen the scope."
        )
    if not 0 < rtol < 1:
        raise CurvatureError(f"rtol must lie between 0 and 1 (1e-4 asks for four digits), not {rtol!r}.")
    limit = default_max_products(k)
    if max_products is not None:
        limit = check_count("max_products", max_products, error=CurvatureError)
    if limit < k:
        raise CurvatureError(
            f"{k} eigenpairs need at least {k} products; `max_products={limit}` allows fewer.\n"
            f"Pass `max_products={20 + 5 * k}` or more, or a smaller `k=...`."
        )
    return limit


def _notes(pairs: _RitzPairs, dtype: str, end: str) -> Iterator[str]:
    """Say what a reader must know before quoting the values."""
    zero = int((pairs.converged & (np.abs(pairs.ritz.values[pairs.chosen]) <= pairs.tiny)).sum())
    if zero and pairs.tiny > 0:
        yield f"{zero} of these values are 0 to the rounding of {dtype}: below {pairs.tiny:.1e} no digit is right."
    count, left, stuck = len(pairs.chosen), len(pairs.unconverged), int(pairs.stuck.sum())
    if stuck:
        yield (
            f"rounding in {dtype} keeps {stuck} of {count} pairs from rtol: their residuals are as small as "
            "products in this precision allow. Use float64 for more."
        )
    if left > stuck:
        yield (
            f"stopped at {end} with {left - stuck} of {count} pairs not converged: "
            "they may be far from the true eigenvalues."
        )


def _unsearched(check: bool, end: str) -> str:
    """Say why eigenvalues may have been missed; ``end`` is the limit that was reached, empty if none was."""
    why = f"stopped at {end}" if end else "ran out of memory for its vectors"
    return (
        f"the search for missed eigenvalues {why if check else 'was not asked for'}; copies of a multiple "
        "eigenvalue may be missing."
    )
