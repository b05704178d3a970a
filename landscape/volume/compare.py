"""Which of two basins is larger, and by how much: an interval if the estimates allow one, and otherwise no answer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from landscape.errors import LandscapeError
from landscape.results import CANNOT_TELL, Comparison, ComparisonRow, Volume, VolumeEstimate
from landscape.results.best import SAME_BODY, best_estimates
from landscape.results.comparison import comparison_sentences
from landscape.volume.ray_weights import statistics as w
from landscape.volume.ray_weights.mean import judged
from landscape.volume.ray_weights.paired import log_ratio_interval

_NOTED = {
    "data_hash": "they were measured on different data",
    "loss": "they were measured with different losses",
    "samples": "they were measured on different numbers of samples",
}
_SAME_RAYS = ("seed", "step_ratio", "antithetic", "proposal")
_COORDINATES = (
    "metric coordinates measure each basin relative to the scale of its own weights, and do not change if a net is "
    "rescaled. Parameter coordinates measure sets of weights, as under a prior that is fixed in weight space. The "
    "order can differ between the two: on one pair of nets it did"
)


@dataclass(frozen=True)
class _Estimate:
    """An estimate at one cutoff, and the volume that it comes from."""

    row: VolumeEstimate
    source: Volume

    @property
    def log_weights(self) -> np.ndarray:
        """Log-weights of the rays at this cutoff, shape (rays,); none if they were not kept."""
        cutoffs = [row.cutoff for row in self.source.results]
        return self.source.log_weights[:, cutoffs.index(self.row.cutoff)]

    @property
    def is_mean_over_rays(self) -> bool:
        """Whether the estimate is the mean of the weights of rays, all of which were kept."""
        if self.source.unit != "rays" or not len(self.log_weights):
            return False
        mean = w.log_unit_ball(self.source.dimension) + w.log_mean(self.log_weights)
        return math.isclose(mean, self.row.log_volume, rel_tol=1e-9, abs_tol=1e-9)


def compare_volumes(
    a: Volume | Mapping[str, object],
    b: Volume | Mapping[str, object],
    *,
    names: tuple[str, str] = ("the first", "the second"),
) -> Comparison:
    """Return how the basins of A and B compare at each cutoff that both were measured at.

    The interval for log V_A - log V_B depends on the estimates (``row.method``):

    - ``paired rays``: if both have the same uniform rays (equal n, seed, number and grid) and an effective sample size
      of 50, the difference is taken ray by ray. What the nets have in common cancels. The interval is that of
      :func:`landscape.volume.ray_weights.paired.log_ratio_interval`.
    - ``intervals combined``: otherwise the half-widths of the two estimates add in quadrature.
    - ``intervals added``: if their seeds are equal, their errors may be alike or opposite, so the half-widths just add.
    - ``bounds``: if one of the two is a lower bound, the interval runs from one end to the other of the two. It holds
      if both do. A bound reaches up to what the cap or counted hits allow, so it decides only if even that is too
      small.
    - ``approximations`` decide nothing, since their error is unknown.

    The rows give both coordinates. Those of the metric measure each basin relative to the scale of the net's own
    weights. Those of the parameters measure sets of weights. The order can differ.

    Args:
        a, b: log-volumes with one criterion, metric, scope and cap, of the same dimension. Or the results of a file by
            name, of which the best estimate at each cutoff is taken (:func:`landscape.volume.best_volume`).
        names: what errors call the two.

    Raises:
        LandscapeError: if there is no volume, they do not measure the same thing, or share no cutoff.
    """
    first, second = (_estimates(each, name) for each, name in zip((a, b), names, strict=True))
    if first and second:
        _check(first[0].source, second[0].source)
    pairs = [(x, y) for x in first for y in second if math.isclose(x.row.cutoff, y.row.cutoff, rel_tol=1e-9)]
    if not pairs:
        listed = [", ".join(f"{each.row.cutoff:g}" for each in side) for side in (first, second)]
        raise LandscapeError(
            f"the two share no cutoff (the first has {listed[0]}, the second {listed[1]}), so there is nothing to "
            "compare. Measure one of them with a cutoff of the other: `cutoffs=...`."
        )
    body = first[0].source.body
    rows = [_row(x, y) for x, y in pairs]
    sources = [dict.fromkeys(pair[side].source.estimator for pair in pairs) for side in (0, 1)]
    return Comparison(
        rows=tuple(replace(row, report=comparison_sentences(row, body)) for row in rows),
        dimension=body.dimension,
        criterion=body.criterion,
        estimators=(" and ".join(sources[0]), " and ".join(sources[1])),
        notes=tuple(_notes(pairs, rows)),
    )


def _estimates(given: Volume | Mapping[str, object], name: str) -> list[_Estimate]:
    if isinstance(given, Volume):
        return [_Estimate(row, given) for row in given.results]
    return [_Estimate(row, source) for row, source in best_estimates(given, name)]


def _check(a: Volume, b: Volume) -> None:
    """Refuse volumes of different spaces or different bodies."""
    if a.dimension != b.dimension:
        raise LandscapeError(
            f"the two volumes have different dimensions (n = {a.dimension:,} and {b.dimension:,}), like an area and a "
            "length: no ratio of them means anything. Compare nets of one architecture and one `scope=...`."
        )
    wrong = [
        f"{key}: {a.config.get(key)} and {b.config.get(key)}"
        for key in SAME_BODY
        if a.config.get(key) != b.config.get(key)
    ]
    if wrong:
        raise LandscapeError(
            "the two were measured with different settings, so their volumes are of different bodies:\n  "
            + "\n  ".join(wrong)
            + "\nMeasure one of them again with the settings of the other."
        )


def _row(x: _Estimate, y: _Estimate) -> ComparisonRow:
    a, b = x.row, y.row
    (low, high), method = _difference(x, y)
    shift = (a.log_volume_raw - a.log_volume) - (b.log_volume_raw - b.log_volume)
    difference = math.nan if method == "bounds" else a.log_volume - b.log_volume
    decides = method != "approximations"
    return ComparisonRow(
        cutoff=a.cutoff,
        difference=difference,
        raw_difference=difference + shift,
        interval=(low, high),
        raw_interval=(low + shift, high + shift),
        verdicts=(a.verdict, b.verdict),
        larger=_larger(low, high) if decides else CANNOT_TELL,
        raw_larger=_larger(low + shift, high + shift) if decides else CANNOT_TELL,
        method=method,
    )


def _difference(x: _Estimate, y: _Estimate) -> tuple[tuple[float, float], str]:
    """Return an interval for log V_A - log V_B, and how it was made."""
    a, b = x.row, y.row
    if a.measured and b.measured and _same_rays(x, y):
        return _paired(x, y), "paired rays"
    value = a.log_volume - b.log_volume
    widths = [(row.log_volume - row.interval[0], row.interval[1] - row.log_volume) for row in (a, b)]
    (a_below, a_above), (b_below, b_above) = widths
    combined = value - math.hypot(a_below, b_above), value + math.hypot(a_above, b_below)
    if "approximation" in (a.verdict, b.verdict):
        return combined, "approximations"
    (a_low, a_high), (b_low, b_high) = a.reported_interval, b.reported_interval
    added = a_low - b_high, a_high - b_low
    if "lower bound" in (a.verdict, b.verdict):
        return added, "bounds"
    alike = x.source.config.get("seed") == y.source.config.get("seed")
    return (added, "intervals added") if alike else (combined, "intervals combined")


def _same_rays(x: _Estimate, y: _Estimate) -> bool:
    """Return whether the two are means over the same uniform rays, and enough of them carry either mean."""
    a, b = x.source.config, y.source.config
    same = all(a.get(key) == b.get(key) for key in _SAME_RAYS) and a.get("seed") is not None
    if not same or a.get("proposal") is not None or len(x.log_weights) != len(y.log_weights):
        return False
    return all(each.is_mean_over_rays and each.row.ess >= w.RELIABLE_ESS for each in (x, y))


def _paired(x: _Estimate, y: _Estimate) -> tuple[float, float]:
    """Return the interval from paired rays, widened by what the tolerance of the radii adds to either interval."""
    (log_a, below_a, above_a), (log_b, below_b, above_b) = (_with_tolerance(each) for each in (x, y))
    low, high = log_ratio_interval(log_a, log_b)
    return low - below_a - above_b, high + above_a + below_b


def _with_tolerance(each: _Estimate) -> tuple[np.ndarray, float, float]:
    """Return the log-weights of independent draws, and how far the interval goes beyond their scatter, down and up."""
    row, source = each.row, each.source
    log_weights, _ = judged(source.config, source.dimension, each.log_weights)
    low, high = w.interval_of_halves(log_weights)
    value = w.log_mean(log_weights)
    below = (row.log_volume - row.interval[0]) - (value - low)
    above = (row.interval[1] - row.log_volume) - (high - value)
    return log_weights, max(below, 0.0), max(above, 0.0)


def _larger(low: float, high: float) -> str:
    return "first" if low > 0 else "second" if high < 0 else CANNOT_TELL  # NaN is neither


def _notes(pairs: Sequence[tuple[_Estimate, _Estimate]], rows: Sequence[ComparisonRow]) -> list[str]:
    """Return what else differs between the two, and what these estimates cannot say."""
    a, b = (side.source for side in pairs[0])
    verdicts = {verdict for row in rows for verdict in row.verdicts}
    notes = [note for key, note in _NOTED.items() if a.config.get(key) != b.config.get(key)]
    if a.config.get("theta_hash") is not None and a.config.get("theta_hash") == b.config.get("theta_hash"):
        notes.append("both are of one trained point")
    for x, y in pairs:
        if x.source.estimator != y.source.estimator:
            notes.append(f"the estimators differ: {x.source.estimator} and {y.source.estimator}")
        q, other = x.row.resolution, y.row.resolution
        if q != other and not (math.isnan(q) and math.isnan(other)):
            notes.append(
                f"the resolutions differ (q = {q:g} and {other:g}). A coarser grid sees fewer walls, so its basin can "
                "be the larger one for that alone: measure both with one `step_ratio=...`"
            )
    if "approximation" in verdicts:
        notes.append(
            "an approximation's interval is that of its model, and does not include the distance of the basin from it"
        )
    if "lower bound" in verdicts:
        notes.append(
            "this rests on bounds. A lower bound alone cannot say that a basin is the smaller one. Estimates with "
            "the verdict reliable or settled can: pass a longer `budget=...`, or more `directions=...`"
        )
    if "settled" in verdicts:
        notes.append("a settled estimate leaves out any part of the basin that no chain met")
    if any(not row.one_answer for row in rows):
        notes.append(_COORDINATES)
    return list(dict.fromkeys(notes))
