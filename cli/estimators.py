"""What ``landscape volume`` does under each estimator: measure, keep, and say what was left out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from landscape.errors import StoreError
from landscape.results import (
    AnnealedVolume,
    Caps,
    Chains,
    LaplaceVolume,
    OnProgress,
    Progress,
    Radii,
    Volume,
    require_same_config,
)
from landscape.volume import (
    anneal,
    best_volume,
    importance_volume,
    laplace_volume,
    volume_from_chains,
    volume_from_radii,
    volumes_at_caps,
)
from landscape.volume.annealed import RELIABLE_CHAINS
from landscape.volume.annealing.anneal import Stopped
from landscape.volume.annealing.budget import Budget
from landscape.volume.auto import BUDGET, along_slopes, is_enough, is_of_use
from landscape.volume.laplace import laplace_config
from landscape.volume.quadratic import basin_curvature, cap_of
from landscape.volume.ray_weights.mean import measure_of_radii
from landscape_cli import session
from landscape_cli.measuring import CAPS, CHAINS, LAPLACE, PROPOSED, RAYS, SLOPES, Basin, Part, measured_rays

DEFAULT_RTOL = 1e-3
PARTS: dict[str, list[Part[Any]]] = {
    "auto": [RAYS, CHAINS, SLOPES],
    "uniform": [RAYS],
    "annealed": [CHAINS],
    "importance": [PROPOSED],
    "laplace": [],
}


@dataclass
class Found:
    """What was measured.

    Attributes:
        volumes: by estimator, the best one last.
        radii: uniform rays, where there are some.
        notes: what a reader should know besides.
        caps: the volume under smaller caps, where there are chains and a cap.
    """

    volumes: dict[str, Volume]
    radii: Radii | None = None
    notes: list[str] = field(default_factory=list)
    caps: Caps | None = None


def measured(run: Basin) -> Found:
    """Return the volumes that the options ask for."""
    made: dict[str, Callable[[Basin], Found]] = {
        "auto": auto,
        "uniform": uniform,
        "annealed": annealed,
        "importance": importance,
        "laplace": laplace,
    }
    return made[run.given["estimator"]](run)


def uniform(run: Basin) -> Found:
    """Measure uniform rays and take the mean."""
    radii, fresh = measured_rays(run)

    def make() -> Volume:
        return volume_from_radii(radii, measure=measure_of_radii(run.objective, radii, **_measure(run)))

    volume = run.keep(RAYS.volume, fresh or _is_another(run, RAYS.volume), make, Volume)
    return Found({"uniform": volume}, radii, _about(run))


def auto(run: Basin) -> Found:
    """Measure uniform rays and, where those are not enough, chains, or other rays where chains cost too much."""
    found = uniform(run)
    if is_enough(found.volumes["uniform"]):
        found.notes.append("The uniform rays measure V: there is nothing that annealed chains would add.")
        return found
    stopped: list[Stopped] = []
    chains, volume, found.caps = annealed_chains(run, stopped.append)
    if volume is not None:
        found.volumes["annealed"] = volume
        return found
    longer = f"pass a longer --budget{', with --resume' if run.store is not None else ''}."
    pilots = f"{len(chains.trace):,} temperatures of their pilots, {chains.cost.evaluations:,.0f} passes over the data"
    if not is_of_use(stopped[0]):
        found.notes.append(f"The budget of {_budget(run)} was used up before the chains began ({pilots}): {longer}")
        return found
    found.volumes["importance"] = instead_of_chains(run, stopped[0])
    best = best_volume(found.volumes, "this run")
    found.volumes.pop(best.estimator)
    found.volumes[best.estimator] = best
    found.notes.append(
        f"Two thirds of the budget of {_budget(run)} were used up before the chains began ({pilots}). The rest went "
        f"into {stopped[0].rays:,} rays along the coordinates that were learnt for them. For chains {longer}"
    )
    if any(row.verdict == "lower bound" for row in best.results):
        found.notes.append(
            f"Of two bounds {best.estimator} is chosen, and given with {math.log10(2):.2f} less than alone, since "
            "errors too decide which one is."
        )
    return found


def instead_of_chains(run: Basin, stopped: Stopped) -> Volume:
    """Measure rays along the coordinates that chains would have walked in."""
    session.say(run.given, f"{stopped.rays:,} rays along what was learnt, in the place of chains")
    cutoffs, rtol = run.given["cutoffs"], _rtol(run)

    def make(**options: Any) -> Volume:
        return along_slopes(run.objective, cutoffs, stopped, rtol=rtol, **options, **run.options, **_measure(run))

    return _proposed(run, SLOPES, stopped.rays, make)


def annealed(run: Basin) -> Found:
    """Measure chains alone."""
    chains, volume, caps = annealed_chains(run)
    if volume is None:
        raise StoreError(
            f"the budget of {_budget(run)} was used up before the chains began: their pilots, which have done "
            f"{len(chains.trace):,} temperatures, are not at the end.\nPass a longer --budget"
            f"{', with --resume' if run.store is not None else ''}."
        )
    return Found({"annealed": volume}, notes=_about(run), caps=caps)


def annealed_chains(
    run: Basin, on_stop: Callable[[Stopped], None] | None = None
) -> tuple[Chains, AnnealedVolume | None, Caps | None]:
    """Measure chains within the budget; no volumes where the pilots used it up (``on_stop``: as for ``anneal``)."""
    given = run.given
    counts = {key: given[key] for key in ("chains", "temperatures")}
    budget = None if given["temperatures"] is not None else _budget(run)
    if given["chains"] is not None and given["chains"] < RELIABLE_CHAINS:
        session.say(given, f"{given['chains']} chains make a lower bound: reliable takes {RELIABLE_CHAINS} or more")
    say_plan = _Planned(run, budget)

    def measure(stored: Chains | None, on_progress: OnProgress[Any]) -> Chains:
        def note(progress: Progress[Any]) -> None:
            on_progress(progress)
            say_plan(progress)

        return anneal(
            run.objective,
            given["cutoffs"],
            rtol=_rtol(run),
            budget=budget,
            resume=stored,
            on_progress=note,
            on_stop=on_stop,
            **counts,
            **run.options,
            **_measure(run),
        )

    chains, fresh = run.grow(CHAINS, measure)
    if not chains.done.all():
        return chains, None, None
    volume = run.keep(CHAINS.volume, fresh, lambda: volume_from_chains(chains), AnnealedVolume)
    if math.isinf(chains.max_radius):  # without a cap the usual ones say nothing: lengths are of any size
        return chains, volume, None
    return chains, volume, run.keep(CAPS, fresh, lambda: volumes_at_caps(chains), Caps)


class _Planned:
    """Says once what the pilots are for, and once what the budget was turned into."""

    def __init__(self, run: Basin, budget: str | None) -> None:
        self._given, self._budget = run.given, budget
        past = run.held.get(CHAINS.name)
        self._said = budget is None
        if past is not None and past.config["temperatures"] is not None:
            self._said = True
            if run.given["budget"] is not None:
                session.say(run.given, f"{_counts(past)} are kept, which an earlier budget was turned into")
        elif budget is not None:
            passes = "" if math.isfinite(Budget.parse(budget).seconds) else " passes over the data"
            session.say(run.given, f"annealing within {budget}{passes}: pilot chains first")

    def __call__(self, progress: Progress[Any]) -> None:
        if not self._said and (chains := progress.snapshot()).config["temperatures"] is not None:
            self._said = True
            session.say(self._given, f"annealing {_counts(chains)}, beside a run of half as many temperatures")


def _counts(chains: Chains) -> str:
    return f"{chains.config['chains']} chains of {chains.config['temperatures']:,} temperatures"


def importance(run: Basin) -> Found:
    """Measure rays of a proposal."""
    given = run.given
    options = {"probes": given["probes"]} if given["probes"] is not None else {}
    first = "slopes" if given["proposal"] == "slopes" else "curvature"
    session.say(given, f"measuring {given['directions']:,} rays of a {given['proposal']} proposal, the {first} first")

    def make(**growing: Any) -> Volume:
        return importance_volume(
            run.objective,
            given["cutoffs"],
            proposal=given["proposal"],
            curvature=given["curvature"],
            rank=given["rank"],
            directions=given["directions"],
            rtol=_rtol(run),
            **growing,
            **options,
            **run.options,
            **_measure(run),
        )

    return Found({"importance": _proposed(run, PROPOSED, given["directions"], make)}, notes=_about(run))


def _proposed(run: Basin, part: Part[Radii], count: int, make: Callable[..., Volume]) -> Volume:
    """Return the volume that ``make`` measures along rays of a proposal, keeping both.

    Args:
        run: the command.
        part: the rays.
        count: how many.
        make: called with ``resume`` and ``on_progress``.
    """
    made = {}

    def measure(stored: Radii | None, on_progress: OnProgress[Any]) -> Radii:
        latest = stored

        def note(progress: Progress[Any]) -> None:
            nonlocal latest
            latest = progress.snapshot()
            on_progress(progress)

        made["volume"] = make(resume=stored, on_progress=note)
        assert latest is not None
        return latest

    _, fresh = run.grow(part, measure, count)
    fresh = fresh or _is_another(run, part.volume)
    return run.keep(part.volume, fresh, lambda: session.with_provenance(made["volume"], run.provenance), Volume)


def _measure(run: Basin) -> dict[str, Any]:
    return {key: run.given[key] for key in ("measure", "sigma", "measure_centre")}


def _is_another(run: Basin, name: str) -> bool:
    """Whether the file holds a volume by another measure than is asked for: the rays are the same, and it is not."""
    if run.store is None or name not in run.store:
        return False
    held, asked = run.store[name].config, _measure(run)  # type: ignore[attr-defined]
    if asked["measure"] == "lebesgue":
        return "measure" in held
    return any(held.get(key) != value for key, value in asked.items())


def _about(run: Basin) -> list[str]:
    """Return what V is, where it is no volume."""
    if run.given["measure"] == "lebesgue":
        return []
    mean = "0" if run.given["measure_centre"] == "zero" else "the trained point"
    return [f"V is the probability of the basin under a normal density around {mean}, sigma {run.given['sigma']:g}."]


def laplace(run: Basin) -> Found:
    """Measure the curvature alone."""
    given = run.given
    options = {"probes": given["probes"]} if given["probes"] is not None else {}
    held = session.held_result(run.store, given, LAPLACE, LaplaceVolume)
    if held is not None and not given["resume"]:
        raise StoreError(
            f"{given['out']} already holds a volume from the curvature.\n"
            "Type --resume to keep it, --overwrite to start anew, or another --out."
        )
    if held is not None:
        _check_laplace(held, run)
        return Found({LAPLACE: held})
    session.say(given, "measuring the curvature")

    def make() -> LaplaceVolume:
        made = laplace_volume(run.objective, given["cutoffs"], curvature=given["curvature"], **options, **run.options)
        return session.with_provenance(made, run.provenance)

    return Found({LAPLACE: run.keep(LAPLACE, True, make, LaplaceVolume)})


def _check_laplace(held: LaplaceVolume, run: Basin) -> None:
    """Refuse to hand back a stored volume of other settings; what was not typed is what the command does without."""
    given = run.given
    op = basin_curvature(run.objective, given["criterion"], given["metric"], given["curvature"])
    counts = {"probes": given["probes"]} if given["probes"] is not None else {}
    asked = laplace_config(op, given["criterion"], cap_of(op, given["max_radius"]), seed=given["seed"], **counts)
    stored = {**held.config, "cutoffs": [row.cutoff for row in held.results]}
    require_same_config(stored, {**asked, "cutoffs": sorted(given["cutoffs"])}, "volume")


def _budget(run: Basin) -> str:
    return run.given["budget"] or BUDGET


def _rtol(run: Basin) -> float | None:
    """Return the tolerance that was typed; the default of rays is too coarse for better estimators."""
    return None if run.given["rtol"] == DEFAULT_RTOL else float(run.given["rtol"])
