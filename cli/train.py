"""``landscape train``: a small trained network, in a checkpoint that carries its task."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

import click

from landscape.recipes import RECIPES


@click.command()
@click.argument("recipe", type=click.Choice(list(RECIPES)))
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="Where the checkpoint goes."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Keys the data and the network.")
@click.option("--steps", type=click.IntRange(min=1), help="Training steps; the recipe's own number by default.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a line.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar.")
def command(recipe: str, out: Path, seed: int, steps: int | None, as_json: bool, quiet: bool) -> None:
    """Train a RECIPE and write a checkpoint that ``landscape volume`` measures without further options."""
    if not out.parent.is_dir():
        raise click.UsageError(f"there is no folder {out.parent} for the checkpoint. Type: mkdir -p {out.parent}")
    trained = import_module(RECIPES[recipe]).train(seed, steps=steps, progress=not quiet and sys.stderr.isatty())
    trained.save(out)
    numbers = trained.numbers
    if as_json:
        click.echo(json.dumps(asdict(numbers)))
        return
    click.echo(
        f"{recipe}, seed {seed}: train accuracy {numbers.train_accuracy:.1%}, test {numbers.test_accuracy:.1%}, "
        f"train loss {numbers.train_loss:.2g} after {numbers.steps:,} steps ({numbers.seconds:.0f} s)"
    )
    click.echo(f"wrote {out}; measure it with: landscape volume {out}")
