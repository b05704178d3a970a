"""The run of ``landscape track``: each checkpoint of a training run measured within its budget, and stored."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from landscape import plots
from landscape.errors import StoreError
from landscape.integrations import Quantities
from landscape.results import Snapshot, snapshots_text
from landscape.store import Store
from landscape_cli.checkpoints_of_run import labels, steps_text, training_place
from landscape_cli.flags import in_flags
from landscape_cli.interrupts import INTERRUPTED, check_pressed
from landscape_cli.machine_output import strict_json
from landscape_cli.next_command import resume_command, stopped_line
from landscape_cli.progress import Display, say
from landscape_cli.run_file import open_store, stored_result
from landscape_cli.sharpness_run import names_of_measures, read_objective, start_of, stored_eigenpairs

_OPTIONS = ("criterion", "directions", "metric", "rho", "draws", "probes", "seed")


def run_track(context: click.Context) -> None:
    """Measure, store, draw and print what the options of the command ask for."""
    params = context.params
    paths = params["checkpoints"]
    names = [name for part in params["measures"] for name in names_of_measures(part, "--measure")]
    wanted = Quantities(
        measures=names, cutoff=params["cutoff"], budget=params["budget"], **{name: params[name] for name in _OPTIONS}
    )
    check_figure(params["figure"])
    snapshots: dict[str, Snapshot] = {}
    command, total = resume_command(context), len(paths) * len(wanted.definitions())
    with open_store(params) as store:
        run = _Run(params, wanted, store, command, Display(total, 0, quiet=params["quiet"], unit="numbers"), total)
        try:
            for path, label in zip(paths, labels(paths), strict=True):
                snapshots[label] = run.measure(path, label, list(snapshots.values()))
        except KeyboardInterrupt:
            taken = f"interrupted after {len(snapshots)} of {len(paths)} checkpoints"
            click.echo(stopped_line(taken, params["out"], command), err=True)
            raise SystemExit(INTERRUPTED) from None
        finally:
            run.display.close()
    report(params, snapshots, context.command)


@dataclass(frozen=True)
class _Run:
    """What all checkpoints of a run share."""

    params: Mapping[str, Any]
    wanted: Quantities
    store: Store | None
    command: str
    display: Display
    total: int

    def measure(self, path: str, label: str, before: Sequence[Snapshot]) -> Snapshot:
        """Return the numbers of one checkpoint; those in the file are kept with ``--resume``."""
        started = time.perf_counter()
        params, name = {**self.params, "checkpoint": path}, f"track-{label}"
        kept = stored_result(self.store, params, name, Snapshot)
        if kept is not None and not params["resume"]:
            raise StoreError(
                f"{params['out']} already holds numbers of {path} ({name}).\n"
                "Type --resume to keep what it holds and measure the rest, --overwrite to start over, or another --out."
            )
        objective = read_objective(params)
        place = training_place(path, params["checkpoints"], objective)
        done = sum(len(snapshot.names) for snapshot in before)

        def keep(snapshot: Snapshot) -> None:
            if self.store is not None:
                self.store[name] = snapshot
            self.display.show(done + len(snapshot.names), self.total, f"{snapshot.place}: {snapshot.names[-1]}")
            check_pressed()

        snapshot = self.wanted.measure(
            objective,
            step=place["step"],
            epoch=math.nan if place["epoch"] is None else float(place["epoch"]),
            origin={"command": self.command, "checkpoint": path, "step_from": place["step_from"]},
            started=started,
            kept=kept,
            start=start_of(params, objective),
            known=stored_eigenpairs(self.store),
            on_measure=keep,
        )
        if self.store is not None and snapshot != kept:
            self.store[name] = snapshot
        return snapshot


def report(params: Mapping[str, Any], snapshots: Mapping[str, Snapshot], command: click.Command) -> None:
    """Print the table or the JSON object, and draw the figure."""
    if params["as_json"]:
        click.echo(strict_json({label: snapshot.to_dict() for label, snapshot in snapshots.items()}))
    else:
        click.echo(in_flags(snapshots_text(snapshots.values()), command))
        click.echo(steps_text([snapshot.config["step_from"] for snapshot in snapshots.values()]))
    if params["figure"] is not None:
        figure = plots.measures_by_step(snapshots)
        if figure is None:
            say(params, "There is no figure: it needs a number at two checkpoints.")
        else:
            plots.save(figure, Path(params["figure"]))
            say(params, params["figure"])
    if params["out"] is None:
        say(params, "Nothing was kept; to keep it, for figures and to add to it: --out run.h5")


def check_figure(path: str | None) -> None:
    """Refuse a figure of another format, before anything is measured."""
    if path is not None and Path(path).suffix.lower() not in ("", ".png", ".svg", ".pdf"):
        raise click.UsageError(f"--figure {path} is written as one of png, svg, pdf.")
