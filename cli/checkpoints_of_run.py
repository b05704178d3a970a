"""Several checkpoints of one training run: a short name for each, and its training step."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from landscape.errors import LandscapeError
from landscape.objective import Objective
from landscape.results.snapshot import FILE_NAME, ORDER, RECORDED
from landscape.store import usable

_STEP = re.compile(r"(?:step|steps|checkpoint|iter|iteration)[=_-]?(\d+)", re.IGNORECASE)
_EPOCH = re.compile(r"(?<![a-z])(?:epoch|ep)[=_-]?(\d+)", re.IGNORECASE)
_NUMBER_AT_END = re.compile(r"(\d+)\D*$")


def labels(paths: tuple[str, ...]) -> list[str]:
    """Return a short name for each checkpoint: its file without ending, with its folder if two are alike.

    >>> labels(("run/step-1.pt", "run/step-2.pt")), labels(("a/last.pt", "b/last.pt"))
    (['step-1', 'step-2'], ['a-last', 'b-last'])
    """
    stems = [Path(path).stem for path in paths]
    if len(set(stems)) < len(stems):
        stems = [usable(str(Path(path).with_suffix(""))).strip("-.") for path in paths]
    stems = [usable(stem) for stem in stems]
    if len(set(stems)) < len(stems):
        raise LandscapeError("a checkpoint is named twice. Type each once.")
    return stems


def training_place(path: str, paths: tuple[str, ...], objective: Objective) -> dict[str, Any]:
    """Return the step of a checkpoint, its epoch if it is known, and how the step is known, for a configuration.

    The step is that which the checkpoint records. Without one it is the number in the name of the file. If a file of
    the run names none, it is the place in the list.

    Args:
        path: the checkpoint.
        paths: all checkpoints of the run.
        objective: of this checkpoint.
    """
    origin = objective.origin
    recorded, passed = (None, None) if origin is None else (origin.step, origin.epoch)
    named = step_in_name(path)
    if recorded is not None:
        step, source = recorded, RECORDED
    elif named is not None and all(step_in_name(each) is not None for each in paths):
        step, source = named, FILE_NAME
    else:
        step, source = paths.index(path), ORDER
    epoch = _EPOCH.search(Path(path).stem)
    known = passed if passed is not None else int(epoch[1]) if epoch else None
    return {"step": step, "epoch": known, "step_from": source}


def step_in_name(path: str) -> int | None:
    """Return the step in the name of a file: the number after a word such as step, or the last number.

    >>> [step_in_name(p) for p in ("epoch=3-step=120.ckpt", "checkpoint-500", "step120-loss0.3.pt", "9.pt", "last.pt")]
    [120, 500, 120, 9, None]
    """
    name = Path(path).stem
    found = _STEP.search(name) or _NUMBER_AT_END.search(name)
    return int(found[1]) if found else None


def steps_text(sources: list[str]) -> str:
    """Say how the steps of a run are known.

    >>> steps_text([RECORDED, RECORDED])
    'steps: from the checkpoint'
    """
    return f"steps: from {' and '.join(dict.fromkeys(sources))}"
