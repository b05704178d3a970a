"""What the study measures, and in which order; a run that was killed goes on from what its file holds."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from landscape.objective import Objective
from landscape.recipes import task_from_record
from landscape.results import Result
from landscape.results.base import plain
from landscape.results.table import percent
from landscape.store import Store
from landscape.training import Member, TrainingSummary
from landscape.training.sweep import checkpoint_path

SWISS_ROLL = "swiss-roll"
IMAGES = ("mnist", "fashion-mnist", "cifar10", "svhn")  #: recipes of the study on images
LEAST_FITTED = {SWISS_ROLL: 1.0}  #: training accuracy from which a net counts as fitted; 99 % on images
Measured = TypeVar("Measured", bound=Result)


@dataclass(frozen=True)
class Study:
    """The settings of the study.

    Attributes:
        recipe: what is trained.
        factors: poison factors, ascending, the first 0.
        seeds: nets of each factor, seeds 0 to seeds - 1.
        steps: of a training with poison, at most; the recipe's own number where it is None.
        natural: of one without, likewise.
        pixels: points along each side of a map of the decision boundary.
        plane: points along each side of a plane of losses.
        span: how far the plane reaches, in filter-normalised units.
        frames: of an animation, odd.
        film: points along each side of its map of the boundary.
        stations: checkpoints of one good run from which further minimisers are reached, each once with and once without
            poison.
        tuning: steps of those trainings with poison.
        rays: random rays, the same ones for every net.
        cutoffs: losses that bound the basin, ascending.
        annealed: factors whose net of seed 0 has its volume annealed too, at the first cutoff: minutes a net.
        chains, temperatures: of the annealing.
        probes: of the trace.
        samples: training samples on which losses are measured, the first so many; all where it is None.
    """

    recipe: str = SWISS_ROLL
    factors: tuple[float, ...] = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
    seeds: int = 5
    steps: int | None = None
    natural: int | None = None
    pixels: int = 401
    plane: int = 101
    span: float = 0.5
    frames: int = 101
    film: int = 161
    stations: int = 12
    tuning: int = 40_000
    rays: int = 1000
    cutoffs: tuple[float, ...] = (0.1, 0.5, 1.0)
    annealed: tuple[float, ...] = (0.0, 0.5)
    chains: int = 16
    temperatures: int = 60
    probes: int = 100
    samples: int | None = None

    @property
    def planar(self) -> bool:
        """Whether the inputs are points of the plane, so that a decision boundary can be drawn."""
        return self.recipe == SWISS_ROLL

    @property
    def flags(self) -> str:
        """What a command that measures a net needs beside its checkpoint."""
        return "" if self.samples is None else f" --max-samples {self.samples}"

    @property
    def members(self) -> list[Member]:
        """Every net of the study."""
        return [Member(seed, poison) for poison in self.factors for seed in range(self.seeds)]


FULL = Study()
QUICK = Study(
    factors=(0.0, 0.01, 0.05, 0.2),
    seeds=1,
    steps=24_000,
    pixels=201,
    plane=41,
    frames=51,
    film=121,
    stations=6,
    tuning=24_000,
    rays=100,
    annealed=(),
    probes=20,
)
FULL_IMAGES = Study(
    recipe="mnist",
    factors=(0.0, 0.003, 0.01, 0.03, 0.1, 0.3),
    seeds=2,
    plane=21,
    rays=50,
    annealed=(),
    probes=10,
)
QUICK_IMAGES = replace(FULL_IMAGES, factors=(0.0, 0.03, 0.3), seeds=1, plane=11, rays=20, probes=5, samples=500)


@dataclass(frozen=True)
class Net:
    """A trained net of the study."""

    member: Member
    summary: TrainingSummary
    path: Path
    model: nn.Module
    data: tuple[torch.Tensor, torch.Tensor]
    loss: str
    recipe: str
    samples: int | None = None

    @classmethod
    def read(cls, path: Path, member: Member, samples: int | None = None) -> Net:
        """Read a checkpoint; its losses will be measured on the first so many samples."""
        held = torch.load(path, weights_only=True)
        task = task_from_record(held["landscape_task"])
        task.model.load_state_dict(held["state_dict"])
        recipe = held["landscape_task"]["recipe"]
        summary = TrainingSummary(**held["training"])
        return cls(member, summary, path, task.model, task.data, str(task.loss), recipe, samples)

    @cached_property
    def objective(self) -> Objective:
        """The loss on the training set around the net's weights; biases stay where they are, as in the paper."""
        inputs, targets = (part[: self.samples] for part in self.data)
        return Objective(self.model, (inputs, targets), self.loss, scope="weights")

    @property
    def name(self) -> str:
        """What its results are stored under."""
        return self.path.stem

    @property
    def poison(self) -> float:
        """The poison factor β."""
        return self.member.poison

    @property
    def gap(self) -> float:
        """The generalisation gap: training accuracy less test accuracy."""
        return self.summary.gap

    @property
    def fitted(self) -> bool:
        """Whether the training set is fitted: every point of the swiss roll, 99 % of the images."""
        return self.summary.train_accuracy >= LEAST_FITTED.get(self.recipe, 0.99)

    @property
    def label(self) -> str:
        """The net in words, for a title."""
        return f"β = {self.poison:g}: test accuracy {percent(self.summary.test_accuracy)}"


class Keep:
    """Measurements by name in a results file: one that is there and was asked for in the same way is not made again.

    Args:
        store: the file.
        report: told the name of a measurement before it is made.
    """

    def __init__(self, store: Store, report: Callable[[str], None] = lambda name: None) -> None:
        self.store, self.report = store, report
        self._held = set(store.names())

    def get(
        self, kind: str, net: Net, settings: Mapping[str, Any], measure: Callable[..., Measured], *subject: Any
    ) -> Measured:
        """Return ``measure(*subject, **settings)``, from the file where it holds that already.

        Args:
            kind: what is measured, the first part of its name in the file.
            net: on which net.
            settings: keyword arguments.
            measure: the function.
            subject: its first arguments; the net's objective by default.
        """
        name = f"{kind}-{net.name}"
        described = net.objective.describe()
        asked = {**settings, "theta_hash": described["theta_hash"], "data_hash": described["data_hash"]}
        asked = json.loads(json.dumps(plain(asked)))
        if name in self._held:
            found: Any = self.store[name]
            if found.config.get("asked") == asked:
                return found
        self.report(name)
        made: Any = measure(*(subject or (net.objective,)), **settings)
        made = replace(made, config={**made.config, "asked": asked})
        self.store[name] = made
        self._held.add(name)
        return made


def load_nets(folder: Path, study: Study) -> list[Net]:
    """Return the nets of a study from the folder of their checkpoints."""
    return [Net.read(checkpoint_path(folder, member), member, study.samples) for member in study.members]
