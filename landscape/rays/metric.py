"""The metric: the diagonal scale that turns a direction on the unit sphere into a parameter step."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from landscape.errors import ObjectiveError
from landscape.objective import Scope
from landscape.objective.parameters import Entry

METRICS = ("filter", "layer", "identity")  #: of rays
SCALES = (*METRICS, "adaptive")  #: of perturbations and curvature too
_PIECE = 2**20  # entries in float64 at a time, so that a large net is never copied whole


@dataclass(frozen=True)
class Metric:
    """S = diag(s): step = r · s · phi with phi on the unit sphere of R^n.

    Attributes:
        name: ``filter``, ``layer``, ``identity`` or ``adaptive``.
        scope: the entries that move; filters of zero norm have left it.
        scale: s, shape (n,), or None if every s_i is 1.
        log_scale_sum: sum of log s_i, natural log, float64.
        dead: names of the filters that left the scope, ``tensor[index]``; of ``adaptive`` how many weights of a tensor.
    """

    name: str
    scope: Scope
    scale: Tensor | None
    log_scale_sum: float
    dead: tuple[str, ...]

    @classmethod
    def identity(cls, scope: Scope) -> Metric:
        """Return the metric in which r is the Euclidean length."""
        return cls("identity", scope, None, 0.0, ())

    @property
    def relative(self) -> bool:
        """Whether r is a share of the norm of the weights, so that its natural cap is 1."""
        return self.name != "identity"

    def steps(self, phi: Tensor, like: Tensor) -> Tensor:
        """Return s · phi as steps of all parameters, zero outside the scope.

        Args:
            phi: directions, shape (k, n), of any dtype.
            like: theta, shape (D,), for dtype and device of the steps, shape (k, D).
        """
        values = phi.to(like)
        if self.scale is not None:
            values = values * self.scale
        return self.scope.scatter(values, like.new_zeros(len(phi), self.scope.layout.held))


def make_metric(name: str, theta: Tensor, scope: Scope) -> Metric:
    """Return the metric called ``name`` at the point ``theta``, shape (D,).

    - ``filter``: s_i = sqrt(n) · |w_f| / sqrt(d_f) for an entry of filter f with d_f entries and norm |w_f|. Then r = 1
      moves every filter by about its own norm.
    - ``layer``: the same with the whole tensor as one filter.
    - ``identity``: s = 1, and r is the Euclidean length.
    - ``adaptive``: s_i = |w_i|, for perturbations and curvature.

    A weight that is zero cannot move under ``adaptive``, nor a filter of zero norm under another relative metric. It
    leaves the scope, n shrinks, and ``dead`` names it.

    Raises:
        ObjectiveError: for an unknown name, or if every filter has zero norm.
    """
    if name == "identity":
        return Metric.identity(scope)
    if not isinstance(name, str) or name not in SCALES:
        raise ObjectiveError(f"the metric {name!r} is not known. Pass one of {', '.join(SCALES)}.")
    scale, dead = _of_weights(theta, scope) if name == "adaptive" else _of_filters(theta, scope, whole=name == "layer")
    alive = scope.without(scale == 0)
    if alive.size == 0:
        raise ObjectiveError(
            f"every weight in scope {scope.name!r} is zero, so the metric {name!r} moves nothing.\n"
            "Pass `metric='identity'`."
        )
    scale = alive.gather(scale)
    if name != "adaptive":
        scale = scale.mul_(math.sqrt(alive.size))
    log_sum = math.fsum(piece.double().log().sum().item() for piece in scale.split(_PIECE))
    log_sum = float(alive.layout.holding.total(torch.tensor(log_sum, dtype=torch.float64)))
    return Metric(name, alive, scale, log_sum, tuple(dead))


def _of_filters(theta: Tensor, scope: Scope, *, whole: bool) -> tuple[Tensor, list[str]]:
    """Return |w_f| / sqrt(d_f) of the filter of each entry, shape (D,), and the names of filters of zero norm."""
    scale = torch.ones_like(theta)
    dead: list[str] = []
    layout = scope.layout
    entire = {entry.name: entry for entry in layout.whole.entries}
    for own in scope.entries:
        entry, part = entire[own.name], slice(own.start, own.stop)
        values = layout.holding.gathered(own.name, theta[part])  # filters may lie on several ranks
        rms = _filter_rms(entry, values, whole=whole)
        scale[part] = layout.holding.own(own.name, rms.expand(entry.filter_shape).reshape(-1))
        dead += dead_names(entry, rms)
    return scale, dead


def _of_weights(theta: Tensor, scope: Scope) -> tuple[Tensor, list[str]]:
    """Return |w| of each entry, shape (D,), and how many entries of each tensor are zero."""
    counts = torch.stack([(theta[entry.start : entry.stop] == 0).sum(dtype=torch.float64) for entry in scope.entries])
    totals = scope.layout.holding.total(counts).tolist()
    zeros = {entry.name: int(count) for entry, count in zip(scope.entries, totals, strict=True)}
    return theta.abs(), [f"{count:,} weights of {name}" for name, count in zeros.items() if count]


def _filter_rms(entry: Entry, values: Tensor, *, whole: bool) -> Tensor:
    """Return |w_f| / sqrt(d_f) of each filter, in the tensor's filter shape; axes within a filter have length 1."""
    values = values.view(entry.filter_shape)
    axes = () if whole else entry.filter_axes
    inside = [axis for axis in range(values.dim()) if axis not in axes]
    if not inside:
        return values.abs()
    norms = torch.linalg.vector_norm(values, dim=inside, keepdim=True, dtype=torch.float64)
    return (norms / math.sqrt(values.numel() / norms.numel())).to(values.dtype)


def dead_names(entry: Entry, rms: Tensor) -> list[str]:
    """Return the names of a tensor's filters whose norm is zero."""
    dead = (rms == 0).reshape(-1)
    if bool(dead.all()):
        return [entry.name]
    return [f"{entry.name}[{index}]" for index in torch.nonzero(dead).reshape(-1).tolist()]
