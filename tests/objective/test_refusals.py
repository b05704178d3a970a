"""What the objective refuses, with the words that say what to do instead; and what its hashes see."""

from __future__ import annotations

import math
import re

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from helpers.models import SAMPLES, conv, images, mlp, table
from landscape.errors import ObjectiveError, TaskError
from landscape.objective import Objective

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning"),
]


# Refusals


def with_nan(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        model[0].bias[3] = math.nan
    return model


def frozen_script() -> nn.Module:
    return torch.jit.freeze(torch.jit.script(mlp().eval()))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: mlp().to("meta"), r"0\.weight has no values yet.*\n?.*load_checkpoint"),
        (lambda: nn.Sequential(nn.LazyLinear(8), nn.Linear(8, 3)), r"0\.weight has no values yet"),
        (lambda: with_nan(mlp()), r"0\.bias holds NaN"),
        (lambda: nn.ReLU(), r"\(ReLU\) has no parameters"),
        (frozen_script, "holds its weights as constants"),
        (lambda: lambda x: x, r"torch module, not function.*\n?.*from_function"),
        (lambda: {"0.weight": torch.ones(2)}, "torch module, not dict"),
    ],
)
def test_models_that_cannot_be_measured(make, words):
    with pytest.raises(ObjectiveError, match=words):
        Objective(make(), table())


def quantisation_aware(*, watch_only: bool = False) -> nn.Module:
    """Prepare a net whose observers are on; they only watch if ``watch_only``."""
    qat = torch.ao.quantization
    model = mlp()
    model.qconfig = qat.get_default_qat_qconfig("fbgemm")
    return qat.prepare_qat(model.train()).apply(qat.disable_fake_quant if watch_only else qat.enable_fake_quant)


@pytest.mark.filterwarnings("ignore")  # torch calls its quantisation deprecated
def test_observers_that_are_on_are_refused_and_those_that_are_off_are_measured():
    with pytest.raises(
        ObjectiveError, match=r"observer of 0.* is still on(.|\n)*torch.ao.quantization.disable_observer"
    ):
        Objective(quantisation_aware(), table())
    Objective(quantisation_aware(watch_only=True), table())
    model = quantisation_aware()
    model(table()[0])  # observes once
    model.apply(torch.ao.quantization.disable_observer)
    x, y = table()
    own = nn.functional.cross_entropy(model.eval()(x), y)
    assert Objective(model, (x, y)).centre == pytest.approx(float(own), rel=1e-6)


@pytest.mark.parametrize(
    ("dtype", "scope"), [(torch.int8, "weight_codes"), (torch.complex64, "weight_codes"), (torch.complex64, "all")]
)
def test_integers_and_complex_numbers_are_refused_in_scope_only(dtype, scope):
    model = mlp()
    model.register_parameter("weight_codes", nn.Parameter(torch.zeros(3, dtype=dtype), requires_grad=False))
    with pytest.raises(ObjectiveError, match=r"parameter weight_codes \(torch\.(int8|complex64)\).*\n.*Leave it out"):
        Objective(model, table(), scope=scope)
    x, y = table()
    objective = Objective(model, (x, y))
    assert objective.centre == pytest.approx(nn.functional.cross_entropy(model(x), y).item())
    assert objective.notes == ["integer and complex parameters stay fixed: weight_codes (3)"]


def test_a_model_of_integers_only_is_refused():
    model = nn.Module()
    model.register_parameter("codes", nn.Parameter(torch.zeros(3, dtype=torch.int8), requires_grad=False))
    with pytest.raises(ObjectiveError, match=r"codes is torch\.int8.*before quantisation"):
        Objective(model, table())


def test_a_loss_that_is_not_finite_at_the_centre_is_refused():
    x, y = table()
    for bad in (math.nan, math.inf):
        spoilt = x.clone()
        spoilt[20, 2] = bad
        with pytest.raises(ObjectiveError, match=r"loss at the trained point is (nan|inf).*\n.*float32"):
            Objective(nn.Linear(6, 3), (spoilt, y), batch_size=4)


def test_targets_out_of_range_are_refused_whichever_batch_holds_them():
    x, y = table()
    y[-1] = 3
    with pytest.raises(TaskError, match="from 0 to 2 for this model, and the targets run from 0 to 3"):
        Objective(mlp(), (x, y), batch_size=4)
    with pytest.raises(TaskError, match="binary_cross_entropy"):
        Objective(nn.Linear(6, 1), (x, torch.ones(SAMPLES, dtype=torch.long)))


def test_every_target_left_out_is_refused():
    with pytest.raises(ObjectiveError, match="every target is left out"):
        Objective(mlp(), (table()[0], torch.full((SAMPLES,), -100)))


def test_data_that_do_not_fit_the_model_are_named():
    with pytest.raises(TaskError, match=r"float32 \(23, 5\).*failed: RuntimeError(.|\n)*forward=lambda"):
        Objective(mlp(), table(5))
    with pytest.raises(TaskError, match=r"ids: int64 \(23,\).*unexpected keyword"):
        Objective(mlp(), {"ids": table()[1], "labels": table()[1]})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 0}, "`batch_size` must be a whole number"),
        ({"max_samples": -3}, "`max_samples` must be a whole number"),
        ({"device": "cuda:77"}, "cannot be moved to device cuda:77"),
        ({"device": "abacus"}, "cannot be moved to device abacus"),
        ({"device": "mps"}, r"float64, which the device mps does not have\. Pass `device='cpu'`"),
        ({"device": torch.device("mps:0")}, "float64, which the device mps does not have"),
        ({"dtype": torch.int8}, "floating-point dtype"),
        ({"scope": "nothing"}, "matches no parameter"),
    ],
)
def test_senseless_options_are_refused(options, words):
    with pytest.raises(ObjectiveError, match=words):
        Objective(mlp(), table(), **options)


# Failures away from the centre


class Breaks(nn.Linear):
    """Raises as soon as it has moved: or, from the start, on a batch of one sample."""

    def __init__(self, error: BaseException, *, at_one_sample: bool = False) -> None:
        super().__init__(6, 3)
        self.error, self.at_one_sample, self.start = error, at_one_sample, self.weight.detach().clone()

    def forward(self, x):
        if len(x) == 1 if self.at_one_sample else not torch.equal(self.weight, self.start):
            raise self.error
        return super().forward(x)


PLACE = r" \(test_refusals\.py, line \d+\)"
OOM = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB.\nmore")
BREAKS = {
    "any": (ValueError("no such place\nmore"), rf"ValueError: no such place{PLACE}\n.*return NaN"),
    "wordless": (KeyError(), rf"KeyError{PLACE}\n.*return NaN"),
    "device memory": (OOM, rf"OutOfMemoryError: CUDA.*3 GiB\.{PLACE}\nPass a smaller `memory=...` or `batch_size=...`"),
    "memory": (MemoryError(), rf"MemoryError{PLACE}\nPass a smaller `memory=...`"),
    "torch on a cpu": (RuntimeError("DefaultCPUAllocator: no"), r"RuntimeError.*\nPass a smaller `memory=...`"),
}


@pytest.mark.parametrize("kind", BREAKS)
@pytest.mark.parametrize("part", ["model", "forward", "loss"])
def test_what_fails_away_from_the_centre_is_told(part, kind):
    error, words = BREAKS[kind]
    x, y = table()
    if part == "model":  # the trial away from the centre is the first evaluation there
        with pytest.raises(ObjectiveError, match=rf"evaluated at 0\.9 and 1\.1 times.*batch 1 of 3 \(.*8\): {words}"):
            Objective(Breaks(error), (x, y), batch_size=8)
        return
    broken = False

    def until_broken(*given):
        if broken:
            raise error
        return given[0](given[1][0]) if part == "forward" else nn.functional.cross_entropy(*given)

    options = {"forward": until_broken} if part == "forward" else {"loss": until_broken}
    objective = Objective(nn.Linear(6, 3), (x, y), batch_size=8, **options)
    broken = True
    words = rf"evaluated around the trained point, batch 1 of 3 \(.*8\): {words}"
    with pytest.raises(ObjectiveError, match=words) as told:
        objective.loss_at(objective.theta[None] * 2)
    assert told.value.__cause__ is error


def test_a_function_that_fails_away_from_the_centre_is_told():
    def f(x):
        if x.any():
            raise ValueError("not here")
        return x.sum(-1)

    objective = Objective.from_function(f, torch.zeros(3))
    with pytest.raises(
        ObjectiveError,
        match=r"evaluated around the trained point: ValueError: not here \(test_refusals\.py, line \d+\)\n",
    ):
        objective.loss_at(torch.ones(1, 3))


def test_an_interrupt_passes_through():
    with pytest.raises(KeyboardInterrupt):
        Objective(Breaks(KeyboardInterrupt()), table())


def test_batch_norm_in_training_mode_meets_a_last_batch_of_one_sample():
    model = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    with pytest.raises(
        ObjectiveError, match=r"at the trained point, batch 3 of 3 \(samples: 1\): Val.*\n.*`batch_size=...`"
    ):
        Objective(model, table(), batch_size=11, training=True)


def test_memory_that_runs_out_in_the_first_pass_is_no_misfit_of_model_and_data():
    with pytest.raises(
        ObjectiveError, match=r"at the trained point: Out.*\nPass a smaller `memory=...` or `batch_size=...`"
    ):
        Objective(Breaks(OOM, at_one_sample=True), [(torch.ones(1, 6), torch.zeros(1, dtype=torch.long))])


def test_an_index_without_a_row_names_the_tokenizer():
    model = nn.Sequential(nn.EmbeddingBag(5, 4), nn.Linear(4, 3))
    words = torch.full((10, 2), 5)
    with pytest.raises(TaskError, match=r"larger than the last row of an embedding\. .* tokenizer"):
        Objective(nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(8, 3)), (words, torch.arange(10) % 3))
    assert Objective(model, (words - 1, torch.arange(10) % 3)).samples == 10


def test_outputs_at_the_centre_that_fail_are_told():
    parts = {"net": lambda net, batch: net(batch[0])}
    objective = Objective(mlp(), table(), forward=lambda net, batch: parts["net"](net, batch))
    parts["net"] = None
    for measure in (objective.accuracy, lambda: objective.centre_of("kl")):
        with pytest.raises(ObjectiveError, match="at the trained point: TypeError"):
            measure()


# Functions and hashes


def test_functions_that_are_no_objective_are_refused():
    with pytest.raises(ObjectiveError, match=r"f\(x\)\.sum\(-1\)"):
        Objective.from_function(lambda x: x.square().sum(), torch.zeros(3))
    with pytest.raises(ObjectiveError, match="one flat floating-point vector"):
        Objective.from_function(lambda x: x.sum(-1), torch.zeros(3, 3))
    with pytest.raises(ObjectiveError, match="not deterministic"):
        Objective.from_function(lambda x: x.square().sum(-1) + torch.rand(()), torch.ones(3))
    with pytest.raises(ObjectiveError, match="trained point is nan"):
        Objective.from_function(lambda x: x.sum(-1).log(), -torch.ones(3))


class Drawing(nn.Linear):
    """Draws a random number in each pass; one pass in ``period``, on average, adds noise."""

    def __init__(self, period: float) -> None:
        super().__init__(4, 3)
        self.period = period

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + float(torch.rand(()) * self.period < 1)


def test_noise_in_few_passes_is_refused_and_draws_without_effect_are_stated():
    torch.manual_seed(0)  # 1 in 20: that 300 passes show none has a chance of 2e-7
    data = (torch.linspace(-1, 1, 40).reshape(10, 4), torch.linspace(-1, 1, 30).reshape(10, 3))
    with pytest.raises(ObjectiveError, match=r"not deterministic: \d+ evaluations .*\n.*draws random numbers"):
        Objective(Drawing(20), data, "mse")
    notes = Objective(Drawing(math.inf), data, "mse").notes
    assert [
        note for note in notes if re.search(r"\d+ passes at the trained point gave the same loss.* \d+ % of the", note)
    ]
    assert not [note for note in Objective(nn.Linear(4, 3), data, "mse").notes if "draws" in note]


def test_points_of_another_shape_are_refused():
    objective = Objective(mlp(), table())
    for points in (objective.theta, objective.theta[None, 1:], objective.theta[None, None]):
        with pytest.raises(ObjectiveError, match=rf"shape \(k, {objective.layout.size}\)"):
            objective.loss_at(points)


def test_hashes_see_parameters_buffers_and_data():
    model, (x, y) = conv(), images()
    first = Objective(model, (x, y))
    assert first.theta_hash == Objective(model, (x, y), scope="all", batch_size=3).theta_hash
    assert first.data_hash == Objective(model, DataLoader(TensorDataset(x, y), batch_size=4)).data_hash
    assert first.data_hash != Objective(model, (x, y), max_samples=SAMPLES - 1).data_hash
    assert first.data_hash != Objective(model, (x, y.flip(0))).data_hash
    model[1].running_var.mul_(2)
    assert first.theta_hash != Objective(model, (x, y)).theta_hash
    model[1].running_var.div_(2)
    model[1].weight.data[0] += 1e-3
    assert first.theta_hash != Objective(model, (x, y)).theta_hash


@pytest.mark.parametrize("kind", ["plain", "training", "statistics", "callable"])
def test_the_description_tells_the_sizes_of_batches_that_matter(kind):
    model = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4, track_running_stats=kind != "statistics"), nn.Linear(4, 3))
    loss = (lambda z, y: nn.functional.cross_entropy(z, y)) if kind == "callable" else "cross_entropy"
    told = Objective(model, table(), loss, batch_size=9, training=kind == "training").describe()
    assert told["batch_sizes"] == (None if kind == "plain" else [9, 9, 5])


def test_the_description_tells_a_forward_of_ones_own():
    plain, own = Objective(mlp(), table()), Objective(mlp(), table(), forward=lambda model, batch: model(batch[0]))
    function = Objective.from_function(lambda x: x.square().sum(-1), torch.zeros(3))
    assert [made.describe()["forward"] for made in (plain, own, function)] == [False, True, False]
    assert function.describe()["batch_sizes"] is None


def test_a_model_that_accelerate_offloads_is_told_what_to_do() -> None:
    accelerate = pytest.importorskip("accelerate")
    model = accelerate.cpu_offload(torch.nn.Linear(2, 2), execution_device="cpu")
    with pytest.raises(ObjectiveError, match="offloaded by accelerate"):
        Objective(model, (torch.zeros(3, 2), torch.zeros(3, dtype=torch.long)))


def test_large_finite_weights_are_no_sign_of_divergence() -> None:
    """Their sum overflows, and they do not."""
    model = nn.Linear(4, 2)
    with torch.no_grad():
        model.bias.fill_(3e38)
    assert math.isfinite(Objective(model, (torch.zeros(3, 4), torch.zeros(3, dtype=torch.long))).centre)
