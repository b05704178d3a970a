"""How a volume is put into words: the cells of its tables, and the sentence to quote.

With a cap people read nats below the ball of the cap, so a smaller number is a larger basin. Without one, and for a
probability, they read the natural logarithm itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from landscape.results.estimate import VolumeEstimate
from landscape.results.table import Table, at_least, columns

_NARROW = 0.3  # nats: an interval narrower than this is given with two decimals
_WHOLE = 0.1  # nats below the ball: a basin that is surely no further below fills the ball
_LONG = 1e4  # from here on decimals carry nothing
RESOLUTION = (
    "grid: the resolution of V. q is the ratio of neighbouring radii at which rays are tested; left is the share of V "
    "that a finer grid leaves."
)  #: what the column of :func:`main_table` means


@dataclass(frozen=True)
class Body:
    """What a volume is of.

    Attributes:
        dimension: n.
        criterion, metric, scope: as in the configuration of a result; None if unknown.
        max_radius: the cap; infinite if there is none.
        density: the normal distribution under which V is a probability; None for a volume.
    """

    dimension: int
    criterion: str | None
    metric: str | None
    scope: str | None
    max_radius: float
    density: str | None

    @property
    def capped(self) -> bool:
        """Whether V is held against the ball of the cap."""
        return math.isfinite(self.max_radius) and self.density is None

    @property
    def quantity(self) -> str:
        """V or P, as headings call it."""
        return "V" if self.density is None else "P"


def nats(value: float, width: float = math.inf) -> str:
    """Return nats with as many decimals as the width of their interval gives a meaning to.

    >>> nats(6.678, 0.37), nats(6.678, 0.05), nats(-98765.4), nats(-0.0)
    ('6.7', '6.68', '-98,765', '0.0')
    """
    digits = 0 if abs(value) >= _LONG else 2 if width < _NARROW else 1
    return f"{round(value, digits) + 0.0:,.{digits}f}"


def main_table(rows: tuple[VolumeEstimate, ...], body: Body) -> Table:
    """Return one line per cutoff: how large the basin is, the interval, the verdict, the resolution, and log10 V."""
    heads = [
        f"cutoff\n({body.criterion})" if body.criterion else "cutoff\n",
        value_heading(body),
        "95 % interval\n(nats)",
        "verdict\n",
        "grid\n(q, left)",
        f"log10 {body.quantity}\n",
    ]
    cells = [
        [f"{row.cutoff:g}", value_cell(row), interval_cell(row), row.verdict, resolution_cell(row), row.quotable]
        for row in rows
    ]
    return columns(heads, cells, left=["verdict\n"])


def value_heading(body: Body) -> str:
    """Return the heading of :func:`value_cell`, with its unit."""
    return "nats below\nthe ball" if body.capped else f"log {body.quantity}\n(nats)"


def value_cell(row: VolumeEstimate) -> str:
    """Return nats below the ball, or the logarithm itself without a cap. Bounds and approximations are marked."""
    if math.isinf(row.reported):
        return "no bound"
    width = row.interval[1] - row.interval[0]
    if math.isfinite(row.log_cap_ball):
        mark = {"lower bound": "<= ", "approximation": "~ "}.get(row.verdict, "")
        return mark + nats(row.nats_below_ball, width)
    mark = {"lower bound": ">= ", "approximation": "~ "}.get(row.verdict, "")
    return mark + nats(row.reported, width)


def interval_cell(row: VolumeEstimate) -> str:
    """Return the 95 % interval in the unit of :func:`value_cell`."""
    return ends(*row.reported_interval, row.log_cap_ball)


def bounds_cell(row: VolumeEstimate) -> str:
    """Return what holds whatever the verdict, each end with 95 % confidence, in the unit of :func:`value_cell`."""
    if math.isnan(row.bound) and math.isnan(row.upper_bound):
        return "-"
    return ends(row.bound, row.upper_bound, row.log_cap_ball)


def ends(low: float, high: float, ball: float = math.inf) -> str:
    """Return from which to which log V lies, in nats: below a ball if there is one.

    >>> ends(-12.5, -12.1), ends(-12.5, math.inf), ends(-12.5, -12.1, ball=-5.0)
    ('-12.5 to -12.1', '-12.5 or more', '7.1 to 7.5')
    """
    if math.isfinite(ball):
        low, high = ball - high, ball - low
    known = math.isfinite(low), math.isfinite(high)
    width = high - low
    if all(known):
        return f"{nats(low, width)} to {nats(high, width)}"
    if known[0]:
        return f"{nats(low)} or more"
    return f"{nats(high)} or less" if known[1] else "unknown"


def resolution_cell(row: VolumeEstimate) -> str:
    """Return q, and the share of V that a finer grid leaves if somebody looked."""
    if math.isnan(row.resolution):
        return "-"
    return f"{row.resolution:g}, {at_least(row.survives)}" if not math.isnan(row.survives) else f"{row.resolution:g}"


def sentence(row: VolumeEstimate, body: Body) -> str:
    """Return the sentence to quote."""
    words = f"{place(row.cutoff, body)} {_claim(row, body)}{_grid(row)}."
    if row.verdict == "settled":
        words += " No interval holds without conditions: a part of the basin that no chain met is not in it."
    if fills_ball(row) and body.capped:
        words += " So it fills the ball, and how far it reaches beyond is not measured."
    if row.verdict == "approximation":
        words += " How far the basin is from that quadratic is unknown."
    return words


def fills_ball(row: VolumeEstimate) -> bool:
    """Whether all of the interval is near the ball of the cap: then the number is that of the cap, not of the net."""
    return row.measured and row.nats_below_ball_interval[1] < _WHOLE


def place(cutoff: float, body: Body) -> str:
    """Return where a claim holds, as the beginning of a sentence."""
    scope = f"scope {body.scope}" if body.scope not in (None, "weights") else None
    metric = f"{body.metric} metric" if body.metric else None
    about = ", ".join(name for name in (body.criterion, metric, scope, f"n = {body.dimension:,}") if name)
    return f"For {about}" if math.isnan(cutoff) else f"At cutoff {cutoff:g} ({about})"


def _claim(row: VolumeEstimate, body: Body) -> str:
    """Return what is said of V, without where and at which resolution."""
    kind = "volume" if body.capped else "log-volume"
    subject = f"the basin's {kind}"
    if body.density is not None:
        subject = f"the log-probability of the basin under {body.density}"
    elif row.verdict == "approximation":
        subject = f"the {kind} of the quadratic with the same curvature"
    if math.isinf(row.reported):
        return f"{subject} has no lower bound: no ray was seen to leave the trained point inside the basin"
    ball, value = f"the ball of radius {body.max_radius:g}", value_cell(row).lstrip("<>=~ ")
    if row.verdict == "lower bound":
        sure = "(95 % confidence; lower bound)"
        if not body.capped:
            return f"{subject} is at least {value} nats {sure}"
        least = nats(row.nats_below_ball_interval[0])
        counted = "" if float(least.replace(",", "")) <= 0 else f" and at least {least}"
        return f"{subject} is at least exp(-{value}) of {ball}, so at most {value}{counted} nats below it {sure}"
    sure = f"(95 % interval {interval_cell(row)}; {row.verdict})"
    return f"{subject} is {value} nats {f'below {ball} ' if body.capped else ''}{sure}"


def _grid(row: VolumeEstimate) -> str:
    if math.isnan(row.resolution):
        return ""
    left = "" if math.isnan(row.survives) else f" (a finer grid leaves {at_least(row.survives)} of it)"
    return f", at a radial resolution of q = {row.resolution:g}{left}"
