"""The study from trained nets to the page, in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from landscape.recipes import RECIPES
from landscape.reproduce.animation import motion_figure
from landscape.reproduce.basins import polar_figure, volume_figure
from landscape.reproduce.boundaries import good_and_bad
from landscape.reproduce.curvature import curvature_figure
from landscape.reproduce.figure import Panel
from landscape.reproduce.gap_and_margin import gap_figure, margin_figure
from landscape.reproduce.minefield import minefield_figure
from landscape.reproduce.report import page, section
from landscape.reproduce.study import Keep, Net, Study, load_nets
from landscape.store import Store
from landscape.store.atomic import write_atomically
from landscape.training import TrainingSummary
from landscape.training.sweep import read_summary

#: what the folder of a study holds; the page is beside it, and shows every study there
NETS, FIGURES, RESULTS, SECTION, PAGE = "nets", "figures", "study.h5", "section.html", "index.html"


def reproduce(study: Study, out: Path, command: str, report: Callable[[str], None] = lambda name: None) -> Path:
    """Measure the nets in ``out/RECIPE/nets``, draw every figure and return the page.

    What ``out/RECIPE/study.h5`` holds, measured with the same settings on the same weights, is not measured again.

    Args:
        study: the settings.
        out: the folder, which may hold the studies of several recipes.
        command: what was typed, for the page.
        report: told the name of each measurement that is made.
    """
    place, panels = out / study.recipe, []
    nets = load_nets(place / NETS, study)
    with Store(place / RESULTS, write=True) as store:
        keep = Keep(store, report)
        for make in figures(nets, study, place, keep):
            panel = make()
            if panel is None:
                continue
            panel.write(place / FIGURES)
            panels.append(panel)
            # after each figure, so that an interrupted run leaves a page of those that are done
            text = section(study.recipe, panels, place / FIGURES, command, _summary(nets, study), _table(nets))
            write_atomically(place / SECTION, text.encode())
            parts = {name: out / name / SECTION for name in RECIPES}
            sections = {name: path.read_text(encoding="utf-8") for name, path in parts.items() if path.exists()}
            write_atomically(out / PAGE, page(sections).encode())
    return out / PAGE


def figures(nets: list[Net], study: Study, place: Path, keep: Keep) -> list[Callable[[], Panel | None]]:
    """Return what makes each figure, in the order of the page; the volumes, which take longest, are last."""
    first = [net for net in nets if net.member.seed == 0]
    ends = [first[0], first[-1]]
    every: list[tuple[bool, Callable[[], Panel | None]]] = [  # with whether it needs inputs in the plane
        (False, lambda: good_and_bad(ends, study, keep)),
        (True, lambda: motion_figure(ends, study, keep)),
        (False, lambda: gap_figure(families(place.parent, study, nets))),
        (True, lambda: margin_figure(nets, study, keep)),
        (False, lambda: polar_figure(ends, study, keep)),
        (False, lambda: curvature_figure(nets, study, keep)),
        (True, lambda: minefield_figure(study, place, keep)),
        (False, lambda: volume_figure(nets, study, keep)),
    ]
    return [make for planar, make in every if study.planar or not planar]


def families(out: Path, study: Study, nets: Sequence[Net]) -> Mapping[str, Sequence[TrainingSummary]]:
    """Return the training summaries of the nets of this study, and of every other recipe in the same folder."""
    found: dict[str, Sequence[TrainingSummary]] = {}
    for recipe in RECIPES:
        paths = sorted((out / recipe / NETS).glob("poison-*-seed-*.pt"))
        if recipe == study.recipe:
            found[recipe] = [net.summary for net in nets]
        elif paths:
            found[recipe] = sorted(map(read_summary, paths), key=lambda summary: (summary.poison, summary.seed))
    return found


def _summary(nets: list[Net], study: Study) -> str:
    steps = max(net.summary.steps for net in nets)
    factors = ", ".join(f"{factor:g}" for factor in study.factors)
    seeds = "one seed" if study.seeds == 1 else f"{study.seeds} seeds"
    parameters, samples = sum(p.numel() for p in nets[0].model.parameters()), len(nets[0].data[1])
    measured = f"the first {study.samples:,} of them" if study.samples else "them"
    return (
        f"{len(nets)} nets of {parameters:,} parameters fit the same {samples:,} samples: poison factors {factors}, "
        f"{seeds} each, all shown, at most {steps:,} steps. Every loss in a figure is that on {measured}, without "
        "poison."
    )


def _table(nets: list[Net]) -> list[list[str]]:
    header = ["poison factor", "seed", "train accuracy", "test accuracy", "train loss", "steps"]
    rows = [
        [
            f"{net.poison:g}",
            str(net.member.seed),
            f"{net.summary.train_accuracy:.1%}",
            f"{net.summary.test_accuracy:.1%}",
            f"{net.summary.train_loss:.2g}",
            f"{net.summary.steps:,}",
        ]
        for net in nets
    ]
    return [header, *rows]
