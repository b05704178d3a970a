"""Losses as totals: every shape a model may give, against torch's own mean over the whole."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from landscape.errors import TaskError
from landscape.objective.losses.accuracy import accuracy_counts
from landscape.objective.losses.kl import kl_from
from landscape.objective.losses.make import check_targets, make_loss
from landscape.objective.losses.predictions import Reading, logits_of
from landscape.objective.reading import read_batches

CLASSES = Reading("logits", "classes")
G = torch.Generator().manual_seed(0)


def batch_of(inputs, target):
    (batch,) = read_batches([(inputs, target)]).batches
    return batch


@pytest.mark.parametrize(("typed", "meant"), [("cross_entropi", "cross_entropy"), ("crossentropy", "cross_entropy")])
def test_a_misspelt_loss_is_told_its_name(typed, meant):
    with pytest.raises(TaskError, match=f"Did you mean {meant}\\?"):
        make_loss(typed)


def mean(loss, output, target):
    """Return the mean that the objective would report for one batch."""
    made = make_loss(loss)
    batch = batch_of(torch.zeros(len(target), 1), target)
    total = made.total(output, batch)
    assert total.dtype == torch.float64
    assert total.shape == ()
    return float(total) / made.count(batch)


def randn(*shape, dtype=torch.float64):
    return torch.randn(*shape, generator=G, dtype=dtype)


def randint(high, *shape):
    return torch.randint(0, high, shape, generator=G)


# Cross entropy


@pytest.mark.parametrize("extra", [(), (5,), (4, 6)])
@pytest.mark.parametrize("last", [False, True])
def test_cross_entropy_takes_the_class_axis_second_or_last(extra, last):
    logits, target = randn(8, 3, *extra), randint(3, 8, *extra)
    expected = float(F.cross_entropy(logits, target))
    assert mean("cross_entropy", logits.movedim(1, -1) if last else logits, target) == pytest.approx(
        expected, rel=1e-14
    )


def test_ignored_targets_do_not_count():
    logits, target = randn(8, 5, 3), randint(3, 8, 5)
    target[:, 2:] = -100
    assert mean("cross_entropy", logits, target) == pytest.approx(
        float(F.cross_entropy(logits[:, :2].reshape(-1, 3), target[:, :2].reshape(-1))), rel=1e-14
    )


def test_cross_entropy_of_class_probabilities():
    for shape in ((8, 3), (8, 3, 5)):
        logits, soft = randn(*shape), randn(*shape).softmax(1)
        expected = float(F.cross_entropy(logits, soft))
        assert mean("cross_entropy", logits, soft) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.int16])
def test_class_indices_of_any_integer_type(dtype):
    logits, target = randn(8, 3), randint(3, 8)
    assert mean("cross_entropy", logits, target.to(dtype)) == mean("cross_entropy", logits, target)


@pytest.mark.parametrize(
    ("logits", "target"),
    [(randn(8, 3), randint(3, 8, 1)), (randn(8), randint(2, 8)), (randn(8, 1), randn(8)), (randn(8, 3), randn(8, 2))],
)
def test_cross_entropy_refuses_shapes_that_do_not_fit(logits, target):
    with pytest.raises(TaskError, match=r"class index for each row.*\n.*binary_cross_entropy"):
        mean("cross_entropy", logits, target)


@pytest.mark.parametrize("last", [False, True])
def test_target_out_of_range_is_named_before_torch_fails(last):
    logits = randn(8, 3, 2)
    good = batch_of(torch.zeros(8, 1), randint(3, 8, 2))
    bad = batch_of(torch.zeros(8, 1), torch.full((8, 4), 3))  # of another length
    loss = make_loss("cross_entropy")
    output = logits.movedim(1, -1) if last else logits
    check_targets(loss, output, good, (good,))
    with pytest.raises(TaskError, match="from 0 to 2 for this model, and the targets run from 3 to 3"):
        check_targets(loss, output, good, (good, bad))
    with pytest.raises(TaskError, match=r"To leave 3 out: torch.nn.CrossEntropyLoss\(ignore_index=3\)"):
        check_targets(loss, output, good, (good, bad))
    bad.target[:] = -1
    with pytest.raises(TaskError, match="targets run from -1 to -1"):
        check_targets(loss, output, good, (good, bad))
    bad.target[:] = -100
    check_targets(loss, output, good, (bad, good))


@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
def test_targets_that_are_no_probabilities_are_refused(value):
    for name, output in (("binary_cross_entropy", randn(4, 2)), ("cross_entropy", randn(4, 2))):
        batch = batch_of(torch.zeros(4, 1), torch.full((4, 2), 0.5))
        check_targets(make_loss(name), output, batch, (batch,))
        batch.target[2, 1] = value
        with pytest.raises(TaskError, match=r"takes probabilities from 0 to 1.*\n.*`loss='mse'`"):
            check_targets(make_loss(name), output, batch, (batch,))


def test_class_indices_for_a_binary_loss_are_told_the_other_loss():
    batch = batch_of(torch.zeros(4, 1), torch.tensor([0, 1, 2, 0]))
    with pytest.raises(TaskError, match="for class indices pass `loss='cross_entropy'`"):
        check_targets(make_loss("binary_cross_entropy"), randn(4, 1), batch, (batch,))


# Binary cross entropy and squared error


@pytest.mark.parametrize("name", ["binary_cross_entropy", "bce"])
@pytest.mark.parametrize(("output", "target"), [((8,), (8,)), ((8, 1), (8,)), ((8,), (8, 1)), ((8, 1), (8, 1))])
def test_one_logit_in_every_shape(name, output, target):
    logits, labels = randn(8), randint(2, 8)
    expected = float(F.binary_cross_entropy_with_logits(logits, labels.double()))
    for cast in (labels, labels.bool(), labels.double(), labels.float()):
        assert mean(name, logits.reshape(output), cast.reshape(target)) == pytest.approx(expected, rel=1e-14)


def test_multi_label_averages_over_all_elements():
    logits, labels = randn(8, 5), randint(2, 8, 5)
    expected = float(F.binary_cross_entropy_with_logits(logits, labels.double()))
    assert mean("bce", logits, labels) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("name", ["mse", "mean_squared_error"])
@pytest.mark.parametrize(
    ("output", "target"),
    [((12, 1), (12,)), ((12,), (12, 1)), ((2, 6), (2, 3, 2)), ((2, 1, 3, 2), (2, 3, 2)), ((2, 3, 2), (2, 3, 2))],
)
def test_mse_never_broadcasts(name, output, target):
    prediction, truth = randn(12), randn(12)
    expected = float(F.mse_loss(prediction, truth))
    found = mean(name, prediction.reshape(output), truth.reshape(target))
    assert found == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(
    ("output", "target"),
    [((8, 3), (8,)), ((8,), (8, 3)), ((8, 3), (8, 4)), ((2, 3, 4, 4), (2, 4, 4, 3)), ((4, 3), (3, 4))],
)
def test_predictions_in_another_shape_are_refused(output, target):
    for name in ("mse", "bce"):
        with pytest.raises(TaskError, match="one prediction for each target"):
            mean(name, randn(*output), torch.zeros(target))


# Outputs and callables


class Output:
    def __init__(self, **parts):
        self.__dict__.update(parts)


@pytest.mark.parametrize(
    "wrap", [lambda z: z, lambda z: (z, None), lambda z: [z], lambda z: {"logits": z}, lambda z: Output(logits=z)]
)
def test_logits_are_found_in_any_output(wrap):
    logits = randn(8, 3)
    assert logits_of(wrap(logits)) is logits


@pytest.mark.parametrize("output", [None, (), {"scores": 1}, Output(loss=torch.tensor(1.0)), ("a",)])
def test_output_without_predictions_says_what_to_pass(output):
    with pytest.raises(TaskError, match=r"without .logits.\nPass a forward function"):
        logits_of(output)


@pytest.mark.parametrize(
    "function",
    [
        nn.CrossEntropyLoss(),
        nn.CrossEntropyLoss(reduction="none"),
        F.cross_entropy,
        lambda output, target: F.cross_entropy(output, target, reduction="none"),
        lambda output, target: F.cross_entropy(output, target).reshape(1),
    ],
)
def test_callable_gives_the_mean_or_a_term_a_sample(function):
    logits, target = randn(8, 3), randint(3, 8)
    assert mean(function, logits, target) == pytest.approx(float(F.cross_entropy(logits, target)), rel=1e-14)


def test_callable_without_a_target_gets_the_batch():
    made = make_loss(lambda output, batch: (output - batch["x"]).square().mean(dim=1))
    (batch,) = read_batches({"x": torch.ones(4, 2)}).batches
    assert float(made.total(torch.zeros(4, 2), batch)) == 4.0


def test_callable_of_a_builtin_name_is_not_taken_for_it():
    def mse(output, target):
        return (output - target).abs().mean()

    made = make_loss(mse)
    assert made.name == "mse()"
    assert not made.nonnegative
    assert not made.per_sample


@pytest.mark.parametrize(
    ("value", "words"), [(1.0, "returned float"), (torch.ones(8, 3), r"\(8, 3\) for a batch of 8")]
)
def test_callable_that_returns_something_else_is_refused(value, words):
    with pytest.raises(TaskError, match=words):
        mean(lambda output, target: value, randn(8, 3), randint(3, 8))


def test_loss_of_the_model_itself():
    made = make_loss("model")
    batch = batch_of(torch.zeros(4, 1), torch.zeros(4))
    for output in (Output(loss=torch.tensor(0.5)), {"loss": torch.tensor(0.5)}, Output(loss=torch.full((4,), 0.5))):
        assert float(made.total(output, batch)) == 2.0
    with pytest.raises(TaskError, match=r"without one.\n.*labels"):
        made.total(randn(4, 2), batch)


def test_unknown_loss_and_missing_target_say_what_to_type():
    with pytest.raises(TaskError, match="cross_entropy, binary_cross_entropy, mse, model"):
        make_loss("hinge")
    (batch,) = read_batches([X := torch.zeros(4, 2)]).batches
    for name in ("cross_entropy", "bce", "mse"):
        with pytest.raises(TaskError, match="carries none"):
            make_loss(name).total(X, batch)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["cross_entropy", "bce", "mse"])
def test_half_precision_predictions_are_summed_in_full(name, dtype):
    logits = randn(4096, 2).to(dtype)
    target = {"cross_entropy": randint(2, 4096), "bce": randint(2, 4096, 2), "mse": randn(4096, 2)}[name]
    assert mean(name, logits, target) == pytest.approx(mean(name, logits.double(), target), rel=1e-6)


# KL divergence


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("targets", ["classes", "soft", "none"])
def test_kl_against_torch(last, targets):
    trained, moved, target = randn(8, 3), randn(8, 3), randint(3, 8)
    if targets == "classes" and last:
        trained, moved, target = randn(8, 5, 3), randn(8, 5, 3), randint(3, 8, 5)
    if targets == "soft":
        target = trained.softmax(1)
    batch = batch_of(torch.zeros(8, 1), target) if targets != "none" else read_batches([torch.zeros(8, 1)]).batches[0]
    made = kl_from(trained, batch, CLASSES)
    log_p0, log_p = F.log_softmax(trained, -1), F.log_softmax(moved, -1)
    expected = float(F.kl_div(log_p, log_p0, log_target=True, reduction="none").sum(-1).mean())
    assert float(made.total(moved, batch)) / made.count(batch) == pytest.approx(expected, rel=1e-13)
    assert float(made.total(trained, batch)) == 0.0


def test_kl_with_the_class_axis_second_is_the_same():
    trained, moved, target = randn(8, 3, 5), randn(8, 3, 5), randint(3, 8, 5)
    batch = batch_of(torch.zeros(8, 1), target)
    second = kl_from(trained, batch, CLASSES).total(moved, batch)
    last = kl_from(trained.movedim(1, -1), batch, CLASSES).total(moved.movedim(1, -1), batch)
    assert float(second) == pytest.approx(float(last), rel=1e-14)


def test_kl_leaves_out_what_the_loss_leaves_out():
    trained, moved, target = randn(8, 5, 3), randn(8, 5, 3), randint(3, 8, 5)
    kept = batch_of(torch.zeros(8, 1), target[:, :2].clone())
    target[:, 2:] = -100
    batch = batch_of(torch.zeros(8, 1), target)
    made, plain = (
        kl_from(trained, batch, CLASSES),
        kl_from(trained[:, :2], kept, CLASSES),
    )
    assert made.count(batch) == plain.count(kept) == 16
    assert float(made.total(moved, batch)) == pytest.approx(float(plain.total(moved[:, :2], kept)), rel=1e-14)


@pytest.mark.parametrize("extra", [(5,), (1,), (4, 6)])
def test_kl_with_probabilities_as_targets_has_the_class_axis_second(extra):
    trained, moved, target = randn(8, 3, *extra), randn(8, 3, *extra), randn(8, 3, *extra).softmax(1)
    batch = batch_of(torch.zeros(8, 1), target)
    made = kl_from(trained, batch, CLASSES)
    assert made.count(batch) == make_loss("cross_entropy").count(batch) == target.numel() // 3
    log_p0, log_p = F.log_softmax(trained, 1), F.log_softmax(moved, 1)
    expected = float(F.kl_div(log_p, log_p0, log_target=True, reduction="none").sum(1).mean())
    assert float(made.total(moved, batch)) / made.count(batch) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize(
    ("shape", "binary"), [((8,), True), ((8, 1), True), ((8, 4), True), ((8, 1), False), ((8,), False)]
)
def test_kl_of_independent_logits(shape, binary):
    trained, moved = randn(*shape), randn(*shape)
    batch = batch_of(torch.zeros(8, 1), torch.zeros(shape))
    made = kl_from(trained, batch, Reading("logits", "binary" if binary else "classes"))
    p, q = torch.sigmoid(trained), torch.sigmoid(moved)
    expected = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean()
    assert float(made.total(moved, batch)) / made.count(batch) == pytest.approx(float(expected), rel=1e-12)
    assert float(made.total(trained, batch)) == 0.0


def test_kl_keeps_nan():
    batch = batch_of(torch.zeros(2, 1), torch.zeros(2, dtype=torch.long))
    assert kl_from(randn(2, 3), batch, CLASSES).total(torch.full((2, 3), float("nan")), batch).isnan()


# Accuracy


@pytest.mark.parametrize(
    ("loss", "output", "target", "expected"),
    [
        ("cross_entropy", [[2.0, 1.0], [0.0, 1.0], [3.0, 1.0]], [0, 1, 1], (2, 3)),
        ("cross_entropy", [[2.0, 1.0], [0.0, 1.0], [3.0, 1.0]], [0, -100, 1], (1, 2)),
        ("cross_entropy", [[2.0, 1.0], [5.0, 9.0], [-3.0, -1.0]], [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], (2, 3)),
        ("bce", [[2.0], [-1.0], [-3.0]], [1.0, 0.0, 1.0], (2, 3)),
        ("bce", [2.0, -1.0, -3.0], [[1], [0], [1]], (2, 3)),
        ("bce", [2.0, -1.0], [0.5, 0.0], (0, 0)),
        ("mse", [[2.0], [-1.0]], [1.0, 0.0], (0, 0)),
        (nn.BCEWithLogitsLoss(), [2.0, -1.0], [1.0, 1.0], (1, 2)),
        (nn.CrossEntropyLoss(), [[2.0, 1.0], [0.0, 1.0]], [0, 1], (2, 2)),
        (nn.L1Loss(), [2.0, -1.0], [0.3, 7.0], (0, 0)),
    ],
)
def test_accuracy(loss, output, target, expected):
    batch = batch_of(torch.zeros(len(target), 1), torch.tensor(target))
    assert accuracy_counts(make_loss(loss), torch.tensor(output), batch)[:2] == expected


def test_accuracy_without_a_target():
    (batch,) = read_batches([torch.zeros(4, 2)]).batches
    assert accuracy_counts(make_loss(lambda o, b: o.sum()), torch.zeros(4, 2), batch)[:2] == (0, 0)
