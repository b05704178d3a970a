"""Bad inputs to every command: none may end in a traceback (exit code 1), hang, or take the process down.

    python -m benchmarks.fuzz [--inputs 10000] [--seed 0]

The inputs are command lines, settings files, checkpoints of every form, data files and results files, damaged in many
ways. Each runs in the process of a worker, by click's CliRunner, for at most a minute. A run with the same seed makes
the same inputs; each has a number of its own, so ``--only 4711`` repeats one alone and shows its traceback.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

import click
from click.testing import CliRunner

from benchmarks.fuzzing.cases import KINDS, make_case
from benchmarks.fuzzing.files import write_good_files
from landscape_cli.main import cli

LONGEST = 60  #: seconds for one input
MEMORY = 8 << 30  #: bytes of address space for a worker, beyond what it has: a shape in a damaged file may be enormous
_COPIED = ("net.py", "net.pt", "data.npz")
PATIENCE = 10  #: seconds beyond that after which a worker is killed
_ENDED = ("killed", "crashed")  #: how the process of a worker ends before its inputs are through
EXPECTED = (0, 2)  #: exit codes: done, and misuse


class HungError(BaseException):
    """An input has taken too long. No ``except Exception`` of the code under test may catch it."""


@dataclass(frozen=True)
class Outcome:
    """How the command ended for one input: its exit code, or hung, killed or crashed; with its traceback."""

    number: int
    kind: str
    words: tuple[str, ...]
    end: int | str
    trace: str = ""

    @property
    def bad(self) -> bool:
        """Whether this must not happen."""
        return self.end not in EXPECTED


def run_inputs(numbers: range, seed: int, good: Path) -> Iterator[Outcome]:
    """Yield how each input ended. Workers are forks, so that a crash ends one of them alone.

    Args:
        numbers: which inputs.
        seed: together with its number it settles an input.
        good: a folder that :func:`benchmarks.fuzzing.files.write_good_files` has filled.
    """
    ahead = list(numbers)
    while ahead:
        results, end = Pipe(duplex=False)
        worker = os.fork()
        if worker == 0:
            try:
                _work(ahead, seed, good, end)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(0)  # nothing of the parent's is tidied up by its fork
        end.close()
        while ahead and (outcome := _next_outcome(results, worker, ahead[0])):
            ahead.pop(0)
            yield outcome
            if outcome.end in _ENDED:
                break
        os.waitpid(worker, 0)


def run_one(number: int, seed: int, good: Path) -> Outcome:
    """Run one input in a fresh folder and return how it ended."""
    kind = _kind(number)
    with _working_folder(good), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        words = make_case(kind, good, random.Random(f"{seed} {number}"))
        signal.setitimer(signal.ITIMER_REAL, LONGEST)
        try:
            done = CliRunner().invoke(cli, words, prog_name="landscape")
            end: int | str = done.exit_code
            trace = (
                "".join(traceback.format_exception(done.exception)) if done.exception and end not in EXPECTED else ""
            )
        except HungError as error:
            end, trace = "hung", "".join(traceback.format_exception(error))
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    return Outcome(number, kind, tuple(words), end, trace)


@contextmanager
def good_files() -> Iterator[Path]:
    """Yield a folder of good files, which is removed at the end."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            write_good_files(Path(folder))
            yield Path(folder)
        finally:
            os.chdir(before)


def _kind(number: int) -> str:
    return KINDS[number % len(KINDS)]


def _work(numbers: list[int], seed: int, good: Path, results: Connection) -> None:
    """Run inputs one after the other and report each; the end of a worker."""

    def hang(*_: object) -> None:
        raise HungError

    signal.signal(signal.SIGALRM, hang)
    os.environ["HOME"] = str(good)
    if sys.platform == "linux":
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    for number in numbers:
        results.send(run_one(number, seed, good))


def _next_outcome(results: Connection, worker: int, number: int) -> Outcome:
    """Wait for the next outcome of a worker. One that loops within a library hears no alarm, so it is killed."""
    if not results.poll(LONGEST + PATIENCE):
        os.kill(worker, signal.SIGKILL)
        return Outcome(number, _kind(number), ("(in a loop that no alarm ends)",), _ENDED[0])
    try:
        outcome = results.recv()
    except EOFError:
        return Outcome(number, _kind(number), ("(the process died)",), _ENDED[1])
    assert isinstance(outcome, Outcome)
    return outcome


@contextmanager
def _working_folder(good: Path) -> Iterator[None]:
    """Work in a fresh folder with good code, weights, data and results in it; forget the code that was imported."""
    before, path, known = Path.cwd(), list(sys.path), set(sys.modules)
    with tempfile.TemporaryDirectory() as folder:
        for name in _COPIED:
            shutil.copy(good / name, folder)
        shutil.copy(good / "results/run.h5", folder)
        os.mkdir(f"{folder}/folder")
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)
            sys.path[:] = path
            for name in [
                name for name in set(sys.modules) - known if name == "net" or name.startswith("landscape_user_")
            ]:
                del sys.modules[name]


@click.command()
@click.option("--inputs", type=click.IntRange(min=1), default=10_000, show_default=True, help="How many.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--only", type=int, help="Run this input alone.")
def main(inputs: int, seed: int, only: int | None) -> None:
    """Run bad inputs, and exit with 1 if one of them ends in a traceback, hangs, or takes the process down."""
    started, ends, bad = time.monotonic(), Counter[str](), 0
    numbers = range(inputs) if only is None else range(only, only + 1)
    with good_files() as good:
        for outcome in run_inputs(numbers, seed, good):
            ends[f"{outcome.kind}: {outcome.end}"] += 1
            if outcome.bad:
                bad += 1
                shown = " ".join(word[:60] for word in outcome.words)
                last = outcome.trace.strip().splitlines()[-1:] if only is None else outcome.trace.splitlines()
                click.echo(f"input {outcome.number}: landscape {shown}: {outcome.end}\n  " + "\n  ".join(last))
            elif only is not None:
                click.echo(f"landscape {' '.join(outcome.words)}: exit {outcome.end}")
    for name, count in sorted(ends.items()):
        click.echo(f"{count:6,}  {name}")
    click.echo(f"{sum(ends.values()):,} inputs, {bad} bad, {time.monotonic() - started:.0f} s")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
