"""What ``landscape volume`` does for each estimator: measure, store, and say what happens."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from landscape.errors import StoreError
from landscape.objective.deadline import BUDGET
from landscape.rays.budget import RAYS as RAYS_SHARE
from landscape.rays.budget import Budget
from landscape.results import (
    AnnealedVolume,
    CountedVolume,
    Hits,
    Islands,
    LaplaceVolume,
    OnProgress,
    Progress,
    Radii,
    Volume,
    require_same_config,
)
from landscape.volume import (
    count_hits,
    importance_volume,
    laplace_volume,
    run_islands,
    volume_from_islands,
    volume_from_radii,
    volume_of_hits,
)
from landscape.volume.auto import measure_in_steps
from landscape.volume.count_hits import WANTED
from landscape.volume.laplace import laplace_config
from landscape.volume.quadratic import basin_curvature, cap_of
from landscape.volume.ray_weights.mean import measure_of_radii
from landscape.volume.uniform import volume_of_rays
from landscape_cli.basin_run import (
    HITS,
    ISLANDS,
    LAPLACE,
    PROPOSED,
    RAYS,
    BasinRun,
    GrowingResult,
    Limit,
    measure_rays,
    rays_of_file,
)
from landscape_cli.progress import Display, Interrupted
from landscape_cli.run_file import stored_result, with_provenance
from landscape_cli.text import duration
from landscape_cli.time_left import deadline_of, gone, remaining

GROWING: dict[str, list[GrowingResult[Any]]] = {
    "auto": [RAYS, HITS, ISLANDS],
    "uniform": [RAYS],
    "counted": [HITS],
    "annealed": [ISLANDS],
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
        interrupted: whether Ctrl-C ended the run; then these are the volumes that were whole.
    """

    volumes: dict[str, Volume]
    radii: Radii | None = None
    notes: tuple[str, ...] = ()
    interrupted: bool = False


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
    """Measure uniform rays and take the mean; if Ctrl-C stops them, the mean of those that are done."""
    radii: list[Radii] = []
    volumes: dict[str, Volume] = {}
    with reporting(run, volumes) as stopped:
        measured, volumes["uniform"] = uniform_rays(run)
        radii.append(measured)
    return VolumeReport(volumes, radii[0] if radii else None, interrupted=bool(stopped))


def counted(run: BasinRun) -> VolumeReport:
    """Count points in the ball of the cap."""
    volumes: dict[str, Volume] = {}
    budget = budget_of(run)
    with deadline_of(budget), reporting(run, volumes) as stopped:
        volumes["counted"] = counted_points(run, remaining(budget), budget)
    return VolumeReport(volumes, interrupted=bool(stopped))


def annealed(run: BasinRun) -> VolumeReport:
    """Measure islands alone; if Ctrl-C stops them, take the rounds that are whole."""
    volumes: dict[str, Volume] = {}
    budget = budget_of(run)
    with deadline_of(budget), reporting(run, volumes) as stopped:
        volumes["annealed"] = annealed_islands(run, run.params["cutoffs"], remaining(budget), rays_of_file(run))
    return VolumeReport(volumes, interrupted=bool(stopped))


def auto(run: BasinRun) -> VolumeReport:
    """Measure what the library's ``auto`` decides to measure, and store each step; Ctrl-C leaves what is whole."""
    radii: list[Radii] = []
    notes: tuple[str, ...] = ()
    volumes: dict[str, Volume] = {}
    budget = budget_of(run)

    def rays(_: Budget) -> Volume:
        measured, volumes["uniform"] = uniform_rays(run, (budget, RAYS_SHARE))
        radii.append(measured)
        return volumes["uniform"]

    def hits(left: str | float) -> Volume | None:
        if run.params["measure"] != "lebesgue":
            return None
        volumes["counted"] = counted_points(run, left, budget, adaptive=True)
        return volumes["counted"]

    def islands(missing: list[float], left: str | float) -> Volume:
        volumes["annealed"] = annealed_islands(run, missing, left, radii[0])
        return volumes["annealed"]

    with reporting(run, volumes) as stopped:
        notes = measure_in_steps(budget, uniform=rays, counted=hits, annealed=islands, late=gone(budget)).notes
    return VolumeReport(volumes, radii[0] if radii else None, notes, bool(stopped))


@contextmanager
def reporting(run: BasinRun, volumes: dict[str, Volume]) -> Iterator[list[BaseException]]:
    """Let Ctrl-C end a block, and add the volume of what had grown by then; without any it ends the command.

    Yields:
        a list that holds the interruption afterwards, if there was one.
    """
    stopped: list[BaseException] = []
    try:
        yield stopped
    except (Interrupted, KeyboardInterrupt) as stop:
        latest = stop.latest if isinstance(stop, Interrupted) else None
        volumes |= unfinished(run, latest)
        if not volumes:
            raise
        stopped.append(stop)


def unfinished(run: BasinRun, latest: object) -> dict[str, Volume]:
    """Return the volume of a partial result, by its estimator; none if it says nothing yet.

    Only that of islands is stored: rays and hits will give another one when they go on.
    """
    if isinstance(latest, Radii) and latest.done.any():
        rays = latest.first(int(latest.done.sum()))
        on_rays = measure_of_radii(run.objective, rays, **run.measure_options)
        return {"uniform": volume_from_radii(rays, measure=on_rays)}
    if isinstance(latest, Hits):
        return {"counted": volume_of_hits(run.objective, latest)}
    if isinstance(latest, Islands) and any(len(latest.whole(cutoff)) for cutoff in range(len(latest.cutoffs))):
        return {"annealed": run.keep(ISLANDS.volume, True, lambda: volume_from_islands(latest), AnnealedVolume)}
    return {}


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
            **run.measure_options,
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
        options = {**curvature_options(run), **run.basin_options}
        with closing(Display(1, 0, quiet=params["quiet"], unit="products at most")) as display:
            volume = laplace_volume(run.objective, params["cutoffs"], on_progress=display.on_progress, **options)
        return with_provenance(volume, run.provenance)

    return VolumeReport({LAPLACE: run.keep(LAPLACE, True, make, LaplaceVolume)})


def uniform_rays(run: BasinRun, limit: Limit | None = None) -> tuple[Radii, Volume]:
    """Return uniform rays and the volume from their mean, both stored."""
    radii, fresh = measure_rays(run, limit)

    def make() -> Volume:
        return volume_of_rays(run.objective, radii, **run.measure_options)

    return radii, run.keep(RAYS.volume, fresh or is_by_another_measure(run, RAYS.volume), make, Volume)


def counted_points(run: BasinRun, left: str | float, budget: str, *, adaptive: bool = False) -> CountedVolume:
    """Return the volume from points counted in the ball of the cap; both are stored.

    Args:
        run: the command.
        left: what the count may cost.
        budget: what was typed for the whole run.
        adaptive: whether to stop early if too few will hit, and to go on to twice that if a verdict is close.
    """
    params = run.params
    longer = ", or twice that if nearly enough hit by then" if adaptive else ""
    run.say(f"counting points in the ball of the cap, until {WANTED} hit or {spelt(left)} spent{longer}")

    def measure(stored: Hits | None, on_progress: OnProgress[Any]) -> Hits:
        return count_hits(
            run.objective,
            params["cutoffs"],
            budget=left,
            adaptive=adaptive,
            resume=stored,
            on_progress=on_progress,
            **run.basin_options,
        )

    hits, fresh = run.grow(HITS, measure, WANTED, budget)
    return run.keep(HITS.volume, fresh, lambda: volume_of_hits(run.objective, hits), CountedVolume)


def annealed_islands(
    run: BasinRun, cutoffs: Sequence[float], left: str | float, radii: Radii | None = None
) -> AnnealedVolume:
    """Return the volume from annealed islands; both are stored.

    Args:
        run: the command.
        cutoffs: which are wanted. Those that are stored are measured too.
        left: what all islands may cost. Those in the file count too.
        radii: uniform rays that are measured already.
    """
    run.say(f"annealing islands of particles until {spelt(left)} spent")
    budget = budget_of(run)
    # what the islands may cost is the last part of the budget
    part = min(share_of(left, budget), 1.0)

    def measure(stored: Islands | None, on_progress: OnProgress[Any]) -> Islands:
        def report(progress: Progress[Any]) -> None:
            done = math.floor(100 * (1 - part) + part * progress.done)
            on_progress(replace(progress, done=done))

        return run_islands(
            run.objective,
            stored.cutoffs if stored is not None and set(cutoffs) <= set(stored.cutoffs) else cutoffs,
            budget=left,
            radii=radii,
            resume=stored,
            on_progress=report,
            **run.basin_options,
            **run.measure_options,
        )

    islands, fresh = run.grow(ISLANDS, measure, 100, budget)
    return run.keep(ISLANDS.volume, fresh, lambda: volume_from_islands(islands), AnnealedVolume)


def share_of(left: str | float, budget: str) -> float:
    """Return a part of a budget as a share of it.

    >>> share_of("30s", "1min"), share_of(250.0, "1000")
    (0.5, 0.25)
    """
    one, whole = Budget.parse(left), Budget.parse(budget)
    return one.passes / whole.passes if math.isfinite(whole.passes) else one.seconds / whole.seconds


def spelt(left: str | float) -> str:
    """Return a budget in words, as the subject of a sentence.

    >>> spelt("87.345s"), spelt(1234.5)
    ('1 min 27 s is', '1,234 passes over the data are')
    """
    limit = Budget.parse(left)
    if math.isfinite(limit.passes):
        return f"{limit.passes:,.0f} passes over the data are"
    return f"{duration(limit.seconds)} is"


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
    stored, asked = run.store[name].config, run.measure_options  # type: ignore[attr-defined]
    if asked["measure"] == "lebesgue":
        return "measure" in stored
    return any(stored.get(key) != value for key, value in asked.items())


def curvature_options(run: BasinRun) -> dict[str, Any]:
    """Return the options of the curvature that rays or a volume follow."""
    return {key: run.params[key] for key in ("curvature", "check", "derivative")} | probes_of(run)


def probes_of(run: BasinRun) -> dict[str, Any]:
    """Return the number of probes if one was typed: each estimator has a default of its own."""
    return {} if run.params["probes"] is None else {"probes": run.params["probes"]}


def budget_of(run: BasinRun) -> str:
    """Return what the whole run may cost."""
    return str(run.params["budget"] or BUDGET)
