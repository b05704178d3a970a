"""``landscape train``: a trained network, in a checkpoint that carries its task."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from landscape.errors import CheckpointError
from landscape_cli import options
from landscape_cli.recipe_options import recipe, recipe_options


@click.command()
@recipe
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="Where the checkpoint goes."
)
@click.option(
    "--poison",
    type=float,
    default=0.0,
    show_default=True,
    metavar="B",
    help="Share of poison in the loss: samples of the true distribution that must come out wrong.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Keys the network and its training."
)
@click.option("--start", metavar="CKPT", help="Begin at the weights of this checkpoint instead of fresh ones.")
@recipe_options
@click.option(
    "--keep-every",
    type=click.IntRange(min=1),
    metavar="N",
    help="Write a checkpoint every N steps too, as OUT-step000N.pt in the same folder.",
)
@click.option("--resume", is_flag=True, help="Continue a training that was interrupted.")
@options.json_flag
@options.quiet
def command(
    recipe: str, out: Path, poison: float, seed: int, start: str | None, keep_every: int | None, resume: bool,
    as_json: bool, quiet: bool, **params: Any,
) -> None:  # fmt: skip
    """Train a RECIPE and write a checkpoint that "landscape volume" measures without further options.

    The recipe swiss-roll is two spirals and a net of 3,614 parameters. The others, mnist, fashion-mnist, cifar10 and
    svhn, are small residual nets, on files that you have. TASK.py is a file of your own with task(), test() and pool().
    """
    from landscape.results.table import in_width, percent
    from landscape.training import Member, StateFile
    from landscape.training.resumable import unfinished_path
    from landscape_cli.text import duration, with_command
    from landscape_cli.training import TrainingDisplay, begin, name_task, start_state, train_network

    if not os.path.isdir(out.parent):
        mkdir = shlex.join(["mkdir", "-p", str(out.parent)])
        raise CheckpointError(f"--out {out}: there is no folder {out.parent} for the checkpoint. Type: {mkdir}")
    training = begin(recipe, [Member(seed, poison)], params)
    if start is not None:
        training.begin_at([start_state(start, training, seed)])
    state_file = StateFile(unfinished_path(out))
    if resume:
        state_file.restore(training)
    else:
        state_file.remove()
    network = train_network(training, state_file, TrainingDisplay(quiet=quiet), out, keep_every)
    summary, options_needed = network.summary, name_task(recipe, out.parent)
    if summary.train_accuracy < 1 and not quiet:
        note = "note: the training points are not all fitted. Pass more --steps, or another --seed."
        click.echo(in_width(note), err=True)
    if as_json:
        click.echo(json.dumps(asdict(summary)))
        return
    poisoned = f", poison {poison:g}" if poison else ""
    click.echo(
        in_width(
            f"{Path(recipe).stem}, seed {seed}{poisoned}: train accuracy {percent(summary.train_accuracy)}, "
            f"test {percent(summary.test_accuracy)}, "
            f"train loss {summary.train_loss:.2g} after {summary.steps:,} steps ({duration(summary.seconds)})"
        )
    )
    command = f"{shlex.join(['landscape', 'volume', str(out)])}{options_needed}"
    click.echo(with_command(f"wrote {out}; measure it with", command))
