"""What a checkpoint says of its training: how far it was, and which network it trained."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

_STEPS = ("global_step", "global_steps", "step", "steps", "iteration", "iter", "iter_num", "num_updates")
_EPOCHS = ("epoch",)
_INSIDE = ("meta", "trainer_state", "state", "training", "extra_state")  # where some libraries keep them
_ARCHITECTURE = re.compile(r"[\w.\-]{1,80}")  # a name, and no sentence
_TRAINER_STATE = "trainer_state.json"


def file_progress(content: Any) -> tuple[int | None, float | None]:
    """Return the step and the number of finished epochs that a file of torch.save names; None for what it does not.

    Lightning counts from 0 the epoch that it is in, or has just finished, so 1 is added to its number.

    >>> file_progress({"global_step": 120, "epoch": 2, "pytorch-lightning_version": "2.4"}), file_progress({"step": 7})
    ((120, 3), (7, None))
    """
    if not isinstance(content, Mapping):
        return None, None
    places = [content, *(content[key] for key in _INSIDE if isinstance(content.get(key), Mapping))]
    step, epoch = (_first(places, names) for names in (_STEPS, _EPOCHS))
    if epoch is not None and "pytorch-lightning_version" in content:
        epoch += 1
    return None if step is None else int(step), epoch


def folder_progress(folder: Path) -> tuple[int | None, float | None]:
    """Return the same of a folder of Hugging Face's Trainer."""
    try:
        content = json.loads((folder / _TRAINER_STATE).read_text("utf-8"))
    except (OSError, ValueError):  # no such file, or not JSON
        return None, None
    return file_progress(content)


def architecture_of(content: Any) -> str | None:
    """Return the name of the network that a file names under ``arch``, as training scripts of timm and torchvision do.

    >>> architecture_of({"arch": "resnet18", "state_dict": {}}), architecture_of({"arch": "my net; see notes"})
    ('resnet18', None)
    """
    named = content.get("arch") if isinstance(content, Mapping) else None
    return named if isinstance(named, str) and _ARCHITECTURE.fullmatch(named) else None


def _first(places: list[Mapping[Any, Any]], names: tuple[str, ...]) -> float | None:
    for place in places:
        for name in names:
            value = place.get(name)
            if isinstance(value, Tensor) and value.numel() == 1:
                value = value.item()
            if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
                return value
    return None
