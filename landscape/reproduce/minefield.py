"""The minefield: good and bad minima around one training run, on the plane of their principal components."""

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
from torch import Tensor

from landscape.objective import Objective
from landscape.objective.digest import digest
from landscape.plots.style import COLOURS, PERCENT, WIDTH, Figure, bare
from landscape.recipes import load_recipe
from landscape.reproduce.captioned_figure import CaptionedFigure, TableCell
from landscape.reproduce.measurement_cache import MeasurementCache
from landscape.reproduce.nets import Net
from landscape.reproduce.study import Study
from landscape.results import Cost, Embedding
from landscape.results.table import percent
from landscape.slices.axes import make_axes
from landscape.training import Member
from landscape.training.resumable import UNFINISHED, ResumableTraining, StateFile, finish
from landscape.training.sweep import checkpoint_path

POISON = 0.2  # the largest factor that leaves every training point right in so short a training
_EVERY = 100  # steps between two checkpoints of the run that may become branch points
_GOOD, _BAD = 1000, 2000  # first seeds of the trainings from the branch points: the study uses no such seed
_FOLDER = "minefield"
_KINDS = {"run": ("o", "the run"), "good": ("^", "without poison"), "bad": ("s", f"with β = {POISON:g}")}


@dataclass(frozen=True)
class MinefieldPoint:
    """A checkpoint of the run, or a minimum reached from one.

    Attributes:
        kind: ``run``, ``good`` or ``bad``.
        branch_step: the step of the run at which it lies, or from which it was reached.
        net: the net there.
    """

    kind: str
    branch_step: int
    net: Net


def minefield_points(study: Study, folder: Path, report: Callable[[str], None]) -> list[MinefieldPoint]:
    """Return the branch points of one good run in order, then the minima reached from them; train what is missing.

    From each branch point one training continues without poison, with noise from another seed, and one with the poison
    factor 0.2. The run itself is the training of the study's first net: seed 0, no poison.
    """
    place = folder / _FOLDER
    place.mkdir(parents=True, exist_ok=True)
    run = Member(0, 0.0)
    branches = _branch_points(study, place, run, report)
    points = [MinefieldPoint("run", step, Net.read(path, run)) for step, path in branches]
    states = [point.net.model.state_dict() for point in points]
    for kind, poison, first in (("good", 0.0, _GOOD), ("bad", POISON, _BAD)):
        members = [Member(first + number, poison) for number in range(len(branches))]
        training = load_recipe(study.recipe).training(
            members, steps=study.fine_tuning_steps if poison else study.plain_steps
        )
        training.begin_at(states)
        paths = [checkpoint_path(place, member) for member in members]
        if not _all_there(paths, training):
            report(f"minefield: {len(members)} {kind} minima")
            finish(training, StateFile(place / f"{kind}{UNFINISHED}"), paths)
        nets = [Net.read(path, member) for path, member in zip(paths, members, strict=True)]
        points += [MinefieldPoint(kind, step, net) for (step, _), net in zip(branches, nets, strict=True)]
    return points


def _branch_points(study: Study, place: Path, run: Member, report: Callable[[str], None]) -> list[tuple[int, Path]]:
    """Return step and checkpoint of the branch points, evenly over the run; the last one is its end."""
    training = load_recipe(study.recipe).training([run], steps=study.plain_steps)
    end_path = checkpoint_path(place, run)
    if not _all_there([end_path], training):
        report("minefield: the run")

        def on_step(training: ResumableTraining) -> None:
            if training.step % _EVERY == 0:
                training.trained()[0].save(place / f"step-{training.step:05d}.pt")

        training.run(on_step)[0].save(end_path)
    kept = [(int(path.stem.split("-")[1]), path) for path in sorted(place.glob("step-*.pt"))]
    end = int(torch.load(end_path, weights_only=True)["training"]["steps"])
    kept = [(step, path) for step, path in kept if step < end]
    picks = np.unique(np.linspace(0, len(kept) - 1, min(study.branch_points - 1, len(kept))).round().astype(int))
    return [*(kept[pick] for pick in picks), (end, end_path)]


def _all_there(paths: Sequence[Path], training: ResumableTraining) -> bool:
    """Whether all checkpoints are there, trained as they would be now."""
    current = repr(training.settings)
    return all(path.exists() and torch.load(path, weights_only=True)["settings"] == current for path in paths)


def embed(objective: Objective, thetas: Sequence[Tensor], weights: str) -> Embedding:
    """Return the places of checkpoints on the plane of their principal components, through the objective's own weights.

    Args:
        objective: the loss around the end of the run, with every parameter in scope.
        thetas: the checkpoints as flat vectors, shape (D,) each, the objective's own among them.
        weights: a digest of the checkpoints, for the configuration.
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


def minefield_figure(study: Study, folder: Path, cache: MeasurementCache) -> CaptionedFigure:
    """Return the run and the minima around it on one plane, coloured by their test accuracy."""
    points = minefield_points(study, folder, cache.report)
    nets = [point.net for point in points]
    end = [point.net for point in points if point.kind == "run"][-1]
    objective = Objective(end.model, end.data, end.loss, scope="all")
    thetas = [objective.layout.flatten(dict(net.model.named_parameters())) for net in nets]

    def measure(_: Objective, weights: str) -> Embedding:
        return embed(objective, thetas, weights)

    embedding = cache.get("minefield", end, {"weights": digest(*thetas)}, measure)
    rows: list[list[TableCell]] = [
        [
            point.kind,
            point.branch_step,
            point.net.member.seed,
            point.net.summary.train_accuracy,
            point.net.summary.train_loss,
            point.net.summary.test_accuracy,
            *(float(value) for value in place),
            float(distance),
        ]
        for point, place, distance in zip(points, embedding.points, embedding.distance, strict=True)
    ]
    return CaptionedFigure(
        name="minefield",
        title="Good and bad minima around one training run",
        caption=_caption(points, embedding),
        figure=_draw(points, embedding),
        header=["kind", "step", "seed", "train_accuracy", "train_loss", "test_accuracy", "x", "y", "distance"],
        rows=rows,
        commands=[
            f"landscape train swiss-roll --start {_FOLDER}/step-{step:05d}.pt --poison {POISON:g} --seed {seed} "
            f"--steps {study.fine_tuning_steps} --out tuned.pt"
            for step, seed in [(p.branch_step, p.net.member.seed) for p in points if p.kind == "bad"][:1]
        ],
    )


def _caption(points: Sequence[MinefieldPoint], embedding: Embedding) -> str:
    first, second = (percent(share) for share in embedding.explained)
    summaries = []
    for kind in ("good", "bad"):
        chosen = [point.net for point in points if point.kind == kind]
        tests = [net.summary.test_accuracy for net in chosen]
        distances = [d for point, d in zip(points, embedding.distance, strict=True) if point.kind == kind]
        summaries.append(
            f"{_KINDS[kind][1]} {len(chosen)} minima, test accuracy {percent(min(tests))} to {percent(max(tests))}, "
            f"{sum(net.fitted for net in chosen)} of them with every training point right, at a distance of "
            f"{min(distances):.3g} to {max(distances):.3g} from the end of the run"
        )
    return (
        "One training run without poison (circles, its end a star), and further trainings from its checkpoints: "
        f"{'; '.join(summaries)}. The plane is spanned by the first two principal components of all drawn points, over "
        f"all parameters. They explain {first} and {second} of the variance; the rest of each distance cannot be seen."
    )


def _draw(points: Sequence[MinefieldPoint], embedding: Embedding) -> Figure:
    figure = Figure(figsize=(WIDTH * 1.2, 5.2), layout="constrained")
    axes, scale, colours = figure.subplots(), Normalize(0, 1), colormaps[COLOURS]
    placed = list(zip(points, embedding.points, strict=True))
    run = {point.branch_step: place for point, place in placed if point.kind == "run"}
    for point, place in placed:
        if point.kind != "run":
            axes.plot(*np.stack([run[point.branch_step], place]).T, color="0.8", linewidth=0.8, zorder=1)
    axes.plot(*np.stack(list(run.values())).T, color="0.2", linewidth=1.4, zorder=2)
    for kind, (mark, label) in _KINDS.items():
        chosen = [index for index, point in enumerate(points) if point.kind == kind]
        tests = [points[index].net.summary.test_accuracy for index in chosen]
        x, y = embedding.points[chosen].T
        axes.scatter(
            x, y, s=42, c=colours(scale(tests)), marker=mark, edgecolors="black", linewidths=0.6, zorder=3, label=label
        )
    end = embedding.points[[point.kind for point in points].index("good") - 1]
    axes.plot(*end, "*", color="#c8861a", markeredgecolor="black", markersize=18, zorder=4, label="the end of the run")
    bar = figure.colorbar(ScalarMappable(scale, colours), ax=axes, label="test accuracy")
    bar.ax.yaxis.set_major_formatter(PERCENT)
    axes.set_xlabel(f"first principal component ({percent(embedding.explained[0])} of the variance)")
    axes.set_ylabel(f"second principal component ({percent(embedding.explained[1])} of the variance)")
    axes.set_aspect("equal", adjustable="datalim")
    axes.legend(fontsize="small", frameon=False)
    bare(axes)
    return figure
