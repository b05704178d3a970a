"""A run of ``radius`` or ``volume``: the file, the objective, and results that are stored while they grow."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import click

from landscape.errors import StoreError
from landscape.objective import Objective
from landscape.rays import basin_radii, metric_of
from landscape.rays.budget import Budget, radii_within
from landscape.rays.march import March
from landscape.results import NOTHING, Cost, Hits, Islands, OnProgress, Progress, Radii, Result, require_same_config
from landscape.store import Store
from landscape.volume.ray_weights.measure import make_measure
from landscape_cli.flags import in_flags
from landscape_cli.next_command import resume_command, stopped_line
from landscape_cli.progress import Display, keep_measuring, say
from landscape_cli.run_file import growing_result, open_store, with_provenance
from landscape_cli.task import make_objective
from landscape_cli.text import PERCENT, amount, paragraph

Growing = TypeVar("Growing", Radii, Hits, Islands)
Stored = TypeVar("Stored", bound=Result)
Limit = tuple[str, float]


@dataclass(frozen=True)
class GrowingResult(Generic[Growing]):
    """A result that grows in the file while it is measured.

    Attributes:
        name: in the file.
        kind: its class.
        noun: what to call it.
        unit: what it consists of.
        volume: name of the volume made from it. More rays, hits or rounds make that volume invalid.
    """

    name: str
    kind: type[Growing]
    noun: str
    unit: str
    volume: str


RAYS = GrowingResult("radii", Radii, "run", "rays", "volume")
PROPOSED = GrowingResult("importance-radii", Radii, "run of proposed rays", "rays", "importance")
HITS = GrowingResult("hits", Hits, "count of points in the ball of the cap", "hits", "counted")
ISLANDS = GrowingResult("islands", Islands, "run of annealed islands", PERCENT, "annealed")
LAPLACE = "laplace"
_GROWING: tuple[GrowingResult[Any], ...] = (RAYS, PROPOSED, HITS, ISLANDS)
_OF_A_BASIN = (LAPLACE, *(name for each in _GROWING for name in (each.name, each.volume)))
_ONE_PER_FILE = ("theta_hash", "data_hash", "samples")


@dataclass
class BasinRun:
    """What a command that measures a basin works with.

    Attributes:
        params: the options.
        objective: the loss around the trained point.
        store: the file, locked; None if nothing is stored.
        provenance: where results come from, for their configuration.
        stored: results of the file that this run continues, by name.
        outdated: names of results to drop as soon as a new one replaces them.
        spent: what the results so far have cost.
    """

    params: Mapping[str, Any]
    objective: Objective
    store: Store | None
    provenance: Mapping[str, str]
    stored: Mapping[str, Any]
    outdated: list[str]
    spent: Cost = NOTHING

    @property
    def basin_options(self) -> dict[str, Any]:
        """The options that say which basin it is, the seed, and the tolerance and resolution if typed."""
        names = ("criterion", "metric", "max_radius", "seed")
        typed = {name: self.params[name] for name in ("rtol", "step_ratio") if self.params[name] is not None}
        return {**{name: self.params[name] for name in names}, **typed}

    @property
    def measure_options(self) -> dict[str, Any]:
        """The options that say by which measure V is a volume or a probability."""
        return {key: self.params[key] for key in ("measure", "sigma", "measure_centre")}

    def grow(
        self,
        growing: GrowingResult[Growing],
        measure: Callable[[Growing | None, OnProgress[Any]], Growing],
        total: int = 1,
        budget: str | None = None,
    ) -> tuple[Growing, bool]:
        """Return a result and whether any of it was measured now, and commit it while it grows.

        Args:
            growing: which one.
            measure: takes what is stored, and the ``on_progress`` to call after every block.
            total: rays or hits in all, if that is known.
            budget: what was typed, if that limits the result. A result that was finished with as much is returned as it
                is stored.
        """
        stored: Growing | None = self.stored.get(growing.name)
        if stored is not None and budget is not None and covers(stored.config.get("budget"), budget):
            self._check_settings(stored)
            self.spent += stored.cost
            return stored, False

        def put(result: Growing) -> None:
            if self.store is not None:
                # only once something new replaces the old result: a run that never starts loses nothing
                self._drop(growing.volume)
                self.store[growing.name] = with_provenance(result, self.provenance)

        def stopped(why: str, latest: Growing | None) -> str:
            result = latest or stored
            done = None if result is None else f"{why} after {counted(result, growing.unit)}"
            if done is None and self.spent.calls:
                done = f"{why} after {self.spent.evaluations:,.0f} passes over the data"
            return stopped_line(done, self.params["out"], self.provenance["command"])

        known = 0 if stored is None or growing.unit == PERCENT else int(stored.done.sum())
        display = Display(total, known, quiet=self.params["quiet"], unit=growing.unit)

        def run(on_progress: OnProgress[Growing]) -> Growing:
            return measure(stored, on_progress if budget is None else self._with_share(budget, on_progress))

        result, fresh = keep_measuring(run, put, display, stopped)
        self.spent += result.cost
        if budget is not None and not (isinstance(result, Radii) and result.directions == self.params["directions"]):
            result = with_provenance(result, {**self.provenance, "budget": budget})
            if self.store is not None:
                self.store[growing.name] = result
            return result, fresh
        if stored is not None and not fresh:
            return stored, False
        return with_provenance(result, self.provenance), True

    def keep(self, name: str, fresh: bool, make: Callable[[], Stored], kind: type[Stored]) -> Stored:
        """Return what the file holds under a name, or make it and store it.

        Args:
            name: in the file.
            fresh: whether what it is made from has changed, so that the stored one is invalid.
            make: makes it.
            kind: its class.
        """
        if not fresh and self.store is not None and name in self.store:
            stored = self.store[name]
            if isinstance(stored, kind):
                return stored
        result = make()
        if self.store is not None:
            self._drop(name)
            self.store[name] = result
        return result

    def _with_share(self, budget: str, on_progress: OnProgress[Growing]) -> OnProgress[Growing]:
        """Return ``on_progress`` for results that do not say themselves which share of the budget is spent."""
        limit = Budget.parse(budget)

        def report(progress: Progress[Growing]) -> None:
            if not progress.words:
                used = limit.used(self.spent + progress.snapshot().cost)
                progress = replace(progress, words=f"{100 * min(used, 1.0):.0f} {PERCENT}")
            on_progress(progress)

        return report

    def _check_settings(self, stored: Radii | Hits | Islands) -> None:
        """Refuse a stored result of other settings that nothing is to be added to."""
        options, objective = {"rtol": 1e-3, "step_ratio": 2.0, **self.basin_options}, self.objective
        metric = metric_of(objective, options["metric"])
        cap = March(options["max_radius"], options["rtol"], options["step_ratio"], None).cap(metric)
        asked = {
            **objective.describe(),
            **{name: options[name] for name in ("criterion", "metric", "seed", "step_ratio")},
            "max_radius": None if math.isinf(cap) else cap,
            "cutoffs": sorted(set(self.params["cutoffs"])),
        }
        if self.params["rtol"] is not None:
            asked["rtol"] = options["rtol"]
        if isinstance(stored, Islands):
            asked |= make_measure(objective, metric, **self.measure_options).describe()
            if self.params["estimator"] == "auto" and set(stored.cutoffs) <= set(asked["cutoffs"]):
                del asked["cutoffs"]  # islands are for those that other estimators leave
        require_same_config({**stored.config, "cutoffs": list(stored.cutoffs)}, asked)

    def say(self, line: str) -> None:
        """Print one line on stderr, unless told to be quiet."""
        say(self.params, line)

    def _drop(self, *names: str) -> None:
        """Delete results from the file, and those that are outdated with them."""
        assert self.store is not None
        for name in {*names, *self.outdated} & set(self.store.names()):
            del self.store[name]
        self.outdated.clear()


@contextmanager
def open_basin_run(context: click.Context, growing: Sequence[GrowingResult[Any]]) -> Iterator[BasinRun]:
    """Open the file of ``--out``, find what it holds of these results, and build the objective.

    The file comes first and stays locked in the block, so that its faults show before anything expensive begins.
    """
    params = context.params
    with open_store(params) as store:
        stored = {}
        for each in growing:
            result = growing_result(store, params, each.name, each.kind, each.noun, each.unit)
            if result is not None:
                stored[each.name] = result
        objective = make_objective(params)
        present = [] if store is None else [name for name in _OF_A_BASIN if name in store.names()]
        if store is not None and present and not params["overwrite"]:
            check_same(store, present, objective, params)
        for line in centre_lines(objective, params):
            say(params, paragraph(line))
        provenance = {"checkpoint": str(params["checkpoint"]), "command": resume_command(context)}
        yield BasinRun(params, objective, store, provenance, stored, present if params["overwrite"] else [])
    if store is None:
        say(params, "Nothing was kept; to keep the run, for plots and to continue it: --out run.h5")


def check_same(store: Store, names: Sequence[str], objective: Objective, params: Mapping[str, Any]) -> None:
    """Refuse to add to a file about another trained point or other data."""
    described, now = store.describe(), objective.describe()
    for name in names:
        if name in described["damaged"]:
            raise StoreError(described["damaged"][name])
        then = described["results"][name]["config"]
        different = [key for key in _ONE_PER_FILE if key in then and then[key] != now[key]]
        if different:
            what = "trained point" if "theta_hash" in different else "set of data"
            raise StoreError(
                f"{params['out']} holds {name!r} of another {what} ({then.get('checkpoint', 'unnamed')}), and one file "
                f"is about one.\nPass another --out for {params['checkpoint']}, or --overwrite to start over."
            )


def centre_lines(objective: Objective, params: Mapping[str, Any]) -> list[str]:
    """Return what is about to be measured, and what a user should know about it."""
    lanes = objective.plan.lanes
    dimension = metric_of(objective, params["metric"]).scope.size
    together = "one point at a time" if lanes == 1 else f"{lanes:,} points at a time"
    return [
        f"n = {dimension:,} of {objective.layout.size:,} parameters, {objective.samples:,} samples, loss at the centre "
        f"{objective.centre:.4g}, {together}",
        *(in_flags(f"note: {note}") for note in objective.notes),
    ]


def counted(result: Radii | Hits | Islands, unit: str) -> str:
    """Return how much of a result there is, in words."""
    if isinstance(result, Islands):
        whole = sum(len(result.whole(cutoff)) for cutoff in range(len(result.cutoffs)))
        along = f" and {whole} whole round{'s' * (whole != 1)}"
    else:
        along = f" along {result.rays:,} rays" if isinstance(result, Hits) else ""
    return f"{amount(int(result.done.sum()), len(result.done), unit)}{along}"


def covers(finished: str | None, asked: str) -> bool:
    """Return whether what one budget gave is all that another one would.

    >>> covers("2min", "90s"), covers("2min", "5min"), covers("2min", "20000"), covers(None, "2min")
    (True, False, False, False)
    """
    if finished is None:
        return False
    one, other = Budget.parse(finished), Budget.parse(asked)
    same_unit = math.isfinite(one.passes) == math.isfinite(other.passes)
    return same_unit and one.passes >= other.passes and one.seconds >= other.seconds


def measure_rays(run: BasinRun, limit: Limit | None = None) -> tuple[Radii, bool]:
    """Return the radii along uniform rays, and whether any was measured now.

    Args:
        run: the command.
        limit: the budget as it was typed and the share of it that the rays may cost; None for no limit.
    """
    params, stored = run.params, run.stored.get(RAYS.name)
    known = "" if stored is None else f" ({int(stored.done.sum()):,} of them from the file)"
    run.say(f"measuring {params['directions']:,} rays{known}")

    def measure(stored: Radii | None, on_progress: OnProgress[Any]) -> Radii:
        def rays(on_block: OnProgress[Any]) -> Radii:
            return basin_radii(
                run.objective,
                params["cutoffs"],
                directions=params["directions"],
                resume=stored,
                on_progress=on_block,
                **run.basin_options,
            )

        if limit is None:
            return rays(on_progress)
        return radii_within(Budget.parse(limit[0]), limit[1], rays, on_progress, stored)

    return run.grow(RAYS, measure, params["directions"], None if limit is None else limit[0])


def rays_of_file(run: BasinRun) -> Radii | None:
    """Return the uniform rays that the file holds and keeps, if there are some."""
    if run.store is None or RAYS.name not in run.store or RAYS.name in run.outdated:
        return None
    found = run.store[RAYS.name]
    return found if isinstance(found, Radii) else None
