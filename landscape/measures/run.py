"""Take sharpness measures of one net, one after the other, within a budget."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from landscape.errors import LandscapeError
from landscape.measures.draws import UNLIMITED, Draws
from landscape.measures.normalised_logits import with_normalised_logits
from landscape.measures.own import called
from landscape.measures.reading import Reading
from landscape.measures.registry import Definition, find_measures
from landscape.measures.settings import BUDGET, CHAINS, CUTOFF, DRAWS, PROBES, VOLUME_BUDGET, Settings
from landscape.measures.top_pair import known_direction
from landscape.objective import Objective
from landscape.rays.budget import Budget
from landscape.results import Cost, OnProgress, Progress, Result, require_same_config
from landscape.results.progress import telling
from landscape.results.sharpness import ESTIMATE, EXACT, FAILED, UNKNOWN, Measure, SharpnessTable

Row = tuple[str, Definition, float | None]  #: of the table: name, measure, and rho if it takes one


def sharpness(
    objective: Objective,
    measures: str | Sequence[str | Definition] = "core",
    *,
    metric: str = "identity",
    rho: float | Sequence[float] | None = None,
    draws: int = DRAWS,
    probes: int = PROBES,
    seed: int = 0,
    normalise_logits: bool = False,
    nbeta: float | None = None,
    gamma: float | None = None,
    layer: str | None = None,
    start: torch.Tensor | None = None,
    cutoff: float = CUTOFF,
    volume_budget: str | float = VOLUME_BUDGET,
    sampler: str = "auto",
    chains: int = CHAINS,
    steps: int | None = None,
    step_size: float | None = None,
    minibatch: int | None = None,
    budget: str | float | None = BUDGET,
    resume: Mapping[str, Measure] | None = None,
    known: Iterable[Result] = (),
    progress: bool = False,
    on_progress: OnProgress[SharpnessTable] | None = None,
) -> SharpnessTable:
    """Return sharpness measures of a trained net, each with its error, verdict, invariances and cost.

    Measures share what they can: one set of random perturbations, one Hessian. A measure that cannot be taken of this
    net is in the table with the verdict ``failed`` and the reason.

    Args:
        objective: the loss around the trained point. Its scope says which parameters move: by default weights without
            biases. Most sources move all parameters (``scope="all"``).
        measures: ``core``, ``all``, or names (docs/sharpness.md lists them).
        metric: scale c of a perturbation: ``identity`` (1), ``adaptive`` (|w|), or that of ``filter`` or ``layer``.
        rho: size of the perturbation; several values give one row each. By default what each measure's source uses.
        draws: number of random perturbations, in antithetic pairs.
        probes: number of products with random vectors, for traces.
        seed: of everything random.
        normalise_logits: measure the loss of logits that are centred and have norm 1, which makes every measure
            indifferent to their scale (Andriushchenko et al. 2023).
        nbeta: of ``llc``, samples times inverse temperature; by default n / log n for n samples.
        gamma: of ``llc``, strength of the pull towards the trained point; by default 10 / mean squared weight.
        layer: weight of the layer for ``relative-flatness``.
        start: parameters at the start of training, shape (D,), for ``distance``.
        cutoff: loss that bounds the basin, for ``log-volume``.
        volume_budget: what ``log-volume`` alone may cost: a time, or a number of passes.
        sampler: of ``llc``: ``hmc`` or ``mala`` on all data, ``sgld`` or ``rmsprop-sgld`` on minibatches. By default
            ``hmc`` if points run together (small nets), else ``sgld``.
        chains, steps: of ``llc``: number of chains, and gradients of each without those of pilot and burn-in. By
            default 1,000 steps if points run together, else 200.
        step_size: of ``llc``, ε of a Langevin step w - ε/2 ∇U + √ε ξ; by default a pilot chooses it.
        minibatch: samples per gradient of SGLD; by default an eighth of the data, 32 or more.
        budget: a time such as ``10min``, or a number of passes; None for no limit. A measure that would begin after it
            is left out as ``failed``, and long ones stop in time.
        resume: measures that are known already, by name; they must have the same settings. Failed ones are tried again,
            and so are those that a smaller budget has cut.
        known: results of ``landscape curvature``, whose largest eigenvalue is used if it is of this net.
        progress: show a bar of the measures.
        on_progress: called after each measure with a :class:`landscape.results.Progress`: its ``words`` are the name of
            the measure, and its ``snapshot`` the table so far.

    Raises:
        LandscapeError: for an unknown measure, metric or layer, a rho or budget that is not positive, or measures in
            ``resume`` with other settings.

    >>> bowl = Objective.from_function(lambda x: x.square().sum(-1) / 2, torch.zeros(4, dtype=torch.float64))
    >>> table = sharpness(bowl, ["trace", "average-case"], rho=0.1, draws=400)
    >>> table["trace"].value, table["trace"].verdict
    (4.0, 'exact')
    >>> mean = table["average-case"]
    >>> abs(mean.value - 0.1**2 / 2 * 4) < 4 * mean.standard_error
    True
    """
    sizes: list[Any] = [None] if rho is None else list(rho) if isinstance(rho, list | tuple | np.ndarray) else [rho]
    if not sizes:
        raise LandscapeError("`rho` is an empty list. Pass one number or several, or None for the default.")
    settings = Settings(
        metric, None, draws, probes, seed, nbeta, gamma, layer, start, cutoff, volume_budget,
        sampler=sampler, chains=chains, steps=steps, step_size=step_size, minibatch=minibatch,
    )  # fmt: skip
    for size in sizes:
        replace(settings, rho=size)  # its check
    wanted = list(_rows(find_measures(measures), sizes))
    taken = dict(resume or {})
    limit = UNLIMITED if budget is None else Budget.parse(budget)
    if normalise_logits:
        objective = with_normalised_logits(objective)
    shared = Draws(objective, settings, limit, known, _paid(taken, wanted, limit))
    found: dict[str, Measure] = {}

    def table() -> SharpnessTable:
        return SharpnessTable({name: found[name] for name, *_ in wanted if name in found}, _notes(objective))

    with telling(progress, on_progress, "measures", len(wanted)) as tell:
        for name, definition, size in _in_order(wanted):
            shared.rho = size
            config = _config(shared, definition, normalise_logits)
            kept = _kept(name, taken, config, limit)
            if kept is not None and _would_gain(definition, kept, shared):
                shared.paid = {work: spent for work, spent in shared.paid.items() if work not in kept.pays}
                kept = None
            free = definition.shares in found and found[definition.shares].verdict != FAILED
            if kept is not None:
                found[name] = kept
                shared.charge(kept.cost.evaluations, kept.cost.calls)  # of a budget in passes
            elif not free and shared.left() <= 0:
                reason = "not begun: the budget is spent. Pass a larger `budget=...`"
                found[name] = _failed(definition, config, reason)
            else:
                found[name] = take(definition, shared, config)
                if shared.cut:
                    found[name] = replace(found[name], cut_by=str(budget))
                tell(Progress(len(found), len(wanted), table, name))
                continue
            tell(Progress(len(found), len(wanted), table, name, news=False))
    return table()


def _notes(objective: Objective) -> tuple[str, ...]:
    return tuple(dict.fromkeys(objective.notes))


def _kept(name: str, taken: Mapping[str, Measure], config: dict[str, Any], limit: Budget) -> Measure | None:
    """Return a measure that need not be taken again: it is known, has not failed, and no smaller budget has cut it."""
    if name not in taken:
        return None
    require_same_config(taken[name].config, config, f"measure {name}")
    return None if _again(taken[name], limit) else taken[name]


def _would_gain(definition: Definition, measure: Measure, draws: Draws) -> bool:
    """Whether a measure that was taken without the result of another can use it now, as one run with both would."""
    without = bool(definition.after) and measure.config.get("top_eigenvector") is False
    return without and known_direction(draws) is not None


def _again(measure: Measure, limit: Budget) -> bool:
    return measure.verdict == FAILED or cut_by_less(measure.cut_by, limit)


def _paid(taken: Mapping[str, Measure], wanted: Sequence[Row], limit: Budget) -> dict[str, float]:
    """Return the shared work that the measures which need not be taken again have paid for."""
    kept = [taken[name] for name, *_ in wanted if name in taken and not _again(taken[name], limit)]
    return {work: spent for measure in kept for work, spent in measure.pays.items()}


def cut_by_less(cut_by: str, limit: Budget) -> bool:
    """Whether a measure was cut by a budget that gave it less time or fewer passes than this one."""
    if not cut_by:
        return False
    earlier = Budget.parse(cut_by)
    return limit.seconds > earlier.seconds or limit.passes > earlier.passes


def take(definition: Definition, draws: Draws, config: dict[str, Any]) -> Measure:
    """Return one measure; a LandscapeError that it raises becomes the reason of a failed one."""
    before, started, draws.cut, draws.pays = draws.spent, time.perf_counter(), False, {}
    try:
        reading = _reading(definition, called(definition, draws))
    except LandscapeError as refusal:
        return _failed(definition, config, str(refusal).replace("\n", " "))
    value, error = float(reading.value), float(reading.standard_error)
    if math.isnan(value) and reading.verdict != FAILED:
        return _failed(definition, config, "; ".join(reading.reasons) or "its value is NaN")
    known = math.isfinite(value) and math.isfinite(error)
    verdict = reading.verdict or (UNKNOWN if not known else ESTIMATE if error else EXACT)
    reasons = reading.reasons or (() if math.isfinite(value) else ("its value is infinite",))
    after = draws.spent
    cost = Cost(after.evaluations - before.evaluations, after.calls - before.calls, time.perf_counter() - started)
    return Measure(
        definition.name, value, error, verdict, reasons, definition.larger,
        definition.invariances(draws.settings.metric), np.asarray(reading.samples, dtype=np.float64),
        {**config, **_named_apart(reading.config, config)}, cost, pays=draws.pays,
    )  # fmt: skip


def _named_apart(taken: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings that a measure has chosen, under names that hide none of those that were asked for.

    >>> _named_apart({"layer": "2.weight", "sigma": 0.1}, {"layer": None})
    {'layer_taken': '2.weight', 'sigma': 0.1}
    """
    return {f"{key}_taken" if key in asked else key: value for key, value in taken.items()}


def _rows(definitions: Sequence[Definition], sizes: Sequence[float | None]) -> Iterator[Row]:
    """Yield the rows of the table: name, measure, and rho if it takes one."""
    for definition in definitions:
        if definition.rho is None:
            yield definition.name, definition, None
            continue
        for size in sizes:
            suffix = f"@{size:g}" if len(sizes) > 1 else ""
            yield f"{definition.name}{suffix}", definition, definition.rho if size is None else float(size)


def _in_order(rows: Sequence[Row]) -> list[Row]:
    """Return rows in the order in which they are taken: after those whose results they use, anytime ones last."""
    ordered: list[Row] = []
    for row in sorted(rows, key=lambda row: (row[1].anytime, bool(row[1].shares))):
        ordered += [other for other in rows if other[0] == row[1].after and other not in ordered]
        ordered += [row] if row not in ordered else []
    return ordered


def _config(draws: Draws, definition: Definition, normalise_logits: bool) -> dict[str, Any]:
    """Return what determines a measure."""
    settings = {**draws.settings.describe(), "rho": draws.rho, "normalise_logits": normalise_logits}
    return {
        **draws.objective.describe(),
        "measure": definition.name,
        "dimension": draws.objective.dimension,
        "batches": draws.objective.batches,
        **settings,
    }


def _reading(definition: Definition, result: Any) -> Reading:
    """Return what a measure's function gave as a Reading."""
    if isinstance(result, Reading):
        return result
    try:
        value, error = result if isinstance(result, tuple) else (result, 0.0)
        reading = Reading(float(value), float(error))
    except (TypeError, ValueError, OverflowError, RuntimeError) as cause:  # the last one from tensors
        raise LandscapeError(
            f"the measure {definition.name} returned {type(result).__name__}; expected a number, or a pair (number, "
            "standard error)."
        ) from cause
    if reading.standard_error < 0:
        raise LandscapeError(f"the measure {definition.name} returned the standard error {error:g}, below 0.")
    return reading


def _failed(definition: Definition, config: dict[str, Any], reason: str) -> Measure:
    nothing = np.zeros(0)
    return Measure(
        definition.name,
        math.nan,
        math.nan,
        FAILED,
        (reason,),
        definition.larger,
        (),
        nothing,
        config,
        Cost(0.0, 0, 0.0),
    )
