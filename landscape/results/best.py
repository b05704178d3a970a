"""The best of several log-volumes of one basin: what a file, a run or a comparison reports."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, replace
from typing import Any

import numpy as np

from landscape.errors import LandscapeError
from landscape.results.base import Cost
from landscape.results.estimate import VolumeEstimate
from landscape.results.table import Table, columns
from landscape.results.verdicts import grade
from landscape.results.volume import Volume
from landscape.results.volume_words import bounds_cell, value_cell, value_heading

SAME_BODY = ("criterion", "metric", "scope", "max_radius", "measure", "sigma", "measure_centre")
_BOUND = grade("lower bound")


def best_volume(results: Mapping[str, object], path: str) -> Volume:
    """Return the best log-volume among the results of a file: at each cutoff the best of their estimates.

    The verdicts come in the order of :data:`landscape.results.VERDICTS`. If several estimates have an interval for V,
    the narrowest is best. If several are bounds, the highest is best. Errors also decide which of k bounds is the
    highest, so it is lowered by log k: then all k hold together with 95 % confidence.

    Only estimates of the same body count: those with the criterion, metric, scope, cap and measure of the best result.
    If several results contribute, ``estimator`` names all of them, and there are no ``log_weights``.

    Args:
        results: by name; other kinds of results are ignored.
        path: where they come from, for the error.

    Raises:
        LandscapeError: if there is none.
    """
    best, alike = _best(results, path)
    chosen = [_best_at(cutoff, alike) for cutoff in _cutoffs(alike)]
    rows = tuple(row for row, _ in chosen)
    sources = [volume for volume in alike if any(volume is source for _, source in chosen)]
    if sources == [best]:
        return best if rows == best.results else replace(best, results=rows)
    return Volume(
        results=rows,
        log_weights=np.zeros((0, len(rows))),
        estimator=" and ".join(dict.fromkeys(volume.estimator for volume in sources)),
        dimension=best.dimension,
        directions=sum(volume.directions for volume in sources),
        config=best.config,
        cost=Cost(*(sum(parts) for parts in zip(*(astuple(volume.cost) for volume in sources), strict=True))),
    )


def best_estimates(results: Mapping[str, object], path: str) -> list[tuple[VolumeEstimate, Volume]]:
    """Return the rows of :func:`best_volume`, each with the volume that it comes from.

    Args:
        results, path: as for :func:`best_volume`.
    """
    _, alike = _best(results, path)
    return [_best_at(cutoff, alike) for cutoff in _cutoffs(alike)]


def estimates_by_cutoff(results: Mapping[str, object], path: str) -> list[list[tuple[VolumeEstimate, Volume]]]:
    """Return at each cutoff every estimate of the body as it is stored, with its volume; the best comes first.

    Args:
        results, path: as for :func:`best_volume`.
    """
    _, alike = _best(results, path)
    by_cutoff = []
    for cutoff in _cutoffs(alike):
        _, source = _best_at(cutoff, alike)
        pairs = _at(cutoff, alike)
        by_cutoff.append([pair for best_first in (True, False) for pair in pairs if (pair[1] is source) == best_first])
    return by_cutoff


def bodies(results: Mapping[str, object]) -> list[dict[str, Volume]]:
    """Return the log-volumes by name, those of one body together: each group has one best volume."""
    groups: dict[tuple[Any, ...], dict[str, Volume]] = {}
    for name, result in results.items():
        if isinstance(result, Volume) and result.results:
            groups.setdefault(_settings(result), {})[name] = result
    return list(groups.values())


def estimates_table(volumes: Mapping[str, Volume]) -> Table:
    """Return every estimate at each cutoff as a table, the best first.

    Args:
        volumes: of one body.
    """
    body = best_volume(volumes, "this run").body
    rows = [
        [
            f"{row.cutoff:g}" if place == 0 else "",
            volume.estimator,
            value_cell(row),
            bounds_cell(row),
            row.verdict,
            "-" if math.isnan(row.ess) else f"{row.ess:,.1f}",
        ]
        for pairs in estimates_by_cutoff(volumes, "this run")
        for place, (row, volume) in enumerate(pairs)
    ]
    criterion = f"cutoff\n({body.criterion})" if body.criterion else "cutoff\n"
    heads = [criterion, "estimator\n", value_heading(body), "bounds, 95 %\n(nats)", "verdict\n", "ess\n(draws)"]
    return columns(heads, rows, left=["estimator\n", "verdict\n"])


def _best(results: Mapping[str, object], path: str) -> tuple[Volume, list[Volume]]:
    """Return the best of the volumes, and all those of the same body."""
    volumes = [result for result in results.values() if isinstance(result, Volume) and result.results]
    if not volumes:
        raise LandscapeError(
            f"{path} holds no log-volume to compare. Measure one, or finish a run that was stopped: "
            f"landscape volume CHECKPOINT --out {path}, with --resume"
        )
    best = max(volumes, key=_worth)
    return best, [volume for volume in volumes if _settings(volume) == _settings(best)]


def _settings(volume: Volume) -> tuple[Any, ...]:
    """Return what determines which body a volume is of, but for the cutoff."""
    return volume.dimension, *(volume.config.get(key) for key in SAME_BODY)


def _cutoffs(volumes: Sequence[Volume]) -> list[float]:
    """Return every cutoff at which there is an estimate, ascending, each once."""
    cutoffs: list[float] = []
    for cutoff in sorted(row.cutoff for volume in volumes for row in volume.results):
        if not cutoffs or not math.isclose(cutoff, cutoffs[-1], rel_tol=1e-9):
            cutoffs.append(cutoff)
    return cutoffs


def _at(cutoff: float, volumes: Sequence[Volume]) -> list[tuple[VolumeEstimate, Volume]]:
    return [
        (row, volume) for volume in volumes for row in volume.results if math.isclose(row.cutoff, cutoff, rel_tol=1e-9)
    ]


def _best_at(cutoff: float, volumes: Sequence[Volume]) -> tuple[VolumeEstimate, Volume]:
    """Return the best estimate at a cutoff, lowered if it was chosen among several bounds, and where it comes from."""
    pairs = _at(cutoff, volumes)
    row, volume = max(pairs, key=lambda pair: _worth_of(pair[0]))
    bounds = sum(grade(other.verdict) == _BOUND for other, _ in pairs)
    if grade(row.verdict) != _BOUND or bounds < 2:
        return row, volume
    lowered = math.log(bounds)
    reason = (
        f"The highest of {bounds} bounds is given with {lowered:.2f} nats less than alone, because errors also decide "
        "which of them is the highest"
    )
    low, high = row.interval
    return replace(row, interval=(low - lowered, high), reasons=(*row.reasons, reason)), volume


def _worth(volume: Volume) -> tuple[int, float]:
    """Return what volumes are ranked by: the worst grade, then narrow intervals or high bounds."""
    worths = [_worth_of(row) for row in volume.results]
    worst = min(place for place, _ in worths)
    return worst, sum(worth if place == worst else 0.0 for place, worth in worths)


def _worth_of(row: VolumeEstimate) -> tuple[int, float]:
    """Return what estimates at one cutoff are ranked by: the grade, then a narrow interval or a high bound."""
    place = grade(row.verdict)
    worth = -(row.interval[1] - row.interval[0]) if place > _BOUND else row.interval[0]
    return place, -math.inf if math.isnan(worth) else worth
