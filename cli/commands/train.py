"""``landscape train``: a trained network, in a checkpoint that carries its task."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from landscape.errors import CheckpointError
from landscape_cli import options
from landscape_cli.interrupts import INTERRUPTED
from landscape_cli.training import TrainingDisplay, begin, name_task, recipe, recipe_options, step_path

if TYPE_CHECKING:
    from torch import Tensor

    from landscape.training.resumable import Keeper, Training
    from landscape.training.training import Trained


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
    help="Keep a checkpoint every N steps too, as OUT-step000N.pt beside it.",
)
@click.option("--resume", is_flag=True, help="Continue a training that was interrupted.")
@options.json_flag
@options.quiet
def command(
    recipe: str, out: Path, poison: float, seed: int, start: str | None, keep_every: int | None, resume: bool,
    as_json: bool, quiet: bool, **given: Any,
) -> None:  # fmt: skip
    """Train a RECIPE and write a checkpoint that "landscape volume" measures without further options.

    The recipes: swiss-roll (two spirals, a net of 3,614 parameters), mnist, fashion-mnist, cifar10 and svhn (small
    residual nets, on files that you have), and TASK.py, a file of your own with task(), test() and pool().
    """
    from landscape.results.table import percent
    from landscape.training.resumable import Keeper, unfinished_path
    from landscape.training.training import Member
    from landscape_cli.text import duration

    if not out.parent.is_dir():
        made = shlex.join(["mkdir", "-p", str(out.parent)])
        raise CheckpointError(f"--out {out}: there is no folder {out.parent} for the checkpoint. Type: {made}")
    training = begin(recipe, [Member(seed, poison)], given)
    if start is not None:
        training.begin_at([start_state(start, training, seed)])
    keeper = Keeper(unfinished_path(out))
    if resume:
        keeper.restore(training)
    else:
        keeper.forget()
    trained = carry_through(training, keeper, TrainingDisplay(quiet=quiet), out, keep_every)
    numbers, needed = trained.numbers, name_task(recipe, out.parent)
    if numbers.train_accuracy < 1 and not quiet:
        click.echo("note: the training points are not all fitted. Pass more --steps, or another --seed.", err=True)
    if as_json:
        click.echo(json.dumps(asdict(numbers)))
        return
    poisoned = f", poison {poison:g}" if poison else ""
    click.echo(
        f"{Path(recipe).stem}, seed {seed}{poisoned}: train accuracy {percent(numbers.train_accuracy)}, "
        f"test {percent(numbers.test_accuracy)}, "
        f"train loss {numbers.train_loss:.2g} after {numbers.steps:,} steps ({duration(numbers.seconds)})"
    )
    click.echo(f"wrote {out}; measure it with: {shlex.join(['landscape', 'volume', str(out)])}{needed}")


def start_state(start: str, training: Training, seed: int) -> dict[str, Tensor]:
    """Return the weights in a checkpoint, as the recipe's network names them."""
    from landscape.checkpoint import load_checkpoint

    return load_checkpoint(start, training.problem.network(seed)).state_dict()


def carry_through(
    training: Training, keeper: Keeper, display: TrainingDisplay, out: Path, keep_every: int | None
) -> Trained:
    """Run a training of one network to its end and write its checkpoint, and those on the way."""

    def on_step(training: Training) -> None:
        if keep_every and training.step % keep_every == 0:
            training.trained()[0].save(step_path(out, training.step))
        keeper(training)
        display(training)

    try:
        trained = training.run(on_step)[0]
    except KeyboardInterrupt:
        display.close()
        kept = keeper.path.exists()
        told = f"add --resume to go on from what {keeper.path} keeps" if kept else "nothing was kept yet"
        click.echo(f"interrupted at step {training.step:,}: {told}", err=True)
        raise SystemExit(INTERRUPTED) from None
    finally:
        display.close()
    trained.save(out)
    keeper.forget()
    return trained
