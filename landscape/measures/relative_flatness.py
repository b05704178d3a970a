"""Relative flatness: the curvature of the loss under changes of one layer, relative to that layer's weights."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from landscape.curvature import Hessian, trace
from landscape.curvature.operator import Operator
from landscape.errors import LandscapeError
from landscape.measures.draws import PRODUCT_COST, Draws
from landscape.measures.reading import Reading
from landscape.measures.registry import measure
from landscape.objective import Objective
from landscape.objective.parameters import Entry

_XTRACE = 6  # products that its error needs


@measure("relative-flatness", larger="sharper", closed_form=True, core=True, invariant=("permutation", "batch-size"))
def relative_flatness(objective: Objective, draws: Draws) -> Reading:
    """Return kappa = sum over units s, t of <w_s, w_t> Tr H_st, for one layer with rows w_s, shape (units, inputs).

    H_st is the block of the Hessian for rows s and t, shape (inputs, inputs). For softmax regression on x, with
    probabilities p, it is the mean of |x|² (sum of p_s |w_s|² - |sum of p_s w_s|²). The layer is ``layer``, by default
    the last but one. A convolution counts as a matrix of its filters. Rescaling a whole layer and undoing it in the
    next leaves kappa unchanged, rescaling single units does not.

    With W W' = F F', kappa is the trace of (F ⊗ 1)' H (F ⊗ 1), of F z with z of shape (rank, inputs). So ``probes``
    products give it with an error, by XTrace (:func:`landscape.curvature.trace`).

    Source: Petzka, Kamp, Adilova, Sminchisescu & Boley 2021, who need a backward pass for every entry of the layer.
    """
    entry = chosen_layer(objective, draws.settings.layer)
    relative = RelativeHessian(objective, entry)
    probes = draws.settings.probes
    found = trace(relative, probes, method="xtrace" if probes >= _XTRACE else "hutchinson", seed=draws.settings.seed)
    draws.charge(PRODUCT_COST * found.cost.evaluations, found.cost.calls)
    return Reading(found.value, found.standard_error, samples=found.samples, config={"layer": entry.name})


class RelativeHessian(Operator):
    """(F ⊗ 1)' H (F ⊗ 1) for one layer with weights W, W W' = F F'; its trace is the relative flatness.

    Its vectors are matrices of shape (rank of W, inputs), row by row.
    """

    def __init__(self, objective: Objective, entry: Entry) -> None:
        self.hessian = Hessian(objective, scope=f"^{re.escape(entry.name)}$")
        self._entry = entry
        weights = self._rows(objective.theta[entry.start : entry.stop][None])[0]
        left, sizes, _ = torch.linalg.svd(weights.double(), full_matrices=False)
        self.factor = (left * sizes).to(weights)
        super().__init__(self.factor.shape[1] * weights.shape[1], weights.dtype, weights.device)

    def _apply(self, vectors: Tensor) -> Tensor:
        z = vectors.T.reshape(vectors.shape[1], self.factor.shape[1], -1)
        image = self._rows((self.hessian @ self._flat(self.factor @ z).T).T)
        return (self.factor.T @ image).flatten(1).T

    def _rows(self, flat: Tensor) -> Tensor:
        """Return k layers as the matrices of their units, (k, entries) -> (k, units, inputs)."""
        entry = self._entry
        shaped = flat.reshape(len(flat), *entry.filter_shape)
        front = [axis + 1 for axis in entry.filter_axes]
        moved = shaped.movedim(front, list(range(1, len(front) + 1)))
        return moved.flatten(1, len(front)).flatten(2)

    def _flat(self, rows: Tensor) -> Tensor:
        """Return k matrices of units as layers, (k, units, inputs) -> (k, entries)."""
        entry = self._entry
        front = list(entry.filter_axes)
        rest = [axis for axis in range(len(entry.filter_shape)) if axis not in front]
        shaped = rows.reshape(len(rows), *(entry.filter_shape[axis] for axis in (*front, *rest)))
        return shaped.movedim(list(range(1, len(front) + 1)), [axis + 1 for axis in front]).flatten(1)


def chosen_layer(objective: Objective, name: str | None = None) -> Entry:
    """Return the entry of the layer that is asked for; by default the last weight matrix but one."""
    layers = [entry for entry in objective.layout.entries if entry.kernel and entry.filter_axes]
    if name is None and layers:
        return layers[max(len(layers) - 2, 0)]
    for entry in layers:
        if entry.name == name:
            return entry
    if not layers:
        raise LandscapeError("relative flatness needs the weight matrix of a layer, and this net has no layer.")
    known = ", ".join(entry.name for entry in layers)
    raise LandscapeError(f"{name!r} is not the weight matrix of a layer. Pass one of {known} as `layer=...`.")
