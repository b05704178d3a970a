"""The loss on a line or a plane through the trained point, row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from landscape.errors import ObjectiveError
from landscape.objective import Objective
from landscape.rays.entry_directions import measured_by_entry
from landscape.results import Line, OnProgress, Plane, Progress, require_same_config
from landscape.results.progress import telling
from landscape.slices.axes import Axes, make_axes
from landscape.slices.grid import Grid, covering, even, path
from landscape.slices.step_axes import RANDOM_AXES, StepRequest, make_step_axes


def slice_1d(
    objective: Objective,
    *,
    direction: str | Tensor = "random",
    metric: str = "filter",
    steps: int = 51,
    span: float = 1.0,
    seed: int = 0,
    other: Tensor | nn.Module | None = None,
    curvature: bool = False,
    recalibrate_bn: bool = False,
    check: bool = True,
    derivative: str = "autograd",
    resume: Line | None = None,
    progress: bool = False,
    on_progress: OnProgress[Line] | None = None,
) -> Line:
    """Return the loss along a line through the trained point, theta + x · direction.

    The trained point is always one of the points, with exactly the objective's centre loss. Directions through the
    trained point only are sampled at ``steps`` even coefficients from -span to +span. ``toward`` goes from x = 0, this
    net, to x = 1, the other net. Both are grid points. A span above 1 continues span - 1 beyond each, to the nearest
    grid point.

    Args:
        objective: the loss around the trained point.
        direction: ``random``, ``li2018``, ``hessian`` (the eigenvector of the largest eigenvalue), ``toward``, or a
            vector of shape (D,) (see :func:`landscape.slices.axes.make_axes`).
        metric: what a coefficient of 1 means for ``random`` and ``hessian``: ``filter``, ``layer`` or ``identity``.
        steps: number of points; odd, unless the direction is ``toward``.
        span: how far to go.
        seed: keys the random direction.
        other: the checkpoint to go toward: a vector of shape (D,), or a model like the objective's.
        curvature: also record the second derivative along the line.
        recalibrate_bn: estimate BatchNorm's running statistics at each point, on the objective's data, instead of
            keeping those of the trained point.
        check: compare autograd with differences before a Hessian or a second derivative is returned, as
            :class:`landscape.Hessian` does.
        derivative: ``autograd``, or ``difference``: second derivatives from differences of first ones, for operations
            that torch can differentiate only once.
        resume: the partial result of an interrupted run with the same settings; its points are kept.
        progress: show a bar of the points.
        on_progress: called after every block of points, with a :class:`landscape.results.Progress`.

    Raises:
        ObjectiveError: if a setting is invalid.
        LandscapeError: if ``resume`` was measured with other settings.

    >>> import torch
    >>> bowl = Objective.from_function(lambda x: x.square().sum(-1), torch.zeros(3, dtype=torch.float64))
    >>> slice_1d(bowl, metric="identity", steps=5, span=2.0, curvature=True).loss.round(9)
    array([4., 1., 0., 1., 4.])
    """
    others = () if other is None else (other,)
    second: dict[str, Any] = {"check": check, "derivative": derivative}
    asked = _Choice(metric, seed, False, others, None if resume is None else resume.config, second)
    axes = _axes(objective, direction, 1, asked)
    x = path(steps, span) if len(axes.points) else even(steps, span)
    if curvature and recalibrate_bn:
        raise ObjectiveError(
            "the second derivative holds the BatchNorm statistics fixed, and recalibration changes them from point to "
            "point, so the two do not go together.\nLeave out `curvature=...` or `recalibrate_bn=...`."
        )
    settings = {"steps": len(x), "span": float(span), "curvature": curvature, "recalibrate_bn": recalibrate_bn}
    grid = Grid.start(objective, axes, x[:, None], 1, settings | _by_difference(derivative))
    if resume is not None:
        _resume(grid, resume)

    def result() -> Line:
        return Line(
            x=x,
            loss=grid.loss.copy(),
            accuracy=grid.accuracy.copy(),
            curvature=grid.curvature.copy(),
            done=grid.done.copy(),
            points=axes.points[:, 0],
            direction=axes.name,
            length=float(axes.lengths[0]),
            **grid.common(),
        )

    with telling(progress, on_progress, "points", len(x)) as tell:
        for _ in grid.measure(objective, curvature=second if curvature else None, recalibrate_bn=recalibrate_bn):
            tell(Progress(int(grid.done.sum()), len(x), result))
    return result()


def slice_2d(
    objective: Objective,
    *,
    directions: str | Tensor | Sequence[Tensor] = "random",
    metric: str = "filter",
    steps: int = 51,
    span: float = 1.0,
    seed: int = 0,
    orthogonal: bool = False,
    others: Sequence[Tensor | nn.Module] = (),
    recalibrate_bn: bool = False,
    check: bool = True,
    derivative: str = "autograd",
    resume: Plane | None = None,
    progress: bool = False,
    on_progress: OnProgress[Plane] | None = None,
) -> Plane:
    """Return the loss on a plane through the trained point, theta + x · first + y · second direction.

    The trained point is always one of the points, with exactly the objective's centre loss. Random and given directions
    are sampled at ``steps`` even coefficients from -span to +span each. For ``toward`` and ``pca`` a span of 1 covers
    all checkpoints and a margin of a fifth of their extent. Another span scales that box about its middle. The grid is
    shifted by less than a step, so that the trained point is one of its points.

    Args:
        objective: the loss around the trained point.
        directions: ``random``, ``li2018``, ``hessian`` (the eigenvectors of the two largest eigenvalues), ``toward``
            (the plane through this and two other checkpoints), ``pca`` (the plane of a training run). Or two vectors of
            shape (D,) (see :func:`landscape.slices.axes.make_axes`).
        metric: what a coefficient of 1 means for ``random`` and ``hessian``: ``filter``, ``layer`` or ``identity``.
        steps: number of points in each direction; odd for random and given directions.
        span: how far to go.
        seed: keys the random directions.
        orthogonal: make the second direction orthogonal to the first.
        others: the other checkpoints, as vectors of shape (D,) or models. For ``pca``: those of one training run, in
            order, with the trained point last or left out.
        recalibrate_bn: estimate BatchNorm's running statistics at each point.
        check, derivative: of the Hessian for ``hessian``, as for :class:`landscape.Hessian`.
        resume: the partial result of an interrupted run with the same settings; its rows are kept.
        progress: show a bar of the points.
        on_progress: called after every block of rows, with a :class:`landscape.results.Progress`.

    Raises:
        ObjectiveError: if a setting is invalid.
        LandscapeError: if ``resume`` was measured with other settings.

    >>> import torch
    >>> bowl = Objective.from_function(lambda x: x.square().sum(-1), torch.zeros(3, dtype=torch.float64))
    >>> plane = slice_2d(bowl, metric="identity", steps=3, orthogonal=True)
    >>> plane.loss.round(9)
    array([[2., 1., 2.],
           [1., 0., 1.],
           [2., 1., 2.]])
    """
    second: dict[str, Any] = {"check": check, "derivative": derivative}
    asked = _Choice(metric, seed, orthogonal, tuple(others), None if resume is None else resume.config, second)
    axes = _axes(objective, directions, 2, asked)
    if len(axes.points):
        x, y = (covering(axes.points[:, axis], steps, span) for axis in (0, 1))
    else:
        x = y = even(steps, span)
    settings = {"steps": len(x), "span": float(span), "orthogonal": orthogonal, "recalibrate_bn": recalibrate_bn}
    points = np.stack(np.broadcast_arrays(x[None, :], y[:, None]), axis=-1).reshape(-1, 2)
    grid = Grid.start(objective, axes, points, len(x), settings | _by_difference(derivative))
    if resume is not None:
        _resume(grid, resume)

    def result() -> Plane:
        return Plane(
            x=x,
            y=y,
            loss=grid.loss.reshape(len(y), len(x)).copy(),
            accuracy=grid.accuracy.reshape(len(y), len(x)).copy(),
            done=grid.done.copy(),
            points=axes.points,
            off_plane=axes.off_plane,
            explained=axes.explained,
            lengths=axes.lengths,
            cosine=axes.cosine,
            directions=axes.name,
            **grid.common(),
        )

    with telling(progress, on_progress, "points", len(points)) as tell:
        for _ in grid.measure(objective, recalibrate_bn=recalibrate_bn):
            tell(Progress(int(grid.done.sum()) * len(x), len(points), result))
    return result()


@dataclass(frozen=True)
class _Choice:
    """How axes are chosen: options of a slice, and the configuration of the result that it continues."""

    metric: str
    seed: int
    orthogonal: bool
    others: tuple[Tensor | nn.Module, ...]
    stored: Mapping[str, Any] | None
    second: dict[str, Any]


def _axes(objective: Objective, choice: str | Tensor | Sequence[Tensor], count: int, asked: _Choice) -> Axes:
    """Return the axes: steps that are made where they are used, if the model is large and the choice allows it."""
    drawn = choice in RANDOM_AXES if isinstance(choice, str) else False
    by_entry = measured_by_entry(objective, asked.stored if drawn else None)
    if objective.large and by_entry and (not isinstance(choice, str) or drawn or choice == "toward"):
        request = StepRequest(objective, count, asked.metric, asked.seed, asked.orthogonal, asked.others)
        return make_step_axes(request, choice)
    return make_axes(
        objective, choice, count, metric=asked.metric, seed=asked.seed, orthogonal=asked.orthogonal,
        others=asked.others, **asked.second,
    )  # fmt: skip


def _by_difference(derivative: str) -> dict[str, str]:
    """Return what a configuration says of second derivatives; nothing if they are those of autograd."""
    return {} if derivative == "autograd" else {"derivative": derivative}


def _resume(grid: Grid, past: Line | Plane) -> None:
    """Check that an earlier run measured the same thing, and copy its rows into the grid."""
    stored = {**past.config, "points": past.loss.size}
    require_same_config(stored, {"generator": None, **grid.config, "points": grid.loss.size}, "slice")
    grid.loss, grid.accuracy = past.loss.reshape(-1).copy(), past.accuracy.reshape(-1).copy()
    grid.done, grid.seconds = past.done.copy(), past.cost.seconds
    if isinstance(past, Line):
        grid.curvature = past.curvature.copy()
        grid.notes = tuple(dict.fromkeys((*grid.notes, *past.notes)))  # such as the error at the points it measured
