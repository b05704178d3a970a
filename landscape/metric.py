"""The metric: the diagonal scale that turns a direction on the unit sphere into a parameter step."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from landscape.errors import ObjectiveError
from landscape.params import Entry, Scope

METRICS = ("filter", "layer", "identity")


@dataclass(frozen=True)
class Metric:
    """S = diag(s): step = r · s · phi with phi on the unit sphere of R^n.

    Attributes:
        name: ``filter``, ``layer`` or ``identity``.
        scope: the entries that move; filters of zero norm have left it.
        scale: s, shape (n,), or None where every s_i is 1.
        log_scale_sum: sum of log s_i, float64.
        dead: names of the filters that left the scope, ``tensor[index]``.
    """

    name: str
    scope: Scope
    scale: Tensor | None
    log_scale_sum: float
    dead: tuple[str, ...]

    @property
    def relative(self) -> bool:
        """Whether r is a share of the weights' own norm (and so has a natural cap of 1)."""
        return self.name != "identity"


def make_metric(name: str, theta: Tensor, scope: Scope) -> Metric:
    """Return the metric called ``name`` at the point ``theta``, shape (D,).

    ``filter``: s_i = sqrt(n) · |w_f| / sqrt(d_f) for an entry of filter f with d_f entries and norm |w_f|, so that
    r = 1 moves every filter by about its own norm. ``layer``: the same with the whole tensor as one filter.
    ``identity``:
    s = 1, r is Euclidean length. A filter of zero norm cannot move under a relative metric: it leaves the scope, n
    shrinks, and ``dead`` names it.

    Raises:
        ObjectiveError: for an unknown name, or where every filter has zero norm.
    """
    if name == "identity":
        return Metric(name, scope, None, 0.0, ())
    if name not in METRICS:
        raise ObjectiveError(f"the metric {name!r} is not known. Pass one of {', '.join(METRICS)}.")
    norms = {entry.name: _filter_rms(entry, theta, whole=name == "layer") for entry in scope.entries}
    dead_names, dead_ranges = _dead(norms, scope)
    alive = scope.without(dead_ranges)
    if alive.size == 0:
        raise ObjectiveError(
            f"every filter in scope {scope.name!r} is zero, so the metric {name!r} moves nothing.\n"
            "Pass --metric identity."
        )
    scale = theta.new_empty(scope.layout.size)
    for entry in scope.entries:
        scale[entry.start : entry.stop] = norms[entry.name].reshape(-1)
    scale = alive.gather(scale) * math.sqrt(alive.size)
    return Metric(name, alive, scale, scale.double().log().sum().item(), dead_names)


def _filter_rms(entry: Entry, theta: Tensor, *, whole: bool) -> Tensor:
    """Return |w_f| / sqrt(d_f), repeated for every entry of the filter, in the tensor's own shape."""
    values = theta[entry.start : entry.stop].view(entry.filter_shape).double()
    axes = () if whole else entry.filter_axes
    inside = [axis for axis in range(values.dim()) if axis not in axes]
    mean_square = values.square().mean(dim=inside, keepdim=True) if inside else values.square()
    return mean_square.sqrt().expand_as(values).reshape(entry.shape).to(theta.dtype)


def _dead(norms: dict[str, Tensor], scope: Scope) -> tuple[tuple[str, ...], list[tuple[int, int]]]:
    """Return the names and the flat ranges of the filters whose norm is zero."""
    names, ranges = [], []
    for entry in scope.entries:
        flat = norms[entry.name].reshape(-1) == 0
        if not flat.any():
            continue
        # where a run of dead entries begins and ends
        edges = torch.diff(torch.nn.functional.pad(flat.to(torch.int8), (1, 1)))
        starts, stops = torch.nonzero(edges == 1).reshape(-1), torch.nonzero(edges == -1).reshape(-1)
        ranges += [(entry.start + int(a), entry.start + int(b)) for a, b in zip(starts, stops, strict=True)]
        axes = entry.filter_axes
        if bool(flat.all()) or not axes:
            names.append(entry.name)
            continue
        shaped = flat.view(entry.filter_shape)
        inside = [axis for axis in range(shaped.dim()) if axis not in axes]
        per_filter = shaped.amax(dim=inside) if inside else shaped
        names += [f"{entry.name}[{int(i)}]" for i in torch.nonzero(per_filter.reshape(-1)).reshape(-1)]
    return tuple(names), ranges
