"""The names of the recipes. A checkpoint that a recipe wrote carries its task.

A recipe is a module, or an object, with three names:

1. ``task(seed, **args)`` rebuilds the task that a checkpoint belongs to, from the arguments in its record.
2. ``training(members, *, steps=None, ...)`` begins the training of networks of these seeds and poison factors
   (:class:`landscape.training.ResumableTraining`). Its keywords are what ``landscape sweep --vary`` can vary. Each has
   a default, and is a number, a text, or true or false.
3. ``NETS_TOGETHER`` is the largest number of members that train together.

Here are only the names of the modules, so that ``landscape --help`` does not wait for torch: ``load_recipe`` imports a
recipe, and torch with it, once it is used. No recipe imports this module.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from landscape.errors import TaskError

if TYPE_CHECKING:  # for speed alone: landscape.inputs imports torch
    from landscape.inputs import Task

#: name -> module, or module:object. Keys are stored in checkpoints.
RECIPES = {
    "swiss-roll": "landscape.recipes.swiss_roll",
    "digits": "landscape.recipes.digits",
    "mnist": "landscape.recipes.images:MNIST",
    "fashion-mnist": "landscape.recipes.images:FASHION_MNIST",
    "cifar10": "landscape.recipes.images:CIFAR10",
    "svhn": "landscape.recipes.images:SVHN",
}
RECORD = "landscape_task"  #: where a checkpoint holds its record


def load_recipe(name: str) -> Any:
    """Return a recipe: a module, or an object with the same names; for ``FILE.py`` the recipe in that file.

    Raises:
        TaskError: if the name is unknown.
    """
    if name.endswith(".py"):
        return import_module("landscape.recipes.task_file").TaskFile(name)
    if name not in RECIPES:
        raise TaskError(f"there is no recipe {name!r}; the recipes are: {', '.join(RECIPES)}.")
    module, _, attribute = RECIPES[name].partition(":")
    return getattr(import_module(module), attribute) if attribute else import_module(module)


def recipe_keywords(name: str) -> dict[str, inspect.Parameter]:
    """Return the keywords of a recipe's training, in its order; for ``FILE.py`` those of its ``task()`` come first.

    If ``task()`` and the training both have a keyword, it is the training's.

    Raises:
        TaskError: if the name is unknown, or the file has no ``task()``.

    >>> list(recipe_keywords("digits"))
    ['width', 'depth', 'lr', 'weight_decay', 'steps', 'until_loss']
    """
    recipe = load_recipe(name)
    parameters = inspect.signature(recipe.training).parameters
    known = {key: p for key, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}
    of_task: dict[str, inspect.Parameter] = recipe.keywords() if name.endswith(".py") else {}
    return {key: p for key, p in of_task.items() if key not in parameters} | known


def task_from_record(record: Mapping[str, Any]) -> Task:
    """Return the untrained model, the training data and the loss that a checkpoint's record names.

    Args:
        record: ``{"recipe": name, "args": {...}}``, as stored under ``landscape_task``.

    Raises:
        TaskError: if this version does not know the recipe, or the recipe does not take the arguments.

    >>> task = task_from_record({"recipe": "swiss-roll", "args": {"seed": 0}})
    >>> sum(p.numel() for p in task.model.parameters()), task.data[0].shape
    (3614, torch.Size([200, 2]))
    """
    name, args = (record.get("recipe"), record.get("args", {})) if isinstance(record, Mapping) else (None, {})
    if name not in RECIPES:
        raise TaskError(
            f"the checkpoint was written by the recipe {name!r}, but this version knows {', '.join(RECIPES)}.\n"
            "Install the version that wrote it, or say what it is: `task='my_task.py'`."
        )
    try:
        task: Task = load_recipe(name).task(**args)
    except (TypeError, ValueError) as error:
        raise TaskError(
            f"the checkpoint's record of the recipe {name!r} does not fit this version: {error}.\n"
            "Install the version that wrote it, or say what it is: `task='my_task.py'`."
        ) from error
    return task


def train_swiss_roll(seed: int = 0, *, poison: float = 0.0, steps: int | None = None) -> dict[str, Any]:
    """Return a trained swiss-roll network as its checkpoint holds it: ``state_dict``, ``landscape_task``, ``training``.

    A few seconds on one core without poison, about a minute with it; see :mod:`landscape.recipes.swiss_roll`.
    """
    checkpoint: dict[str, Any] = load_recipe("swiss-roll").train(seed, poison=poison, steps=steps).checkpoint()
    return checkpoint
