"""A run of ``radius`` or ``volume``: the file, the objective, and results that are stored while they grow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import click

from landscape.errors import StoreError
from landscape.objective import Objective
from landscape.rays import basin_radii, make_metric
from landscape.results import Chains, Hits, OnProgress, Radii, Result
from landscape.store import Store
from landscape_cli.flags import in_flags
from landscape_cli.next_command import resume_command, stopped_line
from landscape_cli.progress import Display, keep_measuring, say
from landscape_cli.run_file import growing_result, open_store, with_provenance
from landscape_cli.task import find_task, make_objective
from landscape_cli.text import paragraph

Growing = TypeVar("Growing", Radii, Hits, Chains)
Stored = TypeVar("Stored", bound=Result)


@dataclass(frozen=True)
class GrowingResult(Generic[Growing]):
    """A result that grows in the file while it is measured.

    Attributes:
        name: in the file.
        kind: its class.
        noun: what to call it.
        unit: what it consists of.
        volume: name of the volume made from it. New rays or chains make that volume invalid.
        more: names of what else is made from it.
    """

    name: str
    kind: type[Growing]
    noun: str
    unit: str
    volume: str
    more: tuple[str, ...] = ()


CAPS = "caps"
RAYS = GrowingResult("radii", Radii, "run", "rays", "volume")
PROPOSED = GrowingResult("importance-radii", Radii, "run of proposed rays", "rays", "importance")
SLOPES = GrowingResult("slopes-radii", Radii, "run of rays along learned coordinates", "rays", "slopes")
HITS = GrowingResult("hits", Hits, "count of points in the ball of the cap", "hits", "counted")
CHAINS = GrowingResult("chains", Chains, "run of annealed chains", "temperatures", "annealed", (CAPS,))
LAPLACE = "laplace"
_GROWING: tuple[GrowingResult[Any], ...] = (RAYS, PROPOSED, SLOPES, HITS, CHAINS)
_OF_A_BASIN = (LAPLACE, CAPS, *(name for each in _GROWING for name in (each.name, each.volume)))
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
    """

    params: Mapping[str, Any]
    objective: Objective
    store: Store | None
    provenance: Mapping[str, str]
    stored: Mapping[str, Any]
    outdated: list[str]

    @property
    def basin_options(self) -> dict[str, Any]:
        """The options that say which basin it is, the seed, and the tolerance if one was typed."""
        names = ("criterion", "metric", "max_radius", "seed")
        rtol = {} if self.params["rtol"] is None else {"rtol": self.params["rtol"]}
        return {**{name: self.params[name] for name in names}, **rtol}

    def grow(
        self,
        growing: GrowingResult[Growing],
        measure: Callable[[Growing | None, OnProgress[Any]], Growing],
        total: int = 1,
    ) -> tuple[Growing, bool]:
        """Return a result and whether any of it was measured now, and commit it while it grows.

        Args:
            growing: which one.
            measure: takes what is stored, and the ``on_progress`` to call after every block.
            total: rays or temperatures in all, if that is known.
        """
        stored: Growing | None = self.stored.get(growing.name)

        def put(result: Growing) -> None:
            if self.store is not None:
                # only once something new replaces the old result: a run that never starts loses nothing
                self._drop(growing.volume, *growing.more)
                self.store[growing.name] = with_provenance(result, self.provenance)

        def stopped(why: str, latest: Growing | None) -> str:
            result = latest or stored
            done = None if result is None else f"{why} after {counted(result, growing.unit)}"
            return stopped_line(done, self.params["out"], self.provenance["command"])

        known = 0 if stored is None else int(stored.done.sum())
        display = Display(total, known, quiet=self.params["quiet"], unit=growing.unit)
        result, fresh = keep_measuring(lambda on_progress: measure(stored, on_progress), put, display, stopped)
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
        task, checkpoint = find_task(params)
        say(params, f"{params['checkpoint']}: {checkpoint.form}")
        objective = make_objective(task, params)
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
    dimension = make_metric(params["metric"], objective.theta, objective.scope).scope.size
    together = "one point at a time" if lanes == 1 else f"{lanes:,} points at a time"
    return [
        f"n = {dimension:,} of {objective.layout.size:,} parameters, {objective.samples:,} samples, loss at the centre "
        f"{objective.centre:.4g}, {together}",
        *(in_flags(f"note: {note}") for note in objective.notes),
    ]


def counted(result: Radii | Hits | Chains, unit: str) -> str:
    """Return how much of a result there is, in words."""
    if isinstance(result, Chains) and result.config["temperatures"] is None:
        return f"{len(result.trace):,} temperatures of the pilots"
    along = f" along {result.rays:,} rays" if isinstance(result, Hits) else ""
    return f"{int(result.done.sum()):,} of {len(result.done):,} {unit}{along}"


def measure_rays(run: BasinRun) -> tuple[Radii, bool]:
    """Return the radii along uniform rays, and whether any was measured now."""
    params, stored = run.params, run.stored.get(RAYS.name)
    known = "" if stored is None else f" ({int(stored.done.sum()):,} of them from the file)"
    run.say(f"measuring {params['directions']:,} rays{known}")

    def measure(stored: Radii | None, on_progress: OnProgress[Any]) -> Radii:
        return basin_radii(
            run.objective,
            params["cutoffs"],
            directions=params["directions"],
            resume=stored,
            on_progress=on_progress,
            **run.basin_options,
        )

    return run.grow(RAYS, measure, params["directions"])
