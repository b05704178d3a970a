"""Checkpoints on the plane of their principal components -> a figure."""

from __future__ import annotations

from typing import Any

import numpy as np

from landscape.plots.style import COLOURS, SHORT_NUMBERS, WIDTH, Figure, bare
from landscape.results import Embedding
from landscape.results.table import percent


def embedding_figure(embedding: Embedding) -> Figure:
    """Return where the checkpoints lie on their plane, coloured by how far each is off it; a star at the origin."""
    figure = Figure(figsize=(WIDTH, 5.0), layout="constrained")
    axes = figure.subplots()
    x, y = embedding.points.T
    drawn = axes.scatter(
        x,
        y,
        c=embedding.off_plane,
        cmap=COLOURS,
        s=36,
        edgecolors="black",
        linewidths=0.5,
        label="checkpoint",
        zorder=2,
    )
    style: dict[str, Any] = {"color": "black", "markeredgecolor": "white", "linestyle": ""}
    axes.plot([0.0], [0.0], "*", markersize=14, label="trained point", zorder=3, **style)
    bar = figure.colorbar(drawn, ax=axes, label="distance from the plane (Euclidean)")
    bar.ax.yaxis.set_major_formatter(SHORT_NUMBERS)
    for name, axis, share in zip(("first", "second"), (axes.xaxis, axes.yaxis), embedding.explained, strict=True):
        axis.set_label_text(f"{name} principal component, {percent(share)} of the variance\n(Euclidean distance)")
        axis.set_major_formatter(SHORT_NUMBERS)
    axes.set_aspect("equal", adjustable="datalim")
    far = float(np.max(embedding.distance, initial=0.0))
    figure.suptitle(
        f"{len(embedding.points):,} checkpoints, at most {far:.3g} from the trained point", fontsize="medium"
    )
    figure.legend(loc="outside lower center", ncols=2, fontsize="small", frameon=False)
    bare(axes)
    return figure
