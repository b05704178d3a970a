"""Measuring a basin: what radii and volumes share, from opening the file to results kept while they grow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import click

from landscape.errors import StoreError
from landscape.objective import Objective
from landscape.rays import basin_radii, make_metric
from landscape.results import Chains, OnProgress, Radii, Result
from landscape.store import Store
from landscape_cli import session
from landscape_cli.progress import Display, keep_measuring
from landscape_cli.text import paragraph

Grown = TypeVar("Grown", Radii, Chains)
Held = TypeVar("Held", bound=Result)


@dataclass(frozen=True)
class Part(Generic[Grown]):
    """A result that grows in the file while it is measured.

    Attributes:
        name: in the file.
        kind: its class.
        noun: what to call it.
        unit: what it consists of.
        volume: name of the volume that is made from it, which does not outlive a change of it.
        more: names of what else is.
    """

    name: str
    kind: type[Grown]
    noun: str
    unit: str
    volume: str
    more: tuple[str, ...] = ()


CAPS = "caps"
RAYS = Part("radii", Radii, "run", "rays", "volume")
PROPOSED = Part("importance-radii", Radii, "run of proposed rays", "rays", "importance")
SLOPES = Part("slopes-radii", Radii, "run of rays along learnt coordinates", "rays", "slopes")
CHAINS = Part("chains", Chains, "run of annealed chains", "temperatures", "annealed", (CAPS,))
LAPLACE = "laplace"
_FAMILY = (LAPLACE, CAPS, *(name for part in (RAYS, PROPOSED, SLOPES, CHAINS) for name in (part.name, part.volume)))
_SAME = ("theta_hash", "data_hash", "samples")


@dataclass
class Basin:
    """What a command that measures a basin works with.

    Attributes:
        given: the options.
        objective: the loss around the trained point.
        store: the file, locked; None where nothing is kept.
        provenance: where results come from, for their configuration.
        held: results of the file that are to be continued, by name.
        stale: names of results that go once there is something new to take their place.
    """

    given: Mapping[str, Any]
    objective: Objective
    store: Store | None
    provenance: Mapping[str, str]
    held: Mapping[str, Any]
    stale: list[str]

    @property
    def options(self) -> dict[str, Any]:
        """The options that say which basin it is, and the seed."""
        return {key: self.given[key] for key in ("criterion", "metric", "max_radius", "seed")}

    def grow(
        self,
        part: Part[Grown],
        measure: Callable[[Grown | None, OnProgress[Any]], Grown],
        wanted: int = 1,
    ) -> tuple[Grown, bool]:
        """Return a result and whether any of it was measured now, committing it as it grows.

        Args:
            part: which one.
            measure: takes what is known, and the ``on_progress`` to call after every block.
            wanted: rays or temperatures in all, as far as that is known.
        """
        stored: Grown | None = self.held.get(part.name)

        def put(result: Grown) -> None:
            if self.store is not None:
                # not before there is something new to take the old one's place: a run that never starts loses nothing
                self._drop(part.volume, *part.more)
                self.store[part.name] = session.with_provenance(result, self.provenance)

        def stopped(why: str, latest: Grown | None) -> str:
            result = latest or stored
            done = None if result is None else f"{why} after {counted(result, part.unit)}"
            return session.stopped_line(done, self.given["out"], self.provenance["command"])

        known = 0 if stored is None else int(stored.done.sum())
        display = Display(wanted, known, quiet=self.given["quiet"], unit=part.unit)
        result, fresh = keep_measuring(lambda on_progress: measure(stored, on_progress), put, display, stopped)
        if stored is not None and not fresh:
            return stored, False
        return session.with_provenance(result, self.provenance), True

    def keep(self, name: str, fresh: bool, make: Callable[[], Held], kind: type[Held]) -> Held:
        """Return the result that the file holds under a name, or one made now, which is kept."""
        if not fresh and self.store is not None and name in self.store:
            found = self.store[name]
            if isinstance(found, kind):
                return found
        made = make()
        if self.store is not None:
            self._drop(name)
            self.store[name] = made
        return made

    def _drop(self, *names: str) -> None:
        """Take results out of the file, and what is to be overwritten with them."""
        assert self.store is not None
        for name in {*names, *self.stale} & set(self.store.names()):
            del self.store[name]
        self.stale.clear()


@contextmanager
def opened(context: click.Context, parts: Sequence[Part[Any]]) -> Iterator[Basin]:
    """Open the file of ``--out``, find what it holds of these parts, and build the objective.

    The file comes first and stays locked in the block: what is wrong with it shows before anything expensive begins.
    """
    given = context.params
    with session.open_store(given) as store:
        held = {}
        for part in parts:
            stored = session.stored_result(store, given, part.name, part.kind, part.noun, part.unit)
            if stored is not None:
                held[part.name] = stored
        task, checkpoint = session.find_task(given)
        session.say(given, f"{given['checkpoint']}: {checkpoint.form}")
        objective = session.make_objective(task, given)
        present = [] if store is None else [name for name in _FAMILY if name in store.names()]
        if store is not None and present and not given["overwrite"]:
            check_same(store, present, objective, given)
        for line in centre_lines(objective, given):
            session.say(given, paragraph(line))
        provenance = {"checkpoint": str(given["checkpoint"]), "command": session.resume_command(context)}
        yield Basin(given, objective, store, provenance, held, present if given["overwrite"] else [])
    if store is None:
        session.say(given, "Nothing was kept; to keep the run, for plots and to continue it: --out run.h5")


def check_same(store: Store, names: Sequence[str], objective: Objective, given: Mapping[str, Any]) -> None:
    """Refuse to add to a file that is about another trained point or other data."""
    described, now = store.describe()["results"], objective.describe()
    for name in names:
        then = described[name]["config"]
        wrong = [key for key in _SAME if key in then and then[key] != now[key]]
        if wrong:
            what = "trained point" if "theta_hash" in wrong else "set of data"
            raise StoreError(
                f"{given['out']} holds {name!r} of another {what} ({then.get('checkpoint', 'unnamed')}), and one file "
                f"is about one.\nPass another --out for {given['checkpoint']}, or --overwrite to start anew."
            )


def centre_lines(objective: Objective, given: Mapping[str, Any]) -> list[str]:
    """Return what is about to be measured, and what a user should know about it."""
    lanes = objective.plan.lanes
    dimension = make_metric(given["metric"], objective.theta, objective.scope).scope.size
    together = "one point at a time" if lanes == 1 else f"{lanes:,} points at a time"
    return [
        f"n = {dimension:,} of {objective.layout.size:,} parameters, {objective.samples:,} samples, loss at the centre "
        f"{objective.centre:.4g}, {together}",
        *(f"note: {note}" for note in objective.notes),
    ]


def counted(result: Radii | Chains, unit: str) -> str:
    """Return how much of a result there is, in words."""
    if isinstance(result, Chains) and result.config["temperatures"] is None:
        return f"{len(result.trace):,} temperatures of the pilots"
    return f"{int(result.done.sum()):,} of {len(result.done):,} {unit}"


def measured_rays(basin: Basin) -> tuple[Radii, bool]:
    """Return the radii along uniform rays, and whether any was measured now."""
    given, stored = basin.given, basin.held.get(RAYS.name)
    known = "" if stored is None else f" ({int(stored.done.sum()):,} of them from the file)"
    session.say(given, f"measuring {given['directions']:,} rays{known}")

    def measure(stored: Radii | None, on_progress: OnProgress[Any]) -> Radii:
        return basin_radii(
            basin.objective,
            given["cutoffs"],
            directions=given["directions"],
            rtol=given["rtol"],
            resume=stored,
            on_progress=on_progress,
            **basin.options,
        )

    return basin.grow(RAYS, measure, given["directions"])
