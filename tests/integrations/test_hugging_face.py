"""A real run of Hugging Face's Trainer: the same bit for bit, with the numbers in its log and in a file."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

import landscape as ls
from helpers.training import CHEAP, make_net, points, same, seed_all, states
from landscape.errors import LandscapeError
from landscape.results import Snapshot

pytestmark = pytest.mark.filterwarnings("ignore")


class Samples(Dataset[Any]):
    def __len__(self) -> int:
        return len(points()[0])

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        x, y = points()
        return {"x": x[index], "labels": y[index]}


@pytest.fixture(scope="module")
def transformers() -> Any:
    """The package, which takes seconds to import: once for all tests."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import transformers

        transformers.Trainer  # noqa: B018 - what is imported on first use
    transformers.logging.set_verbosity_error()
    return transformers


def make_trainer(transformers: Any, folder: Path, **options: Any) -> Any:
    """A Trainer of a small classifier, with gradients summed over two batches."""

    class Net(transformers.PreTrainedModel):
        config_class = transformers.PretrainedConfig

        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.net = make_net()
            self.post_init()

        def forward(self, x: torch.Tensor, labels: torch.Tensor | None = None) -> Any:
            logits = self.net(x)
            loss = None if labels is None else nn.functional.cross_entropy(logits.float(), labels)
            return transformers.modeling_outputs.SequenceClassifierOutput(loss=loss, logits=logits)

    seed_all()
    args = transformers.TrainingArguments(
        str(folder), num_train_epochs=2, per_device_train_batch_size=8, gradient_accumulation_steps=2, seed=3,
        learning_rate=0.05, report_to=["tensorboard"], use_cpu=True, save_strategy="no", logging_steps=1,
        eval_strategy="epoch", disable_tqdm=True, **options,
    )  # fmt: skip
    model = Net(transformers.PretrainedConfig())
    return transformers.Trainer(model, args, train_dataset=Samples(), eval_dataset=Samples())


@pytest.mark.parametrize("half", [False, True], ids=["full", "bf16"])
def test_a_run_of_the_trainer_is_the_same_and_has_the_numbers(transformers: Any, tmp_path: Path, half: bool) -> None:
    from landscape.integrations import HuggingFaceCallback

    plain = make_trainer(transformers, tmp_path / "plain", bf16=half)
    plain.train()
    ends, out = states(), tmp_path / "run.h5"
    trainer = make_trainer(transformers, tmp_path / "watched", bf16=half)
    callback = HuggingFaceCallback(trainer, measures=CHEAP, every_steps=2, every_epochs=1, out=out)
    trainer.add_callback(callback)
    trainer.train()
    assert same(plain.model.state_dict(), trainer.model.state_dict())
    assert same(plain.optimizer.state_dict(), trainer.optimizer.state_dict())
    assert states() == ends

    log = trainer.state.log_history
    ours = [entry for entry in log if "landscape/loss" in entry]
    for entry, own in zip(plain.state.log_history, [entry for entry in log if entry not in ours], strict=True):
        assert entry.keys() == own.keys()
        assert all(entry[key] == own[key] for key in ("loss", "eval_loss", "step", "epoch") if key in entry)
    assert [(entry["step"], entry["epoch"]) for entry in ours] == [(2, 2 / 3), (3, 1.0), (4, 4 / 3), (6, 2.0)]
    last = ls.Store(out)["step-00000006"]
    assert isinstance(last, Snapshot)
    assert ours[-1]["landscape/trace"] == last.measures["trace"].value
    centre = ls.Objective(trainer.model.net, points()).centre  # in full precision, also where training is not
    assert last.measures["loss"].value == pytest.approx(centre, rel=1e-6)


def test_the_numbers_reach_tensorboard(transformers: Any, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from landscape.integrations import HuggingFaceCallback

    trainer = make_trainer(transformers, tmp_path)
    trainer.add_callback(callback := HuggingFaceCallback(trainer, points_as_dict(), measures=["loss"]))
    trainer.train()
    (folder,) = {path.parent for path in tmp_path.rglob("events.out.tfevents.*")}
    events = EventAccumulator(str(folder)).Reload()
    (tag,) = [tag for tag in events.Tags()["scalars"] if "landscape/loss" in tag]
    assert callback.latest is not None
    assert events.Scalars(tag)[-1].value == pytest.approx(callback.latest.values[0])


def points_as_dict() -> dict[str, torch.Tensor]:
    return dict(zip(("x", "labels"), points(), strict=True))


def test_misuse_is_one_clear_error(transformers: Any, tmp_path: Path) -> None:
    from landscape.integrations import HuggingFaceCallback

    with pytest.raises(LandscapeError, match="the first argument must be the Trainer, not dict"):
        HuggingFaceCallback({})
    trainer = make_trainer(transformers, tmp_path)
    trainer.eval_dataset = None
    with pytest.raises(LandscapeError, match="no evaluation data"):
        HuggingFaceCallback(trainer)
