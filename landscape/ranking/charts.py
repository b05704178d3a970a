"""The figures of the page as SVG: small, without other files, and each point says its numbers under the pointer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

from landscape.ranking.sign_error import TAIL

WIDTH = 340  #: of a chart, in its own units; the page shows it up to about this many pixels wide
_ROW = 17  # height of a row of text
_LETTER = 6.1  # width of a letter of the labels, about
_DECADES = 1.5  # orders of magnitude from which positive numbers get a logarithmic scale


@dataclass(frozen=True)
class Scale:
    """From numbers to places along an axis.

    Attributes:
        low, high: the ends, in units of the numbers; of their log10 if ``log``.
        start, end: the places of the ends.
        log: whether the scale is logarithmic.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    @classmethod
    def of(cls, values: np.ndarray, start: float, end: float, *, may_be_log: bool = True) -> Scale:
        """Return a scale that holds the finite values; logarithmic if they are positive and span decades."""
        known = values[np.isfinite(values)]
        log = bool(may_be_log and len(known) and known.min() > 0 and known.max() > 10**_DECADES * known.min())
        known = np.log10(known) if log else known
        low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
        room = 0.04 * (high - low) or max(abs(high), 1.0) * 0.1
        return cls(low - room, high + room, start, end, log)

    def place(self, value: float) -> float:
        """Return where a number is."""
        at = math.log10(value) if self.log else value
        return self.start + (at - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self, most: int = 4) -> list[float]:
        """Return round numbers along the axis.

        >>> Scale(0.0, 1.0, 0, 100).ticks(), Scale(-3.2, 1.1, 0, 100, log=True).ticks()
        ([0.0, 0.25, 0.5, 0.75, 1.0], [0.001, 0.1, 10.0])
        """
        span = self.high - self.low
        if self.log and span >= 1:
            powers = list(range(math.ceil(self.low), math.floor(self.high) + 1))
            return [10.0**power for power in powers[:: -(-len(powers) // (most - 1))]]
        low, high = (10**self.low, 10**self.high) if self.log else (self.low, self.high)
        rough = (high - low) / most
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(unit * part for part in (1, 2, 2.5, 5, 10) if unit * part >= rough)
        count = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
        return [round(number * step, 12) for number in count]


def interval_bar(value: float, interval: tuple[float, float], chance: tuple[float, float]) -> Markup:
    """Return the bar of one coefficient between -1 and 1: its interval on the band of chance."""
    scale = Scale(-1.0, 1.0, 4, 136)
    parts = [f'<line x1="{scale.place(0)}" x2="{scale.place(0)}" y1="1" y2="19" class="zero"/>']
    if np.isfinite(chance).all():
        left, right = (scale.place(min(1.0, max(-1.0, end))) for end in chance)
        parts.append(f'<rect x="{left:.1f}" y="3" width="{right - left:.1f}" height="14" class="chance"/>')
    if np.isfinite(interval).all():
        left, right = (scale.place(end) for end in interval)
        parts.append(f'<line x1="{left:.1f}" x2="{right:.1f}" y1="10" y2="10" class="range"/>')
    if np.isfinite(value):
        parts.append(f'<circle cx="{scale.place(value):.1f}" cy="10" r="4" class="dot"/>')
    return Markup(f'<svg class="bar" viewBox="0 0 140 20" aria-hidden="true">{"".join(parts)}</svg>')


def distributions(names: Sequence[str], errors: np.ndarray, title: str) -> Markup:
    """Return the sign errors of each measure: a dot per environment, the mean and the 90th percentile.

    Args:
        names: the measures, M of them.
        errors: shape (E, M).
        title: what the environments have in common.
    """
    margin, height = _label_width(names), _ROW * len(names) + 40
    scale = Scale(0.0, 1.0, margin, WIDTH - 8)
    coin = f"{scale.place(0.5):.1f}"
    parts = _lower_axis(scale, height, "sign error", bottom=height - 34)
    parts.append(f'<line x1="{coin}" x2="{coin}" y1="4" y2="{height - 34}" class="coin"/>')
    for row, name in enumerate(names):
        middle = 6 + _ROW * (row + 0.5)
        parts.append(f'<text x="{margin - 6}" y="{middle + 4}" class="end">{escape(name)}</text>')
        known = np.sort(errors[np.isfinite(errors[:, row]), row])
        for order, value in enumerate(known):
            spread = (order % 5 - 2) * 2.0  # neighbours do not hide each other
            parts.append(f'<circle cx="{scale.place(value):.1f}" cy="{middle + spread:.1f}" r="2" class="case"/>')
        if len(known):
            mean, tail = scale.place(known.mean()), scale.place(float(np.quantile(known, TAIL, method="inverted_cdf")))
            parts.append(f'<line x1="{mean:.1f}" x2="{mean:.1f}" y1="{middle - 7}" y2="{middle + 7}" class="mean"/>')
            parts.append(f'<path d="M{tail - 4:.1f} {middle - 8} h8 l-4 7 z" class="tail"/>')
    return _svg(parts, height, f"Sign errors, {title}")


def scatter(
    values: np.ndarray, target: np.ndarray, classes: Sequence[str], titles: Sequence[str], target_name: str
) -> Markup:
    """Return one measure against the target, a point per net.

    Args:
        values, target: shape (N,); nets without a value are left out.
        classes: of each point; the page colours them by axis.
        titles: of each point, shown under the pointer.
        target_name: label of the upright axis.
    """
    height = 210
    across = Scale.of(values, 58, WIDTH - 14)
    up = Scale.of(target, height - 34, 8, may_be_log=False)
    parts = _lower_axis(across, height, "", bottom=height - 34) + _left_axis(up, 58, WIDTH - 14, target_name)
    for net in np.flatnonzero(np.isfinite(values)).tolist():
        place = f'cx="{across.place(values[net]):.1f}" cy="{up.place(target[net]):.1f}"'
        title = f"<title>{escape(titles[net])}</title>"
        parts.append(f'<circle {place} r="3.5" class="net {classes[net]}">{title}</circle>')
    return _svg(parts, height - 14, f"Measure against {target_name}")


def cost_chart(names: Sequence[str], cost: np.ndarray, psi: np.ndarray, label: str) -> Markup:
    """Return what each measure costs against Psi, each point with its name.

    Args:
        names: the measures, M of them.
        cost: shape (M,); those without a cost are left out.
        psi: shape (M,).
        label: of the cost.
    """
    width, height = 2 * WIDTH, 340
    shown = np.flatnonzero(np.isfinite(cost) & np.isfinite(psi)).tolist()
    across = Scale.of(cost[shown], 46, width - 130)
    up = Scale.of(np.append(psi[shown], [0.0, 1.0]), height - 40, 10, may_be_log=False)
    parts = _lower_axis(across, height, label, bottom=height - 40) + _left_axis(up, 46, width - 8, "Ψ", most=6)
    dots = [(across.place(cost[place]), up.place(psi[place])) for place in shown]
    boxes = [(x - 5, x + 5, y) for x, y in dots]  # labels keep clear of all dots
    for place in sorted(shown, key=lambda place: float(psi[place])):
        x, y = across.place(cost[place]), up.place(psi[place])
        row = _free_row(boxes, x + 8, x + 8 + _LETTER * len(names[place]), y)
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" class="dot"/>')
        if abs(row - y) > 2:
            parts.append(f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{x + 8:.1f}" y2="{row:.1f}" class="lead"/>')
        parts.append(f'<text x="{x + 9:.1f}" y="{row + 4:.1f}">{escape(names[place])}</text>')
    return _svg(parts, height, f"{label} against Psi", width=width)


def number(value: float) -> str:
    """Return a short number.

    >>> number(0.001), number(12500.0), number(0.25), number(-0.0)
    ('0.001', '12,500', '0.25', '0')
    """
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e6:
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:.1e}".replace(".0e", "e").replace("e+0", "e").replace("e-0", "e-")


def _free_row(boxes: list[tuple[float, float, float]], left: float, right: float, wanted: float) -> float:
    """Return the height nearest to the wanted one at which a label hides no other, and keep it."""
    for step in range(40):
        for row in (wanted - 4 * step, wanted + 4 * step):
            if all(right < one or left > two or abs(row - at) >= 12 for one, two, at in boxes):
                boxes.append((left, right, row))
                return row
    return wanted


def _label_width(names: Sequence[str]) -> float:
    return min(170.0, 14 + _LETTER * max((len(name) for name in names), default=0))


def _lower_axis(scale: Scale, height: float, label: str, *, bottom: float) -> list[str]:
    parts = []
    for tick in scale.ticks():
        at = f"{scale.place(tick):.1f}"
        parts.append(f'<line x1="{at}" x2="{at}" y1="4" y2="{bottom}" class="grid"/>')
        parts.append(f'<text x="{at}" y="{bottom + 14}" class="middle">{number(tick)}</text>')
    middle = (scale.start + scale.end) / 2
    return [*parts, f'<text x="{middle:.1f}" y="{height - 4}" class="middle">{escape(label)}</text>']


def _left_axis(scale: Scale, left: float, right: float, label: str, most: int = 4) -> list[str]:
    parts = []
    for tick in scale.ticks(most):
        at = f"{scale.place(tick):.1f}"
        parts.append(f'<line x1="{left}" x2="{right}" y1="{at}" y2="{at}" class="grid"/>')
        parts.append(f'<text x="{left - 5}" y="{scale.place(tick) + 4:.1f}" class="end">{number(tick)}</text>')
    turned = f"translate(11 {(scale.start + scale.end) / 2:.1f}) rotate(-90)"
    return [*parts, f'<text transform="{turned}" class="middle">{escape(label)}</text>']


def _svg(parts: Sequence[str], height: float, label: str, *, width: float = WIDTH) -> Markup:
    opening = f'<svg class="chart" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(label)}">'
    return Markup(f"{opening}{''.join(parts)}</svg>")
