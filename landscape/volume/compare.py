"""Which of two basins is larger, and by how much: an interval if the estimates allow one, and otherwise no answer."""

from __future__ import annotations

import math

from landscape.errors import LandscapeError
from landscape.results import CANNOT_TELL, Comparison, ComparisonRow, Volume, VolumeEstimate
from landscape.results.best import SAME_BODY

_NOTED = {
    "data_hash": "they were measured on different data",
    "loss": "they were measured with different losses",
    "samples": "they were measured on different numbers of samples",
}


def compare_volumes(a: Volume, b: Volume) -> Comparison:
    """Return how the basins of A and B compare at each cutoff that both were measured at.

    The interval for log V_A - log V_B depends on the verdicts:

    - If one of the two is a lower bound, it runs from one end to the other of the two intervals. It holds if both do. A
      bound's interval reaches up to what the cap allows, so it decides only if even that is too small.
    - Otherwise the half-widths of the two estimates add in quadrature. If their seeds are equal, their errors may be
      alike or opposite, so the half-widths just add.
    - An approximation decides nothing, since its error is unknown.

    The rows give both coordinates: those of the metric, where a filter metric has divided out each net's own weight
    norms, and those of the parameters, where the volumes are those of sets of weights.

    Args:
        a, b: log-volumes with one criterion, metric, scope and cap, of the same dimension.

    Raises:
        LandscapeError: if they do not measure the same thing, or share no cutoff.
    """
    _check(a, b)
    pairs = [(x, y) for x in a.results for y in b.results if math.isclose(x.cutoff, y.cutoff, rel_tol=1e-9)]
    if not pairs:
        listed = [", ".join(f"{row.cutoff:g}" for row in volume.results) for volume in (a, b)]
        raise LandscapeError(
            f"the two share no cutoff (the first has {listed[0]}, the second {listed[1]}), so there is nothing to "
            "compare. Measure one of them with a cutoff of the other: --cutoff."
        )
    notes = [note for key, note in _NOTED.items() if a.config.get(key) != b.config.get(key)]
    if a.config.get("theta_hash") is not None and a.config.get("theta_hash") == b.config.get("theta_hash"):
        notes.append("both are of one trained point")
    if a.estimator != b.estimator:
        notes.append(f"the estimators differ: {a.estimator} and {b.estimator}")
    if any(row.verdict == "approximation" for pair in pairs for row in pair):
        notes.append(
            "an approximation's interval is that of its model, and does not include the distance of the basin from it"
        )
    if any(row.verdict == "lower bound" for pair in pairs for row in pair):
        notes.append(
            "a lower bound alone cannot say that a basin is the smaller one. Reliable estimates can: pass more "
            "`directions=...`, or another `estimator=...`"
        )
    return Comparison(
        rows=tuple(_row(x, y, a.config.get("seed") == b.config.get("seed")) for x, y in pairs),
        dimension=a.dimension,
        estimators=(a.estimator, b.estimator),
        notes=tuple(notes),
    )


def _check(a: Volume, b: Volume) -> None:
    """Refuse volumes of different spaces or different bodies."""
    if a.dimension != b.dimension:
        raise LandscapeError(
            f"the two volumes have different dimensions (n = {a.dimension:,} and {b.dimension:,}), like an area and a "
            "length: no ratio of them means anything. Compare nets of one architecture and one --scope."
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


def _row(a: VolumeEstimate, b: VolumeEstimate, alike: bool) -> ComparisonRow:
    low, high = _difference(a, b, alike)
    shift = (a.log_volume_raw - a.log_volume) - (b.log_volume_raw - b.log_volume)
    known = "approximation" not in (a.verdict, b.verdict)
    return ComparisonRow(
        cutoff=a.cutoff,
        difference=a.log_volume - b.log_volume,
        interval=(low, high),
        raw_interval=(low + shift, high + shift),
        verdicts=(a.verdict, b.verdict),
        larger=_larger(low, high) if known else CANNOT_TELL,
        raw_larger=_larger(low + shift, high + shift) if known else CANNOT_TELL,
    )


def _difference(a: VolumeEstimate, b: VolumeEstimate, alike: bool) -> tuple[float, float]:
    """Return an interval for log V_A - log V_B; ``alike`` says whether their errors may depend on one another."""
    if alike or "lower bound" in (a.verdict, b.verdict):
        return a.interval[0] - b.interval[1], a.interval[1] - b.interval[0]
    value = a.log_volume - b.log_volume
    below = math.hypot(a.log_volume - a.interval[0], b.interval[1] - b.log_volume)
    above = math.hypot(a.interval[1] - a.log_volume, b.log_volume - b.interval[0])
    return value - below, value + above


def _larger(low: float, high: float) -> str:
    return "first" if low > 0 else "second" if high < 0 else CANNOT_TELL  # NaN is neither
