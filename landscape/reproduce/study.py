"""What the study measures, and in which order; a run that was killed goes on from what its file holds."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from landscape.objective import Objective
from landscape.recipes import task_from_record
from landscape.recipes.sweep import checkpoint_path
from landscape.recipes.training import Member, Numbers
from landscape.results import Result
from landscape.results.base import plain
from landscape.store import Store

Measured = TypeVar("Measured", bound=Result)


@dataclass(frozen=True)
class Study:
    """The settings of the study.

    Attributes:
        factors: poison factors, ascending, the first 0.
        seeds: nets of each factor, seeds 0 to seeds - 1.
        steps: of a training with poison, at most; the recipe's own number where it is None.
        pixels: points along each side of a map of the decision boundary.
        plane: points along each side of a plane of losses.
        span: how far the plane reaches, in filter-normalised units.
        rays: random rays, the same ones for every net.
        cutoffs: losses that bound the basin, ascending.
        annealed: factors whose net of seed 0 has its volume annealed too, at the first cutoff: minutes a net.
        chains, temperatures: of the annealing.
        probes: of the trace.
    """

    factors: tuple[float, ...] = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
    seeds: int = 5
    steps: int | None = None
    pixels: int = 401
    plane: int = 101
    span: float = 0.5
    rays: int = 1000
    cutoffs: tuple[float, ...] = (0.1, 0.5, 1.0)
    annealed: tuple[float, ...] = (0.0, 0.5)
    chains: int = 16
    temperatures: int = 60
    probes: int = 100

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
    rays=100,
    annealed=(),
    probes=20,
)


@dataclass(frozen=True)
class Net:
    """A trained net of the study."""

    member: Member
    numbers: Numbers
    path: Path
    model: nn.Module
    data: tuple[torch.Tensor, torch.Tensor]
    loss: str

    @classmethod
    def load(cls, folder: Path, member: Member) -> Net:
        """Read the checkpoint of a member."""
        path = checkpoint_path(folder, member)
        held = torch.load(path, weights_only=True)
        task = task_from_record(held["landscape_task"])
        task.model.load_state_dict(held["state_dict"])
        return cls(member, Numbers(**held["training"]), path, task.model, task.data, str(task.loss))

    @cached_property
    def objective(self) -> Objective:
        """The loss on the training set around the net's weights; biases stay where they are, as in the paper."""
        return Objective(self.model, self.data, self.loss, scope="weights")

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
        return self.numbers.train_accuracy - self.numbers.test_accuracy

    @property
    def fitted(self) -> bool:
        """Whether every training point is right."""
        return self.numbers.train_accuracy == 1

    @property
    def label(self) -> str:
        """The net in words, for a title."""
        return f"β = {self.poison:g}: test accuracy {self.numbers.test_accuracy:.1%}".replace("%", " %")


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


def load_nets(folder: Path, members: Sequence[Member]) -> list[Net]:
    """Return the nets of a study from the folder of their checkpoints."""
    return [Net.load(folder, member) for member in members]
