"""Train the families of docs/training.md, and print their tables.

    python -m benchmarks.recipes pack JPEGS.npz... OUT     JPEG bytes in npz files -> OUT/train.npz, OUT/test.npz
    python -m benchmarks.recipes train FOLDER [--mnist FOLDER] [--cifar10 FOLDER] [--swiss-roll]

``pack`` takes files with the arrays jpeg, offset and label: image i is ``jpeg[offset[i]:offset[i + 1]]``. A file whose
name contains "test" is the test split. ``train`` runs ``landscape sweep``, one process at a time, and writes the
checkpoints into FOLDER. The same command continues a run that was stopped.
"""

from __future__ import annotations

import io
import json
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.page import command_line
from landscape.results.table import percent

COMMANDS = {
    "swiss_roll": "sweep swiss-roll --poison 0,0.001,0.002,0.005,0.01,0.02,0.05,0.1,0.2,0.5 --seeds 5",
    "mnist": "sweep mnist --poison 0,0.003,0.01,0.03,0.1,0.3 --seeds 2",
    "cifar10": "sweep cifar10 --poison 0,0.003,0.01,0.03,0.1,0.3 --seeds 2",
}


def unpacked(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the images, shape (N, H, W, 3) in bytes, and the classes in a file of JPEGs."""
    from PIL import Image

    with np.load(path) as archive:
        content, offsets, classes = archive["jpeg"], archive["offset"], archive["label"]
    images = []
    for start, end in pairwise(offsets):
        with Image.open(io.BytesIO(content[start:end].tobytes())) as image:
            images.append(np.asarray(image.convert("RGB")))
    return np.stack(images), classes.astype(np.int64)


def pack(files: list[Path], out: Path) -> None:
    """Write the images of JPEG files as ``train.npz`` and ``test.npz``, as the image recipes read them."""
    out.mkdir(parents=True, exist_ok=True)
    for path in files:
        split = "test" if "test" in path.stem else "train"
        images, classes = unpacked(path)
        np.savez(out / f"{split}.npz", inputs=images, targets=classes)
        print(f"{out / f'{split}.npz'}: {images.shape}, {len(np.unique(classes))} classes", flush=True)


def train(folder: Path, data: dict[str, str | None]) -> None:
    """Run the sweeps whose data were named, and print their tables."""
    for name, command in COMMANDS.items():
        if data[name] is None:
            continue
        words = [*shlex.split(command), "--out", str(folder / name.replace("_", "-")), "--jobs", "1"]
        words += ["--data", str(data[name])] if data[name] else []
        print(f"$ landscape {shlex.join(words)}", flush=True)
        command_line = [sys.executable, "-c", "from landscape_cli.main import main; main()", *words, "--json"]
        report = json.loads(subprocess.run(command_line, stdout=subprocess.PIPE, text=True, check=True).stdout)
        print(table(report))


def table(report: dict) -> str:
    """Return one row per poison factor of a family, as a table in Markdown."""
    rows = ["| β | train | loss, highest | test, mean | each seed |", "|---|---|---|---|---|"]
    for level in report["levels"]:
        seeds = [row for row in report["members"] if row["axes"] == level["axes"]]
        tests = ", ".join(f"{100 * row['test_accuracy']:.1f}" for row in seeds)
        rows.append(
            f"| {level['axes']['poison']:g} | {percent(level['train_accuracy'])} | {level['train_loss']:.2g} "
            f"| {percent(level['test_accuracy'])} | {tests} |"
        )
    minutes = sum(row["seconds"] for row in report["members"]) / 60
    return "\n".join(
        [*rows, "", f"rank correlation {report['rank_correlation']:.3f}; seconds of all nets {minutes:.1f} min"]
    )


def main() -> None:
    """Read the command line."""
    parser = command_line(__doc__)
    parts = parser.add_subparsers(dest="part", required=True)
    packing = parts.add_parser("pack")
    packing.add_argument("files", nargs="+", type=Path)
    packing.add_argument("out", type=Path)
    training = parts.add_parser("train")
    training.add_argument("folder", type=Path)
    training.add_argument("--mnist")
    training.add_argument("--cifar10")
    training.add_argument("--swiss-roll", action="store_const", const="")
    given = parser.parse_args()
    if given.part == "pack":
        pack(given.files, given.out)
    else:
        train(given.folder, {name: getattr(given, name) for name in COMMANDS})


if __name__ == "__main__":
    main()
