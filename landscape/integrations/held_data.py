"""The held data of a training run, read once and without a trace in the loader that training uses."""

from __future__ import annotations

from copy import copy
from typing import Any

from torch.utils.data import DataLoader

from landscape.errors import TaskError
from landscape.inputs.lightning import in_order


def apart(data: Any) -> Any:
    """Return data that are read apart from training: no worker is started, and no state of a loader changes.

    A loader with one of torch's own samplers is read in the order of its dataset. One with another sampler keeps it.

    Raises:
        TaskError: for several loaders.
    """
    if isinstance(data, list) and len(data) == 1 and isinstance(data[0], DataLoader):
        (data,) = data
    if _is_several(data):
        raise TaskError("the held data are several loaders. Pass one of them: `data=loader`.")
    if not isinstance(data, DataLoader):
        return data
    plain = in_order(data)
    if plain is data:
        plain = copy(data)
        vars(plain).update(num_workers=0, persistent_workers=False, prefetch_factor=None, _iterator=None)
    return plain


def _is_several(data: Any) -> bool:
    items = list(data.values()) if isinstance(data, dict) else data
    return isinstance(items, list | tuple) and bool(items) and all(isinstance(item, DataLoader) for item in items)
