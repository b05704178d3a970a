"""Decision boundaries: of a good and a bad net with the loss around each, and of a row of nets as the poison grows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from landscape.plots import WIDTH
from landscape.reproduce.margin import logit_of, measure_boundary
from landscape.reproduce.panel import Cell, Panel
from landscape.reproduce.study import Keep, Net, Study
from landscape.results import Boundary, Plane
from landscape.slice_plots import COLOURS, Scale
from landscape.slices import slice_2d

CLASSES = ("#1f4e8c", "#c8861a")  #: of the two classes, told apart by colour-blind readers and in greyscale
COARSE = 101  #: points along a side of a map that is kept and not drawn
_BANDS = 14


def boundary_of(net: Net, study: Study, keep: Keep) -> Boundary:
    """Return the decision boundary and the margins of a net."""
    subject = (logit_of(net.model), *net.data)
    pixels = study.pixels if net.member.seed == 0 else COARSE
    return keep.get("boundary", net, {"pixels": pixels}, measure_boundary, *subject)


def plane_of(net: Net, study: Study, keep: Keep) -> Plane:
    """Return the loss on the plane of the first two random rays, the same two for every net."""
    settings = {"directions": "random", "metric": "filter", "steps": study.plane, "span": study.span, "seed": 0}
    return keep.get("plane", net, settings, slice_2d)


def good_and_bad(nets: Sequence[Net], study: Study, keep: Keep) -> Panel:
    """Return the boundaries of a good and a bad net, and the loss on one plane through each in shared colours."""
    maps, planes = [boundary_of(net, study, keep) for net in nets], [plane_of(net, study, keep) for net in nets]
    figure = Figure(figsize=(WIDTH * 1.25, 8.0), layout="constrained")
    axes = figure.subplots(2, len(nets), squeeze=False)
    for column, (net, found) in enumerate(zip(nets, maps, strict=True)):
        draw_boundary(axes[0, column], found)
        axes[0, column].set_title(f"{net.label}\nmedian margin {found.median:.2g}", fontsize="medium")
    _draw_planes(figure, axes[1], planes, study.cutoffs[0])
    inside = [float((plane.loss < study.cutoffs[0]).mean()) for plane in planes]
    shares = ", ".join(
        f"{share:.2%}".replace("%", " %") + f" (β = {n.poison:g})" for n, share in zip(nets, inside, strict=True)
    )
    rows: list[list[Cell]] = [
        [net.name, float(x), float(y), float(plane.loss[i, j])]
        for net, plane in zip(nets, planes, strict=True)
        for i, y in enumerate(plane.y)
        for j, x in enumerate(plane.x)
    ]
    return Panel(
        name="boundaries",
        title="A good and a bad minimum: decision boundaries, and the loss around each",
        caption=(
            "Above: the class that the net gives to each point of the plane, and the 200 training points, which both "
            "nets classify as they report. Below: the training loss on the plane of two random filter-normalised "
            f"directions, the same two for both nets, in one colour scale; the white line is the loss "
            f"{study.cutoffs[0]:g}, the star the trained point. Share of the plane below that loss: {shares}."
        ),
        header=["net", "x", "y", "loss"],
        rows=rows,
        figure=figure,
        commands=[
            f"landscape slice nets/{net.path.name} --dim 2 --directions random --steps {study.plane} "
            f"--span {study.span:g} --seed 0 --out {net.name}.h5"
            for net in nets
        ],
    )


def draw_boundary(axes: Axes, found: Boundary, *, points: bool = True) -> None:
    """Draw the two classes as areas, and the training points."""
    area = np.where(found.logit[..., None] > 0, _pale(CLASSES[1]), _pale(CLASSES[0]))
    edge = float(found.x[-1])
    axes.imshow(area, extent=(-edge, edge, -edge, edge), origin="lower", interpolation="nearest")
    if points:
        for value, colour in enumerate(CLASSES):
            chosen = found.inputs[found.targets == value]
            axes.plot(
                *chosen.T, "os"[value], color=colour, markersize=2.6, markeredgecolor="white", markeredgewidth=0.3
            )
    axes.set_xticks([])
    axes.set_yticks([])


def _pale(colour: str) -> np.ndarray:
    return 0.45 * np.array(to_rgb(colour)) + 0.55


def _draw_planes(figure: Figure, axes: Sequence[Axes], planes: Sequence[Plane], cutoff: float) -> None:
    """Draw planes in one colour scale, with the line of the cutoff."""
    scale = Scale.of(np.stack([plane.loss for plane in planes]), _BANDS)
    drawn = None
    for number, (panel, plane, heights) in enumerate(zip(axes, planes, scale.heights, strict=True)):
        grid = (plane.x, plane.y, heights)
        extend = "min" if scale.clipped else "neither"
        drawn = panel.contourf(*grid, levels=scale.levels, norm=scale.norm, cmap=COLOURS, extend=extend)
        drawn.set_edgecolor("face")
        level = np.log10(cutoff) if scale.logarithmic else cutoff
        if np.nanmin(heights) < level < np.nanmax(heights):
            panel.contour(*grid, levels=[level], colors="white", linewidths=1.4, linestyles="solid")
        panel.plot([0.0], [0.0], "*", color="black", markeredgecolor="white", markersize=10)
        panel.set_aspect("equal")
        panel.set_xlabel("along direction 1")
        if number == 0:
            panel.set_ylabel("along direction 2 (1 = each filter's own norm)")
    if drawn is not None:
        bar = figure.colorbar(drawn, ax=list(axes), label=scale.name("training loss"))
        bar.set_ticks(scale.ticks)
        bar.ax.yaxis.set_major_formatter(FuncFormatter(scale.text))
