"""``landscape train``: a small trained network, in a checkpoint that carries its task."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import asdict
from pathlib import Path

import click

from landscape.errors import CheckpointError
from landscape.recipes import RECIPES, load_recipe


@click.command()
@click.argument("recipe", type=click.Choice(list(RECIPES)), metavar="RECIPE")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="Where the checkpoint goes."
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Keys the network and the noise."
)
@click.option("--steps", type=click.IntRange(min=1), help="Training steps at most; the recipe's own number by default.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a line.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar.")
def command(recipe: str, out: Path, seed: int, steps: int | None, as_json: bool, quiet: bool) -> None:
    """Train a RECIPE and write a checkpoint that "landscape volume" measures without further options.

    The recipes: swiss-roll (two spirals, a net of 3,614 parameters, a few seconds).
    """
    from landscape_cli.text import duration, percent

    if not out.parent.is_dir():
        made = shlex.join(["mkdir", "-p", str(out.parent)])
        raise CheckpointError(f"--out {out}: there is no folder {out.parent} for the checkpoint. Type: {made}")
    trained = load_recipe(recipe).train(seed, steps=steps, progress=not quiet and sys.stderr.isatty())
    trained.save(out)
    numbers = trained.numbers
    if numbers.train_accuracy < 1 and not quiet:
        click.echo("note: the training points are not all fitted. Pass more --steps, or another --seed.", err=True)
    if as_json:
        click.echo(json.dumps(asdict(numbers)))
        return
    click.echo(
        f"{recipe}, seed {seed}: train accuracy {percent(numbers.train_accuracy)}, "
        f"test {percent(numbers.test_accuracy)}, "
        f"train loss {numbers.train_loss:.2g} after {numbers.steps:,} steps ({duration(numbers.seconds)})"
    )
    click.echo(f"wrote {out}; measure it with: {shlex.join(['landscape', 'volume', str(out)])}")
