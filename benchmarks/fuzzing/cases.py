"""One bad input of each kind: files in the working folder, and the command that reads them."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import click
import h5py
import numpy as np

from benchmarks.fuzzing.files import SETTINGS
from benchmarks.fuzzing.mutations import VALUES, damage_folder, damaged, damaged_text
from landscape_cli.main import COMMANDS, cli

KINDS = ("command line", "settings", "checkpoint", "data", "results")
#: commands that train, or that measure for minutes, are given options that stop them before they begin
_FAST = {
    "volume": ["--directions", "3", "--estimator", "uniform"],
    "radius": ["--directions", "3"],
    "slice": ["--steps", "3"],
}
_LONG = ("train", "sweep", "reproduce")
_TASK = ["--task", "net.py"]
_DRAWN = 0.05  #: share of figures, which cost ten times as much as anything else
_KEEP = ["net.pt", *_TASK, "--out", "bad.h5"]


def make_case(kind: str, good: Path, rng: random.Random) -> list[str]:
    """Write the files of a bad input into the working folder, and return the words of the command that gets it.

    Args:
        kind: one of KINDS.
        good: the folder of good files.
        rng: says which.
    """
    return {
        "command line": _command_line, "settings": _settings, "checkpoint": _checkpoint, "data": _data,
        "results": _results,
    }[kind](good, rng)  # fmt: skip


def _command_line(_: Path, rng: random.Random) -> list[str]:
    name = "plot" if rng.random() < _DRAWN else rng.choice([name for name in COMMANDS if name != "plot"])
    if rng.random() < 0.03:
        return [rng.choice((*VALUES, "volum", "--version", "--help")) for _ in range(rng.randrange(3))]
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    words = [name]
    for argument in (p for p in command.params if isinstance(p, click.Argument)):
        good = "run.h5" if name in ("show", "plot", "compare") else "swiss-roll" if name in _LONG else "net.pt"
        words += [
            good if rng.random() < 0.7 else rng.choice(VALUES) for _ in range(max(argument.nargs, rng.randrange(2)))
        ]
    if name in _FAST or name in ("doctor", "curvature"):
        words += _TASK if rng.random() < 0.8 else []
        words += _FAST.get(name, [])
    options = [p for p in command.params if isinstance(p, click.Option) and p.name not in ("jobs", "compile")]
    for option in rng.sample(options, min(len(options), rng.choice((1, 1, 2, 3)))):
        words.append(rng.choice(option.opts))
        if not option.is_flag:
            choices = list(option.type.choices) if isinstance(option.type, click.Choice) else []
            words.append(str(rng.choice([*VALUES, *choices * 5])))
    return [*words, "--steps", "0"] if name in _LONG else words


def _settings(_: Path, rng: random.Random) -> list[str]:
    Path("landscape.toml").write_text(damaged_text(SETTINGS, rng), encoding="utf-8", errors="replace")
    if rng.random() < 0.2:
        Path("landscape.toml").write_bytes(damaged(SETTINGS.encode(), b"\xff\xfe", rng))
    if rng.random() < 0.2:
        key = rng.choice(("task", "model", "model_args", "data", "loss", "output", "x"))
        value = rng.choice(["3", "[]", "{}", "true", "1979-05-27", json.dumps(rng.choice(VALUES))])
        Path("landscape.toml").write_text(f"{key} = {value}\n" + SETTINGS, encoding="utf-8")
    return [rng.choice(("doctor", "radius")), "net.pt", "--directions", "3"]


def _checkpoint(good: Path, rng: random.Random) -> list[str]:
    sources = sorted((good / "checkpoints").iterdir())
    source, other = rng.choice(sources), rng.choice([path for path in sources if path.is_file()])
    target = Path(f"bad{source.suffix}")
    if source.is_dir():
        damage_folder(source, target, rng)
    else:
        target.write_bytes(damaged(source.read_bytes(), other.read_bytes(), rng))
    words = [rng.choice(("doctor", "radius", "radius")), str(target), "--directions", "3"]
    words += rng.choice(
        (["--task", "net.py"], ["--data", "data.npz"], ["--model", "net.py:make", "--data", "data.npz"])
    )
    words += ["--unsafe-load"] if rng.random() < 0.1 else []
    return [*words, "--weights", rng.choice(VALUES)] if rng.random() < 0.1 else words


def _data(good: Path, rng: random.Random) -> list[str]:
    sources = sorted((good / "data").iterdir())
    source = rng.choice(sources)
    target = Path(f"bad{source.suffix}")
    if rng.random() < 0.3:
        _write_odd_arrays(target, rng)
    else:
        target.write_bytes(damaged(source.read_bytes(), rng.choice(sources).read_bytes(), rng))
    loss = rng.choice(("cross_entropy", "mse", "binary_cross_entropy", "model", "net.py:loss"))
    words = [rng.choice(("doctor", "radius", "radius")), "net.pt", "--directions", "3"]
    return [*words, "--model", "net.py:make", "--data", str(target), "--loss", loss]


def _write_odd_arrays(target: Path, rng: random.Random) -> None:
    """Write an npz file with arrays of unusual shapes, types and values."""
    shapes = [(24, 2), (24,), (0, 2), (), (1, 2), (24, 2, 1), (2, 24), (24, 3), (24, 1)]
    kinds: list[Any] = ["f4", "f8", "f2", "i8", "u1", "?", "c8", "U3", "O", "M8[s]", ">f4", "i2"]

    def array() -> np.ndarray:
        values = np.full(rng.choice(shapes), rng.choice((0.0, 1.0, 2.0, -1.0, 1e30, np.nan, np.inf)))
        with np.errstate(all="ignore"):
            try:
                return values.astype(rng.choice(kinds))
            except (ValueError, TypeError):
                return values

    names = rng.sample(("inputs", "targets", "x", "y", "labels", "input_ids", "other", "X"), rng.randrange(1, 4))
    arrays: dict[str, Any] = {name: array() for name in names}
    np.savez(target.with_suffix(".npz"), **arrays)
    if target.suffix != ".npz":
        target.with_suffix(".npz").rename(target)


def _results(good: Path, rng: random.Random) -> list[str]:
    sources = sorted((good / "results").iterdir())
    source, target = rng.choice(sources), Path("bad.h5")
    if rng.random() < 0.6:
        target.write_bytes(damaged(source.read_bytes(), rng.choice(sources).read_bytes(), rng))
    else:
        shutil.copy(source, target)
        _edit(target, rng)
    if rng.random() < _DRAWN:
        return ["plot", "bad.h5", "--out", "figures"]
    return rng.choice(
        (
            ["show", "bad.h5"],
            ["show", "bad.h5", "--json"],
            ["compare", "bad.h5", "run.h5"],
            ["compare", "run.h5", "bad.h5", "--json"],
            ["radius", *_KEEP, "--directions", "3", "--resume"],
            ["slice", *_KEEP, "--steps", "3", "--resume"],
            ["volume", *_KEEP, "--estimator", "uniform", "--directions", "3", "--overwrite"],
        )
    )


def _edit(path: Path, rng: random.Random) -> None:
    """Change one thing in a results file by means of h5py, as somebody else's program might."""
    with h5py.File(path, "r+") as file:
        group = file[rng.choice([name for name in file if len(file[name])])]
        member = rng.choice(list(group))
        match rng.randrange(8):
            case 0:
                del group[member]
            case 1:
                del group.attrs[rng.choice(list(group.attrs))]
            case 2:
                group.attrs[rng.choice(list(group.attrs))] = rng.choice(("", "{}", "[]", "null", 3, b"\xff", "radii"))
            case 3:
                del group[member]
                group[member] = rng.choice((np.zeros(3), np.zeros((2, 2), np.int8), np.array(b"x"), np.zeros((0, 4))))
            case 4:
                file.attrs[rng.choice(list(file.attrs))] = rng.choice((1, 4, 2.5, "x", b"\xff"))
            case 5:
                group.move(member, "other")
            case 6:
                group.create_group("inner")
            case _:
                array = group[member]
                if array.size and array.dtype.kind in "fi":
                    array[...] = np.zeros(array.shape, array.dtype)
