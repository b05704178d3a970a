"""Figures of a report: each with an identifier of its own, a caption, and words for those who do not see it."""

from __future__ import annotations

from itertools import count

from matplotlib.figure import Figure

from landscape.pages import as_svg
from landscape.reports.blocks import Picture

#: what each figure shows, by its short name
_CAPTIONS = {
    "radii": "How far the basin reaches along the rays, for each cutoff.",
    "rays": "The criterion along the first rays, with the cutoffs.",
    "weights": "How the estimate is spread over the draws. If one of them carries most of it, it is no measurement.",
    "volume": "The estimate with its interval.",
    "volumes": "All estimates. An arrow begins at a bound.",
    "rounds": "What the islands found in each round, on the way out and on the way back.",
    "line": "The loss along the line; x = 0 is the trained point.",
    "contour": "Lines of equal loss on the plane.",
    "filled": "The loss on the plane.",
    "surface": "The loss as a surface over the plane.",
    "accuracy": "The share of right predictions on the plane.",
    "density": "How the eigenvalues are spread, with the error of the estimate.",
    "layers": "The trace and the mean eigenvalue of each tensor, with standard errors.",
    "eigenvalues": "The eigenvalues in order, with their residuals.",
    "trace": "The draws of each chain. Chains that have mixed look alike.",
    "measures": "The size of each measure on a log scale, with its standard error.",
    "samples": "The values whose mean is the estimate.",
    "diagonal": "How often the entries of the diagonal have each value; counts on a log scale.",
    "family": "Each measure against what it is to predict, a point per net.",
    "ranking": "Psi of each measure with its interval of 95 %, on the band that chance would reach.",
    "comparison": "Between which numbers log V(first) - log V(second) lies at each cutoff. An open end is an arrow.",
    "boundary": "The decision boundary, with the training points.",
    "embedding": "The checkpoints on the plane of their first two principal components.",
    "by step": "Each measure against the training step. Bars are standard errors; hollow points have no known error.",
}
_BROAD = ("by step",)  #: figures of several panels side by side
_PLANES = ("contour", "filled", "surface", "accuracy")  #: figures that can be enlarged and moved


class Pictures:
    """Turns the figures of one file into pictures of the page.

    Args:
        prefix: unique to the file within the page: identifiers begin with it.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._numbers = count()

    def draw(self, figure: Figure, short: str, subject: str, about: str = "") -> Picture:
        """Return a figure as a picture.

        Args:
            figure: the drawing.
            short: its short name, which says what it shows; a new one is its own caption.
            subject: what it is about, for those who do not see it.
            about: what the caption begins with.
        """
        caption = f"{about}: {_CAPTIONS.get(short, short)}" if about else _CAPTIONS.get(short, short)
        svg = as_svg(figure, f"{self._prefix}f{next(self._numbers)}", f"{subject}. {caption}")
        return Picture(svg, caption, zoom=short in _PLANES, broad=short in _BROAD)
