"""The decision boundary, the loss, the accuracy and the curvature while the parameters move along one direction."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.lines import Line2D
from matplotlib.ticker import SymmetricalLogLocator
from PIL import Image
from torch import Tensor
from torch.func import functional_call

from landscape.curvature import Hessian
from landscape.objective import Objective
from landscape.plots.boundary import area_of
from landscape.plots.style import CLASSES, WIDTH, Figure, bare
from landscape.reproduce.boundaries import draw_boundary
from landscape.reproduce.captioned_figure import CaptionedFigure, TableCell
from landscape.reproduce.curvature import eigenpairs_of
from landscape.reproduce.decision_boundary import EXTENT
from landscape.reproduce.measurement_cache import MeasurementCache
from landscape.reproduce.nets import Net
from landscape.reproduce.study import Study
from landscape.results import Line
from landscape.slices.axes import make_axes
from landscape.slices.grid import Grid

DIRECTIONS = {"random": "a random direction", "hessian": "the top eigenvector of the Hessian"}
_POWER = 5  # steps are span/2 times this power of t, as in the paper
_TICKS = (1e-4, 1e-2)  # on both sides of the trained point
_DPI, _SECONDS, _COLOURS = 80, 10.0, 32  # resolution, duration and palette of an animation
_LABELS = ("training loss (xent)", "training accuracy (acc)", "second derivative (curv)")


def coefficients(frames: int, span: float) -> np.ndarray:
    """Return span/2 · t⁵ for evenly spaced t from -1 to 1, shape (frames,): dense at the trained point.

    >>> coefficients(5, 0.5).round(6)
    array([-0.25    , -0.007812,  0.      ,  0.007812,  0.25    ])
    """
    half = frames // 2
    return span / 2 * (np.arange(-half, half + 1) / half) ** _POWER


def direction_of(net: Net, name: str, cache: MeasurementCache) -> Tensor:
    """Return a step along a random direction or the top eigenvector, of unit length in the filter metric."""
    if name == "random":
        return make_axes(net.objective, "random", 1, metric="filter", seed=0).vectors[0]
    op = Hessian(net.objective, metric="filter")
    step = torch.from_numpy(eigenpairs_of(net, cache).vectors[:, 0].copy()).to(net.objective.theta)
    if op.metric.scale is not None:
        step = step * op.metric.scale
    return op.scope.scatter(step, torch.zeros_like(net.objective.theta))


def line_along(objective: Objective, direction: Tensor, name: str, frames: int, span: float) -> Line:
    """Return the loss, the accuracy and the exact second derivative at the steps of an animation."""
    axes, x = make_axes(objective, direction, 1), coefficients(frames, span)
    settings = {"steps": frames, "span": span, "curvature": True, "recalibrate_bn": False}
    grid = Grid.start(objective, axes, x[:, None], 1, settings)
    for _ in grid.measure(objective, curvature={}):
        pass
    return Line(
        x=x,
        loss=grid.loss,
        accuracy=grid.accuracy,
        curvature=grid.curvature,
        done=grid.done,
        points=axes.points[:, 0],
        direction=name,
        length=float(axes.lengths[0]),
        **grid.common(),
    )


def line_of(net: Net, name: str, study: Study, cache: MeasurementCache) -> Line:
    """Return the curves of an animation for one net."""
    settings = {"name": name, "frames": study.frames, "span": study.span}

    def measure(objective: Objective, **settings: str | float) -> Line:
        return line_along(objective, direction_of(net, name, cache), **settings)  # type: ignore[arg-type]

    return cache.get(f"line-{name}", net, settings, measure)


def animation_figure(nets: Sequence[Net], study: Study, cache: MeasurementCache) -> CaptionedFigure:
    """Return an animation along each direction for a good and a bad net, and all their curves in one still figure."""
    lines = {name: [line_of(net, name, study, cache) for net in nets] for name in DIRECTIONS}
    still = Figure(figsize=(WIDTH * 1.45, 5.6), layout="constrained")
    rows = still.subfigures(len(DIRECTIONS), 1, squeeze=False)[:, 0]
    for row, (name, own_lines) in zip(rows, lines.items(), strict=True):
        row.suptitle(f"along {DIRECTIONS[name]}", fontsize="medium")
        for axes, values, label in zip(row.subplots(1, 3), _curves(own_lines), _LABELS, strict=True):
            _draw_curves(axes, own_lines[0].x, values, label, study.span)
    still.legend(handles=_handles(nets), loc="outside lower center", ncols=len(nets), fontsize="small", frameon=False)
    table: list[list[TableCell]] = [
        [name, net.name, float(x), float(loss), float(accuracy), float(curvature)]
        for name, own_lines in lines.items()
        for net, line in zip(nets, own_lines, strict=True)
        for x, loss, accuracy, curvature in zip(line.x, line.loss, line.accuracy, line.curvature, strict=True)
    ]
    return CaptionedFigure(
        name="animation",
        title="The boundary while the parameters move",
        caption=(
            "Above: the class of each point of the plane, while the weights move through the trained point along "
            f"{DIRECTIONS['random']} (first animation) and along {DIRECTIONS['hessian']} (second). Below: the training "
            "loss, the training accuracy, and the second derivative of the loss along the direction. A step of 1 has "
            f"unit length in the filter-normalised metric. The {study.frames} steps are {study.span / 2:g} · t⁵ for "
            "evenly spaced t, so they are dense at the trained point; the axis is even in t. The step at which the "
            "loss rises shows how wide the basin is. " + _crossings_text(lines, nets, study)
        ),
        figure=still,
        header=["direction", "net", "step", "loss", "accuracy", "second_derivative"],
        rows=table,
        animations={
            f"animation-{name}": animated_gif(
                nets, own_lines, [direction_of(net, name, cache) for net in nets], name, study
            )
            for name, own_lines in lines.items()
        },
        commands=[
            f"landscape slice nets/{net.path.name} --dim 1 --directions {name} --curvature --span {span:g} "
            f"--out {net.name}-{name}.h5"
            for name in DIRECTIONS
            for net, span in zip(nets, (study.span / 2, study.span / 2 * 0.3**_POWER), strict=True)
        ],
    )


def _crossings_text(lines: dict[str, list[Line]], nets: Sequence[Net], study: Study) -> str:
    """Say how far each net moves along each direction before the loss reaches the first cutoff."""
    sentences = []
    for name, own_lines in lines.items():
        steps = [
            f"{_first_crossing(line, study.cutoffs[0])} (β = {net.poison:g})"
            for net, line in zip(nets, own_lines, strict=True)
        ]
        sentences.append(f"Along {DIRECTIONS[name]} the loss passes {study.cutoffs[0]:g} at {' and '.join(steps)}.")
    return " ".join(sentences)


def _first_crossing(line: Line, cutoff: float) -> str:
    """Return the nearest step whose loss has reached the cutoff."""
    beyond = np.abs(line.x[line.loss >= cutoff])
    return f"{beyond.min():.2g}" if len(beyond) else f"no step up to {np.abs(line.x).max():g}"


def animated_gif(
    nets: Sequence[Net], lines: Sequence[Line], directions: Sequence[Tensor], name: str, study: Study
) -> bytes:
    """Return a GIF with one frame per step: the boundaries above, and the curves with a marker below."""
    figure = Figure(figsize=(9.6, 7.4), dpi=_DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    title = figure.suptitle(f"Along {DIRECTIONS[name]}", x=0.3, ha="left")
    above, below = figure.subfigures(2, 1, height_ratios=[1.9, 1], squeeze=False)[:, 0]
    maps = []
    for axes, net in zip(above.subplots(1, len(nets)), nets, strict=True):
        maps.append(draw_boundary(axes, np.zeros((2, 2)), net.data))
        axes.set_title(net.label, fontsize="medium")
    curves = _curves(lines)
    panels = below.subplots(1, 3)
    for axes, values, label in zip(panels, curves, _LABELS, strict=True):
        _draw_curves(axes, lines[0].x, values, label, study.span)
    below.legend(handles=_handles(nets), loc="outside lower center", ncols=len(nets), fontsize="small", frameon=False)
    markers = [axes.axvline(0.0, color="0.3", linewidth=1.0) for axes in panels]
    canvas.draw()
    figure.set_layout_engine("none")  # the layout does not change, and computing it takes longer than drawing
    frames = []
    for x in lines[0].x:
        for areas, net, direction in zip(maps, nets, directions, strict=True):
            areas.set_data(area_of(_logit_after_step(net, float(x) * direction, study.frame_pixels)))
        for marker in markers:
            marker.set_xdata([_place(x, study.span)] * 2)
        title.set_text(f"Along {DIRECTIONS[name]}: {f'step {x:+.2g}' if x else 'the trained point'}")
        canvas.draw()
        frames.append(Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy()))
    return _encode(frames)


def _logit_after_step(net: Net, step: Tensor, pixels: int) -> np.ndarray:
    """Return the logits on a square, shape (pixels, pixels), after the weights have moved by a step."""
    objective = net.objective
    parameters = objective.layout.views(objective.theta + step)
    side = torch.linspace(-EXTENT, EXTENT, pixels)
    square = torch.stack(torch.meshgrid(side, side, indexing="xy"), dim=-1).reshape(-1, 2)
    with torch.no_grad():
        return functional_call(net.model, parameters, (square,))[:, 0].view(pixels, pixels).numpy()


def _encode(frames: Sequence[Image.Image]) -> bytes:
    """Return the frames as a GIF that repeats, in one palette, so that unchanged areas take no room."""
    sample = frames[len(frames) // 2].quantize(_COLOURS)
    reduced = [frame.quantize(palette=sample, dither=Image.Dither.NONE) for frame in frames]
    target = io.BytesIO()
    duration = round(1000 * _SECONDS / len(frames))
    reduced[0].save(target, "GIF", save_all=True, append_images=reduced[1:], duration=duration, loop=0, optimize=False)
    return target.getvalue()


def _curves(lines: Sequence[Line]) -> list[list[np.ndarray]]:
    return [[getattr(line, name) for line in lines] for name in ("loss", "accuracy", "curvature")]


def _place(x: float | np.ndarray, span: float) -> np.ndarray:
    """Return t for a step of span/2 · t⁵."""
    return np.sign(x) * np.abs(np.asarray(x) * 2 / span) ** (1 / _POWER)


def _draw_curves(axes: Axes, x: np.ndarray, values: Sequence[np.ndarray], label: str, span: float) -> None:
    """Draw one quantity of all nets against the step, on an axis that is even in t."""
    for each, colour in zip(values, CLASSES, strict=True):
        axes.plot(_place(x, span), each, color=colour, linewidth=1.4)
    marks = np.array([0.0, *_TICKS, span / 2])
    marks = np.concatenate([-marks[:0:-1], marks])
    axes.set_xticks(_place(marks, span), [f"{mark:.2g}" for mark in marks], fontsize="x-small")
    axes.set_xlabel("step", fontsize="small")
    axes.set_title(label, fontsize="small")
    axes.tick_params(axis="y", labelsize="small")
    if "xent" in label:
        axes.set_yscale("log")
    elif "curv" in label:
        axes.set_yscale("symlog", linthresh=1.0)
        axes.yaxis.set_major_locator(SymmetricalLogLocator(base=1000, linthresh=1.0))
        if min(each.min() for each in values) >= 0:
            axes.set_ylim(bottom=-1.0)
    else:
        axes.set_ylim(0, 1.03)
    bare(axes)


def _handles(nets: Sequence[Net]) -> list[Line2D]:
    return [Line2D([], [], color=colour, label=net.label) for net, colour in zip(nets, CLASSES, strict=True)]
