"""Whatever is measured, and however it ends: the caller's model and random states are the same bit for bit."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune
from torch.utils.data import DataLoader, TensorDataset

import landscape as ls
from landscape.errors import LandscapeError

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning"),
]
SAMPLES = 12


def bits(tensor: torch.Tensor) -> tuple[Any, ...]:
    return tensor.dtype, tuple(tensor.shape), tensor.detach().contiguous().reshape(-1).view(torch.uint8).tolist()


def snapshot(model: nn.Module) -> dict[str, Any]:
    """Everything of a model that a caller could see."""
    seen: dict[str, Any] = {}
    for name, tensor in [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]:
        # the same object at the same address, so that optimizers and ties still hold
        seen[name] = (id(tensor), tensor.data_ptr(), tensor.requires_grad, tensor.is_leaf, bits(tensor))
        seen[f"{name}.grad"] = None if tensor.grad is None else (id(tensor.grad), bits(tensor.grad))
    for path, module in model.named_modules():
        seen[f"{path}.training"] = module.training
        if not isinstance(module, torch.jit.ScriptModule):
            seen[f"{path} attributes"] = {key: id(value) for key, value in vars(module).items()}
            seen[f"{path} hooks"] = [
                (key, list(value)) for key, value in vars(module).items() if key.endswith("_hooks") and value
            ]
    return seen


def random_states() -> tuple[Any, ...]:
    numpy = np.random.get_state()  # noqa: NPY002
    return torch.get_rng_state().tolist(), numpy[1].tolist(), numpy[2:], random.getstate()


def global_hooks() -> list[int]:
    return [len(value) for key, value in vars(nn.modules.module).items() if key.startswith("_global_") and value]


class Caching(nn.Module):
    """A model that keeps things from its last call, and counts."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(6, 3)
        self.last = None
        self.calls = 0
        self.register_buffer("mean", torch.zeros(6))

    def forward(self, x):
        self.calls += 1
        self.mean = x.mean(0)  # a buffer put in the place of the old one
        self.last = self.net(x)
        if not self.training:
            self.late = self.last
        return self.last


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.layer(x.unflatten(1, (2, 3)))[0][:, -1])


def conv() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 4, 3), nn.BatchNorm1d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)
    )


def tied() -> nn.Module:
    model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), nn.Linear(6, 3))
    model[2].weight = model[0].weight
    return model


def pruned() -> nn.Module:
    model = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 3))
    prune.random_unstructured(model[0], "weight", 0.5)
    return model


def hooked() -> nn.Module:
    model = conv()
    model[1].register_forward_hook(lambda module, inputs, output: output + 1)
    model[5].weight.register_hook(lambda grad: grad * 2)
    return model


def attention() -> nn.Module:
    layer = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)
    return nn.Sequential(nn.Unflatten(1, (1, 6)), layer, nn.Flatten(), nn.Linear(6, 3))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "conv": conv,
    "tied": tied,
    "recurrent": Recurrent,
    "attention": attention,
    "caching": Caching,
    "weight norm": lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(6, 4)), nn.Linear(4, 3)),
    "old weight norm": lambda: nn.Sequential(nn.utils.weight_norm(nn.Linear(6, 4)), nn.Linear(4, 3)),
    "spectral norm": lambda: nn.Sequential(parametrizations.spectral_norm(nn.Linear(6, 4)), nn.Linear(4, 3)),
    "pruned": pruned,
    "hooks": hooked,
    "scripted": lambda: torch.jit.script(conv()),
    "script inside": lambda: nn.Sequential(torch.jit.script(nn.Linear(6, 4)), nn.BatchNorm1d(4), nn.Linear(4, 3)),
    "half": lambda: conv().to(torch.bfloat16),
}


def prepared(kind: str) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """Return a model in the middle of training: gradients, mixed modes, a frozen layer; and its data."""
    torch.manual_seed(0)
    model = MODELS[kind]()
    dtype = next(model.parameters()).dtype
    x, y = torch.randn(SAMPLES, 6), torch.randint(0, 3, (SAMPLES,))
    F.cross_entropy(model(x.to(dtype)).float(), y).backward()
    list(model.children())[-1].eval()
    list(model.parameters())[-1].requires_grad_(False)
    return model, x, y


@pytest.fixture
def unchanged():
    """Compare a model before and after the test."""
    watched: list[tuple[nn.Module, dict[str, Any]]] = []
    random.seed(1)
    np.random.seed(2)  # noqa: NPY002

    def watch(model: nn.Module) -> None:
        watched.append((model, snapshot(model)))
        watch.states, watch.hooks = random_states(), global_hooks()

    yield watch
    assert random_states() == watch.states
    assert global_hooks() == watch.hooks
    assert torch.is_grad_enabled()
    assert watched
    for model, before in watched:
        after = snapshot(model)
        assert after.keys() == before.keys()
        assert [key for key in before if before[key] != after[key]] == []


def measure(objective: ls.Objective) -> None:
    """Call all that can be called."""
    objective.loss_at(objective.theta.repeat(3, 1) * 1.01)
    objective.accuracy()
    once = {"directions": 2, "rtol": 0.1, "first_step": 0.1, "max_radius": 0.2}  # no pilot run
    for criterion in ("rise", "kl"):
        assert ls.basin_radii(objective, [0.01], criterion=criterion, **once).done.all()
    volume = ls.log_volume(objective, [objective.centre + 0.01], estimator="uniform", **once)
    assert volume.dimension > 0
    for kind in (ls.Hessian, ls.GaussNewton):
        # in training mode spectral norm turns its vectors behind autograd's back, which the check rightly refuses
        operator = kind(objective, metric="filter", check=not objective.program.training)
        vectors = torch.randn(operator.size, 2, generator=torch.Generator().manual_seed(0))
        assert (operator @ vectors).shape == vectors.shape
        operator._width = 1  # the way of large nets
        assert operator.forms(vectors).shape == (2,)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", MODELS)
def test_measuring_changes_nothing(kind, training, unchanged):
    model, x, y = prepared(kind)
    unchanged(model)
    if training and kind == "attention":  # it drops out
        with pytest.raises(LandscapeError, match="not deterministic"):
            ls.Objective(model, (x, y), training=True)
        return
    if training and kind == "spectral norm":  # each call brings its buffers closer to the singular vectors
        measure(ls.Objective(model, (x, y), training=True))
        return
    measure(ls.Objective(model, (x, y), batch_size=SAMPLES if training else 5, training=training))


@pytest.mark.parametrize("options", [{"dtype": torch.float64}, {"device": "cpu"}])
@pytest.mark.parametrize("kind", [kind for kind in MODELS if kind != "half"])
def test_options_that_move_the_model_move_a_copy(kind, options, unchanged):
    model, x, y = prepared(kind)
    unchanged(model)
    objective = ls.Objective(model, (x, y), batch_size=5, **options)
    objective.loss_at(objective.theta.repeat(3, 1) * 1.01)
    objective.accuracy()
    ls.Hessian(objective) @ torch.ones(objective.dimension)


def test_shuffling_loader_with_augmentation(unchanged):
    model, x, y = prepared("conv")

    class Noisy(TensorDataset):
        def __getitem__(self, index):
            image, target = super().__getitem__(index)
            return image + torch.randn(()) + np.random.rand() + random.random(), target  # noqa: NPY002

    generator = torch.Generator().manual_seed(7)
    state = generator.get_state()
    loaders = [DataLoader(Noisy(x, y), 5, shuffle=True, generator=g) for g in (None, generator)]
    unchanged(model)
    for loader in loaders:
        measure(ls.Objective(model, loader))
    assert torch.equal(generator.get_state(), state)


class Fails(Exception):
    pass


class Bomb(nn.Module):
    """A model that draws random numbers, goes through its stages and raises in the middle of a forward pass."""

    def __init__(self, fuse: int) -> None:
        super().__init__()
        self.first, self.norm, self.second = nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)
        self.fuse = [fuse]

    def forward(self, x):
        torch.rand(3), random.random(), np.random.rand()  # noqa: NPY002
        y = self.norm(self.first(x))
        self.fuse[0] -= 1
        if self.fuse[0] == 0:
            raise Fails("the fifth pass")
        return self.second(y)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("fuse", [1, 2, 3, 5, 8, 13, 21, 34])
def test_an_exception_in_the_middle_changes_nothing(fuse, training, unchanged):
    torch.manual_seed(0)
    x, y = torch.randn(SAMPLES, 6), torch.randint(0, 3, (SAMPLES,))
    model = Bomb(fuse)
    model.norm.eval()
    unchanged(model)
    raised: Exception | None = None
    try:
        ls.basin_radii(ls.Objective(model, (x, y), training=training, batch_size=5), [5.0], directions=20)
    except (Fails, LandscapeError) as error:
        raised = error
    if fuse == 1:  # in the very first pass model and data meet, and what fails there is explained
        assert isinstance(raised, LandscapeError)
        assert isinstance(raised.__cause__, Fails)
    else:  # under vmap a failure only means that points run one at a time; no other is swallowed
        assert isinstance(getattr(raised, "__cause__", None), Fails) or (raised is None and model.fuse[0] < 0)


def test_an_interrupt_between_blocks_changes_nothing(unchanged):
    model, x, y = prepared("recurrent")
    model.train()
    unchanged(model)

    def interrupt(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ls.basin_radii(ls.Objective(model, (x, y)), [5.0], directions=40, on_progress=interrupt)


def test_the_caller_may_go_on_training_between_two_measurements():
    model, x, y = prepared("conv")
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    objective = ls.Objective(model, (x, y))
    before = objective.loss_at(objective.theta[None])[0]
    for _ in range(3):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    # the objective holds the point and the buffers it was made with
    assert objective.loss_at(objective.theta[None])[0] == before
    assert ls.Objective(model, (x, y)).centre < before
