"""Samples that act on each other are found, and the loss is that of the batches as they came."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import landscape as ls
from landscape.errors import ObjectiveError, TaskError
from landscape.objective.point_batches import SAMPLE_BUDGET

D = torch.float64


class Pair(nn.Module):
    """Logits between all samples of a batch, as CLIP has them."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(5, 4), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        return 3 * F.normalize(self.left(x[:, 0]), dim=1) @ F.normalize(self.right(x[:, 1]), dim=1).T


class Graph(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 3)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        return adjacency @ self.layer(x)


class Across(nn.Module):
    """A net whose samples meet in some way."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.first, self.second = way, nn.Linear(5, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(self.first(x))
        if self.way == "mean":
            hidden = hidden - hidden.mean(0)
        elif self.way == "attention":
            hidden = F.scaled_dot_product_attention(hidden[None], hidden[None], hidden[None])[0]
        elif self.way == "size":
            hidden = hidden * len(hidden) ** 0.5
        elif self.way == "place":
            hidden = hidden * torch.arange(1, 1 + len(hidden), dtype=x.dtype)[:, None]
        return self.second(hidden)


def table(samples: int = 24, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(samples, 5, dtype=D, generator=generator), torch.randint(0, 3, (samples,), generator=generator)


def cut(x: Tensor, y: Tensor, *sizes: int) -> list[tuple[Tensor, Tensor]]:
    return list(zip(x.split(sizes), y.split(sizes), strict=True))


@pytest.mark.parametrize("size", [4, 8, 20])
def test_logits_between_all_samples_of_a_batch(size):
    torch.manual_seed(0)
    net = Pair().double()
    data = [(torch.randn(size, 2, 5, dtype=D), torch.arange(size)) for _ in range(3)]
    objective = ls.Objective(net, data)
    assert objective.centre == pytest.approx(sum(F.cross_entropy(net(x), y).item() for x, y in data) / 3)
    assert objective.describe()["batch_sizes"] == [size] * 3
    assert any("on each other" in note or "not on a part" in note for note in objective.notes)


@pytest.mark.parametrize("way", ["mean", "attention", "size", "place"])
def test_samples_that_meet_in_the_forward_keep_their_batches(way):
    torch.manual_seed(0)
    net, (x, y) = Across(way).double(), table()
    whole = ls.Objective(net, (x, y))
    assert whole.batches == 1
    assert whole.centre == pytest.approx(F.cross_entropy(net(x), y).item(), rel=1e-12)
    parts = cut(x, y, 10, 10, 4)
    total = sum(F.cross_entropy(net(x), y, reduction="sum").item() for x, y in parts)
    apart = ls.Objective(net, parts)
    assert apart.centre == pytest.approx(total / 24, rel=1e-12)
    assert apart.notes[0].endswith("So the batches stay as they came (samples: 4 to 10).")
    chosen = ls.Objective(net, (x, y), batch_size=10)
    assert chosen.centre == pytest.approx(total / 24, rel=1e-12)
    assert chosen.notes[0].endswith("and the loss depends on it (samples: 4 to 10).")


def test_a_batch_mean_is_found_among_samples_that_are_cut_to_fit_the_cache(monkeypatch):
    monkeypatch.setitem(SAMPLE_BUDGET, "cpu", 256)
    torch.manual_seed(0)
    net, (x, y) = Across("mean").double(), table()
    assert ls.Objective(Across("none").double(), (x, y)).batches > 1
    assert ls.Objective(net, (x, y)).centre == pytest.approx(F.cross_entropy(net(x), y).item(), rel=1e-12)


def test_batches_of_one_sample_are_compared_with_several_together():
    torch.manual_seed(0)
    net, (x, y) = Across("mean").double(), table()
    objective = ls.Objective(net, cut(x, y, *[1] * 24))
    assert objective.batches == 24
    assert ls.Objective(Across("none").double(), cut(x, y, *[1] * 24)).batches == 1
    assert objective.centre == pytest.approx(F.cross_entropy(net.second.bias.expand(24, 3), y).item())


@pytest.mark.parametrize("layout", ["dense", "coo", "csr"])
@pytest.mark.parametrize("dtype", [torch.float32, D])
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
def test_a_graph_net_runs_on_its_whole_batch(layout, dtype):
    torch.manual_seed(0)
    net, (x, y) = Graph().to(dtype), table(40)
    adjacency = (torch.rand(40, 40) > 0.8).to(dtype)
    want = F.cross_entropy(net(x.to(dtype), adjacency), y).item()
    given = {"dense": adjacency, "coo": adjacency.to_sparse(), "csr": adjacency.to_sparse_csr()}[layout]
    for data in ([(x, given, y)], (x, given, y)):
        objective = ls.Objective(net, data)
        assert objective.centre == pytest.approx(want, rel=1e-6)
        assert objective.samples == 40
        assert objective.data_hash == ls.Objective(net, data).data_hash
        ls.basin_radii(objective, [want + 0.1], directions=2)
        assert torch.isfinite(ls.Hessian(objective) @ torch.ones(objective.dimension, dtype=dtype)).all()
    assert objective.data_hash != ls.Objective(net, (x, given * 2, y)).data_hash


def test_a_size_that_a_graph_net_cannot_keep_is_refused():
    net, (x, y) = Graph().double(), table(40)
    with pytest.raises(TaskError, match=r"`batch_size=8` cannot be kept.*\(40 samples\)\.\nLeave `batch_size=...` out"):
        ls.Objective(net, [(x, torch.rand(40, 40, dtype=D), y)], batch_size=8)


def test_a_size_that_batches_cannot_keep_is_noted():
    net, (x, y) = nn.Linear(5, 3).double(), table()
    objective = ls.Objective(net, [([*x], y)], batch_size=4, forward=lambda net, batch: net(torch.stack(batch[0])))
    assert "`batch_size=4` has no effect on batches that cannot be cut (samples: 24)" in objective.notes[0]


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Sequential(nn.Linear(5, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3)),
        lambda: nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)).eval(),
        lambda: nn.Sequential(nn.Unflatten(1, (1, 5)), nn.Conv1d(1, 4, 3), nn.GELU(), nn.Flatten(), nn.Linear(12, 3)),
        lambda: nn.Sequential(
            nn.Unflatten(1, (5, 1)),
            nn.Linear(1, 8),
            nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
            nn.Flatten(),
            nn.Linear(40, 3),
        ),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_ordinary_nets_raise_no_alarm(make, dtype):
    torch.manual_seed(0)
    x, y = table()
    objective = ls.Objective(make().to(dtype), (x, y))
    assert objective.describe()["batch_sizes"] is None
    assert not any("batch" in note for note in objective.notes)


# What the model does with its parameters


class Clamped(nn.Module):
    """Writes to its weight before it uses it, in one of the ways seen in the wild."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.layer = way, nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.layer.weight
        if self.way == "data":
            weight.data.clamp_(-0.2, 0.2)
        elif self.way == "set":
            weight.data = torch.renorm(weight.data, 2, 0, 0.3)
        else:
            with torch.no_grad():
                weight.clamp_(-0.2, 0.2)
        return self.layer(x)


@pytest.mark.parametrize("way", ["data", "set", "no_grad"])
def test_a_forward_that_writes_to_its_parameters_leaves_theta_and_the_model_alone(way):
    torch.manual_seed(0)
    net, (x, y) = Clamped(way).double(), table()
    given = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    objective = ls.Objective(net, (x, y), scope="all", batch_size=6)
    theta = objective.layout.flatten(given)
    points = theta.repeat(3, 1) * torch.tensor([[0.5], [1.0], [2.0]], dtype=D)
    kept = points.clone()
    values = objective.loss_at(points)
    ls.slice_1d(objective, steps=3)
    ls.basin_radii(objective, [objective.centre + 0.1], directions=2)
    ls.Hessian(objective, check=False) @ torch.ones(objective.dimension, dtype=D)
    assert torch.equal(points, kept)
    assert torch.equal(objective.theta, theta)
    assert all(torch.equal(tensor, given[name]) for name, tensor in net.state_dict().items())
    for point, value in zip(points, values, strict=True):
        net.load_state_dict(objective.layout.views(point))
        assert value == pytest.approx(F.cross_entropy(net(x), y).item(), rel=1e-12)


@pytest.mark.parametrize("bag", [False, True])
def test_an_embedding_with_a_largest_norm_leaves_theta_alone(bag):
    torch.manual_seed(0)
    kind = nn.EmbeddingBag if bag else nn.Embedding
    net = nn.Sequential(kind(9, 4, max_norm=0.5), nn.Flatten(), nn.Linear(4 if bag else 8, 3))
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    objective = ls.Objective(net, (torch.randint(0, 9, (20, 2)), torch.randint(0, 3, (20,))), scope="all")
    ls.slice_1d(objective, steps=3)
    assert torch.equal(objective.theta, objective.layout.flatten(before))
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_an_embedding_with_sparse_gradients_has_curvature():
    torch.manual_seed(0)
    x, y = torch.randint(0, 9, (20, 2)), torch.randint(0, 3, (20,))
    products = []
    for sparse in (False, True):
        torch.manual_seed(1)
        net = nn.Sequential(nn.Embedding(9, 4, sparse=sparse), nn.Flatten(), nn.Linear(8, 3)).double()
        objective = ls.Objective(net, (x, y), scope="all")
        products.append(ls.Hessian(objective) @ torch.ones(objective.dimension, dtype=D))
        assert net[0].sparse == sparse
    assert torch.equal(*products)


def test_a_sparse_buffer_stays_as_it_is():
    class Mixing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(5, 3)
            self.register_buffer("adjacency", (torch.rand(24, 24) > 0.8).double().to_sparse())

        def forward(self, x: Tensor) -> Tensor:
            return self.adjacency @ self.layer(x)

    torch.manual_seed(0)
    net, (x, y) = Mixing().double(), table()
    objective = ls.Objective(net, (x, y))
    assert objective.centre == pytest.approx(F.cross_entropy(net(x), y).item())
    assert objective.theta_hash == ls.Objective(net, (x, y)).theta_hash


# What the data and the model are


@pytest.mark.parametrize("loss", [nn.MSELoss(), nn.BCEWithLogitsLoss()])
def test_floating_targets_follow_the_dtype(loss):
    seen = []

    def watched(output, target):
        seen.append(target.dtype)
        return loss(output, target)

    x, y = table()
    data = x.float(), (y[:, None] > 0).float()
    ls.Objective(nn.Linear(5, 1), data, watched, dtype=D)
    assert set(seen) == {D}
    seen.clear()
    ls.Objective(nn.Linear(5, 1), data, watched, dtype=torch.bfloat16)
    assert set(seen) == {torch.float32}  # 16 bits would round the targets


class Choosy(nn.Linear):
    """Runs by itself, and not on views of a vector."""

    def forward(self, x):
        if not isinstance(self.weight, nn.Parameter):
            raise TypeError("no parameter")
        return super().forward(x)


def test_what_only_fails_with_other_parameters_is_not_blamed_on_the_data():
    x, y = table()
    with pytest.raises(ObjectiveError, match=r"fails when they are replaced: TypeError: no parameter \(test_checks.py"):
        ls.Objective(Choosy(5, 3).double(), (x, y))
    with pytest.raises(TaskError, match="does not run on the data"):
        ls.Objective(Choosy(4, 3).double(), (x, y))


class ByName(nn.Module):
    """Takes its inputs by name, as the models of transformers do: the second position is no target."""

    def __init__(self):
        super().__init__()
        self.rows = nn.Embedding(9, 3)

    def forward(self, input_ids, attention_mask=None, labels=None):
        hidden = self.rows(input_ids)
        return hidden if attention_mask is None else hidden * attention_mask[:, :, None]


def test_a_model_that_takes_inputs_by_name_says_how_to_name_the_arrays():
    ids, labels = torch.zeros(4, 6, dtype=torch.int64), torch.zeros(4, dtype=torch.int64)
    with pytest.raises(TaskError, match=r"Called with int64 \(4, 6\), int64 \(4,\) it failed") as refused:
        ls.Objective(ByName(), (ids, labels), "model", scope="all")
    assert "call the arrays of the data input_ids, attention_mask and labels" in str(refused.value)


def test_a_model_that_returns_predictions_is_told_another_loss():
    with pytest.raises(TaskError, match="If the model returns predictions, pass another loss"):
        ls.Objective(nn.Linear(5, 3).double(), table(), "model")
