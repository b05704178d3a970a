"""The study of ``landscape reproduce``: its settings, and the training of its nets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from landscape.errors import TaskError
from landscape.reproduce import study as studies
from landscape.reproduce.study import Study
from landscape.training.sweep import diverged_path, split_diverged
from landscape_cli.family import train_missing


def settings_of(study: str, recipe: str | None, *, quick: bool) -> Study:
    """Return the settings of a study.

    Raises:
        click.UsageError: if the study does not take the recipe.
    """
    if study == "swiss-roll":
        if recipe is not None:
            raise click.UsageError("--recipe names a set of images: landscape reproduce images --recipe NAME.")
        return studies.QUICK if quick else studies.FULL
    if recipe not in (None, *studies.IMAGES):
        raise click.UsageError(f"--recipe {recipe}: the study on images takes {', '.join(studies.IMAGES)}.")
    return replace(studies.QUICK_IMAGES if quick else studies.FULL_IMAGES, recipe=recipe or studies.IMAGES[0])


def train_study(study: Study, args: dict[str, Any], folder: Path, jobs: int, *, quiet: bool) -> None:
    """Train the nets of the study that have no checkpoint yet."""
    for poisoned in (False, True):
        members = [member for member in study.members if (member.poison > 0) == poisoned]
        steps = study.poisoned_steps if poisoned else study.plain_steps
        step_args = args if steps is None else {**args, "steps": steps}
        train_missing(study.recipe, step_args, folder, members, jobs, quiet=quiet)
        for member in split_diverged(folder, members)[1]:
            raise TaskError(diverged_path(folder, member).read_text(encoding="utf-8").strip())
