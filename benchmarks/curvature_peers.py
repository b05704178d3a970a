"""The same curvature by landscape, curvlinops, hessian-eigenthings and PyHessian, for :mod:`benchmarks.workers`."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import landscape as ls
from benchmarks import nets

IMAGES = 256
FEW = 64  #: images for the eigenpairs: one package takes hundreds of products
PROBES = 10
TOP = 5
Call = Callable[[], Any]


def problem(task: str) -> tuple[nn.Module, list[tuple[Tensor, Tensor]]]:
    """Return the trained ResNet-20 and its images, in one batch of 256, or in 8 of 32 if the task says so."""
    checkpoint = nets.resnet20()
    if checkpoint is None:
        raise SystemExit(f"there is no ResNet-20 checkpoint in {nets.DATA}")
    model, (images, classes) = checkpoint
    images, classes = torch.cat([images] * 2)[:IMAGES], torch.cat([classes] * 2)[:IMAGES]
    count, size = FEW if "eigenpairs" in task else IMAGES, 32 if "x 32" in task else IMAGES
    return model.eval(), list(zip(images[:count].split(size), classes[:count].split(size), strict=True))


def probes(count: int) -> Tensor:
    """Return Rademacher vectors, shape (D, count), the same for every contender."""
    generator = torch.Generator().manual_seed(0)
    size = sum(p.numel() for p in problem("")[0].parameters())
    return torch.randint(0, 2, (size, count), generator=generator).mul_(2).sub_(1).float()


def landscape(task: str) -> Call:
    """Return a call of our products, or of our top eigenpairs."""
    model, batches = problem(task)
    objective = ls.Objective(model, batches, scope="all")
    kind = ls.GaussNewton if "Gauss-Newton" in task else ls.Hessian
    if "eigenpairs" in task:
        return lambda: _top(kind(objective), check=True)
    vectors = probes(PROBES)
    return lambda: float((vectors * (kind(objective) @ vectors)).sum(0).mean())


def landscape_unchecked(task: str) -> Call:
    """Return a call of our top eigenpairs without the search for repeated eigenvalues, which no other package makes."""
    model, batches = problem(task)
    objective = ls.Objective(model, batches, scope="all")
    return lambda: _top(ls.Hessian(objective), check=False)


def _top(operator: ls.Hessian | ls.GaussNewton, *, check: bool) -> Any:
    pairs = ls.top_eigenpairs(operator, TOP, rtol=1e-4, check=check, seed=0)
    return [pairs.values.tolist(), pairs.cost.evaluations]


def landscape_forms(task: str) -> Call:
    """Return a call of our quadratic forms, which a trace takes."""
    model, batches = problem(task)
    objective = ls.Objective(model, batches, scope="all")
    kind, vectors = ls.GaussNewton if "Gauss-Newton" in task else ls.Hessian, probes(PROBES)
    return lambda: float(kind(objective).forms(vectors).mean())


def curvlinops(task: str) -> Call:
    """Return a call of curvlinops."""
    import curvlinops as peer
    from scipy.sparse.linalg import eigsh

    model, batches = problem(task)
    kind = peer.GGNLinearOperator if "Gauss-Newton" in task else peer.HessianLinearOperator
    make = lambda: kind(  # noqa: E731
        model, nn.CrossEntropyLoss(), list(model.parameters()), batches, check_deterministic=False
    )
    if "eigenpairs" in task:

        def top() -> Any:
            linear, count = make().to_scipy(), [0]

            def product(vector: Any) -> Any:
                count[0] += 1
                return linear @ vector

            counted = type(linear)(linear.shape, matvec=product, dtype=linear.dtype)
            values = eigsh(counted, TOP, which="LA", tol=1e-4, return_eigenvectors=False)
            return [sorted(values.tolist(), reverse=True), count[0]]

        return top
    return _column_by_column(make, probes(PROBES))


def eigenthings(task: str) -> Call:
    """Return a call of hessian-eigenthings."""
    import hessian_eigenthings as peer

    model, batches = problem(task)
    criterion = nn.CrossEntropyLoss()
    if "Gauss-Newton" in task:
        make = lambda: peer.GGNOperator(  # noqa: E731
            model, batches, peer.supervised_forward, peer.supervised_loss_of_output(criterion)
        )
    else:
        make = lambda: peer.HessianOperator(model, batches, peer.supervised_loss(criterion))  # noqa: E731
    if "eigenpairs" in task:

        def top() -> Any:
            pairs = peer.lanczos(make(), k=TOP, max_iter=100, tol=1e-4, which="LA", seed=0)
            return [sorted(pairs.eigenvalues.tolist(), reverse=True), pairs.iterations]

        return top

    class Matrix:
        def __init__(self) -> None:
            self.operator = make()

        def __matmul__(self, vector: Tensor) -> Tensor:
            return self.operator.matvec(vector)

    return _column_by_column(Matrix, probes(PROBES))


def pyhessian(task: str) -> Call:
    """Return a call of PyHessian."""
    from pyhessian import hessian
    from pyhessian.utils import hessian_vector_product

    model, batches = problem(task)
    data: Any = {"data": batches[0]} if len(batches) == 1 else {"dataloader": batches}

    def make() -> Any:
        model.zero_grad()  # it adds to existing gradients, so its matrix would grow with each use
        return hessian(model, nn.CrossEntropyLoss(), cuda=False, **data)

    if "eigenpairs" in task:

        def top() -> Any:
            torch.manual_seed(0)
            return [[float(v) for v in make().eigenvalues(maxIter=100, tol=1e-4, top_n=TOP)[0]], None]

        return top
    shapes = [p.shape for p in model.parameters()]
    sizes = [shape.numel() for shape in shapes]

    class Matrix:
        def __init__(self) -> None:
            self.operator = make()

        def __matmul__(self, vector: Tensor) -> Tensor:
            pieces = [piece.view(shape) for piece, shape in zip(vector.split(sizes), shapes, strict=True)]
            if len(batches) == 1:
                product = hessian_vector_product(self.operator.gradsH, self.operator.params, pieces)
            else:
                product = self.operator.dataloader_hv_product(pieces)[1]
            return torch.cat([piece.reshape(-1) for piece in product])

    return _column_by_column(Matrix, probes(PROBES))


def _column_by_column(make: Callable[[], Any], vectors: Tensor) -> Call:
    def measure() -> float:
        operator = make()
        return float(torch.stack([vector @ (operator @ vector.contiguous()) for vector in vectors.T]).mean())

    return measure


CONTENDERS: dict[str, Callable[[str], Call]] = {
    "landscape, products": landscape,
    "landscape, quadratic forms": landscape_forms,
    "landscape, check=False": landscape_unchecked,
    "curvlinops 3.0.1": curvlinops,
    "hessian-eigenthings 1.0.0a5": eigenthings,
    "PyHessian 0.1": pyhessian,
}


def prepare(task: str, name: str) -> Call:
    """Return the call of one contender for one task."""
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    return CONTENDERS[name](task)
