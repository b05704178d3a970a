"""``landscape curvature``: how the loss bends around a trained point."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from landscape_cli import options
from landscape_cli.interrupts import INTERRUPTED

if TYPE_CHECKING:
    from landscape.curvature import GaussNewton, Hessian
    from landscape.results import Eigenpairs, LayerTraces, LogDeterminant, SpectralDensity, Trace
    from landscape.store import Store

    Measured = Eigenpairs | Trace | LayerTraces | SpectralDensity | LogDeterminant

OPERATORS = ("hessian", "ggn")
TOP = 5  #: eigenpairs where nothing is asked for
PROBES = {"trace": 50, "layers": 50, "density": 10, "log-determinant": 30}

asking = options.together(
    click.option(
        "--top", type=click.IntRange(min=1), metavar="K",
        help=f"The K largest eigenvalues, with eigenvectors.  [default: {TOP}, and --trace]",
    ),
    click.option("--trace", is_flag=True, help="The trace, with its standard error."),
    click.option("--layers", is_flag=True, help="The trace of each parameter tensor's block, and of all."),
    click.option("--density", is_flag=True, help="How the eigenvalues are distributed."),
    click.option(
        "--log-det", "shift", type=float, metavar="SHIFT", help="log |det(A + SHIFT · 1)|; 0 for that of A itself."
    ),
    click.option(
        "--operator", type=click.Choice(OPERATORS), default="hessian", show_default=True,
        help="The second derivative of the loss, or the Gauss-Newton matrix.",
    ),
    click.option(
        "--metric", type=click.Choice(options.METRICS), default="identity", show_default=True,
        help="identity: A itself; filter, layer: S A S, comparable between nets.",
    ),
    click.option(
        "--probes", type=click.IntRange(min=2), metavar="N",
        help="Random probes.  [default: 50; --density 10; --log-det 30]",
    ),
    click.option(
        "--steps", type=click.IntRange(min=2), metavar="N", default=80, show_default=True,
        help="Products for each probe of --density and --log-det.",
    ),
    click.option(
        "--max-products", type=click.IntRange(min=1), metavar="N",
        help="Limit of the search for eigenpairs.  [default: 500, or 10 K]",
    ),
    click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Keys the random vectors."),
)  # fmt: skip


@click.command("curvature")
@options.checkpoint
@options.task
@asking
@options.centre
@options.keeping
@options.json_flag
@options.quiet
@click.pass_context
def command(context: click.Context, **given: Any) -> None:
    """Measure how the loss bends around CHECKPOINT: eigenvalues, trace and density of its Hessian A.

    Every number comes from products A · v, each with all the data, and with its own error: a residual and whether it
    converged for an eigenvalue, a standard error for what is estimated from random probes.
    """
    from landscape.curvature import GaussNewton, Hessian
    from landscape_cli import session, text
    from landscape_cli.machine_output import curvatures_object, strict_json

    with session.open_store(given) as store:
        stored = {job.name: held(store, given, job) for job in jobs(given)}
        task, checkpoint = session.find_task(given)
        session.say(given, f"{given['checkpoint']}: {checkpoint.form}")
        objective = session.make_objective(task, given)
        op = (Hessian if given["operator"] == "hessian" else GaussNewton)(objective, metric=given["metric"])
        check(op, given, stored)
        for line in measuring_lines(op, given, stored):
            session.say(given, text.paragraph(line))
        provenance = {"checkpoint": str(given["checkpoint"]), "command": session.resume_command(context)}
        found = measure(op, given, store, stored, provenance)
        if given["as_json"]:
            click.echo(strict_json(curvatures_object(found)))
    if store is None:
        session.say(given, "Nothing was kept; to keep it, for figures and to add to it: --out run.h5")


@dataclass(frozen=True)
class Job:
    """One of the things that the options ask for.

    Attributes:
        name: what it is called in the file, after the operator.
        words: the same for a reader.
        kind: the class of its result.
        settings: keyword arguments of the library function, which its result's configuration repeats.
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
            limit = self.settings["max_products"]
            return (min(n, limit) if n <= 500 else limit), False
        return (probes * min(self.settings["steps"], n), False) if "steps" in self.settings else (probes, True)


def jobs(given: Mapping[str, Any]) -> list[Job]:
    """Return what the options ask for: the top eigenpairs and the trace where they name nothing."""
    from landscape import curvature, results

    wanted = {"trace": given["trace"], "layers": given["layers"], "density": given["density"]}
    nothing = given["top"] is None and given["shift"] is None and not any(wanted.values())
    top = TOP if nothing else given["top"]
    seed = {"seed": given["seed"]}
    found = []
    if top is not None:
        limit = given["max_products"] or max(500, 10 * top)
        settings = {"k": top, "max_products": limit, **seed}
        words = f"the top {top} eigenpairs"
        found.append(Job("eigenpairs", words, results.Eigenpairs, curvature.top_eigenpairs, settings))

    def probing(name: str, words: str, kind: type[Any], call: Callable[..., Any], **settings: Any) -> None:
        found.append(Job(name, words, kind, call, {"probes": given["probes"] or PROBES[name], **settings, **seed}))

    if given["trace"] or nothing:
        probing("trace", "the trace", results.Trace, curvature.trace)
    if given["layers"]:
        probing("layers", "the traces of the tensors", results.LayerTraces, curvature.layer_traces)
    if given["density"]:
        probing("density", "the density", results.SpectralDensity, curvature.spectral_density, steps=given["steps"])
    if given["shift"] is not None:
        settings = {"steps": given["steps"], "shift": given["shift"]}
        probing("log-determinant", "the log-determinant", results.LogDeterminant, curvature.log_determinant, **settings)
    return found


def name_of(given: Mapping[str, Any], job: Job) -> str:
    """Return the name of a result in the file, so that several operators share one."""
    metric = "" if given["metric"] == "identity" else f"-{given['metric']}"
    return f"{given['operator']}{metric}-{job.name}"


def held(store: Store | None, given: Mapping[str, Any], job: Job) -> Measured | None:
    """Return the result in the file that this run keeps; refuse to touch one without being told what to do."""
    from landscape.errors import StoreError
    from landscape_cli import session

    name = name_of(given, job)
    found: Measured | None = session.held_result(store, given, name, job.kind)
    if found is not None and not given["resume"]:
        raise StoreError(
            f"{given['out']} already holds {job.words} ({name}).\n"
            "Type --resume to keep what it holds and measure the rest, --overwrite to start anew, or another --out."
        )
    return found


def check(op: Hessian | GaussNewton, given: Mapping[str, Any], stored: Mapping[str, Measured | None]) -> None:
    """Refuse more eigenpairs than there are, and stored results of another run."""
    from landscape.errors import CurvatureError
    from landscape.results import require_same_config

    if (given["top"] or 0) > op.size:
        raise CurvatureError(
            f"--top {given['top']} asks for more eigenpairs than there are: n = {op.size:,} entries are in scope "
            f"{given['scope']!r}.\nType --top {op.size} or less, or widen --scope."
        )
    for job in jobs(given):
        past = stored[job.name]
        if past is not None:
            what = f"result {name_of(given, job)} in {given['out']}"
            require_same_config(past.config, {**op.describe(), **job.settings}, what)


def measuring_lines(
    op: Hessian | GaussNewton, given: Mapping[str, Any], stored: Mapping[str, Measured | None]
) -> list[str]:
    """Return what is about to be measured, what it takes, and what a user should know about it."""
    from landscape.results.curvature import matrix_name

    objective = op.objective
    dead = f" ({len(op.metric.dead):,} filters of norm zero left out)" if op.metric.dead else ""
    todo = [(job, *job.products(op.size)) for job in jobs(given) if stored[job.name] is None]
    known = [job.words for job in jobs(given) if stored[job.name] is not None]
    told = [f"{most:,} for {job.words}" if all_ else f"at most {most:,} for {job.words}" for job, most, all_ in todo]
    return [
        f"{matrix_name(op.describe())}, scope {objective.scope.name}, n = {op.size:,} of "
        f"{objective.layout.size:,} parameters{dead}, {objective.samples:,} samples, loss at the centre "
        f"{objective.centre:.4g}",
        *([f"from {given['out']}: {', '.join(known)}"] if known else []),
        *([f"products with all the data: {', '.join(told)}"] if told else []),
        *(f"note: {note}" for note in objective.notes),
    ]


def measure(
    op: Hessian | GaussNewton,
    given: Mapping[str, Any],
    store: Store | None,
    stored: Mapping[str, Measured | None],
    provenance: Mapping[str, str],
) -> dict[str, Measured]:
    """Return the results by name, keeping and printing each as soon as it is finished; what stops it is said."""
    from landscape_cli import session

    found: dict[str, Measured] = {}

    def stopped(why: str) -> str:
        done = f"{why} after {', '.join(job.words for job in jobs(given) if job.name in found)}" if found else None
        return session.stopped_line(done, given["out"], provenance["command"])

    try:
        for job in jobs(given):
            result = stored[job.name]
            if result is None:
                result = session.with_provenance(run(op, job, given), provenance)
                if store is not None:
                    store[name_of(given, job)] = result
            found[job.name] = result
            if not given["as_json"]:
                click.echo(("\n" if len(found) > 1 else "") + curvature_text(result))
    except KeyboardInterrupt:
        click.echo(stopped("interrupted"), err=True)
        raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:  # whoever reads has enough
        raise
    except Exception:
        if found:
            click.echo(stopped("stopped by an error"), err=True)
        raise
    return found


def run(op: Hessian | GaussNewton, job: Job, given: Mapping[str, Any]) -> Any:
    """Return one result, showing the products as they are made."""
    from landscape_cli.counting_operator import CountingOperator
    from landscape_cli.progress import Display

    total, exact = job.products(op.size)
    display = Display(total, 0, quiet=given["quiet"], unit="products" if exact else "products at most")
    made = 0.0

    def report(products: float) -> None:
        nonlocal made
        made += products
        display.show(round(made), total)

    try:
        return job.call(CountingOperator.curvature(op, report), **job.settings)
    finally:
        display.close()


def curvature_text(result: Measured) -> str:
    """Return a result's table with its notes, for a terminal."""
    from landscape_cli.text import duration, paragraph

    lines = [paragraph(line) if line.startswith("note: ") else line for line in str(result).splitlines()]
    return "\n".join([*lines, f"{result.cost.evaluations:,.0f} products in {duration(result.cost.seconds)}"])
