"""A family of checkpoints -> one row of measures per net -> the table that is ranked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from landscape.errors import LandscapeError, TaskError, shortened
from landscape.measures import REGISTRY
from landscape.objective import Objective
from landscape.objective.digest import digest
from landscape.ranking.read_table import converged_nets
from landscape.results import SharpnessTable
from landscape.results.net_measures import NetMeasures
from landscape.results.runs import Runs
from landscape.results.sharpness import BELOW_ROUNDING, NOT_MIXED
from landscape.store import usable
from landscape.training.sweep import read_member
from landscape.training.trained_network import TrainingSummary

SUFFIX = ".pt"
_DOUBTFUL = {NOT_MIXED: "its chains have not mixed", BELOW_ROUNDING: "it is below the rounding of the loss"}
_LONGEST_REASON = 200  # characters


@dataclass(frozen=True)
class Net:
    """A checkpoint of a family.

    Attributes:
        path: the file.
        name: short, for tables and for the results file.
        axes: its place in the family: axis -> value.
        summary: how its training went.
        record: what rebuilds its task; None if the checkpoint does not carry it.
        weights_hash: SHA-256 of its tensors.
    """

    path: Path
    name: str
    axes: dict[str, Any]
    summary: TrainingSummary
    record: Mapping[str, Any] | None
    weights_hash: str

    @property
    def targets(self) -> dict[str, float]:
        """How it generalises: test error, gap of the accuracies, and the test loss if it is known."""
        loss = {} if self.summary.test_loss is None else {"loss": self.summary.test_loss}
        return {"error": 1 - self.summary.test_accuracy, "gap": self.summary.gap, **loss}


def find_nets(paths: Sequence[str | Path]) -> list[Net]:
    """Return the checkpoints that ``landscape sweep`` left in some folders, or that are named one by one.

    Raises:
        LandscapeError: a folder is missing or has none, a file is another thing, a name comes twice, or the nets belong
            to different tasks.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        found = sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path]
        if not found:
            raise LandscapeError(
                f"{path} holds no checkpoint *{SUFFIX}. Train a family: landscape sweep RECIPE --out {path}"
            )
        files += [file for file in found if file not in files]
    stems = Counter(file.stem for file in files)
    nets = [_read(file, file.stem if stems[file.stem] == 1 else f"{file.parent.name}-{file.stem}") for file in files]
    for name, count in Counter(net.name for net in nets).items():
        if count > 1:
            raise LandscapeError(f"two checkpoints would be called {name!r} in the table. Rename a folder or a file.")
    _check_one_task(nets)
    return nets


def _read(path: Path, name: str) -> Net:
    if not path.exists():
        raise LandscapeError(f"there is no file or folder {path}. Pass the folder that landscape sweep has written.")
    try:
        content, summary = read_member(path)
        state = content["state_dict"]
        axes = dict(content.get("axes") or {})
    except (TaskError, KeyError, TypeError, ValueError) as error:
        raise LandscapeError(
            f"{path} does not say how it was trained, so it is no member of a family.\n"
            "Pass checkpoints of landscape sweep, or your numbers as a table: landscape benchmark --table runs.csv"
        ) from error
    if not axes:
        axes = {"poison": summary.poison}
    tensors = [state[key] for key in sorted(state)]
    label = usable(name).strip(".-") or "net"
    return Net(path, label, axes, summary, content.get("landscape_task"), digest(*tensors))


def _check_one_task(nets: Sequence[Net]) -> None:
    """Refuse nets of different tasks: their losses cannot be compared."""
    varied = {name for net in nets for name in net.axes}
    tasks: dict[str, Net] = {}
    for net in nets:
        record = net.record or {}
        args = {k: v for k, v in record.get("args", {}).items() if k != "seed" and k not in varied}
        tasks.setdefault(f"{record.get('recipe', 'a task of your own')} {args or ''}".strip(), net)
    if len(tasks) > 1:
        (one, first), (two, second) = list(tasks.items())[:2]
        raise LandscapeError(
            f"the checkpoints belong to different tasks: {first.path} to {one}, and {second.path} to {two}.\n"
            "Rank each family alone."
        )


def net_measures(net: Net, objective: Objective, table: SharpnessTable, config: Mapping[str, Any]) -> NetMeasures:
    """Return the measures of one net with its place in the family.

    Args:
        net: the checkpoint.
        objective: its loss.
        table: its measures.
        config: the options of the run.
    """
    measures = list(table.values())
    return NetMeasures(
        net=net.name,
        axes=net.axes,
        seed=str(net.summary.seed),
        targets=net.targets,
        baselines={
            "parameters": float(len(objective.theta)),
            "norm": float(objective.theta.double().norm()),
            "train-loss": net.summary.train_loss,
        },
        converged=net.summary.converged,
        measures=tuple(table),
        values=np.array([each.value for each in measures]),
        standard_errors=np.array([each.standard_error for each in measures]),
        passes=np.array([each.cost.evaluations for each in measures]),
        seconds=np.array([each.cost.seconds for each in measures]),
        verdicts=tuple(each.verdict for each in measures),
        reasons={name: list(each.reasons) for name, each in table.items() if each.reasons},
        flatter=tuple(name for name, each in table.items() if each.larger == "flatter"),
        invariances={each.name: [] for each in measures} | {n: list(each.invariances) for n, each in table.items()},
        config={**config, "weights_hash": net.weights_hash, "data_hash": objective.data_hash},
        cost=table.cost,
    )


def table_of(nets: Sequence[NetMeasures], *, keep_all: bool = False, test_size: int | None = None) -> Runs:
    """Return the table of a family: its measures and its baselines.

    Nets whose training did not reach its target are left out, unless ``keep_all``. An axis with one value is no axis.

    Raises:
        LandscapeError: there is no net, a net lacks an axis of the others, the nets were measured on different data, or
            none has converged.
    """
    if not nets:
        raise LandscapeError("the family has no net.")
    axes = {name: None for net in nets for name in net.axes}
    for net in nets:
        for name in axes:
            if name not in net.axes:
                raise LandscapeError(
                    f"net {net.net!r} has no value on the axis {name!r}, which other nets have. Rank each family alone."
                )
    values = {name: [net.axes[name] for net in nets] for name in axes}
    measures = list(dict.fromkeys(name for net in nets for name in net.measures))
    columns = {name: [_place(net, name) for net in nets] for name in measures}
    extra = list(nets[0].baselines)

    def part(field: str) -> np.ndarray:
        found = [
            [np.nan if at is None else getattr(net, field)[at] for net, at in zip(nets, columns[name], strict=True)]
            for name in measures
        ]
        return np.array([*found, *([np.nan] * len(nets) for _ in extra)], dtype=float)

    table = part("values")
    table[len(measures) :] = [[net.baselines[name] for net in nets] for name in extra]
    targets = [name for name in ("gap", "error", "loss") if all(name in net.targets for net in nets)]
    runs = Runs(
        nets=tuple(net.net for net in nets),
        axes={name: levels for name, levels in values.items() if len(set(levels)) > 1},
        seeds=tuple(net.seed for net in nets),
        target_names=tuple(targets),
        targets=np.array([[net.targets[name] for net in nets] for name in targets]),
        measures=(*measures, *extra),
        values=table,
        standard_errors=part("standard_errors"),
        passes=part("passes"),
        seconds=part("seconds"),
        smaller_is_sharper=tuple(dict.fromkeys(name for net in nets for name in net.flatter)),
        baselines=tuple(extra),
        invariances={name: claims for net in nets for name, claims in net.invariances.items() if name in measures},
        closed_forms={name: True for name in measures if _has_closed_form(name.partition("@")[0])},
        test_size=test_size,
        notes=tuple(_doubts(nets, measures)),
        reasons=_reasons(nets, measures),
    )
    return runs if keep_all else converged_nets(runs, np.array([net.converged is not False for net in nets]))


def _has_closed_form(name: str) -> bool:
    return name in REGISTRY and REGISTRY[name].closed_form


def check_same_data(nets: Sequence[NetMeasures]) -> None:
    """Refuse nets that were measured on different data, unless an axis says so.

    Raises:
        LandscapeError: two nets with the same axes were measured on different data.
    """
    seen: dict[str, tuple[str, str]] = {}
    for net in nets:
        place, data = repr(sorted(net.axes.items())), str(net.config.get("data_hash"))
        first = seen.setdefault(place, (data, net.net))
        if first[0] != data:
            raise LandscapeError(
                f"nets {first[1]!r} and {net.net!r} differ only in the seed, and were measured on different data.\n"
                "Measure the family again with one `data=...`, or rank each part alone."
            )


def _place(net: NetMeasures, name: str) -> int | None:
    return net.measures.index(name) if name in net.measures else None


def _doubts(nets: Sequence[NetMeasures], measures: Sequence[str]) -> list[str]:
    """Return which values are used although their verdict is weak."""
    notes = []
    for name in measures:
        verdicts = Counter(net.verdicts[net.measures.index(name)] for net in nets if name in net.measures)
        for verdict, words in _DOUBTFUL.items():
            if verdicts[verdict]:
                notes.append(f"{name}: {words} on {verdicts[verdict]} of {len(nets)} nets; the values are used.")
    return notes


def _reasons(nets: Sequence[NetMeasures], measures: Sequence[str]) -> dict[str, str]:
    """Return the most frequent reason for which each measure has no value."""
    reasons = {}
    for name in measures:
        failed = [net for net in nets if name in net.measures and not np.isfinite(net.values[net.measures.index(name)])]
        counts = Counter(reason for net in failed for reason in net.reasons.get(name, [])[:1])
        if counts:
            reasons[name] = shortened(counts.most_common(1)[0][0], _LONGEST_REASON)
    return reasons
