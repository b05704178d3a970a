"""The recipe of ``train`` and ``sweep``, and its options. Nothing here imports torch."""

from __future__ import annotations

import inspect
from typing import Any

import click

from landscape.recipes import RECIPES, load_recipe
from landscape_cli import options


class RecipeName(click.ParamType):
    """The name of a recipe, or a file with one."""

    name = "recipe"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in RECIPES and not str(value).endswith(".py"):
            self.fail(f"there is no recipe {value!r}. The recipes are {', '.join(RECIPES)}, TASK.py.", param, ctx)
        return str(value)


recipe = click.argument("recipe", type=RecipeName(), metavar="RECIPE")
recipe_options = options.together(
    click.option(
        "--steps", type=click.IntRange(min=1), metavar="N",
        help="Largest number of training steps.  [default: the recipe's]",
    ),
    click.option("--data", metavar="FOLDER", help="Images: folder of their files.  [default: data/RECIPE]"),
    click.option(
        "--images", type=click.IntRange(min=1), metavar="N", help="Images: size of the training set.  [default: 2000]"
    ),
    click.option(
        "--model", metavar="NAME", help="Images: resnet8, resnet20, resnet8-bn, resnet20-bn.  [default: resnet8]"
    ),
    click.option("--device", metavar="NAME", help="Images and TASK.py: cpu or cuda.  [default: cpu]"),
)  # fmt: skip

jobs_option = click.option(
    "--jobs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Number of trainings at the same time.  [default: one per core]",
)


def recipe_args(recipe: str, params: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were typed for a recipe.

    Raises:
        click.UsageError: if the recipe does not take one of them.
    """
    known = inspect.signature(load_recipe(recipe).training).parameters
    typed = {name: value for name, value in params.items() if value is not None}
    for name in typed:
        if name not in known:
            raise click.UsageError(f"the recipe {recipe} takes no --{name.replace('_', '-')}.")
    return typed
