"""Families of nets whose truth is known: what each measure has to do with the generalisation gap is built in."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import torch

from landscape.recipes import task_from_record
from landscape.results import Runs

AXES = {"width": (16, 32, 64), "lr": (0.01, 0.03, 0.1), "batch": (8, 32, 128)}


def family(seeds: int = 2, *, axes: dict[str, tuple[float, ...]] = AXES, seed: int = 0) -> Runs:
    """A full factorial whose gap grows along every axis, with noise.

    Measures: ``good`` is the gap plus noise of a known standard error, ``inverted`` its negative, ``chance`` has
    nothing to do with it, ``one-axis`` is a function of the first axis with a little noise.
    """
    random = np.random.default_rng(seed)
    levels = np.array(list(product(*(range(len(values)) for values in axes.values()), range(seeds))))
    nets = len(levels)
    gap = levels[:, :-1] @ np.array([0.05, 0.03, 0.02])[: len(axes)] + random.normal(0, 0.01, nets)
    rows = {
        "good": gap + random.normal(0, 0.02, nets),
        "inverted": -gap,
        "chance": random.random(nets),
        "one-axis": levels[:, 0] + 0.01 * random.random(nets),
    }
    errors = np.full((len(rows), nets), np.nan)
    errors[0] = 0.02
    unknown = np.full((len(rows), nets), np.nan)
    return Runs(
        nets=tuple(f"net-{number}" for number in range(nets)),
        axes={name: [values[level] for level in levels[:, row]] for row, (name, values) in enumerate(axes.items())},
        seeds=tuple(map(str, levels[:, -1])),
        target_names=("gap", "error"),
        targets=np.array([gap, gap + 0.1]),
        measures=tuple(rows),
        values=np.array(list(rows.values())),
        standard_errors=errors,
        passes=unknown,
        seconds=unknown,
        test_size=10_000,
    )


def shared_case() -> Runs:
    """27 configurations with 4 seeds, made of sines, so that any program can make the same numbers."""
    levels = np.array(list(product(range(3), range(3), range(3), range(4))))
    number = np.arange(len(levels))
    noise = [np.sin(12.9898 * (number + 1) * row) * 43758.5453 % 1.0 for row in (1, 2, 3)]
    gap = 0.05 * levels[:, 0] + 0.04 * (levels[:, 1] % 2) + 0.03 * levels[:, 2] + 0.05 * noise[0]
    rows = {"first": gap + 0.1 * noise[1], "second": levels[:, 2] - 0.5 * levels[:, 0] + noise[2]}
    unknown = np.full((2, len(levels)), np.nan)
    return Runs(
        nets=tuple(map(str, number)),
        axes={name: levels[:, row].tolist() for row, name in enumerate(("a", "b", "c"))},
        seeds=tuple(map(str, levels[:, 3])),
        target_names=("gap",),
        targets=gap[None],
        measures=tuple(rows),
        values=np.array(list(rows.values())),
        standard_errors=unknown,
        passes=unknown,
        seconds=unknown,
        test_size=10_000,
    )


def as_csv(runs: Runs) -> str:
    """The family as a CSV file."""
    header = ["net", "seed", *runs.axes, *runs.target_names, *runs.measures, f"{runs.measures[0]}:error"]
    rows = [
        [
            runs.nets[net], runs.seeds[net], *(values[net] for values in runs.axes.values()),
            *(repr(float(value)) for value in (*runs.targets[:, net], *runs.values[:, net])),
            repr(float(runs.standard_errors[0, net])),
        ]
        for net in range(len(runs.nets))
    ]  # fmt: skip
    return "\n".join(",".join(map(str, row)) for row in [header, *rows]) + "\n"


WIDTHS, RATES = (2, 3, 4, 5, 6), (0.1, 0.2, 0.3, 0.4)
MEASURES = """
import os
from pathlib import Path

import landscape


@landscape.measure("size", larger="sharper", invariant=("permutation",))
def size(objective, draws):
    if Path("kill").exists():
        with open("kill", "a") as file:
            if file.tell() >= 3:
                os.kill(os.getpid(), 9)
            file.write(".")
    return float(objective.theta.abs().sum()), 0.25


@landscape.measure("flatness", larger="flatter")
def flatness(objective, draws):
    if objective.dimension > 60:
        raise landscape.LandscapeError("too large.")
    return -float(objective.theta.abs().sum())
"""  #: two measures of a user; the first kills its process at the fourth net, if a file says so


def checkpoints(folder: Path, **changes: object) -> list[Path]:
    """Write 20 untrained nets of the swiss roll as a sweep would: five widths, four learning rates, one seed.

    Args:
        folder: where.
        changes: entries of each checkpoint that are to be others.
    """
    folder.mkdir()
    paths = []
    for number, (width, lr) in enumerate(product(WIDTHS, RATES)):
        record = {"recipe": "swiss-roll", "args": {"seed": 0, "width": width, "depth": 1}}
        training = {
            "train_accuracy": 1.0, "test_accuracy": 1 - 0.01 * number, "train_loss": 0.001 * (number % 7),
            "poison": 0.0, "seed": 0, "steps": 10, "seconds": 1.0, "test_loss": 0.1 * number, "converged": number != 3,
        }  # fmt: skip
        content = {
            "state_dict": task_from_record(record).model.state_dict(), "landscape_task": record, "training": training,
            "settings": "", "axes": {"width": width, "lr": lr}, **changes,
        }  # fmt: skip
        paths.append(folder / f"width-{width}-lr-{lr}-seed-0.pt")
        torch.save(content, paths[-1])
    return paths
