"""The decision boundaries of a good and a bad net, and the loss around each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from matplotlib.ticker import FuncFormatter

from landscape.plots.boundary import draw_boundary as draw_areas
from landscape.plots.scale import Scale
from landscape.plots.style import COLOURS, WIDTH, Figure
from landscape.reproduce.captioned_figure import CaptionedFigure, TableCell
from landscape.reproduce.decision_boundary import EXTENT, logit_of, measure_boundary
from landscape.reproduce.measurement_cache import MeasurementCache
from landscape.reproduce.nets import Net
from landscape.reproduce.study import Study
from landscape.results import Boundary, Plane
from landscape.results.table import percent
from landscape.slices import slice_2d
from landscape.training.problem import Pair

COARSE = 101  #: points along each side of a map that is stored but not drawn
_BANDS = 14
_ABOVE = "Above: the class that the net gives each point of the plane, and the training points. Below: the"


def boundary_of(net: Net, study: Study, cache: MeasurementCache) -> Boundary:
    """Return the decision boundary and the margins of a net."""
    subject = (logit_of(net.model), *net.data)
    pixels = study.map_pixels if net.member.seed == 0 else COARSE
    return cache.get("boundary", net, {"pixels": pixels}, measure_boundary, *subject)


def plane_of(net: Net, study: Study, cache: MeasurementCache) -> Plane:
    """Return the loss on the plane of the first two random rays, the same two for every net."""
    settings = {"directions": "random", "metric": "filter", "steps": study.plane_points, "span": study.span, "seed": 0}
    return cache.get("plane", net, settings, slice_2d)


def boundaries_figure(nets: Sequence[Net], study: Study, cache: MeasurementCache) -> CaptionedFigure:
    """Return the loss on one plane through a good and a bad net, in shared colours, below their decision boundaries.

    Without inputs in the plane there are no boundaries to draw.
    """
    planes, rows = [plane_of(net, study, cache) for net in nets], 1 + study.planar
    figure = Figure(figsize=(WIDTH * 1.25, 3.55 * rows), layout="compressed")
    axes = figure.subplots(rows, len(nets), squeeze=False)
    _draw_planes(figure, axes[-1], planes, study.cutoffs[0])
    for column, net in zip(axes[0], nets, strict=True):
        column.set_title(net.label, fontsize="medium")
        if study.planar:
            boundary = boundary_of(net, study, cache)
            draw_boundary(column, boundary.logit, net.data)
            column.set_title(f"{net.label}\nmedian margin {boundary.median:.2g}", fontsize="medium")
    inside = [float((plane.loss < study.cutoffs[0]).mean()) for plane in planes]
    shares = ", ".join(f"{percent(share)} (β = {n.poison:g})" for n, share in zip(nets, inside, strict=True))
    table: list[list[TableCell]] = [
        [net.name, float(x), float(y), float(plane.loss[i, j])]
        for net, plane in zip(nets, planes, strict=True)
        for i, y in enumerate(plane.y)
        for j, x in enumerate(plane.x)
    ]
    return CaptionedFigure(
        name="boundaries",
        title="A good and a bad minimum"
        + (": decision boundaries, and the loss around each" if study.planar else ": the loss around each"),
        caption=(
            f"{_ABOVE if study.planar else 'The'} {_loss_name(study)} on the plane of two random filter-normalised "
            "directions, the same two for both nets, in one colour scale. The white line is the loss "
            f"{study.cutoffs[0]:g}, the star is the trained point. Share of the plane below that loss: {shares}."
        ),
        header=["net", "x", "y", "loss"],
        rows=table,
        figure=figure,
        commands=[
            f"landscape slice nets/{net.path.name} --dim 2 --directions random --steps {study.plane_points} "
            f"--span {study.span:g} --seed 0 --out {net.name}.h5{study.options}"
            for net in nets
        ],
    )


def _loss_name(study: Study) -> str:
    return "training loss" if study.samples is None else f"loss on the first {study.samples:,} training samples"


def draw_boundary(axes: Axes, logit: np.ndarray, data: Pair | None = None) -> AxesImage:
    """Draw the two classes as areas, and the training points; return the drawn areas."""
    points = None if data is None else (data[0].numpy(), data[1].numpy())
    drawn = draw_areas(axes, logit, (-EXTENT, EXTENT, -EXTENT, EXTENT), points)
    axes.set_xticks([])
    axes.set_yticks([])
    return drawn


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
