"""Many dense ReLU nets of one shape, evaluated as one batched program, each to the bits it would have alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from landscape.errors import TaskError

WIDTH = 8  #: widths are padded to a multiple of this
ROWS = 32  #: batches are padded to a multiple of this


class StackedNets:
    """How nets of one shape lie as the rows of one matrix of parameters, shape (nets, size).

    A row holds, layer by layer, the transposed weight and the bias, both padded with zeros to multiples of 8. Padded
    units are zero and get zero gradients. Batches are padded to multiples of 32 rows. So every net begins at the same
    alignment in memory, and no vectorised loop ends between two nets. Libraries choose their kernels by shape and
    alignment, so a net comes out bit for bit the same whatever the number of nets in the program.

    Args:
        model: an ``nn.Sequential`` of ``Linear`` and ``ReLU`` in turn, which gives the shape and the names.

    Raises:
        TaskError: for any other network.

    >>> stack = StackedNets(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)))
    >>> stack.widths, stack.size
    ((2, 3, 1), 144)
    """

    def __init__(self, model: nn.Module) -> None:
        layers = list(model.named_children())
        linear = [(name, layer) for name, layer in layers[::2] if type(layer) is nn.Linear and layer.bias is not None]
        between = [layer for _, layer in layers[1::2] if type(layer) is nn.ReLU]
        if (
            not isinstance(model, nn.Sequential)
            or len(linear) != len(between) + 1
            or len(linear) * 2 != len(layers) + 1
        ):
            raise TaskError(
                "nets train together when they are an nn.Sequential of Linear (with bias) and ReLU in turn; this one "
                f"is {type(model).__name__}({', '.join(type(layer).__name__ for _, layer in layers)})."
            )
        self.names = [name for name, _ in linear]
        self.widths = (linear[0][1].in_features, *(layer.out_features for _, layer in linear))
        padded = [padded_to(width, WIDTH) for width in self.widths]
        self.inputs = padded[0]
        self._layers = list(pairwise(padded))
        self.size = sum((inner + 1) * outer for inner, outer in self._layers)

    def pack(self, states: Sequence[Mapping[str, Tensor]]) -> Tensor:
        """Return the parameters of nets, given by their state_dicts, as rows, shape (nets, size), float32."""
        rows = torch.zeros(len(states), self.size)
        for row, state in zip(rows, states, strict=True):
            for name, (weight, bias) in zip(self.names, self._views(row[None]), strict=True):
                given = state[f"{name}.weight"]
                weight[0, : given.shape[1], : given.shape[0]] = given.T
                bias[0, 0, : given.shape[0]] = state[f"{name}.bias"]
        return rows

    def unpack(self, row: Tensor) -> dict[str, Tensor]:
        """Return the state_dict of the net in one row, shape (size,)."""
        state = {}
        for index, (weight, bias) in enumerate(self._views(row[None])):
            inner, outer = self.widths[index : index + 2]
            state[f"{self.names[index]}.weight"] = weight[0, :inner, :outer].T.contiguous()
            state[f"{self.names[index]}.bias"] = bias[0, 0, :outer].clone()
        return state

    def pad(self, inputs: Tensor) -> Tensor:
        """Return inputs, shape (..., features), padded with zeros to the padded width."""
        return F.pad(inputs, (0, self.inputs - inputs.shape[-1]))

    def logits(self, rows: Tensor, inputs: Tensor, leak: float = 0.0) -> Tensor:
        """Return the nets' logits, shape (nets, B, classes); for one logit (nets, B).

        Args:
            rows: the nets, shape (nets, size).
            inputs: padded inputs, shape (nets, B, padded width), or (B, padded width) if all nets get the same.
            leak: slope of the ReLUs below zero.
        """
        hidden = inputs.expand(len(rows), -1, -1) if inputs.dim() == 2 else inputs
        for index, (weight, bias) in enumerate(self._views(rows)):
            if index:
                hidden = F.leaky_relu(hidden, leak) if leak else F.relu(hidden)
            hidden = torch.baddbmm(bias, hidden, weight)
        if self.widths[-1] == 1:
            return hidden[..., 0].contiguous()
        return hidden[..., : self.widths[-1]].contiguous()

    def _views(self, rows: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return the weight, shape (nets, in, out), and the bias, shape (nets, 1, out), of each layer."""
        # one split: slices would each have a gradient as long as the rows, nearly all of it zeros
        pieces = rows.split([size for inner, outer in self._layers for size in (inner * outer, outer)], dim=1)
        return [
            (weight.view(-1, inner, outer), bias.view(-1, 1, outer))
            for (inner, outer), weight, bias in zip(self._layers, pieces[::2], pieces[1::2], strict=True)
        ]


def padded_to(count: int, multiple: int) -> int:
    """Return the smallest multiple that is not below ``count``.

    >>> padded_to(200, 32), padded_to(64, 32)
    (224, 64)
    """
    return -(-count // multiple) * multiple
