"""Hessian and Gauss-Newton products against differences of plain gradients, dense matrices and curvlinops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import landscape as ls
from benchmarks.resnet_cifar import ResNetCifar
from helpers.curvature_nets import NETS, make, small
from helpers.models import KINDS, SAMPLES, mlp, moved, table, wide
from helpers.nets import ConvNet
from landscape.curvature import GaussNewton, Hessian
from landscape.curvature.hessian import operator_named
from landscape.errors import CurvatureError, LandscapeError
from landscape.rays import make_metric

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning"),
]


def plain_gradient(model: nn.Module, objective: ls.Objective, data, point: torch.Tensor) -> torch.Tensor:
    """The gradient of the mean loss by one ordinary backward pass over all the data."""
    other = moved(model, objective, point)
    logits = other(data[0])
    loss = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), data[1].reshape(-1))
    gradients = torch.autograd.grad(loss, list(other.parameters()), allow_unused=True, materialize_grads=True)
    return torch.cat([gradient.reshape(-1) for gradient in gradients])


@pytest.mark.parametrize("kind", KINDS)
def test_a_product_is_the_difference_of_plain_gradients(kind):
    """Ragged batches of 5 in 23 samples, every kind of layer, vectors together and one at a time."""
    model, data, objective = make(kind, batch_size=None if kind == "exported" else 5)
    vectors = torch.randn(objective.layout.size, 3, dtype=torch.float64)
    vectors /= vectors.norm(dim=0)
    step = 1e-5
    found = Hessian(objective) @ vectors
    single = Hessian(objective, memory=0) @ vectors[:, 0]
    for column, vector in enumerate(vectors.T):
        ends = [plain_gradient(model, objective, data, objective.theta + sign * step * vector) for sign in (1, -1)]
        wanted = (ends[0] - ends[1]) / (2 * step)
        torch.testing.assert_close(found[:, column], wanted, rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(single, found[:, 0], rtol=1e-10, atol=1e-13)


def dense(objective: ls.Objective, model: nn.Module, data, loss=F.cross_entropy) -> torch.Tensor:
    """The Hessian by torch's own double backward over all the data at once, shape (D, D)."""
    model.eval()

    def value(point):
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            return loss(torch.func.functional_call(model, objective.layout.views(point), (data[0],)), data[1])

    return torch.autograd.functional.hessian(value, objective.theta)


def dense_gauss_newton(objective: ls.Objective, model: nn.Module, data) -> torch.Tensor:
    """J^T (diag(p) - p p^T) J / N from the whole Jacobian, shape (D, D)."""
    model.eval()
    predict = lambda point: torch.func.functional_call(model, objective.layout.views(point), (data[0],))  # noqa: E731
    jacobian = torch.autograd.functional.jacobian(predict, objective.theta)
    p = predict(objective.theta).softmax(-1).detach()
    inner = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    return torch.einsum("nci,ncd,ndj->ij", jacobian, inner, jacobian) / len(p)


@pytest.mark.parametrize("name", NETS)
def test_the_dense_hessian(name):
    model, data, objective = small(name)
    found = Hessian(objective) @ torch.eye(objective.layout.size, dtype=torch.float64)
    torch.testing.assert_close(found, dense(objective, model, data), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", NETS)
def test_the_dense_gauss_newton_matrix(name):
    model, data, objective = small(name)
    identity = torch.eye(objective.layout.size, dtype=torch.float64)
    wanted = dense_gauss_newton(objective, model, data)
    operator = GaussNewton(objective)
    torch.testing.assert_close(operator @ identity, wanted, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(operator.forms(identity), wanted.diagonal(), rtol=1e-9, atol=1e-12)
    assert operator.cost.evaluations == 2 * objective.layout.size


@pytest.mark.parametrize(("ours", "name"), [(Hessian, "HessianLinearOperator"), (GaussNewton, "GGNLinearOperator")])
def test_curvlinops(ours, name):
    """An independent implementation, in another mode of differentiation."""
    curvlinops = pytest.importorskip("curvlinops")
    model, data, objective = small("batch norm")
    batches = list(zip(data[0].split(7), data[1].split(7), strict=True))
    other = getattr(curvlinops, name)(model.eval(), nn.CrossEntropyLoss(), list(model.parameters()), batches)
    vectors = torch.randn(objective.layout.size, 4, dtype=torch.float64)
    torch.testing.assert_close(ours(objective) @ vectors, other @ vectors, rtol=1e-9, atol=1e-12)


def test_more_batches_make_the_matrix_no_larger():
    """Fault seen elsewhere: the largest eigenvalue grew with the number of batches."""
    torch.manual_seed(0)
    model, data = mlp().double(), wide(table())
    twice = tuple(torch.cat([item, item]) for item in data)
    sizes = [Hessian(ls.Objective(model, d, batch_size=b)) for d, b in ((data, SAMPLES), (data, 2), (twice, 4))]
    vector = torch.randn(sizes[0].size, dtype=torch.float64)
    first, *others = (operator @ vector for operator in sizes)
    for other in others:
        torch.testing.assert_close(other, first, rtol=1e-10, atol=1e-13)


def test_a_ragged_last_batch_counts_by_its_samples():
    """Fault seen elsewhere: the mean over batches, whatever their size. One batch of 22, one of a single outlier."""
    torch.manual_seed(0)
    model = nn.Linear(1, 1, bias=False).double()
    x = torch.cat([torch.ones(22, 1), torch.full((1, 1), 10.0)]).double()
    operator = Hessian(ls.Objective(model, (x, torch.zeros(23, dtype=torch.float64)), "mse", batch_size=22))
    assert float(operator @ torch.ones(1, dtype=torch.float64)) == pytest.approx(2 * (22 + 100) / 23)


def test_scope_and_full_length_vectors():
    model, data, objective = small("batch norm")
    whole = dense(objective, model, data)
    operator = Hessian(objective, scope="fc")
    start = objective.layout.size - operator.size
    vector = torch.randn(objective.layout.size, dtype=torch.float64)
    inside = whole[start:, start:] @ vector[start:]
    torch.testing.assert_close(operator @ vector[start:], inside, rtol=1e-9, atol=1e-12)
    padded = torch.cat([torch.zeros(start, dtype=torch.float64), inside])
    torch.testing.assert_close(operator @ vector, padded, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(operator @ vector[:, None], padded[:, None], rtol=1e-9, atol=1e-12)
    assert [part.name for part in operator.parts] == ["fc.weight", "fc.bias"]
    assert [(part.start, part.stop) for part in operator.parts] == [(0, 12), (12, 16)]


@pytest.mark.parametrize("operator", [Hessian, GaussNewton])
@pytest.mark.parametrize("metric", ["filter", "layer"])
def test_the_metric_scales_both_sides(metric, operator):
    """S A S, with a filter of zero norm left out."""
    model, data, _ = small("mlp")
    with torch.no_grad():
        model[0].weight[2] = 0
    objective = ls.Objective(model, data, scope="weights")
    scaled, plain = operator(objective, metric=metric), operator(objective)
    s = make_metric(metric, objective.theta, objective.scope)
    assert scaled.size == s.scope.size == plain.size - (6 if metric == "filter" else 0)
    identity = torch.eye(scaled.size, dtype=torch.float64)
    steps = s.scope.scatter(torch.diag(s.scale), torch.zeros(scaled.size, objective.layout.size, dtype=torch.float64))
    wanted = steps @ (plain @ steps.T)
    torch.testing.assert_close(scaled @ identity, wanted, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(scaled.forms(identity), wanted.diagonal(), rtol=1e-9, atol=1e-12)
    assert scaled.parts[-1].stop == scaled.size


def test_filter_curvature_does_not_see_the_scale_of_a_relu_net():
    """Weights of one layer times 3 and of the next over 3: the same function, the same S H S."""
    torch.manual_seed(0)
    model, data = nn.Sequential(nn.Linear(6, 8, bias=False), nn.ReLU(), nn.Linear(8, 3, bias=False)).double(), table()
    vector = torch.randn(72, dtype=torch.float64)
    before = Hessian(ls.Objective(model, wide(data)), metric="filter") @ vector
    with torch.no_grad():
        model[0].weight *= 3
        model[2].weight /= 3
    after = Hessian(ls.Objective(model, wide(data)), metric="filter") @ vector
    torch.testing.assert_close(after, before, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("loss", ["mse", "binary_cross_entropy", "callable", "probabilities", "ignored"])
def test_other_losses(loss):
    torch.manual_seed(2)
    model = mlp().double()
    x, classes = wide(table())
    targets = {
        "mse": torch.randn(SAMPLES, 3, dtype=torch.float64),
        "binary_cross_entropy": torch.rand(SAMPLES, 3, dtype=torch.float64),
        "callable": classes,
        "probabilities": torch.rand(SAMPLES, 3, dtype=torch.float64).softmax(-1),
        "ignored": classes.masked_fill(torch.arange(SAMPLES) % 4 == 0, -100),
    }
    plain = {"mse": F.mse_loss, "binary_cross_entropy": F.binary_cross_entropy_with_logits}.get(loss, F.cross_entropy)
    given = {"callable": F.cross_entropy}.get(
        loss, loss if loss in ("mse", "binary_cross_entropy") else "cross_entropy"
    )
    objective = ls.Objective(model, (x, targets[loss]), given, scope="all", batch_size=SAMPLES)
    wanted = dense(objective, model, (x, targets[loss]), plain)
    identity = torch.eye(len(wanted), dtype=torch.float64)
    torch.testing.assert_close(Hessian(objective) @ identity, wanted, rtol=1e-9, atol=1e-12)
    gauss_newton = GaussNewton(objective) @ identity
    torch.testing.assert_close(gauss_newton, gauss_newton.T, rtol=1e-9, atol=1e-12)
    assert float(torch.linalg.eigvalsh(gauss_newton).min()) > -1e-12
    linear = nn.Linear(6, 3).double()  # where the model is linear the two are one
    objective = ls.Objective(linear, (x, targets[loss]), given, scope="all")
    identity = torch.eye(21, dtype=torch.float64)
    torch.testing.assert_close(GaussNewton(objective) @ identity, Hessian(objective) @ identity, rtol=1e-9, atol=1e-12)


def test_batch_statistics_in_training_mode():
    torch.manual_seed(0)
    model, data = ConvNet(2, 3, 4).double(), wide(NETS["batch norm"][1]())
    objective = ls.Objective(model, data, scope="all", training=True)
    operator = Hessian(objective)
    vectors = torch.randn(objective.layout.size, 2, dtype=torch.float64)
    torch.testing.assert_close(operator @ vectors, operator @ vectors, rtol=0, atol=0)
    model.train()
    fresh = {name: buffer.clone() for name, buffer in model.named_buffers()}
    value = lambda v: F.cross_entropy(  # noqa: E731
        torch.func.functional_call(
            model, objective.layout.views(v) | {k: b.clone() for k, b in fresh.items()}, (data[0],)
        ),
        data[1],
    )
    wanted = torch.autograd.functional.hessian(value, objective.theta)
    torch.testing.assert_close(operator @ vectors, wanted @ vectors, rtol=1e-9, atol=1e-12)


def test_a_function_of_a_vector():
    matrix = torch.randn(5, 5, dtype=torch.float64)
    bowl = ls.Objective.from_function(lambda x: ((x @ matrix) ** 2).sum(-1), torch.randn(5, dtype=torch.float64))
    torch.testing.assert_close(Hessian(bowl) @ torch.eye(5, dtype=torch.float64), 2 * matrix @ matrix.T)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dtypes_are_kept(dtype):
    torch.manual_seed(0)
    model, data = mlp(), table()
    exact = Hessian(ls.Objective(model.double(), wide(data)))
    vector = torch.randn(exact.size, dtype=torch.float64)
    operator = Hessian(ls.Objective(model.to(dtype), data))
    product = operator @ vector
    assert product.dtype == operator.dtype == torch.float32
    error = (product - exact @ vector).norm() / (exact @ vector).norm()
    assert error < (1e-5 if dtype == torch.float32 else 0.1)


def test_kept_graphs_change_nothing():
    _, _, objective = small("batch norm")
    vector = torch.randn(objective.layout.size, dtype=torch.float64)
    kept, fresh = Hessian(objective), Hessian(objective, memory=0)
    results = [kept @ vector, kept @ vector, fresh @ vector]
    assert all(torch.equal(result, results[0]) for result in results)
    assert len(kept._graphs._kept) == objective.batches
    assert not fresh._graphs._kept
    kept.forget()
    assert torch.equal(kept @ vector, results[0])


def test_two_operators_on_one_scripted_model():
    """They share the model's own tensors, and each differentiates by its own scope."""
    _, _, objective = make("scripted")
    first, second = Hessian(objective, scope="0", memory=0), Hessian(objective, scope="5", memory=0)
    vectors = [torch.randn(op.size, dtype=torch.float64) for op in (first, second)]
    before = first @ vectors[0], second @ vectors[1]
    torch.testing.assert_close(first @ vectors[0], before[0], rtol=0, atol=0)
    assert all(float(product.norm()) > 0 for product in before)


def test_to_scipy():
    scipy_linalg = pytest.importorskip("scipy.sparse.linalg")
    model, data, objective = small("mlp")
    linear = Hessian(objective).to_scipy()
    assert linear.dtype == np.float64
    matrix = dense(objective, model, data).numpy()
    values = scipy_linalg.eigsh(linear, k=3, which="LA", return_eigenvectors=False)
    np.testing.assert_allclose(np.sort(values), np.linalg.eigvalsh(matrix)[-3:], rtol=1e-8)
    np.testing.assert_allclose(linear @ np.eye(len(matrix)), matrix, rtol=1e-9, atol=1e-12)


class Rounded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 3)

    def forward(self, x):
        return self.fc(x).detach()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda o: Hessian(o) @ torch.zeros(3), "rows, so it multiplies"),
        (lambda o: Hessian(o) @ np.zeros(5), "not ndarray. For numpy arrays use to_scipy"),
        (lambda o: Hessian(o, scope="nothing"), "matches no parameter"),
        (lambda o: Hessian(nn.Linear(2, 2)), "Pass landscape.Objective"),
        (lambda o: Hessian(o, metric="euclid"), "metric 'euclid' is not known"),
        (
            lambda o: Hessian(ls.Objective(Rounded(), table())) @ torch.zeros(18),
            "Pass a differentiable loss",
        ),
        (
            lambda o: GaussNewton(ls.Objective.from_function(lambda x: x.sum(-1), torch.zeros(3))),
            "needs a model's predictions",
        ),
        (
            lambda o: operator_named("fisher", o, metric="identity"),
            "'fisher' is not known. Pass one of hessian, ggn",
        ),
        (
            lambda o: operator_named("ggn", o, metric="identity", derivative="difference"),
            "comes from autograd alone",
        ),
    ],
)
def test_misuse_is_one_clear_error(call, words):
    torch.manual_seed(0)
    with pytest.raises(LandscapeError, match=words):
        call(ls.Objective(mlp(), table()))


class Once(torch.autograd.Function):
    """An operation with a first derivative and no second."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return gradient.clone()


def test_an_operation_without_a_second_derivative_is_said_to_be_so():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(6, 3)

        def forward(self, x):
            return Once.apply(self.fc(x)).tanh()

    with pytest.raises(CurvatureError, match="second derivative of the loss cannot be computed"):
        Hessian(ls.Objective(Net(), table())) @ torch.zeros(18)


def test_a_loss_that_is_linear_in_the_parameters_has_no_curvature():
    model = nn.Linear(6, 1)
    objective = ls.Objective(model, (torch.randn(9, 6), torch.zeros(9)), lambda output, target: output.reshape(-1))
    assert float((Hessian(objective) @ torch.randn(6)).norm()) == 0


def test_resnet_with_frozen_statistics_against_torchs_own_rules():
    """The rules for convolutions and frozen batch norm against double backward as it comes, in float64."""
    torch.manual_seed(0)
    model = ResNetCifar(1).double()
    data = torch.randn(6, 3, 8, 8, dtype=torch.float64), torch.randint(0, 10, (6,))
    objective = ls.Objective(model, data, scope="all")
    vectors = torch.randn(objective.layout.size, 1, dtype=torch.float64)
    model.eval()
    value = F.cross_entropy(model(data[0]), data[1])
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(value, parameters, create_graph=True)
    pieces = objective.layout.split(vectors[:, 0])
    wanted = torch.cat([g.reshape(-1) for g in torch.autograd.grad(gradients, parameters, pieces)])
    torch.testing.assert_close((Hessian(objective) @ vectors)[:, 0], wanted, rtol=1e-9, atol=1e-12)
    assert math.isfinite(float(wanted.norm()))


@pytest.mark.parametrize("operator", [Hessian, GaussNewton])
@pytest.mark.parametrize("kind", ["conv", "mlp"])
def test_the_batches_add_up_to_the_whole(operator, kind):
    """Ragged batches: each is weighted by its share, and all of them cost as much as the whole."""
    _, _, objective = make(kind, batch_size=5)
    op, vectors = operator(objective), torch.randn(objective.layout.size, 3, dtype=torch.float64)
    parts = op.summands()
    assert len(parts) == objective.batches > 1
    assert sum(part.share for part in parts) == pytest.approx(1)
    torch.testing.assert_close(sum(part @ vectors for part in parts), op @ vectors)
    torch.testing.assert_close(sum(part.forms(vectors) for part in parts), op.forms(vectors))
    assert op.cost.evaluations == pytest.approx(4 * 3)
