"""The trained nets of the study, read from their checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from landscape.objective import Objective
from landscape.recipes import task_from_record
from landscape.reproduce.study import SWISS_ROLL, Study
from landscape.results.table import percent
from landscape.training import Member, TrainingSummary
from landscape.training.problem import Pair
from landscape.training.sweep import checkpoint_path

FITTED = {SWISS_ROLL: 1.0}  #: training accuracy from which a net counts as fitted, per recipe
FITTED_IMAGES = 0.99  #: the same for recipes of images


@dataclass(frozen=True)
class Net:
    """A trained net of the study."""

    member: Member
    summary: TrainingSummary
    path: Path
    model: nn.Module
    data: Pair
    loss: str
    recipe: str
    samples: int | None = None

    @classmethod
    def read(cls, path: Path, member: Member, samples: int | None = None) -> Net:
        """Read a checkpoint. Its losses will be measured on the first ``samples`` training samples; None: on all."""
        checkpoint = torch.load(path, weights_only=True)
        task = task_from_record(checkpoint["landscape_task"])
        task.model.load_state_dict(checkpoint["state_dict"])
        return cls(
            member,
            TrainingSummary(**checkpoint["training"]),
            path,
            task.model,
            task.data,
            str(task.loss),
            checkpoint["landscape_task"]["recipe"],
            samples,
        )

    @cached_property
    def objective(self) -> Objective:
        """The loss on the training set around the net's weights; biases stay fixed, as in the paper."""
        inputs, targets = (part[: self.samples] for part in self.data)
        return Objective(self.model, (inputs, targets), self.loss, scope="weights")

    @property
    def name(self) -> str:
        """The end of the names that its measurements are stored under."""
        return self.path.stem

    @property
    def poison(self) -> float:
        """The poison factor β."""
        return self.member.poison

    @property
    def gap(self) -> float:
        """The generalisation gap: training accuracy minus test accuracy."""
        return self.summary.gap

    @property
    def fitted(self) -> bool:
        """Whether the training set is fitted: every point of the swiss roll, 99 % of the images."""
        return self.summary.train_accuracy >= FITTED.get(self.recipe, FITTED_IMAGES)

    @property
    def label(self) -> str:
        """The net in words, for a title."""
        return f"β = {self.poison:g}: test accuracy {percent(self.summary.test_accuracy)}"


def load_nets(folder: Path, study: Study) -> list[Net]:
    """Return the nets of a study from the folder of their checkpoints."""
    return [Net.read(checkpoint_path(folder, member), member, study.samples) for member in study.members]
