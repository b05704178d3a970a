"""The decision boundary, the loss, the accuracy and the curvature while the parameters move along one direction."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import SymmetricalLogLocator
from PIL import Image
from torch import Tensor
from torch.func import functional_call

from landscape.curvature import Hessian
from landscape.objective import Objective
from landscape.plots.style import WIDTH, bare
from landscape.reproduce.boundaries import area_of, draw_boundary
from landscape.reproduce.curvature import eigenpairs_of
from landscape.reproduce.figure import Cell, Panel
from landscape.reproduce.margin import EXTENT
from landscape.reproduce.study import Keep, Net, Study
from landscape.reproduce.style import CLASSES
from landscape.results import Line
from landscape.slices.axes import make_axes
from landscape.slices.grid import Grid

DIRECTIONS = {"random": "a random direction", "hessian": "the top eigenvector of the Hessian"}
_POWER = 5
_MARKS = (1e-4, 1e-2)
_DPI, _SECONDS, _COLOURS = 80, 10.0, 32  # of an animation
_LABELS = ("training loss (xent)", "training accuracy (acc)", "second derivative (curv)")


def coefficients(frames: int, span: float) -> np.ndarray:
    """Return span/2 · t⁵ for even t from -1 to 1, shape (frames,): dense at the trained point, where a basin is narrow.

    >>> coefficients(5, 0.5).round(6)
    array([-0.25    , -0.007812,  0.      ,  0.007812,  0.25    ])
    """
    half = frames // 2
    return span / 2 * (np.arange(-half, half + 1) / half) ** _POWER


def direction_of(net: Net, name: str, keep: Keep) -> Tensor:
    """Return a step along a random direction or the top eigenvector, of unit length in the filter metric."""
    if name == "random":
        return make_axes(net.objective, "random", 1, metric="filter", seed=0).vectors[0]
    op = Hessian(net.objective, metric="filter")
    step = torch.from_numpy(eigenpairs_of(net, keep).vectors[:, 0].copy()).to(net.objective.theta)
    if op.metric.scale is not None:
        step = step * op.metric.scale
    return op.scope.scatter(step, torch.zeros_like(net.objective.theta))


def travel(objective: Objective, direction: Tensor, name: str, frames: int, span: float) -> Line:
    """Return the loss, the accuracy and the exact second derivative at the coefficients of an animation."""
    axes, x = make_axes(objective, direction, 1), coefficients(frames, span)
    asked = {"steps": frames, "span": span, "curvature": True, "recalibrate_bn": False}
    grid = Grid.start(objective, axes, x[:, None], 1, asked, None)
    for _ in grid.measure(objective, curvature=True):
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


def line_of(net: Net, name: str, study: Study, keep: Keep) -> Line:
    """Return what the curves of an animation show of a net."""
    settings = {"name": name, "frames": study.frames, "span": study.span}

    def measure(objective: Objective, **settings: str | float) -> Line:
        return travel(objective, direction_of(net, name, keep), **settings)  # type: ignore[arg-type]

    return keep.get(f"travel-{name}", net, settings, measure)


def motion_figure(nets: Sequence[Net], study: Study, keep: Keep) -> Panel:
    """Return an animation along each direction for a good and a bad net, and all their curves in one still figure."""
    lines = {name: [line_of(net, name, study, keep) for net in nets] for name in DIRECTIONS}
    still = Figure(figsize=(WIDTH * 1.45, 5.6), layout="constrained")
    rows = still.subfigures(len(DIRECTIONS), 1, squeeze=False)[:, 0]
    for row, (name, found) in zip(rows, lines.items(), strict=True):
        row.suptitle(f"along {DIRECTIONS[name]}", fontsize="medium")
        for axes, values, label in zip(row.subplots(1, 3), _curves(found), _LABELS, strict=True):
            _draw_curves(axes, found[0].x, values, label, study.span)
    still.legend(handles=_handles(nets), loc="outside lower center", ncols=len(nets), fontsize="small", frameon=False)
    table: list[list[Cell]] = [
        [name, net.name, float(x), float(loss), float(accuracy), float(curvature)]
        for name, found in lines.items()
        for net, line in zip(nets, found, strict=True)
        for x, loss, accuracy, curvature in zip(line.x, line.loss, line.accuracy, line.curvature, strict=True)
    ]
    return Panel(
        name="motion",
        title="The boundary while the parameters move",
        caption=(
            "Above: the class given to each point of the plane, at weights that move through the trained point along "
            f"{DIRECTIONS['random']} (first animation) and along {DIRECTIONS['hessian']} (second). Below: the training "
            "loss, the training accuracy, and the second derivative of the loss along the direction. A step of 1 has "
            f"unit length in the filter-normalised metric; the {study.frames} steps are {study.span / 2:g} · t⁵ for "
            "even t, dense at the trained point, and the axis is even in t: where the loss rises says how wide the "
            "basin is. " + " ".join(_told(lines, nets, study))
        ),
        figure=still,
        header=["direction", "net", "step", "loss", "accuracy", "second_derivative"],
        rows=table,
        movies={
            f"motion-{name}": movie(nets, found, [direction_of(net, name, keep) for net in nets], name, study)
            for name, found in lines.items()
        },
        commands=[
            f"landscape slice nets/{net.path.name} --dim 1 --directions {name} --curvature --span {span:g} "
            f"--out {net.name}-{name}.h5"
            for name in DIRECTIONS
            for net, span in zip(nets, (study.span / 2, study.span / 2 * 0.3**_POWER), strict=True)
        ],
    )


def _told(lines: dict[str, list[Line]], nets: Sequence[Net], study: Study) -> list[str]:
    """Say how far each net may move along each direction before the loss reaches the first cutoff."""
    told = []
    for name, found in lines.items():
        ways = [f"{_reach(line, study.cutoffs[0])} (β = {n.poison:g})" for n, line in zip(nets, found, strict=True)]
        told.append(f"Along {DIRECTIONS[name]} the loss passes {study.cutoffs[0]:g} at {' and '.join(ways)}.")
    return told


def _reach(line: Line, cutoff: float) -> str:
    """Return the nearest step whose loss has reached the cutoff."""
    beyond = np.abs(line.x[line.loss >= cutoff])
    return f"{beyond.min():.2g}" if len(beyond) else f"no step up to {np.abs(line.x).max():g}"


def movie(nets: Sequence[Net], lines: Sequence[Line], ways: Sequence[Tensor], name: str, study: Study) -> bytes:
    """Return a GIF: a frame for each coefficient, the boundaries above and the curves with a marker below."""
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
    figure.set_layout_engine("none")  # where everything lies does not change, and finding it takes longer than drawing
    frames = []
    for x in lines[0].x:
        for drawn, net, way in zip(maps, nets, ways, strict=True):
            drawn.set_data(area_of(_moved(net, float(x) * way, study.film)))
        for marker in markers:
            marker.set_xdata([_place(x, study.span)] * 2)
        title.set_text(f"Along {DIRECTIONS[name]}: {f'step {x:+.2g}' if x else 'the trained point'}")
        canvas.draw()
        frames.append(Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy()))
    return _gif(frames)


def _moved(net: Net, step: Tensor, pixels: int) -> np.ndarray:
    """Return the logits on a square at weights that have moved by a step, shape (pixels, pixels)."""
    objective = net.objective
    moved = objective.layout.views(objective.theta + step)
    side = torch.linspace(-EXTENT, EXTENT, pixels)
    square = torch.stack(torch.meshgrid(side, side, indexing="xy"), dim=-1).reshape(-1, 2)
    with torch.no_grad():
        return functional_call(net.model, moved, (square,))[:, 0].view(pixels, pixels).numpy()


def _gif(frames: Sequence[Image.Image]) -> bytes:
    """Return the frames as a GIF that repeats, in one palette so that what does not change takes no room."""
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
    marks = np.array([0.0, *_MARKS, span / 2])
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
