"""``landscape report``: a page beside the run, whose commands measure the same again."""

from __future__ import annotations

import html
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from helpers.commands import SMALL, fill, flat, landscape, run, stored


def test_the_commands_of_the_page_measure_the_same_again(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(f"radius {SMALL} --directions 20 --seed 5 --cutoff 0.5 --out run.h5")
    before = stored()
    done = run("report run.h5")
    assert done.stdout == "run-report.html\n"
    assert done.stderr == "drawing 1 results\n"
    page = Path("run-report.html").read_text("utf-8")
    shown = re.search(r'<pre tabindex="0">(.*?)</pre>', page, flags=re.DOTALL)
    assert shown
    commands = [shlex.split(line) for line in html.unescape(shown[1]).splitlines()]
    assert [words[:2] for words in commands] == [["pip", "install"], ["landscape", "radius"]]
    (here / "empty").mkdir()
    monkeypatch.chdir(fill(here / "empty"))
    assert landscape(*commands[1][1:]).exit_code == 0
    assert np.array_equal(stored().radii, before.radii)


def test_notes_of_the_page_name_flags(here: Path) -> None:
    run("volume ckpt.pt --task my_task.py --estimator counted --cutoff 0.3 --budget 2000 --out run.h5")
    run("report run.h5 --out page.html -q")
    page = flat(Path("page.html").read_text("utf-8"))
    assert "--budget" in page
    assert "<code>budget=" not in page


def test_misuse_says_what_to_type_and_changes_nothing(here: Path) -> None:
    run(f"radius {SMALL} --out run.h5")
    before = Path("run.h5").read_bytes()
    assert "Pass such an --out" in run("report run.h5 --out run.h5", code=2).stderr
    assert "there is no folder deep" in run("report run.h5 --out deep/page.html", code=2).stderr
    assert "Type each results file once" in run("report run.h5 run.h5", code=2).stderr
    assert "not an HDF5 file" in run("report ckpt.pt", code=2).stderr
    assert "Missing argument" in run("report", code=2).stderr
    assert Path("run.h5").read_bytes() == before
    assert not list(here.glob("*.html"))


def test_a_damaged_result_leaves_a_page_and_exit_code_2(here: Path) -> None:
    run(f"radius {SMALL} --out run.h5")
    content = Path("run.h5").read_bytes()
    Path("run.h5").write_bytes(content.replace(b'"dimension"', b'"dimensio_"', 1))
    done = run("report run.h5", code=2)
    assert "'radii' in" in done.stderr
    assert "<b>radii</b> is damaged." in Path("run-report.html").read_text("utf-8")
