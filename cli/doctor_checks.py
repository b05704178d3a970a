"""The checks of ``landscape doctor``, in order. A check that fails does not stop those that can do without it."""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from torch import nn

from landscape.checkpoint import Checkpoint, read_checkpoint
from landscape.curvature import Hessian
from landscape.errors import LandscapeError
from landscape.inputs import Task
from landscape.objective import Layout, Objective, Scope
from landscape.objective.deadline import BUDGET  # landscape.volume takes long to load
from landscape.objective.large import FLAT_LIMIT
from landscape.rays import AnyMetric, Metric, Reach, basin_radii, make_metric, metric_of, random_directions
from landscape.resolve import resolve_task
from landscape.results import Radii
from landscape.results.table import percent
from landscape_cli import text
from landscape_cli.doctor_cutoffs import CutoffCheck
from landscape_cli.flags import in_flags
from landscape_cli.task import TASK, keywords, objective_of

PER_RAY = 5  #: evaluations of a ray up to its first cutoff, as measured in benchmarks/
PER_CUTOFF = 2  #: evaluations for each further cutoff
_SHOWN = 5  # names in a list; the others are counted
_TRIAL = 1.0  # seconds that a trial block may take
_TRIAL_RAYS = 8  # of a trial, at least
_LABEL = 13  # characters of the column of names
T = TypeVar("T")


@dataclass(frozen=True)
class Check:
    """One check: its name, whether it passed, and the answer in words."""

    name: str
    passed: bool
    text: str


@dataclass
class Report:
    """What the doctor says.

    Attributes:
        checks: in order.
        facts: the same as numbers and names, for ``--json``.
        advice: what to type next.
        cutoffs: those to type next, if the cutoffs of now are no good.
    """

    checks: list[Check] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    advice: str = ""
    cutoffs: Sequence[float] = ()

    @property
    def ready(self) -> bool:
        """Whether a run can start."""
        return all(check.passed for check in self.checks)

    def add(self, name: str, words: str, **facts: Any) -> None:
        """Add a check that passed."""
        self.checks.append(Check(name, True, words))
        self.facts.update(facts)

    def attempt(self, name: str, step: Callable[..., T], *arguments: Any) -> T | None:
        """Run one step and return its answer; an exception becomes a failed check, and the answer is None.

        Any exception counts: the model, the data and the loss are the user's code, and the doctor says how they fail.
        """
        try:
            return step(*arguments)
        except LandscapeError as error:
            words = in_flags(str(error))
        except Exception as error:
            words = f"{type(error).__name__}: {error}"
        self.checks.append(Check(name, False, one_line(words)))
        return None

    def to_dict(self) -> dict[str, Any]:
        """Return the one JSON object of ``landscape doctor --json``."""
        checks = [{"name": check.name, "passed": check.passed, "text": check.text} for check in self.checks]
        return {"ready": self.ready, "next": self.advice, **self.facts, "checks": checks}

    def to_text(self) -> str:
        """Return one paragraph per check, and the command to type next."""
        lines = [
            text.labelled(check.name, check.text if check.passed else f"FAILED: {check.text}", _LABEL)
            for check in self.checks
        ]
        return "\n".join([*lines, "", text.with_command("next", self.advice)])


def examine(params: Mapping[str, Any], typed: Sequence[str]) -> Report:
    """Return the report on a checkpoint and its task.

    Args:
        params: the options.
        typed: the options that were typed, for the command to type next.
    """
    report = Report()
    checkpoint = report.attempt("checkpoint", look_at_checkpoint, report, params)
    task = None if checkpoint is None else report.attempt("task", look_at_task, report, checkpoint, params)
    del checkpoint  # its weights are in the model now
    if task is not None:
        report.attempt("model", look_at_model, report, task.model)
        scope = report.attempt("scope", look_at_scope, report, task.model, params)
        metric = None
        if scope is not None and scope.layout.size <= FLAT_LIMIT:  # this describes it even if the data do not fit
            metric = report.attempt("metric", look_at_metric, report, lambda: flat_metric(task.model, scope, params))
        objective = report.attempt("objective", objective_of, task, params)
        if objective is not None:
            if scope is not None and metric is None:
                named = params["metric"]
                metric = report.attempt("metric", look_at_metric, report, lambda: metric_of(objective, named))
            report.attempt("data", look_at_data, report, objective)
            report.attempt("centre", look_at_centre, report, objective)
            cutoffs = report.attempt("cutoffs", CutoffCheck.of, objective, metric, params)
            if cutoffs is not None:
                report.attempt("cutoffs", look_at_cutoffs, report, cutoffs)
            report.attempt("memory", look_at_memory, report, objective)
            with ThreadPoolExecutor(1) as pool:  # the hash of a large model takes seconds on a thread of its own
                hashing = pool.submit(lambda: objective.theta_hash)
                look_at_curvature(report, objective)
            report.facts["theta_hash"] = hashing.result()
            if metric is not None:
                seen = None if cutoffs is None else cutoffs.seen
                report.attempt("time", look_at_time, report, objective, params, seen)
    report.advice = advice(report, typed)
    return report


def look_at_checkpoint(report: Report, params: Mapping[str, Any]) -> Checkpoint:
    """Describe the file by itself: that helps even if no task fits it. Return its content."""
    checkpoint = read_checkpoint(params["checkpoint"], unsafe=params["unsafe"], weights=params["weights"])
    report.add("checkpoint", checkpoint.form, checkpoint=str(checkpoint.path), form=checkpoint.form)
    return checkpoint


def look_at_task(report: Report, checkpoint: Checkpoint, params: Mapping[str, Any]) -> Task:
    """Return the task. The line on the checkpoint then says which weights the network got, as other commands do."""
    task, checkpoint = resolve_task(checkpoint, **keywords(params, TASK))
    report.checks[0] = replace(report.checks[0], text=in_flags(checkpoint.form))
    report.facts["form"] = checkpoint.form
    return task


def look_at_model(report: Report, model: nn.Module) -> None:
    parameters, buffers = list(model.parameters()), list(model.named_buffers())
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    size = sum(parameter.numel() for parameter in parameters)
    dtypes = sorted({str(parameter.dtype).removeprefix("torch.") for parameter in parameters})
    devices = sorted({str(parameter.device) for parameter in parameters})
    words = (
        f"{type(model).__name__}, {size:,} parameters in {len(parameters):,} tensors, {' and '.join(dtypes)} on "
        f"{' and '.join(devices)}; {_buffers(buffers)}; {_frozen(frozen)}"
    )
    report.add(
        "model", words, model=type(model).__name__, parameters=size, tensors=len(parameters),
        dtypes=dtypes, devices=devices, buffers=len(buffers), frozen=frozen,
    )  # fmt: skip


def look_at_scope(report: Report, model: nn.Module, params: Mapping[str, Any]) -> Scope:
    layout = Layout.of(model)
    scope = Scope.select(params["scope"], layout)
    names = [entry.name for entry in scope.entries]
    report.add(
        "scope", f"{scope.name}: {scope.size:,} entries in {len(names):,} tensors: {_some(names)}",
        scope=scope.name, scope_size=scope.size, scope_tensors=names,
    )  # fmt: skip
    return scope


def flat_metric(model: nn.Module, scope: Scope, params: Mapping[str, Any]) -> Metric:
    """Return the metric of a model that needs no objective."""
    return make_metric(params["metric"], scope.layout.flatten(dict(model.named_parameters())), scope)


def look_at_metric(report: Report, make: Callable[[], AnyMetric]) -> AnyMetric:
    metric = make()
    dead = f"{len(metric.dead):,} filters of norm zero are left out: {_some(metric.dead)}"
    words = f"{metric.name}: n = {metric.scope.size:,}; {dead if metric.dead else 'no filter has norm zero'}"
    report.add("metric", words, metric=metric.name, dimension=metric.scope.size, dead_filters=list(metric.dead))
    return metric


def look_at_data(report: Report, objective: Objective) -> None:
    words = f"{objective.samples:,} samples, loss {objective.loss_name}, in {_counted(objective.batches, 'batch')}"
    report.add(
        "data", words, samples=objective.samples, batches=objective.batches, loss=objective.loss_name,
        data_hash=objective.data_hash, notes=list(objective.notes),
    )  # fmt: skip
    for note in objective.notes:
        report.add("note", in_flags(note))


def look_at_centre(report: Report, objective: Objective) -> None:
    report.add("centre", f"loss {objective.centre:.4g} at the trained point", centre=objective.centre)
    report.add("determinism", "the loss is the same every time it is evaluated", deterministic=True)
    accuracy = objective.accuracy()
    words = "none (no loss over classes, or no targets that are classes)" if accuracy is None else percent(accuracy)
    report.add("accuracy", words, accuracy=accuracy)


def look_at_cutoffs(report: Report, check: CutoffCheck) -> None:
    report.facts |= check.facts()
    report.cutoffs = check.better
    report.add("cutoffs", check.words())
    if note := check.note():
        report.add("note", note)


def look_at_memory(report: Report, objective: Objective) -> None:
    plan = objective.plan
    together = "one point at a time" if plan.lanes == 1 else f"{plan.lanes:,} points at a time"
    words = f"{together}, {text.byte_size(plan.bytes)} beyond the model; rays are committed {plan.block:,} at a time"
    report.add("memory", words, lanes=plan.lanes, block=plan.block, bytes=plan.bytes)


def look_at_curvature(report: Report, objective: Objective) -> None:
    """Say what second derivatives take, or why there are none; radii do without them, so that is no failure."""
    op = Hessian(objective)
    try:
        if not op.lean:
            op.prepare()
        peak = op.memory().peak()
    except LandscapeError as error:
        report.add("curvature", f"none: {one_line(in_flags(str(error)))}", curvature=False)
        return
    checked = "; ".join(op.check_notes) or "autograd agrees with differences"
    if op.lean:  # on a model of this size it would take longer than all else here
        checked = "autograd will be compared with differences before the first product"
    words = (
        f"{checked}; a product takes up to {text.byte_size(peak)} beyond the model, and "
        f"{text.byte_size(op.kept_bytes)} may be kept between products"
    )
    report.add("curvature", words, curvature=True, curvature_bytes=peak, curvature_kept_bytes=op.kept_bytes)


def look_at_time(report: Report, objective: Objective, params: Mapping[str, Any], seen: Reach | None) -> None:
    # another evaluation of a large model may take longer than all else here
    seconds = seconds_per_evaluation(objective) if seen is None or not objective.large else seen.seconds
    evaluations: float = PER_RAY + PER_CUTOFF * (len(params["cutoffs"]) - 1)
    seconds_per_ray = evaluations * seconds
    if report.ready and seconds_per_ray * objective.plan.block < _TRIAL:
        trial = trial_run(objective, params)
        evaluations = float(trial.evaluations.mean())  # without those of the pilot rays, which come once
        seconds_per_ray = evaluations * trial.cost.seconds / trial.cost.evaluations
    total = seconds_per_ray * params["directions"]
    words = (
        f"{text.duration(seconds)} per evaluation; {params['directions']:,} rays of about {evaluations:.0f} "
        f"evaluations take about {text.duration(total)}; what follows, if these are not enough, {BUDGET} in all"
    )
    report.add(
        "time", words, seconds_per_evaluation=seconds, evaluations_per_ray=evaluations,
        directions=params["directions"], seconds_for_run=total,
    )  # fmt: skip


def seconds_per_evaluation(objective: Objective) -> float:
    """Return the time of one pass over the data at one point, with as many points together as in a run."""
    count = objective.plan.lanes
    if objective.large:  # the weights of a point are made during its pass, which takes time
        steps = random_directions(objective, metric_of(objective, "layer"), 0).steps([0])
    else:
        points = objective.theta.repeat(count, 1)
    best, spent = math.inf, 0.0
    for _ in range(5):
        started = time.perf_counter()
        if objective.large:
            with objective.running():
                objective.along(steps, np.zeros(1))
        else:
            objective.loss_at(points)
        best, spent = min(best, time.perf_counter() - started), spent + time.perf_counter() - started
        if spent > 1.0:
            break
    return best / count


def trial_run(objective: Objective, params: Mapping[str, Any]) -> Radii:
    """Measure some blocks of rays: on a small net the search itself costs more than the evaluations."""
    return basin_radii(
        objective,
        params["cutoffs"],
        criterion=params["criterion"],
        metric=params["metric"],
        directions=max(objective.plan.block, _TRIAL_RAYS),
        seed=params["seed"],
        max_radius=params["max_radius"],
        **({} if params["rtol"] is None else {"rtol": params["rtol"]}),
    )


def advice(report: Report, typed: Sequence[str]) -> str:
    """Return the command to type next, or what to correct first."""
    failed = [check.name for check in report.checks if not check.passed]
    if failed and not (failed == ["cutoffs"] and report.cutoffs):
        return f"correct what failed ({', '.join(failed)}), then run the doctor again"
    words = ["landscape", "volume", *typed]
    if report.cutoffs:
        words = [*_without_cutoffs(words), *(word for cutoff in report.cutoffs for word in ("--cutoff", f"{cutoff:g}"))]
    return shlex.join([*words, "--out", "run.h5"])


def one_line(message: str) -> str:
    """Return a message of several lines as one line.

    >>> one_line("no basin here\\n  Pass a larger --cutoff.")
    'no basin here; Pass a larger --cutoff.'
    """
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    ended = [line if line[-1] in ".:,;" or line is lines[-1] else f"{line};" for line in lines]
    return " ".join(ended)


def _without_cutoffs(words: Sequence[str]) -> list[str]:
    dropped = {i for i, word in enumerate(words) if word == "--cutoff"}
    return [word for i, word in enumerate(words) if i not in dropped and i - 1 not in dropped]


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else shown


def _counted(count: int, noun: str) -> str:
    plural = f"{noun}es" if noun.endswith("ch") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else plural}"


def _buffers(buffers: Sequence[tuple[str, Any]]) -> str:
    if not buffers:
        return "no buffers"
    return f"{_counted(len(buffers), 'buffer')}, which never move"


def _frozen(frozen: Sequence[str]) -> str:
    if not frozen:
        return "nothing frozen"
    return f"{_counted(len(frozen), 'tensor')} frozen ({_some(frozen)}); the scope moves them all the same"
