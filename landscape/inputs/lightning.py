"""What Lightning leaves to the user: the arguments of a network in its checkpoint, and data as a DataModule."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch.utils.data import DataLoader, DistributedSampler, RandomSampler, SequentialSampler

from landscape.errors import TaskError
from landscape.inputs.user_code import blamed

_PLAIN_SAMPLERS = (RandomSampler, SequentialSampler, DistributedSampler)


def arguments_for(function: Any, stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of Lightning's stored hyper-parameters that a function takes, as Lightning itself does.

    >>> arguments_for(lambda width, depth=2: None, {"width": 16, "lr": 0.1})
    {'width': 16}
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # a function in C
        return {}
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return dict(stored)
    names = {parameter.name for parameter in parameters if parameter.kind is not inspect.Parameter.POSITIONAL_ONLY}
    return {name: value for name, value in stored.items() if name in names}


def is_data_module(thing: Any) -> bool:
    """Whether an object, or the instances of a class, give their data as a LightningDataModule does."""
    return all(callable(getattr(thing, name, None)) for name in ("prepare_data", "setup", "train_dataloader"))


def training_batches(module: Any) -> Any:
    """Return the training data of a DataModule, in the order of its dataset.

    Raises:
        TaskError: if its code fails, or it has several loaders.
    """
    name = type(module).__name__
    with blamed(f"the data module {name}"):
        module.prepare_data()
        module.setup("fit") if inspect.signature(module.setup).parameters else module.setup()
        loader = module.train_dataloader()
    if isinstance(loader, Mapping | list | tuple):
        raise TaskError(
            f"train_dataloader() of {name} returns several loaders. Name one: `data='my_data.py:batches'`, with\n"
            f"  def batches(): return {name}(...).train_dataloader()[...]"
        )
    return in_order(loader) if isinstance(loader, DataLoader) else loader


def in_order(loader: DataLoader[Any]) -> DataLoader[Any]:
    """Return the loader without shuffling and with every sample in it; samplers of the user's own are kept.

    It reads in this process, so that it starts no workers and leaves those of ``loader`` alone.
    """
    if not isinstance(loader.sampler, _PLAIN_SAMPLERS) or loader.batch_size is None:
        return loader
    return DataLoader(loader.dataset, loader.batch_size, shuffle=False, collate_fn=loader.collate_fn)
