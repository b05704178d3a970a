"""A plain function of the flat vector as a program."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from landscape.errors import ObjectiveError, keeps_running
from landscape.objective.batch_loss import detached
from landscape.objective.model import check_device
from landscape.objective.moved_weights import PointList
from landscape.objective.parameters import Layout
from landscape.objective.reading import untouched_rng


class FunctionProgram:
    """A function of the flat vector, (k, D) -> (k,); a single batch of one term, which may be negative."""

    counts: tuple[float, ...] = (1,)
    sharded = False
    constants: tuple[Tensor, ...] = ()
    nonnegative = False
    together = True

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self._function = keeps_running(function)
        self._differentiates = False  # whether the function takes derivatives of its own

    def totals(self, points: Tensor | PointList, batch: int) -> Tensor:
        assert isinstance(points, Tensor)
        values = self._values(points)
        if not isinstance(values, Tensor) or values.shape != points.shape[:1]:
            got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise ObjectiveError(
                f"the function must map points of shape (..., D) to values of shape (...); for points of shape "
                f"{tuple(points.shape)} it returned {got}. Reduce over the last axis only: f(x).sum(-1)."
            )
        return values.double()

    def _values(self, points: Tensor) -> Any:
        if torch.is_grad_enabled():
            return self._function(points)
        if not self._differentiates:
            try:
                return self._function(points)
            except RuntimeError as error:
                if "does not require grad" not in str(error):
                    raise
        with torch.enable_grad():
            values = self._function(points.detach())
        self._differentiates = True
        return detached(values)

    def leaves(self, theta: Tensor) -> list[Tensor]:
        return [theta.clone()]

    def total_of(self, leaves: list[Tensor], batch: int) -> Tensor:
        return self.totals(leaves[0][None], batch)[0]

    @contextmanager
    def running(self) -> Iterator[None]:
        with untouched_rng(), torch.inference_mode(False), torch.no_grad():
            yield


def checked_vector(theta: Tensor, layout: Layout | None) -> tuple[Tensor, Layout]:
    """Return a copy of the centre, shape (D,), and its layout, after a check that they fit each other."""
    theta = torch.as_tensor(theta).detach().clone()
    if theta.dim() != 1 or not theta.is_floating_point():
        raise ObjectiveError(
            f"theta must be one flat floating-point vector, shape (D,); {theta.dtype} of shape "
            f"{tuple(theta.shape)} arrived. Pass theta.reshape(-1)."
        )
    check_device(theta.device)
    layout = layout or Layout.from_shapes({"theta": tuple(theta.shape)}, theta.dtype)
    if layout.size != len(theta):
        raise ObjectiveError(f"the layout holds {layout.size} entries, and theta {len(theta)}; they must agree.")
    return theta, layout
