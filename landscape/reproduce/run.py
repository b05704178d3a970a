"""The study in order: from trained nets to the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from landscape.recipes import RECIPES
from landscape.reproduce.animation import animation_figure
from landscape.reproduce.basin import basin_figure
from landscape.reproduce.boundaries import boundaries_figure
from landscape.reproduce.captioned_figure import CaptionedFigure
from landscape.reproduce.curvature import curvature_figure
from landscape.reproduce.gap import gap_figure
from landscape.reproduce.margin import margin_figure
from landscape.reproduce.measurement_cache import MeasurementCache
from landscape.reproduce.minefield import minefield_figure
from landscape.reproduce.nets import Net, load_nets
from landscape.reproduce.report import page, section
from landscape.reproduce.study import Study
from landscape.reproduce.volume import volume_figure
from landscape.results.table import percent
from landscape.store import Store
from landscape.store.atomic import write_atomically
from landscape.training import TrainingSummary
from landscape.training.sweep import read_summary

#: what the folder of a study holds; the page lies one folder above, and shows every study there
NETS, FIGURES, RESULTS, SECTION, PAGE = "nets", "figures", "study.h5", "section.html", "index.html"


def reproduce(study: Study, out: Path, command: str, report: Callable[[str], None] = lambda name: None) -> Path:
    """Measure the nets in ``out/RECIPE/nets``, draw every figure and return the page.

    A measurement that ``out/RECIPE/study.h5`` holds, with the same settings on the same weights, is not repeated.

    Args:
        study: the settings.
        out: the folder, which may hold the studies of several recipes.
        command: what was typed, for the page.
        report: called with the name of each measurement before it is made.
    """
    place, drawn = out / study.recipe, []
    nets = load_nets(place / NETS, study)
    with Store(place / RESULTS, write=True) as store:
        cache = MeasurementCache(store, report)
        for draw in figures(nets, study, place, cache):
            figure = draw()
            if figure is None:
                continue
            figure.write(place / FIGURES)
            drawn.append(figure)
            # after each figure, so that an interrupted run leaves a page of the figures that are done
            text = section(study.recipe, drawn, place / FIGURES, command, _summary(nets, study), _table(nets))
            write_atomically(place / SECTION, text.encode())
            parts = {name: out / name / SECTION for name in RECIPES}
            sections = {name: path.read_text(encoding="utf-8") for name, path in parts.items() if path.exists()}
            write_atomically(out / PAGE, page(sections).encode())
    return out / PAGE


def figures(
    nets: list[Net], study: Study, place: Path, cache: MeasurementCache
) -> list[Callable[[], CaptionedFigure | None]]:
    """Return what draws each figure, in the order of the page; the volumes, which take longest, are last."""
    first = [net for net in nets if net.member.seed == 0]
    ends = [first[0], first[-1]]
    every: list[tuple[bool, Callable[[], CaptionedFigure | None]]] = [  # with whether it needs inputs in the plane
        (False, lambda: boundaries_figure(ends, study, cache)),
        (True, lambda: animation_figure(ends, study, cache)),
        (False, lambda: gap_figure(families(place.parent, study, nets))),
        (True, lambda: margin_figure(nets, study, cache)),
        (False, lambda: basin_figure(ends, study, cache)),
        (False, lambda: curvature_figure(nets, study, cache)),
        (True, lambda: minefield_figure(study, place, cache)),
        (False, lambda: volume_figure(nets, study, cache)),
    ]
    return [draw for planar, draw in every if study.planar or not planar]


def families(out: Path, study: Study, nets: Sequence[Net]) -> Mapping[str, Sequence[TrainingSummary]]:
    """Return the training summaries of the nets of this study, and of every other recipe in the same folder."""
    summaries: dict[str, Sequence[TrainingSummary]] = {}
    for recipe in RECIPES:
        paths = sorted((out / recipe / NETS).glob("poison-*-seed-*.pt"))
        if recipe == study.recipe:
            summaries[recipe] = [net.summary for net in nets]
        elif paths:
            summaries[recipe] = sorted(map(read_summary, paths), key=lambda summary: (summary.poison, summary.seed))
    return summaries


def _summary(nets: list[Net], study: Study) -> str:
    steps = max(net.summary.steps for net in nets)
    factors = ", ".join(f"{factor:g}" for factor in study.factors)
    seeds = "one seed" if study.seeds == 1 else f"{study.seeds} seeds"
    parameters, samples = sum(p.numel() for p in nets[0].model.parameters()), len(nets[0].data[1])
    measured = f"the first {study.samples:,} of them" if study.samples else "them"
    return (
        f"{len(nets)} nets of {parameters:,} parameters fit the same {samples:,} samples: poison factors {factors}, "
        f"{seeds} each, all shown, at most {steps:,} steps. Every loss in a figure is the loss on {measured}, "
        "without poison."
    )


def _table(nets: list[Net]) -> list[list[str]]:
    header = ["poison factor", "seed", "train accuracy", "test accuracy", "train loss", "steps"]
    rows = [
        [
            f"{net.poison:g}",
            str(net.member.seed),
            percent(net.summary.train_accuracy),
            percent(net.summary.test_accuracy),
            f"{net.summary.train_loss:.2g}",
            f"{net.summary.steps:,}",
        ]
        for net in nets
    ]
    return [header, *rows]
