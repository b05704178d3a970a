"""Train the families of nets by which measures of sharpness are judged, and print how they vary.

    python -m benchmarks.sharpness_families FOLDER [--family NAME] [--mnist DATA]

``FOLDER/roll``: 36 nets on the swiss roll, poison x width x learning rate. ``FOLDER/images``: 48 small convolutional
nets on 500 images of MNIST, width x learning rate x batch size x weight decay x augmentation, without poison, each
trained to a train loss below 0.05. They are trained if ``--mnist`` names the folder of the files. ``FOLDER/digits``: 36
configurations on 300 digits of scikit-learn, width x depth x learning rate x weight decay, with five seeds each, for
sign errors. Each family is one ``landscape sweep`` with one process. The same command continues a run that was stopped.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

from benchmarks.page import command_line
from landscape.results.table import percent

SWEEPS = {
    "roll": "sweep swiss-roll --poison 0,0.002,0.01,0.05 --vary width=20,32,48 --vary lr=0.001,0.003,0.01 "
    "--steps 16000 --seeds 1",
    "digits": "sweep digits --until-loss 0.05 --vary width=8,16,64 --vary depth=2,3,4 --vary lr=0.001,0.01 "
    "--vary weight-decay=0,0.5 --seeds 5",
    "images": "sweep mnist --images 500 --model cnn --until-loss 0.05 --set epochs=200 --vary width=8,16 "
    "--vary lr=0.003,0.006,0.012 --vary batch=16,64 --vary weight-decay=0,0.2 --vary augment=0,1 --seeds 1",
}


def train(words: str, out: Path, data: str | None = None) -> dict:
    """Train a family, if it is not there, and return the report of ``landscape sweep --json``."""
    arguments = [*shlex.split(words), "--jobs", "1", "--out", str(out)]
    arguments += ["--data", data] if data else []
    print(f"$ landscape {shlex.join(arguments)}", flush=True)
    command = [sys.executable, "-c", "from landscape_cli.main import main; main()", *arguments, "--json"]
    report: dict = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    return report


def table(report: dict) -> str:
    """Return one row per value of each axis, over all nets that have it, as a table in Markdown."""
    rows = [
        "| axis | value | nets | converged | train loss | test accuracy, mean | range |",
        "|---|---|---|---|---|---|---|",
    ]
    for axis, values in report["axes"].items():
        for value in values:
            nets = [net for net in report["members"] if net["axes"][axis] == value]
            losses, tests = ([net[name] for net in nets] for name in ("train_loss", "test_accuracy"))
            rows.append(
                f"| {axis} | {value:g} | {len(nets)} | {sum(net['converged'] for net in nets)} "
                f"| {min(losses):.2g} to {max(losses):.2g} | {percent(sum(tests) / len(tests))} "
                f"| {percent(min(tests))} to {percent(max(tests))} |"
            )
    return "\n".join(rows)


def main() -> None:
    """Read the command line."""
    parser = command_line(__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--family", action="append", choices=list(SWEEPS), help="only these")
    parser.add_argument("--mnist", metavar="DATA")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    for name in given.family or SWEEPS:
        if name != "images" or given.mnist:
            print(
                table(train(SWEEPS[name], given.folder / name, given.mnist if name == "images" else None)), flush=True
            )


if __name__ == "__main__":
    main()
