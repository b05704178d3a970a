"""The largest eigenvalue of the Hessian in the metric with its eigenvector, for all measures that use it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from landscape.curvature import Hessian, top_eigenpairs
from landscape.curvature.eigenpairs import default_max_products
from landscape.measures.draws import PRODUCT_COST, Draws
from landscape.results import Eigenpairs

_WORK = "top eigenpair"  # what the shared work is called
_SHARE = 1 / 2  # of the budget that is left, for the search


def top_pair(draws: Draws) -> Eigenpairs:
    """Return the largest eigenvalue of C H C with its eigenvector, known already or measured once for all measures."""

    def search() -> Eigenpairs:
        if (stored := _stored_pair(draws)) is not None:
            return stored
        before, left = draws.left(), draws.rest()
        most = default_max_products(1)
        if math.isfinite(left.passes):
            most = min(most, max(1, int(_SHARE * left.passes / PRODUCT_COST)))
        pairs = top_eigenpairs(
            draws.hessian, k=1, seed=draws.settings.seed, max_seconds=_SHARE * left.seconds, max_products=most
        )
        draws.charge(PRODUCT_COST * pairs.cost.evaluations, pairs.cost.calls)
        ended = draws.left() <= (1 - _SHARE) * before or pairs.cost.evaluations == most < default_max_products(1)
        draws.cut = ended and not (pairs.complete and bool(pairs.converged[0]))
        return pairs

    return draws.once(_WORK, search)


def known_direction(draws: Draws) -> Tensor | None:
    """Return the top eigenvector of C H C for the entries in scope of the objective, shape (n,), if it costs nothing.

    It is known if this run has taken ``lambda-max``, or if the file held it. It is not computed for a large model.
    """
    if draws.hessian.lean or (not draws.has(_WORK) and _stored_pair(draws) is None):
        return None
    objective, vectors = draws.objective, top_pair(draws).vectors
    own = draws.metric.scope
    if len(vectors) != own.size:  # it was not computed
        return None
    vector = torch.from_numpy(vectors[:, 0]).to(objective.theta)
    return objective.scope.gather(own.scatter(vector, torch.zeros_like(objective.theta)))


def _stored_pair(draws: Draws) -> Eigenpairs | None:
    """Return the largest eigenvalue and its eigenvector from the results of another run, if they are of this net."""
    found = (each for each in draws.known if isinstance(each, Eigenpairs) and _is_top(each, draws.hessian))
    return next(found, None)


def _is_top(pairs: Eigenpairs, op: Hessian) -> bool:
    """Whether stored eigenpairs hold the largest of this operator, converged."""
    about = op.describe()
    same = all(pairs.config.get(key) == value for key, value in about.items())
    return same and pairs.which == "largest" and pairs.complete and bool(pairs.converged[0])
