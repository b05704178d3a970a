"""What the commands print fits a terminal of 80 columns, whatever the names of files and parameters are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from markupsafe import Markup

from helpers.commands import landscape
from helpers.families import as_csv, family
from landscape import plots
from landscape.reports import pictures
from landscape.results.table import WIDTH, columns

NAME = "a-checkpoint-with-the-long-name-that-somebody-chose-for-it-seed-0"
TASK = """
import torch
from torch import nn

import landscape


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        blocks = {"first_of_its_blocks_deep_inside": nn.Linear(2, 4)}
        self.the_encoder_of_all_inputs_with_a_long_name = nn.ModuleDict(blocks)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        block = self.the_encoder_of_all_inputs_with_a_long_name["first_of_its_blocks_deep_inside"]
        return self.head(torch.tanh(block(x)))


def task():
    torch.manual_seed(0)
    points = torch.randn(32, 2)
    return landscape.Task(model=Net(), data=(points, (points[:, 0] > 0).long()), loss="cross_entropy")
"""
COMMANDS = [
    "radius {name}.pt --task t.py --directions 10 --cutoff 0.9 --out {name}.h5",
    "volume {name}.pt --task t.py --cutoff 0.9 --cutoff 1 --budget 1500 --out {name}-volume.h5",
    "volume {name}.pt --task t.py --cutoff 0.9 --estimator laplace",
    "slice {name}.pt --task t.py --steps 5 --out {name}.h5",
    "slice {name}.pt --task t.py --steps 3 --dim 2 --out {name}.h5",
    "curvature {name}.pt --task t.py --metric filter --top 2 --trace --layers --density --steps 4 --out {name}.h5",
    "sharpness {name}.pt --task t.py --measures trace,average-case,distance,margin --out {name}.h5",
    "sharpness {name}.pt {name}-1.pt --task t.py --measures trace,average-case,margin",
    "track {name}.pt {name}-1.pt --task t.py --measure loss --measure trace",
    "doctor {name}.pt --task t.py",
    "show {name}.h5",
    "show {name}-volume.h5",
    "compare {name}-volume.h5 {name}-volume.h5",
    "plot {name}.h5 --out f --format svg",
    "report {name}.h5 --out r.html",
    "train swiss-roll --steps 2 --out {name}-2.pt",
    "sweep swiss-roll --steps 2 --poison 0,0.2 --seeds 1 --jobs 1 --out {name}",
    "benchmark --table runs.csv --bootstrap 20",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("widths")
    (folder / "t.py").write_text(TASK)
    names: dict = {}
    exec(TASK, names)
    weights = names["task"]().model.state_dict()
    for path in (f"{NAME}.pt", f"{NAME}-1.pt"):
        torch.save(weights, folder / path)
    table = as_csv(family())
    (folder / "runs.csv").write_text(table.replace("good", "good-measure-of-a-long-name-by-somebody-else"))
    return folder


def too_wide(text: str) -> list[str]:
    """The lines that could be shorter: a single word, such as a path, cannot, and a command is to be pasted."""
    lines = [line for line in text.splitlines() if len(line) > WIDTH]
    return [line for line in lines if " " in line.strip() and not line.startswith("  landscape ")]


def test_every_line_of_every_command_fits(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    # what is drawn is no line, and takes most of the time
    monkeypatch.setattr(pictures, "as_svg", lambda *_: Markup("<svg></svg>"))
    monkeypatch.setattr(plots, "save", lambda figure, path: None)
    wrong = {}
    for line in COMMANDS:
        done = landscape(*line.format(name=NAME).split())
        assert done.exit_code == 0, f"{line}\n{done.output}"
        assert done.stdout.isprintable() or "\r" not in done.stdout
        if lines := too_wide(done.stdout) + too_wide(re.sub(r"continue (it|with): .*", "", done.stderr)):
            wrong[line] = lines
    assert not wrong, "\n".join(["too wide:", *(f"{line}: {lines}" for line, lines in wrong.items())])


def test_a_wide_table_breaks_its_words_and_keeps_its_cells() -> None:
    name = "features.denseblock4.denselayer16.conv2.weight"
    table = columns(["tensor", *"abcde"], [[name, *["1,234,567.8"] * 5], ["x", *"12345"]], left=["tensor"])
    assert max(map(len, table.splitlines())) <= WIDTH
    assert table.rows[0][0] == name
    assert "".join(line.partition("  ")[0] for line in table.splitlines()[1:-1]) == name
    assert name in table.html()
    whole = columns(["tensor", *"abcde"], [[name, *["1,234,567.8"] * 5]], left=["tensor"], fit=False)
    assert name in whole


def test_numbers_are_never_broken() -> None:
    table = columns(list("abcdefgh"), [["123,456,789.012"] * 8])
    assert max(map(len, table.splitlines())) > WIDTH
    assert table.count("123,456,789.012") == 8
