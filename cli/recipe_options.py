"""The recipe of ``train`` and ``sweep``, and its options. Nothing here imports torch before a recipe is used."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from landscape.recipes import RECIPES, recipe_keywords
from landscape_cli import options

if TYPE_CHECKING:  # for speed alone: landscape.training imports torch
    from landscape.training.problem import Value

_KINDS: dict[str, Callable[[str], Value]] = {
    "bool": lambda text: {"true": True, "false": False}[text.lower()],
    "int": int,
    "float": float,
    "str": str,
}  #: name of a type -> how a text is read as it
_WORDS = {"bool": "true or false", "int": "a whole number", "float": "a number", "str": "a text"}


class RecipeName(click.ParamType):
    """The name of a recipe, or a file with one."""

    name = "recipe"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in RECIPES and not str(value).endswith(".py"):
            self.fail(f"there is no recipe {value!r}. The recipes are {', '.join(RECIPES)}, TASK.py.", param, ctx)
        return str(value)


class Assignment(click.ParamType):
    """``NAME=TEXT``; dashes in the name are underscores."""

    name = "NAME=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        name, equals, text = str(value).partition("=")
        if not (name.strip() and equals and text.strip()):
            self.fail(f"expected a name, = and a value, such as width=16, got {value!r}.", param, ctx)
        return name.strip().replace("-", "_"), text.strip()


recipe = click.argument("recipe", type=RecipeName(), metavar="RECIPE")
recipe_options = options.together(
    click.option(
        "--steps", type=click.IntRange(min=1), metavar="N",
        help="Largest number of training steps.  [default: the recipe's]",
    ),
    click.option(
        "--until-loss", type=options.Number(0), metavar="X",
        help="Stop once the loss on the training set is below X, whatever the accuracy.  [default: the recipe's rule]",
    ),
    click.option("--data", metavar="FOLDER", help="Images: folder of their files.  [default: data/RECIPE]"),
    click.option(
        "--images", type=click.IntRange(min=1), metavar="N", help="Images: size of the training set.  [default: 2000]"
    ),
    click.option(
        "--model", metavar="NAME",
        help="Images: resnet8, resnet20, resnet8-bn, resnet20-bn, or cnn, a small plain one.  [default: resnet8]",
    ),
    click.option("--device", metavar="NAME", help="Images and TASK.py: cpu or cuda.  [default: cpu]"),
    click.option(
        "--set", "assigned", type=Assignment(), multiple=True, metavar="NAME=VALUE",
        help="Another keyword of the recipe: width, lr, batch, ... An unknown one lists them. May be repeated.",
    ),
)  # fmt: skip

jobs_option = click.option(
    "--jobs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Number of trainings at the same time.  [default: one per core]",
)


def recipe_args(recipe: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keywords of a recipe that were typed: as options of their own, or with ``--set``.

    Raises:
        click.UsageError: if the recipe does not take one of them, one is typed twice, or a value is of another kind.
    """
    known = recipe_keywords(recipe)
    typed = {name: value for name, value in params.items() if value is not None and name != "assigned"}
    for name in typed:
        if name not in known:
            raise click.UsageError(f"the recipe {recipe} takes no --{name.replace('_', '-')}.")
    for name, text in params.get("assigned", ()):
        parameter = _keyword(recipe, known, "--set", name)
        if name in typed:
            raise click.UsageError(f"{name} is given twice. Type it once.")
        typed[name] = _value("--set", parameter, text)
    return typed


def axes_of(
    recipe: str, varied: Sequence[tuple[str, str]], fixed: Mapping[str, Any], factors: Sequence[float] | None
) -> dict[str, list[Value]]:
    """Return the axes of a family: name -> values, in the order of the recipe's keywords; the poison comes last.

    Args:
        recipe: the recipe.
        varied: names and values as they were typed with ``--vary``.
        fixed: keywords that have one value.
        factors: the poison factors, if they are an axis.

    Raises:
        click.UsageError: if the recipe does not take a name, one is typed twice, or a value is of another kind.
    """
    known = recipe_keywords(recipe)
    axes: dict[str, list[Value]] = {}
    for name, text in varied:
        parameter = _keyword(recipe, known, "--vary", name)
        if name in axes or name in fixed:
            raise click.UsageError(f"{name} is given twice. Type all its values in one --vary {name}=...")
        axes[name] = list(dict.fromkeys(_value("--vary", parameter, part.strip()) for part in text.split(",")))
    in_order = {name: axes[name] for name in known if name in axes}
    return in_order if factors is None else {**in_order, "poison": list(factors)}


def _keyword(recipe: str, known: Mapping[str, inspect.Parameter], option: str, name: str) -> inspect.Parameter:
    """Return the keyword of a recipe that has this name."""
    if name in known:
        return known[name]
    if name in ("poison", "seed", "seeds"):
        raise click.UsageError(f"{option} {name}: the {name} has its own option. See --help.")
    names = ", ".join(key.replace("_", "-") for key in known)
    raise click.UsageError(
        f"{option} {name}: the recipe {recipe} has no keyword {name.replace('_', '-')}. It takes {names}."
    )


def _value(option: str, parameter: inspect.Parameter, text: str) -> Value:
    """Return the value that a text means for a keyword."""
    kinds = _kinds(parameter)
    for kind in kinds:
        try:
            return _KINDS[kind](text)
        except (ValueError, KeyError):
            continue
    name, expected = parameter.name.replace("_", "-"), " or ".join(_WORDS[kind] for kind in kinds)
    raise click.UsageError(f"{option} {name}: expected {expected}, got {text!r}.")


def _kinds(parameter: inspect.Parameter) -> list[str]:
    """Return the types that a keyword takes, by its annotation, or else its default, or else any."""
    annotation, default = parameter.annotation, parameter.default
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
    if annotation is inspect.Parameter.empty:
        text = type(default).__name__
    return [kind for kind in _KINDS if re.search(rf"\b{kind}\b", text)] or list(_KINDS)
