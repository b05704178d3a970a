"""What ``landscape volume`` does for each estimator: measure, store, and say what happens."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from landscape.errors import StoreError
from landscape.results import (
    AnnealedVolume,
    Caps,
    Chains,
    CountedVolume,
    Hits,
    LaplaceVolume,
    OnProgress,
    Progress,
    Radii,
    Volume,
    require_same_config,
)
from landscape.volume import (
    anneal,
    count_hits,
    importance_volume,
    laplace_volume,
    volume_from_chains,
    volume_of_hits,
    volumes_at_caps,
)
from landscape.volume.annealed import RELIABLE_CHAINS
from landscape.volume.annealing.anneal import Stopped
from landscape.volume.annealing.budget import Budget
from landscape.volume.auto import BUDGET, along_slopes, measure_in_steps
from landscape.volume.count_hits import WANTED
from landscape.volume.laplace import laplace_config
from landscape.volume.quadratic import basin_curvature, cap_of
from landscape.volume.uniform import volume_of_rays
from landscape_cli.basin_run import (
    CAPS,
    CHAINS,
    HITS,
    LAPLACE,
    PROPOSED,
    RAYS,
    SLOPES,
    BasinRun,
    GrowingResult,
    measure_rays,
)
from landscape_cli.run_file import stored_result, with_provenance

GROWING: dict[str, list[GrowingResult[Any]]] = {
    "auto": [RAYS, CHAINS, SLOPES],
    "uniform": [RAYS],
    "counted": [HITS],
    "annealed": [CHAINS],
    "importance": [PROPOSED],
    "laplace": [],
}


@dataclass(frozen=True)
class VolumeReport:
    """What a run measured.

    Attributes:
        volumes: by estimator, in the order in which they were measured.
        radii: uniform rays, if there are some.
        notes: why these volumes were measured, and nothing else.
        caps: the volume under smaller caps, if there are chains and a cap.
    """

    volumes: dict[str, Volume]
    radii: Radii | None = None
    notes: tuple[str, ...] = ()
    caps: Caps | None = None


def measure_volumes(run: BasinRun) -> VolumeReport:
    """Return the volumes that the options ask for."""
    estimators: dict[str, Callable[[BasinRun], VolumeReport]] = {
        "auto": auto,
        "uniform": uniform,
        "counted": counted,
        "annealed": annealed,
        "importance": importance,
        "laplace": laplace,
    }
    return estimators[run.params["estimator"]](run)


def uniform(run: BasinRun) -> VolumeReport:
    """Measure uniform rays and take the mean."""
    radii, volume = uniform_rays(run)
    return VolumeReport({"uniform": volume}, radii)


def counted(run: BasinRun) -> VolumeReport:
    """Count points in the ball of the cap."""
    return VolumeReport({"counted": counted_points(run, budget_of(run))})


def auto(run: BasinRun) -> VolumeReport:
    """Measure what the library's ``auto`` decides to measure, and store each step."""
    radii: list[Radii] = []
    caps: list[Caps] = []
    stopped: list[Chains] = []

    def rays() -> Volume:
        measured, volume = uniform_rays(run)
        radii.append(measured)
        return volume

    def chains(on_stop: Callable[[Stopped], None]) -> AnnealedVolume | Chains:
        measured, fresh = annealed_chains(run, on_stop)
        if not measured.done.all():
            stopped.append(measured)
            return measured
        caps.extend(smaller_caps(run, measured, fresh))
        return annealed_volume(run, measured, fresh)

    measured = measure_in_steps(budget_of(run), uniform=rays, chains=chains, slopes=lambda left: slopes(run, left))
    notes = measured.notes
    if run.store is not None and stopped:
        notes = (*notes, "With --resume the chains continue from what is stored.")
    return VolumeReport(measured.volumes, radii[0], notes, caps[0] if caps else None)


def annealed(run: BasinRun) -> VolumeReport:
    """Measure chains alone."""
    chains, fresh = annealed_chains(run)
    volume = annealed_volume(run, chains, fresh)
    caps = smaller_caps(run, chains, fresh)
    return VolumeReport({"annealed": volume}, caps=caps[0] if caps else None)


def importance(run: BasinRun) -> VolumeReport:
    """Measure rays of a proposal."""
    params = run.params
    first = "slopes" if params["proposal"] == "slopes" else "curvature"
    run.say(f"measuring {params['directions']:,} rays of a {params['proposal']} proposal, the {first} first")

    def measure(**progress: Any) -> Volume:
        return importance_volume(
            run.objective,
            params["cutoffs"],
            proposal=params["proposal"],
            rank=params["rank"],
            directions=params["directions"],
            **progress,
            **curvature_options(run),
            **run.basin_options,
            **measure_options(run),
        )

    return VolumeReport({"importance": proposed_rays(run, PROPOSED, params["directions"], measure)})


def laplace(run: BasinRun) -> VolumeReport:
    """Measure the curvature alone."""
    params = run.params
    stored = stored_result(run.store, params, LAPLACE, LaplaceVolume)
    if stored is not None and not params["resume"]:
        raise StoreError(
            f"{params['out']} already holds a volume from the curvature.\n"
            "Type --resume to keep it, --overwrite to start over, or another --out."
        )
    if stored is not None:
        check_laplace(stored, run)
        return VolumeReport({LAPLACE: stored})
    run.say("measuring the curvature")

    def make() -> LaplaceVolume:
        volume = laplace_volume(run.objective, params["cutoffs"], **curvature_options(run), **run.basin_options)
        return with_provenance(volume, run.provenance)

    return VolumeReport({LAPLACE: run.keep(LAPLACE, True, make, LaplaceVolume)})


def uniform_rays(run: BasinRun) -> tuple[Radii, Volume]:
    """Return uniform rays and the volume from their mean, both stored."""
    radii, fresh = measure_rays(run)

    def make() -> Volume:
        return volume_of_rays(run.objective, radii, **measure_options(run))

    return radii, run.keep(RAYS.volume, fresh or is_by_another_measure(run, RAYS.volume), make, Volume)


def counted_points(run: BasinRun, budget: str) -> CountedVolume:
    """Return the volume from points counted in the ball of the cap, within a budget; both are stored."""
    params = run.params
    run.say(f"counting points in the ball of the cap, until {WANTED} are in the basin or {budget} is spent")

    def measure(stored: Hits | None, on_progress: OnProgress[Any]) -> Hits:
        return count_hits(
            run.objective,
            params["cutoffs"],
            budget=budget,
            resume=stored,
            on_progress=on_progress,
            **run.basin_options,
        )

    hits, fresh = run.grow(HITS, measure, WANTED)
    return run.keep(HITS.volume, fresh, lambda: volume_of_hits(run.objective, hits), CountedVolume)


def annealed_chains(run: BasinRun, on_stop: Callable[[Stopped], None] | None = None) -> tuple[Chains, bool]:
    """Return chains and whether any was measured now; they are unfinished if the pilots used up the budget.

    Args:
        run: the command.
        on_stop: as for :func:`landscape.volume.annealing.anneal.anneal`.
    """
    params = run.params
    counts = {key: params[key] for key in ("chains", "temperatures")}
    budget = None if params["temperatures"] is not None else budget_of(run)
    if params["chains"] is not None and params["chains"] < RELIABLE_CHAINS:
        run.say(f"{params['chains']} chains give a lower bound: reliable takes {RELIABLE_CHAINS} or more")
    say_plan = PlanMessages(run, budget)

    def measure(stored: Chains | None, on_progress: OnProgress[Any]) -> Chains:
        def report(progress: Progress[Any]) -> None:
            on_progress(progress)
            say_plan(progress)

        return anneal(
            run.objective,
            params["cutoffs"],
            budget=budget,
            resume=stored,
            on_progress=report,
            on_stop=on_stop,
            **counts,
            **run.basin_options,
            **measure_options(run),
        )

    return run.grow(CHAINS, measure)


def annealed_volume(run: BasinRun, chains: Chains, fresh: bool) -> AnnealedVolume:
    """Return the volume from chains, stored."""
    return run.keep(CHAINS.volume, fresh, lambda: volume_from_chains(chains), AnnealedVolume)


def smaller_caps(run: BasinRun, chains: Chains, fresh: bool) -> list[Caps]:
    """Return the volumes under smaller caps, stored; none without a cap, since lengths are then of any size."""
    if math.isinf(chains.max_radius):
        return []
    return [run.keep(CAPS, fresh, lambda: volumes_at_caps(chains), Caps)]


class PlanMessages:
    """Says once what the pilots are for, and once how many chains and temperatures the budget became."""

    def __init__(self, run: BasinRun, budget: str | None) -> None:
        self._run = run
        self._said = budget is None
        stored = run.stored.get(CHAINS.name)
        if stored is not None and stored.config["temperatures"] is not None:
            self._said = True
            if run.params["budget"] is not None:
                run.say(f"{plan_of(stored)} are kept, as an earlier budget decided")
        elif budget is not None:
            passes = "" if math.isfinite(Budget.parse(budget).seconds) else " passes over the data"
            run.say(f"annealing within {budget}{passes}: pilot chains first")

    def __call__(self, progress: Progress[Any]) -> None:
        """Say the plan as soon as the pilots have made it."""
        if not self._said and (chains := progress.snapshot()).config["temperatures"] is not None:
            self._said = True
            self._run.say(f"annealing {plan_of(chains)}, and a run of half as many temperatures")


def plan_of(chains: Chains) -> str:
    """Return how many chains and temperatures there are, in words."""
    return f"{chains.config['chains']} chains of {chains.config['temperatures']:,} temperatures"


def slopes(run: BasinRun, left: Stopped) -> Volume:
    """Measure rays along the coordinates that the pilots learned, in place of chains."""
    run.say(f"{left.rays:,} rays along the learned coordinates, in place of chains")

    def measure(**progress: Any) -> Volume:
        options = {**progress, **run.basin_options, **measure_options(run)}
        return along_slopes(run.objective, run.params["cutoffs"], left, **options)

    return proposed_rays(run, SLOPES, left.rays, measure)


def proposed_rays(
    run: BasinRun, growing: GrowingResult[Radii], count: int, measure_volume: Callable[..., Volume]
) -> Volume:
    """Return the volume measured along rays of a proposal; the rays and the volume are stored.

    Args:
        run: the command.
        growing: the rays.
        count: how many.
        measure_volume: called with ``resume`` and ``on_progress``.
    """
    volumes: list[Volume] = []

    def measure(stored: Radii | None, on_progress: OnProgress[Any]) -> Radii:
        latest = stored

        def report(progress: Progress[Any]) -> None:
            nonlocal latest
            latest = progress.snapshot()
            on_progress(progress)

        volumes.append(measure_volume(resume=stored, on_progress=report))
        assert latest is not None
        return latest

    _, fresh = run.grow(growing, measure, count)
    fresh = fresh or is_by_another_measure(run, growing.volume)
    return run.keep(growing.volume, fresh, lambda: with_provenance(volumes[0], run.provenance), Volume)


def check_laplace(stored: LaplaceVolume, run: BasinRun) -> None:
    """Refuse to return a stored volume of other settings; an option that was not typed has its default."""
    params = run.params
    op = basin_curvature(
        run.objective,
        params["criterion"],
        params["metric"],
        params["curvature"],
        derivative=params["derivative"],
    )
    cap = cap_of(op, params["max_radius"])
    asked = laplace_config(op, params["criterion"], cap, seed=params["seed"], **probes_of(run))
    config = {**stored.config, "cutoffs": [row.cutoff for row in stored.results]}
    require_same_config(config, {**asked, "cutoffs": sorted(params["cutoffs"])}, "volume")


def is_by_another_measure(run: BasinRun, name: str) -> bool:
    """Return whether the file holds a volume by another measure than the options ask for, from the same rays."""
    if run.store is None or name not in run.store:
        return False
    stored, asked = run.store[name].config, measure_options(run)  # type: ignore[attr-defined]
    if asked["measure"] == "lebesgue":
        return "measure" in stored
    return any(stored.get(key) != value for key, value in asked.items())


def measure_options(run: BasinRun) -> dict[str, Any]:
    """Return the options that say by which measure V is a volume or a probability."""
    return {key: run.params[key] for key in ("measure", "sigma", "measure_centre")}


def curvature_options(run: BasinRun) -> dict[str, Any]:
    """Return the options of the curvature that rays or a volume follow."""
    return {key: run.params[key] for key in ("curvature", "check", "derivative")} | probes_of(run)


def probes_of(run: BasinRun) -> dict[str, Any]:
    """Return the number of probes if one was typed: each estimator has a default of its own."""
    return {} if run.params["probes"] is None else {"probes": run.params["probes"]}


def budget_of(run: BasinRun) -> str:
    """Return the budget of the chains."""
    return run.params["budget"] or BUDGET
