"""The study from trained nets to the page, in order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from landscape.reproduce.basins import polar_figure, volume_figure
from landscape.reproduce.bends import curvature_figure
from landscape.reproduce.boundaries import good_and_bad
from landscape.reproduce.growth import gap_figure, margin_figure
from landscape.reproduce.panel import Panel
from landscape.reproduce.report import page
from landscape.reproduce.study import Keep, Net, Study, load_nets
from landscape.store import Store

NETS, FIGURES, RESULTS, PAGE = "nets", "figures", "study.h5", "index.html"  #: what the folder of a study holds


def reproduce(study: Study, out: Path, command: str, report: Callable[[str], None] = lambda name: None) -> Path:
    """Measure the nets in ``out/nets``, draw every figure and return the page.

    What ``out/study.h5`` holds and was measured with the same settings on the same weights is not measured again.

    Args:
        study: the settings.
        out: the folder.
        command: what was typed, for the page.
        report: told the name of each measurement that is made.
    """
    nets = load_nets(out / NETS, study.members)
    target, panels = out / PAGE, []
    with Store(out / RESULTS, write=True) as store:
        keep = Keep(store, report)
        for make in figures(nets, study, keep):
            panel = make()
            if panel is None:
                continue
            panel.write(out / FIGURES)
            panels.append(panel)
            # after each figure, so that an interrupted run leaves a page of those that are done
            text = page(panels, out / FIGURES, command, _summary(nets, study), _table(nets))
            target.write_text(text, encoding="utf-8")
    return target


def figures(nets: list[Net], study: Study, keep: Keep) -> list[Callable[[], Panel | None]]:
    """Return what makes each figure, in the order of the page; the volumes, which take longest, are last."""
    first = [net for net in nets if net.member.seed == 0]
    ends = [first[0], first[-1]]
    return [
        lambda: good_and_bad(ends, study, keep),
        lambda: gap_figure(nets),
        lambda: margin_figure(nets, study, keep),
        lambda: polar_figure(ends, study, keep),
        lambda: curvature_figure(nets, study, keep),
        lambda: volume_figure(nets, study, keep),
    ]


def _summary(nets: list[Net], study: Study) -> str:
    steps = max(net.numbers.steps for net in nets)
    factors = ", ".join(f"{factor:g}" for factor in study.factors)
    seeds = "one seed" if study.seeds == 1 else f"{study.seeds} seeds"
    return (
        f"{len(nets)} nets of 3,614 parameters fit the same 200 points: poison factors {factors}, {seeds} each, all "
        f"shown, at most {steps:,} steps. Every loss is that on the 200 training points, without poison."
    )


def _table(nets: list[Net]) -> list[list[str]]:
    header = ["poison factor", "seed", "train accuracy", "test accuracy", "train loss", "steps"]
    rows = [
        [
            f"{net.poison:g}",
            str(net.member.seed),
            f"{net.numbers.train_accuracy:.1%}",
            f"{net.numbers.test_accuracy:.1%}",
            f"{net.numbers.train_loss:.2g}",
            f"{net.numbers.steps:,}",
        ]
        for net in nets
    ]
    return [header, *rows]
