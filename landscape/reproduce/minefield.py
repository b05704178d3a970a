"""The minefield: good and bad minimisers around one training run, on the plane of their principal components."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from torch import Tensor

from landscape.objective import Objective
from landscape.objective.digest import digest
from landscape.plots.style import COLOURS, WIDTH, bare
from landscape.recipes import load_recipe
from landscape.reproduce.figure import Cell, Panel
from landscape.reproduce.study import Keep, Net, Study
from landscape.results import Cost, Embedding
from landscape.results.table import percent
from landscape.slices.axes import make_axes
from landscape.training import Member
from landscape.training.resumable import UNFINISHED, ResumableTraining, StateFile, finish
from landscape.training.sweep import checkpoint_path

POISON = 0.2  # the most that leaves every training point right in so short a training
_EVERY = 100  # steps between two checkpoints of the run that may become stations
_GOOD, _BAD = 1000, 2000  # seeds of the trainings from the stations: none that the study uses
_FOLDER = "minefield"
_KINDS = {"run": ("o", "the run"), "good": ("^", "without poison"), "bad": ("s", f"with β = {POISON:g}")}


@dataclass(frozen=True)
class Mine:
    """A checkpoint of the run, or a minimiser reached from one."""

    kind: str
    station: int
    net: Net


def mines_of(study: Study, folder: Path, report: Callable[[str], None]) -> list[Mine]:
    """Return the stations of one good run in order, and the minimisers reached from them; train what is missing.

    From each station one training goes on without poison, its noise from another seed, and one with the poison factor
    0.2. The run itself is that of the study's first net: seed 0, no poison.
    """
    place = folder / _FOLDER
    place.mkdir(parents=True, exist_ok=True)
    run = Member(0, 0.0)
    stations = _stations(study, place, run, report)
    found = [Mine("run", step, Net.read(path, run)) for step, path in stations]
    states = [mine.net.model.state_dict() for mine in found]
    for kind, poison, first in (("good", 0.0, _GOOD), ("bad", POISON, _BAD)):
        members = [Member(first + number, poison) for number in range(len(stations))]
        training = load_recipe(study.recipe).training(members, steps=study.tuning if poison else study.natural)
        training.begin_at(states)
        paths = [checkpoint_path(place, member) for member in members]
        if not _all_there(paths, training):
            report(f"minefield: {len(members)} {kind} minimisers")
            finish(training, StateFile(place / f"{kind}{UNFINISHED}"), paths)
        nets = [Net.read(path, member) for path, member in zip(paths, members, strict=True)]
        found += [Mine(kind, step, net) for (step, _), net in zip(stations, nets, strict=True)]
    return found


def _stations(study: Study, place: Path, run: Member, report: Callable[[str], None]) -> list[tuple[int, Path]]:
    """Return step and checkpoint of the stations, evenly over the run, its end the last of them."""
    training = load_recipe(study.recipe).training([run], steps=study.natural)
    whole = checkpoint_path(place, run)
    if not _all_there([whole], training):
        report("minefield: the run")

        def on_step(training: ResumableTraining) -> None:
            if training.step % _EVERY == 0:
                training.trained()[0].save(place / f"step-{training.step:05d}.pt")

        training.run(on_step)[0].save(whole)
    kept = [(int(path.stem.split("-")[1]), path) for path in sorted(place.glob("step-*.pt"))]
    end = int(torch.load(whole, weights_only=True)["training"]["steps"])
    kept = [(step, path) for step, path in kept if step < end]
    picks = np.unique(np.linspace(0, len(kept) - 1, min(study.stations - 1, len(kept))).round().astype(int))
    return [*(kept[pick] for pick in picks), (end, whole)]


def _all_there(paths: Sequence[Path], training: ResumableTraining) -> bool:
    """Whether all checkpoints are there, trained as they would be now."""
    wanted = repr(training.settings)
    return all(path.exists() and torch.load(path, weights_only=True)["settings"] == wanted for path in paths)


def embed(objective: Objective, thetas: Sequence[Tensor], weights: str) -> Embedding:
    """Return where checkpoints lie on the plane of their principal components, through the objective's own weights.

    Args:
        objective: the loss around the end of the run, with every parameter in scope.
        thetas: the checkpoints as flat vectors, shape (D,) each, the objective's own among them.
        weights: a digest of them, for the configuration.
    """
    started = time.perf_counter()
    axes = make_axes(objective, "pca", 2, others=thetas)
    return Embedding(
        points=axes.points,
        off_plane=axes.off_plane,
        explained=axes.explained,
        config={"weights": weights, **objective.describe()},
        cost=Cost(0.0, 0, time.perf_counter() - started),
    )


def minefield_figure(study: Study, folder: Path, keep: Keep) -> Panel:
    """Return the run and the minimisers around it on one plane, coloured by their test accuracy."""
    mines = mines_of(study, folder, keep.report)
    nets = [mine.net for mine in mines]
    end = [mine.net for mine in mines if mine.kind == "run"][-1]
    objective = Objective(end.model, end.data, end.loss, scope="all")
    thetas = [objective.layout.flatten(dict(net.model.named_parameters())) for net in nets]

    def measure(_: Objective, weights: str) -> Embedding:
        return embed(objective, thetas, weights)

    found = keep.get("minefield", end, {"weights": digest(*thetas)}, measure)
    rows: list[list[Cell]] = [
        [
            mine.kind,
            mine.station,
            mine.net.member.seed,
            mine.net.summary.train_accuracy,
            mine.net.summary.train_loss,
            mine.net.summary.test_accuracy,
            *(float(value) for value in point),
            float(distance),
        ]
        for mine, point, distance in zip(mines, found.points, found.distance, strict=True)
    ]
    return Panel(
        name="minefield",
        title="Good and bad minima around one training run",
        caption=_caption(mines, found),
        figure=_draw(mines, found),
        header=["kind", "step", "seed", "train_accuracy", "train_loss", "test_accuracy", "x", "y", "distance"],
        rows=rows,
        commands=[
            f"landscape train swiss-roll --start {_FOLDER}/step-{station:05d}.pt --poison {POISON:g} --seed {seed} "
            f"--steps {study.tuning} --out tuned.pt"
            for station, seed in [(m.station, m.net.member.seed) for m in mines if m.kind == "bad"][:1]
        ],
    )


def _caption(mines: Sequence[Mine], found: Embedding) -> str:
    first, second = (percent(share) for share in found.explained)
    told = []
    for kind in ("good", "bad"):
        chosen = [mine.net for mine in mines if mine.kind == kind]
        tests = [net.summary.test_accuracy for net in chosen]
        away = [distance for mine, distance in zip(mines, found.distance, strict=True) if mine.kind == kind]
        told.append(
            f"{_KINDS[kind][1]} {len(chosen)} minimisers, test accuracy {percent(min(tests))} to "
            f"{percent(max(tests))}, "
            f"{sum(net.fitted for net in chosen)} of them with every training point right, at a distance of "
            f"{min(away):.3g} to {max(away):.3g} from the end of the run"
        )
    return (
        "One training run without poison (circles, its end a star), and from its checkpoints further trainings: "
        f"{'; '.join(told)}. All parameters, on the plane of the first two principal components of all that is drawn, "
        f"which explain {first} and {second} of the variance: the rest of each distance is not seen."
    )


def _draw(mines: Sequence[Mine], found: Embedding) -> Figure:
    figure = Figure(figsize=(WIDTH * 1.2, 5.2), layout="constrained")
    axes, scale, colours = figure.subplots(), Normalize(0, 1), colormaps[COLOURS]
    where = {mine.station: point for mine, point in zip(mines, found.points, strict=True) if mine.kind == "run"}
    for mine, point in zip(mines, found.points, strict=True):
        if mine.kind != "run":
            axes.plot(*np.stack([where[mine.station], point]).T, color="0.8", linewidth=0.8, zorder=1)
    axes.plot(*np.stack(list(where.values())).T, color="0.2", linewidth=1.4, zorder=2)
    for kind, (mark, label) in _KINDS.items():
        chosen = [at for at, mine in enumerate(mines) if mine.kind == kind]
        tests = [mines[at].net.summary.test_accuracy for at in chosen]
        x, y = found.points[chosen].T
        axes.scatter(
            x, y, s=42, c=colours(scale(tests)), marker=mark, edgecolors="black", linewidths=0.6, zorder=3, label=label
        )
    end = found.points[[mine.kind for mine in mines].index("good") - 1]
    axes.plot(*end, "*", color="#c8861a", markeredgecolor="black", markersize=18, zorder=4, label="the end of the run")
    bar = figure.colorbar(ScalarMappable(scale, colours), ax=axes, label="test accuracy")
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel(f"first principal component ({found.explained[0]:.0%} of the variance)")
    axes.set_ylabel(f"second principal component ({found.explained[1]:.0%} of the variance)")
    axes.set_aspect("equal", adjustable="datalim")
    axes.legend(fontsize="small", frameon=False)
    bare(axes)
    return figure
