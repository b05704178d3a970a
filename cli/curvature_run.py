"""The run of ``landscape curvature``: which results the options ask for, measured and printed one after another."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import click

from landscape.curvature import (
    GaussNewton,
    Hessian,
    layer_traces,
    log_determinant,
    spectral_density,
    top_eigenpairs,
    trace,
)
from landscape.curvature.eigenpairs import default_max_products, most_products
from landscape.curvature.hessian import operator_named
from landscape.errors import StoreError
from landscape.results import Eigenpairs, LayerTraces, LogDeterminant, SpectralDensity, Trace, require_same_config
from landscape.results.curvature import matrix_name
from landscape.results.table import in_width
from landscape.store import Store
from landscape_cli.flags import in_flags
from landscape_cli.interrupts import INTERRUPTED, kept_apart_from_errors
from landscape_cli.machine_output import Curvature, curvatures_object, strict_json
from landscape_cli.next_command import resume_command, stopped_line
from landscape_cli.progress import Display, say
from landscape_cli.run_file import open_store, stored_result, with_provenance
from landscape_cli.task import make_objective
from landscape_cli.text import duration, paragraph


@dataclass(frozen=True)
class Job:
    """One of the results that the options ask for.

    Attributes:
        name: its name in the file, after the operator.
        words: the same for a reader.
        kind: the class of the result.
        call: the function of the library that measures it.
        settings: keyword arguments of ``call``, which the configuration of the result repeats.
    """

    name: str
    words: str
    kind: type[Any]
    call: Callable[..., Any]
    settings: dict[str, Any]

    def products(self, n: int) -> tuple[int, bool]:
        """Return how many products it takes at most for n rows, and whether it takes all of them."""
        probes = min(self.settings.get("probes", n), n)
        if "k" in self.settings:
            return most_products(n, self.settings["max_products"]), False
        return (probes * min(self.settings["steps"], n), False) if "steps" in self.settings else (probes, True)


def run_curvature(context: click.Context) -> None:
    """Measure, store and print what the options of the command ask for."""
    params = context.params
    jobs = jobs_of(params)
    with open_store(params) as store:
        stored = {job.name: stored_job(store, params, job) for job in jobs}
        objective = make_objective(params)
        settings = {name: params[name] for name in ("metric", "check", "derivative")}
        op = operator_named(params["operator"], objective, **settings)
        check_stored(op, params, jobs, stored)
        if any(result is None for result in stored.values()):
            op.prepare()  # its notes belong to the lines that follow
        for line in measuring_lines(op, params, jobs, stored):
            say(params, paragraph(line))
        provenance = {"checkpoint": str(params["checkpoint"]), "command": resume_command(context)}
        results = measure(op, params, jobs, store, stored, provenance)
        for note in op.notes:
            say(params, paragraph(f"note: {note}"))
        if params["as_json"]:
            click.echo(strict_json(curvatures_object(results)))
    if store is None:
        say(params, "Nothing was kept; to keep it, for figures and to add to it: --out run.h5")


def jobs_of(params: Mapping[str, Any]) -> list[Job]:
    """Return what the options ask for; the top eigenpairs and the trace if they name no quantity."""
    quantities = ("k", "trace", "layers", "density", "shift")
    nothing = not any(params[name] not in (None, False) for name in quantities)
    jobs = []
    if params["k"] is not None or nothing:
        settings = settings_of(top_eigenpairs, params, "k", "max_products")
        settings["max_products"] = settings["max_products"] or default_max_products(settings["k"])
        jobs.append(Job("eigenpairs", f"the top {settings['k']} eigenpairs", Eigenpairs, top_eigenpairs, settings))
    if params["trace"] or nothing:
        jobs.append(Job("trace", "the trace", Trace, trace, settings_of(trace, params, "probes")))
    if params["layers"]:
        settings = settings_of(layer_traces, params, "probes")
        jobs.append(Job("layers", "the traces of the tensors", LayerTraces, layer_traces, settings))
    if params["density"]:
        settings = settings_of(spectral_density, params, "probes", "steps")
        jobs.append(Job("density", "the density", SpectralDensity, spectral_density, settings))
    if params["shift"] is not None:
        settings = settings_of(log_determinant, params, "probes", "steps", "shift")
        jobs.append(Job("log-determinant", "the log-determinant", LogDeterminant, log_determinant, settings))
    return jobs


def settings_of(call: Callable[..., Any], params: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return these keyword arguments and the seed: what was typed, and otherwise the default of the library."""
    defaults = {each.name: each.default for each in inspect.signature(call).parameters.values()}
    return {name: defaults[name] if params[name] is None else params[name] for name in (*names, "seed")}


def name_of(params: Mapping[str, Any], job: Job) -> str:
    """Return the name of a result in the file, so that several operators share one."""
    metric = "" if params["metric"] == "identity" else f"-{params['metric']}"
    derivative = "" if params["derivative"] == "autograd" else f"-{params['derivative']}"
    return f"{params['operator']}{metric}{derivative}-{job.name}"


def stored_job(store: Store | None, params: Mapping[str, Any], job: Job) -> Curvature | None:
    """Return the result in the file that this run keeps; refuse to touch one without being told what to do."""
    name = name_of(params, job)
    stored: Curvature | None = stored_result(store, params, name, job.kind)
    if stored is not None and not params["resume"]:
        raise StoreError(
            f"{params['out']} already holds {job.words} ({name}).\n"
            "Type --resume to keep what it holds and measure the rest, --overwrite to start over, or another --out."
        )
    return stored


def check_stored(
    op: Hessian | GaussNewton, params: Mapping[str, Any], jobs: list[Job], stored: Mapping[str, Curvature | None]
) -> None:
    """Refuse stored results of another run."""
    for job in jobs:
        result = stored[job.name]
        if result is not None:
            what = f"result {name_of(params, job)} in {params['out']}"
            require_same_config(result.config, {**op.describe(), **job.settings}, what)


def measuring_lines(
    op: Hessian | GaussNewton, params: Mapping[str, Any], jobs: list[Job], stored: Mapping[str, Curvature | None]
) -> list[str]:
    """Return what is about to be measured, what it takes, and what a user should know about it."""
    objective = op.objective
    dead = f" ({len(op.metric.dead):,} filters of norm zero left out)" if op.metric.dead else ""
    known = [job.words for job in jobs if stored[job.name] is not None]
    costs = []
    for job in jobs:
        if stored[job.name] is None:
            most, exact = job.products(op.size)
            costs.append(f"{'' if exact else 'at most '}{most:,} for {job.words}")
    return [
        f"{matrix_name(op.describe())}, scope {objective.scope.name}, n = {op.size:,} of "
        f"{objective.layout.size:,} parameters{dead}, {objective.samples:,} samples, loss at the centre "
        f"{objective.centre:.4g}",
        *([f"from {params['out']}: {', '.join(known)}"] if known else []),
        *([f"products with all the data: {', '.join(costs)}"] if costs else []),
        *(in_flags(f"note: {note}") for note in objective.notes),
    ]


def measure(
    op: Hessian | GaussNewton,
    params: Mapping[str, Any],
    jobs: list[Job],
    store: Store | None,
    stored: Mapping[str, Curvature | None],
    provenance: Mapping[str, str],
) -> dict[str, Curvature]:
    """Return the results by name. Each is stored and printed as soon as it is finished."""
    results: dict[str, Curvature] = {}

    def stopped(why: str) -> str:
        done = f"{why} after {', '.join(job.words for job in jobs if job.name in results)}" if results else None
        return stopped_line(done, params["out"], provenance["command"])

    try:
        for job in jobs:
            result = stored[job.name]
            if result is None:
                with kept_apart_from_errors():
                    result = with_provenance(measure_job(op, job, quiet=params["quiet"]), provenance)
                if store is not None:
                    store[name_of(params, job)] = result
            results[job.name] = result
            if not params["as_json"]:
                click.echo(("\n" if len(results) > 1 else "") + curvature_text(result))
    except KeyboardInterrupt:
        click.echo(stopped("interrupted"), err=True)
        raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:  # the reader has closed the output
        raise
    except Exception:
        if results:
            click.echo(stopped("stopped by an error"), err=True)
        raise
    return results


def measure_job(op: Hessian | GaussNewton, job: Job, *, quiet: bool) -> Any:
    """Return one result, and show its products while they are made."""
    total, exact = job.products(op.size)
    display = Display(total, 0, quiet=quiet, unit="products" if exact else "products at most")
    try:
        return job.call(op, **job.settings, on_progress=display.on_progress)
    finally:
        display.close()


def curvature_text(result: Curvature) -> str:
    """Return the table of a result with its notes, for a terminal."""
    return "\n".join(
        [in_width(str(result)), f"{result.cost.evaluations:,.0f} products in {duration(result.cost.seconds)}"]
    )
