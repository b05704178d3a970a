"""The study on images: made on small files, beside the study of another recipe, and refused with one clear line."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helpers.commands import run
from landscape.reproduce import captioned_figure
from landscape.reproduce import study as settings

TINY = replace(
    settings.QUICK_IMAGES,
    factors=(0.0, 0.3),
    poisoned_steps=3,
    plain_steps=3,
    plane_points=3,
    rays=2,
    cutoffs=(50.0,),
    samples=16,
)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study on a few small images, and of one on another set of them."""
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for split, count in (("train", 60), ("test", 30)):
        targets = np.arange(count) % 10
        inputs = random.integers(0, 255, (count, 12, 12, 1)) // 4 + 15 * targets[:, None, None, None]
        np.savez(folder / f"{split}.npz", inputs=inputs.astype(np.uint8), targets=targets)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "QUICK_IMAGES", TINY)
        # the tests look at the page and the tables, and drawing takes most of the time
        patch.setattr(captioned_figure, "save", lambda figure, path: path.write_bytes(b"a picture"))
        for recipe in ("mnist", "cifar10"):
            run(
                f"reproduce images --recipe {recipe} --quick --jobs 1 -q --data {folder} --images 20 --out {folder}/out"
            )
    return folder / "out"


def test_one_page_shows_the_studies_of_both_recipes(out: Path) -> None:
    text = (out / "index.html").read_text()
    assert re.findall(r'<h1 id="(.*?)">', text) == ["mnist", "cifar10"]
    assert all((out / link).exists() for link in re.findall(r'href="([^"#]+)"', text))
    assert "the first 16 of them" in text
    assert "animation" not in text  # no boundary can be drawn in the space of images


def test_the_chart_of_gaps_holds_every_recipe_in_the_folder(out: Path) -> None:
    with (out / "cifar10" / "figures" / "gap.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["recipe"], float(row["poison"])) for row in rows] == [
        (recipe, poison) for recipe in ("mnist", "cifar10") for poison in (0.0, 0.3)
    ]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("images --recipe digits", "mnist, fashion-mnist, cifar10, svhn"),
        ("images --data nowhere", "Get the files from"),
        ("swiss-roll --recipe mnist", "reproduce images --recipe"),
        ("swiss-roll --data nowhere", "takes no --data"),
    ],
)
def test_what_is_refused(line: str, told: str, tmp_path: Path) -> None:
    assert told in run(f"reproduce {line} --quick -q --out {tmp_path}/out", code=2).output
