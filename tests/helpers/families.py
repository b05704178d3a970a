"""Families of nets whose truth is known: what each measure has to do with the generalisation gap is built in."""

from __future__ import annotations

from itertools import product

import numpy as np

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
