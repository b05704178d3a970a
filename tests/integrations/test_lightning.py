"""A real Lightning run: the same bit for bit, with the numbers in its loggers and in a file."""

from __future__ import annotations

import csv
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import landscape as ls
from helpers.training import CHEAP, loader, make_net, points, same, seed_all, states
from landscape.errors import LandscapeError, MissingExtraError, StoreError
from landscape.results import Snapshot

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def pl() -> Any:
    """Lightning, which takes seconds to import: once for all tests."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import lightning.pytorch as pl
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return pl


def fit(
    pl: Any, folder: Path, callbacks: list[Any], *, held: Any = "validation", ckpt_path: Any = None, **options: Any
) -> tuple[Any, Any]:
    """Train a small net for two epochs; return the module and the trainer."""

    class Net(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = make_net()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x)

        def training_step(self, batch: Any, index: int) -> torch.Tensor:
            loss = nn.functional.cross_entropy(self(batch[0]), batch[1])
            self.log("train_loss", loss)
            return loss

        def validation_step(self, batch: Any, index: int) -> None:
            self.log("val_loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=0.05)

    seed_all()
    module = Net()
    loggers = [pl.loggers.CSVLogger(folder, "csv"), pl.loggers.TensorBoardLogger(folder, "tensorboard")]
    trainer = pl.Trainer(
        logger=loggers, callbacks=callbacks, accelerator="cpu", enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, log_every_n_steps=1, **{"max_epochs": 2, **options},
    )  # fmt: skip
    validation = DataLoader(TensorDataset(*points()), 16)
    trainer.fit(module, loader(), validation if held == "validation" else None, ckpt_path=ckpt_path)
    return module, trainer


def test_a_lightning_run_is_the_same_and_has_the_numbers(pl: Any, tmp_path: Path) -> None:
    from landscape.integrations import LightningCallback

    alone, plain = fit(pl, tmp_path / "alone", [])
    ends = states()
    out = tmp_path / "run.h5"
    callback = LightningCallback(measures=CHEAP, every_steps=2, every_epochs=1, out=out)
    watched, trainer = fit(pl, tmp_path / "watched", [callback])
    assert same(alone.state_dict(), watched.state_dict())
    assert same(plain.optimizers[0].state_dict(), trainer.optimizers[0].state_dict())
    assert states() == ends
    assert same(plain.callback_metrics, {k: v for k, v in trainer.callback_metrics.items() if "landscape" not in k})

    steps = {2: 0.0, 3: 1.0, 4: 1.0, 6: 1.0}  # of each, the epochs that were finished when it was measured
    assert ls.Store(out).names() == [f"step-{step:08d}" for step in steps]
    snapshots = [ls.Store(out)[name] for name in ls.Store(out)]
    assert [(s.step, s.epoch) for s in snapshots if isinstance(s, Snapshot)] == list(steps.items())
    last = snapshots[-1]
    assert isinstance(last, Snapshot)
    objective = ls.Objective(watched, points())
    assert last.measures["loss"].value == objective.centre == pytest.approx(float(trainer.callback_metrics["val_loss"]))
    assert trainer.callback_metrics["landscape/loss"] == pytest.approx(objective.centre)

    with open(Path(trainer.loggers[0].log_dir) / "metrics.csv") as file:
        rows = [row for row in csv.DictReader(file) if row["landscape/loss"]]
    assert [float(row["landscape/loss"]) for row in rows] == [s.values[0] for s in snapshots]
    assert [int(row["step"]) + 1 for row in rows] == list(steps)  # Lightning counts logged steps from 0
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(trainer.loggers[1].log_dir).Reload()
    assert [event.value for event in events.Scalars("landscape/trace")] == pytest.approx(
        [s.values[1] for s in snapshots]
    )


def test_without_held_data_one_error_before_the_first_step(pl: Any, tmp_path: Path) -> None:
    from landscape.integrations import LightningCallback

    with pytest.raises(LandscapeError, match="no validation data"):
        fit(pl, tmp_path, [LightningCallback()], held=None)
    callback = LightningCallback(points(), measures=["loss"])
    fit(pl, tmp_path, [callback], held=None)
    assert callback.latest is not None


def test_a_run_that_lightning_continues_goes_on_in_its_file(pl: Any, tmp_path: Path) -> None:
    from landscape.integrations import LightningCallback

    out = tmp_path / "run.h5"
    options = {"measures": ["loss"], "every_epochs": 1, "out": out, "resume": True}
    _, trainer = fit(pl, tmp_path, [LightningCallback(points(), **options)], limit_train_batches=2)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    callback = LightningCallback(points(), **options)
    fit(pl, tmp_path, [callback], limit_train_batches=2, max_epochs=3, ckpt_path=tmp_path / "last.ckpt")
    assert ls.Store(out).names() == [f"step-{step:08d}" for step in (2, 4, 6)]
    assert callback.latest is not None
    assert callback.latest.epoch == 3.0


def test_a_file_of_another_run_stops_before_training(pl: Any, tmp_path: Path) -> None:
    from landscape.integrations import LightningCallback

    out = tmp_path / "run.h5"
    with ls.Store(out, write=True), pytest.raises(StoreError, match="being written by another run"):
        fit(pl, tmp_path, [LightningCallback(points(), out=out)], held=None)


def test_a_missing_package_is_one_error_that_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    import landscape.integrations as integrations

    for name in ("lightning", "lightning.pytorch", "pytorch_lightning", "transformers"):
        monkeypatch.setitem(sys.modules, name, None)
    for name, callback in (("lightning", "LightningCallback"), ("hugging_face", "HuggingFaceCallback")):
        monkeypatch.delitem(sys.modules, f"landscape.integrations.{name}", raising=False)
        monkeypatch.delitem(vars(integrations), callback, raising=False)
        with pytest.raises(MissingExtraError, match=r"pip install 'landscape-lab\[training\]'"):
            getattr(integrations, callback)
