"""The axes of a slice: one or two vectors in parameter space, and the checkpoints that lie on them.

There are two kinds. Axes *through the trained point only* (``random``, ``li2018``, ``hessian``, ``given``) are sampled
evenly on both sides of it. Axes *through other checkpoints* (``toward``, ``pca``) cover those checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor, nn

from landscape.curvature import Hessian, top_eigenpairs
from landscape.errors import ObjectiveError
from landscape.objective import Objective
from landscape.objective.digest import digest, digest_of
from landscape.objective.moved_weights import PointList
from landscape.objective.parameters import Entry
from landscape.objective.shards.whole import require_whole
from landscape.rays import RandomDirections, make_metric
from landscape.rays.directions import check_seed, drawn_in_order
from landscape.results import Eigenpairs
from landscape.slices.rows import combine, gram, norm, orthogonal_part, row_lengths

DIRECTIONS = ("random", "li2018", "hessian", "toward", "pca")
_COLLINEAR = 1e-5  # if the second axis is this much shorter than the first, or at such a small angle, there is no plane
_NO_REST = 1e-6  # norm of a unit vector's orthogonal part that is only rounding


@dataclass(frozen=True)
class Axes:
    """The vectors that span a slice.

    Attributes:
        name: how they were chosen.
        vectors: the step of one unit along each, shape (1 or 2, D), zero outside the scope.
        dimension: number of entries that move.
        settings: what determines the axes together with the objective, for the configuration of a result.
        points: coordinates of the checkpoints, shape (k, 1 or 2); k = 0 for axes through the trained point only.
        off_plane: Euclidean distance of each checkpoint from the line or plane, shape (k,).
        explained: share of the checkpoints' variance along each axis, shape (2,); only for ``pca``, otherwise empty.
        notes: what a reader should know about the axes.
        products: inner products of the vectors, shape (1 or 2, 1 or 2).
    """

    name: str
    vectors: Tensor
    dimension: int
    settings: dict[str, Any]
    points: np.ndarray
    off_plane: np.ndarray = field(default_factory=lambda: np.zeros(0))
    explained: np.ndarray = field(default_factory=lambda: np.zeros(0))
    notes: tuple[str, ...] = ()
    products: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))

    def __post_init__(self) -> None:
        if not self.products.size:
            object.__setattr__(self, "products", gram(self.vectors, self.vectors))

    def flat(self, number: int) -> Tensor:
        """Return one of the vectors, shape (D,)."""
        return self.vectors[number]

    def points_at(self, theta: Callable[[], Tensor], coefficients: np.ndarray) -> Tensor | PointList:
        """Return the points at coefficients (k, axes), shape (k, D); ``theta`` returns the trained point."""
        at = torch.from_numpy(coefficients).to(theta())
        points = torch.addcmul(theta(), at[:, :1], self.vectors[0])
        return points if at.shape[1] == 1 else points.addcmul_(at[:, 1:], self.vectors[1])

    @property
    def lengths(self) -> np.ndarray:
        """Euclidean length of each vector."""
        return np.sqrt(np.diag(self.products))

    @property
    def cosine(self) -> float:
        """Cosine of the Euclidean angle between the two vectors."""
        return float(self.products[0, 1] / math.sqrt(self.products[0, 0] * self.products[1, 1]))


@dataclass(frozen=True)
class Request:
    """The arguments of :func:`make_axes`."""

    objective: Objective
    count: int
    metric: str
    seed: int
    orthogonal: bool
    others: tuple[Tensor, ...]
    check: bool
    derivative: str


def make_axes(
    objective: Objective,
    choice: str | Tensor | Sequence[Tensor],
    count: int,
    *,
    metric: str = "filter",
    seed: int = 0,
    orthogonal: bool = False,
    others: Sequence[Tensor | nn.Module] = (),
    check: bool = True,
    derivative: str = "autograd",
) -> Axes:
    """Return ``count`` axes around the objective's trained point.

    - ``random``: uniform directions on the unit sphere of the metric, those of :func:`landscape.basin_radii` with
      indices 0 and 1. A coordinate is the metric's r.
    - ``li2018``: each filter gets an independent random unit vector times the filter's norm. Tensors of one dimension
      do not move (Li et al. 2018).
    - ``hessian``: S v, with v the unit eigenvector of the largest eigenvalue of S H S; for a plane, of the two largest.
      At x = 0 the second derivative of the loss by the coordinate is that eigenvalue.
    - ``toward``: the differences from the trained point to the other checkpoints.
    - ``pca``: the first two principal components of the checkpoints, of unit length, through the trained point.
    - your own vectors: taken as they are, under the name ``given``.

    Args:
        objective: the loss around the trained point.
        choice: a name, one vector of shape (D,), or two of them.
        count: 1 for a line, 2 for a plane.
        metric: the metric S of ``random`` directions and of the Hessian.
        seed: keys the random directions, and the search for eigenvectors.
        orthogonal: make the second axis orthogonal to the first: in the metric for ``random``, within each filter for
            ``li2018``, Euclidean otherwise.
        others: the other checkpoints of ``toward`` and ``pca``: vectors of shape (D,), or models like the objective's.
        check, derivative: of the Hessian, as for :class:`landscape.Hessian`.

    Raises:
        ObjectiveError: for an unknown name, checkpoints that do not fit, or too few of them.
        CurvatureError: for ``hessian``, if the loss cannot be differentiated twice.
    """
    if len(others):
        require_whole(objective.program, "a slice through other checkpoints")
    known = tuple(_as_theta(objective, other, number) for number, other in enumerate(others, start=1))
    request = Request(objective, count, metric, check_seed(seed), orthogonal, known, check, derivative)
    axes = _chosen(request, choice)
    return replace(axes, products=gram(axes.vectors, axes.vectors, objective.layout.holding))


def _chosen(request: Request, choice: str | Tensor | Sequence[Tensor]) -> Axes:
    known = request.others
    if not isinstance(choice, str):
        require_whole(request.objective.program, "a slice along given vectors")
        return _given(request, choice)
    if choice not in _MAKERS:
        raise ObjectiveError(f"the direction {choice!r} is not known. Pass one of {', '.join(_MAKERS)}.")
    if known and choice not in ("toward", "pca"):
        raise ObjectiveError(
            f"{len(known)} other checkpoints were given, and the direction {choice!r} uses none.\n"
            "Pass `directions='toward'` or 'pca', or leave the checkpoints out."
        )
    return _MAKERS[choice](request)


def _random(request: Request) -> Axes:
    objective = request.objective
    metric = make_metric(request.metric, objective.theta, objective.scope)
    vectors = RandomDirections(metric, request.seed, objective.theta).steps(range(request.count))
    if request.orthogonal and request.count == 2:
        if metric.scope.size < 2:
            raise ObjectiveError(
                "a plane needs two directions, and only one entry is in scope. Pass a wider `scope=...`."
            )
        # in metric coordinates, in which directions are uniform: phi = step / s
        scale = torch.ones((), dtype=vectors.dtype) if metric.scale is None else metric.scale
        phi = metric.scope.gather(vectors) / scale
        second = orthogonal_part(phi[1], phi[0], objective.layout.holding)
        length = torch.tensor(norm(second, objective.layout.holding), dtype=torch.float64).to(second)
        metric.scope.scatter(second / length * scale, vectors[1])
    settings = {"metric": metric.name, "seed": request.seed, "dead_filters": len(metric.dead)}
    return Axes("random", vectors, metric.scope.size, settings, np.zeros((0, request.count)))


def _li2018(request: Request) -> Axes:
    objective = request.objective
    layout, holding = objective.layout, objective.layout.holding
    vectors = objective.theta.new_zeros(request.count, layout.held)
    normals = [drawn_in_order(request.seed, i, layout.size) for i in range(request.count)]
    moving = 0
    entire = {entry.name: entry for entry in layout.whole.entries}
    for own in objective.scope.entries:
        entry, part = entire[own.name], slice(own.start, own.stop)
        if len(entry.shape) < 2:
            continue
        weights = holding.gathered(own.name, objective.theta[part]).double()  # filters may lie on several ranks
        drawn = [torch.from_numpy(normal.values(entry.start, entry.stop)).to(vectors).double() for normal in normals]
        steps = _on_filters(entry, weights, drawn, orthogonal=request.orthogonal)
        vectors[:, part] = torch.stack([holding.own(own.name, step) for step in steps]).to(vectors)
        moving += int((steps[0] != 0).sum())
    if not moving:
        raise ObjectiveError(
            f"li2018 moves the filters of tensors with two or more dimensions, and in scope {objective.scope.name!r} "
            "there are none, or all are zero.\nPass `directions='random'`, or a wider `scope=...`."
        )
    return Axes("li2018", vectors, moving, {"seed": request.seed}, np.zeros((0, request.count)))


def _on_filters(entry: Entry, weights: Tensor, drawn: list[Tensor], *, orthogonal: bool) -> list[Tensor]:
    """Return each draw, shape (size,), with every filter's part scaled to the norm of that filter's weights."""
    inside = [axis for axis in range(len(entry.filter_shape)) if axis not in entry.filter_axes]

    def norms(values: Tensor) -> Tensor:
        return values.square().sum(inside, keepdim=True).sqrt() if inside else values.abs()

    shaped = [values.view(entry.filter_shape) for values in drawn]
    units = [values / norms(values) for values in shaped]
    if orthogonal and len(units) == 2 and inside:
        along = (units[0] * units[1]).sum(inside, keepdim=True)
        away = units[1] - along * units[0]
        # a filter with a single entry has only one direction, up to its sign
        units[1] = torch.where(norms(away) > _NO_REST, away / norms(away), units[1])
    length = norms(weights.view(entry.filter_shape))
    return [(length * unit).reshape(-1) for unit in units]


def _hessian(request: Request) -> Axes:
    objective = request.objective
    op = Hessian(objective, metric=request.metric, check=request.check, derivative=request.derivative)
    if op.size < request.count:
        raise ObjectiveError("a plane needs two directions, and only one entry is in scope. Pass a wider `scope=...`.")
    pairs = top_eigenpairs(op, request.count, seed=request.seed, vectors=True)
    steps = torch.from_numpy(pairs.vectors.T.copy()).to(objective.theta)
    if op.metric.scale is not None:
        steps *= op.metric.scale
    vectors = op.scope.scatter(steps, steps.new_zeros(len(steps), objective.layout.held))
    settings = {
        "metric": op.metric.name,
        "seed": request.seed,
        "dead_filters": len(op.metric.dead),
        "eigenvalues": pairs.values.tolist(),
        "converged": pairs.converged.tolist(),
        "vectors": [digest_of(objective.layout.wholes(vector)) for vector in vectors],
    }
    points = np.zeros((0, request.count))
    return Axes("hessian", vectors, op.size, settings, points, notes=(*_eigenvector_notes(pairs), *op.notes))


def _eigenvector_notes(pairs: Eigenpairs) -> Iterator[str]:
    """Give the eigenvalues along the axes, and say which axes are not eigenvectors."""
    values = ", ".join(f"{value:.5g}" for value in pairs.values)
    yield f"eigenvalues of the Hessian along the axes, in the metric: {values} ({pairs.cost.evaluations:,.0f} products)"
    for i in np.flatnonzero(~pairs.converged):
        yield (
            f"axis {i + 1} did NOT converge to an eigenvector: its residual is {pairs.residuals[i]:.2g}, and its "
            f"value {pairs.values[i]:.5g}"
        )
    yield from pairs.notes


def _toward(request: Request) -> Axes:
    """Return the differences to the other checkpoints, whose coordinates are (1,), or (1, 0) and (0, 1)."""
    objective = request.objective
    if len(request.others) != request.count:
        shape = ("line joins this checkpoint and one other", "plane goes through this checkpoint and two others")
        raise ObjectiveError(
            f"the {shape[request.count - 1]}; {len(request.others)} others given. Pass {request.count}."
        )
    vectors = torch.stack(request.others) - objective.theta
    _refuse_outside(objective, vectors)
    points = np.concatenate([np.zeros((1, request.count)), np.eye(request.count)])
    lengths = row_lengths(vectors)
    for number, length in enumerate(lengths, start=1):
        if length == 0:
            raise ObjectiveError(
                f"other checkpoint {number} holds the same weights as this one, so there is no line to it."
            )
    if request.count == 2:
        away = orthogonal_part(vectors[1], vectors[0])
        refuse_collinear(away.double().norm().item(), lengths[1])
        if request.orthogonal:
            products = gram(vectors, vectors)
            points[2, 0] = products[0, 1] / products[0, 0]
            vectors[1] = away
    settings = {"others": [digest(vector) for vector in request.others]}
    return Axes("toward", vectors, objective.scope.size, settings, points, np.zeros(len(points)))


def _pca(request: Request) -> Axes:
    """Return the first two principal components of the checkpoints, with the trained point last unless it is listed.

    The components are those of the deviations from the mean of the checkpoints. The plane goes through the trained
    point, so the others may lie off it. The sign of a component is such that the first checkpoint that is not the
    trained point has a positive coordinate.
    """
    objective = request.objective
    if request.count != 2:
        raise ObjectiveError("pca spans a plane, not a line. Use `slice_2d`.")
    thetas = list(request.others)
    if not any(torch.equal(theta, objective.theta) for theta in thetas):
        thetas.append(objective.theta)
    if len(thetas) < 3:
        raise ObjectiveError(
            f"pca needs at least 3 checkpoints of one training run, this one included, not {len(thetas)}."
        )
    moved = torch.stack(thetas) - objective.theta
    _refuse_outside(objective, moved)
    products = gram(moved, moved)
    centred = products - products.mean(0) - products.mean(1)[:, None] + products.mean()
    variances, weights = np.linalg.eigh(centred)
    variances, weights = variances[::-1].clip(min=0.0), weights[:, ::-1]
    refuse_collinear(math.sqrt(variances[1]), math.sqrt(variances[0]))
    # the weights of a component add up to 0, so the mean need not be subtracted from the vectors
    vectors = combine((weights[:, :2] / np.sqrt(variances[:2])).T, moved)
    points = gram(moved, vectors)
    start = int(np.argmax(np.abs(points).sum(axis=1) > 0))
    signs = np.where(points[start] < 0, -1.0, 1.0)
    vectors *= torch.from_numpy(signs)[:, None].to(vectors)
    points *= signs
    moved -= combine(points, vectors)
    settings = {"others": [digest(vector) for vector in thetas]}
    explained = variances[:2] / variances.sum()
    return Axes("pca", vectors, objective.scope.size, settings, points, row_lengths(moved), explained)


def _given(request: Request, choice: Tensor | Sequence[Tensor]) -> Axes:
    objective = request.objective
    try:
        vectors = choice if isinstance(choice, Tensor) else torch.stack([torch.as_tensor(vector) for vector in choice])
    except (TypeError, ValueError, RuntimeError) as error:
        words = f"no direction. Pass a name, or tensors of shape ({objective.layout.size},) as `direction=...`."
        raise ObjectiveError(f"{type(choice).__name__} is {words}") from error
    vectors = vectors.detach().to(objective.theta).reshape(-1, vectors.shape[-1] if vectors.ndim else 1).clone()
    if vectors.shape != (wanted := (request.count, objective.layout.size)):
        raise ObjectiveError(
            f"the directions must have shape {wanted}, one entry per parameter, not {tuple(vectors.shape)}."
        )
    if not bool(torch.isfinite(vectors).all()) or not bool(vectors.any(dim=1).all()):
        raise ObjectiveError("a given direction is zero, or holds NaN or infinite values.")
    _refuse_outside(objective, vectors)
    if request.count == 2:
        away = orthogonal_part(vectors[1], vectors[0])
        refuse_collinear(away.double().norm().item(), vectors[1].double().norm().item())
        vectors[1] = away if request.orthogonal else vectors[1]
    settings = {"given": [digest(vector) for vector in vectors]}
    return Axes("given", vectors, objective.scope.size, settings, np.zeros((0, request.count)))


_MAKERS: dict[str, Callable[[Request], Axes]] = {
    "random": _random,
    "li2018": _li2018,
    "hessian": _hessian,
    "toward": _toward,
    "pca": _pca,
}


def _as_theta(objective: Objective, other: Tensor | nn.Module, number: int) -> Tensor:
    """Return another checkpoint as a flat vector, shape (D,), after a check that it fits."""
    layout = objective.layout
    if isinstance(other, nn.Module):
        held = dict(other.named_parameters())
        own = {entry.name: entry.shape for entry in layout.entries}
        shapes = {name: tuple(tensor.shape) for name, tensor in held.items()}
        wrong = next((name for name in [*own, *shapes] if own.get(name) != shapes.get(name)), None)
        if wrong is not None:
            refuse_shape(number, f"its {wrong}", shapes.get(wrong), own.get(wrong))
        theta = layout.flatten(held, objective.theta.device)
    else:
        theta = other.detach()
        if theta.shape != objective.theta.shape:
            refuse_shape(number, "it", tuple(theta.shape), tuple(objective.theta.shape))
    theta = theta.to(objective.theta)
    if not bool(torch.isfinite(theta).all()):
        raise ObjectiveError(f"other checkpoint {number} holds NaN or infinite values: the training has diverged.")
    return theta


def refuse_shape(number: int, what: str, got: tuple[int, ...] | None, own: tuple[int, ...] | None) -> NoReturn:
    shape = "does not exist" if got is None else f"has shape {got}"
    here = "has no such tensor" if own is None else f"has {own}"
    raise ObjectiveError(
        f"other checkpoint {number} does not fit: {what} {shape}, and this one {here}. A straight path between two "
        "checkpoints needs the same architecture."
    )


def _refuse_outside(objective: Objective, vectors: Tensor) -> None:
    """Refuse vectors that move entries outside the scope: a slice in scope would not reach their end."""
    inside = objective.scope
    for row in vectors:
        rest = row.clone()
        inside.scatter(rest.new_zeros(inside.size), rest)
        if bool(rest.any()):
            outside = next(e.name for e in objective.layout.entries if bool(rest[e.start : e.stop].any()))
            raise ObjectiveError(
                f"the direction also moves {outside}, outside the scope {inside.name!r}, so a slice in scope would not "
                "reach the other checkpoint.\nPass `scope='all'`."
            )


def refuse_collinear(away: float, length: float) -> None:
    if away <= _COLLINEAR * length:
        raise ObjectiveError("the checkpoints lie on one line, so they span no plane. Pass others, or use `slice_1d`.")
