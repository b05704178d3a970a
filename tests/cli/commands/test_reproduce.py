"""The command trains, measures and writes a page that needs nothing beside it, and goes on where it was stopped."""

from __future__ import annotations

import csv
import re
import shlex
from pathlib import Path

import pytest

from helpers.children import Child, command
from helpers.commands import run
from helpers.studies import TINY
from landscape.reproduce import animation, captioned_figure
from landscape.reproduce import study as settings
from landscape.reproduce.run import reproduce

GIFS = {"animation-random.gif", "animation-hessian.gif"}
KINDS = ["png", "gif", "gif", "png", "png", "png", "png", "png"]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that is done."""
    folder = tmp_path_factory.mktemp("study") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "QUICK", TINY)
        told = run(f"reproduce swiss-roll --quick --jobs 1 -q --out {folder}").output
    assert told.startswith(f"wrote {folder}/index.html")
    return folder


def test_the_page_needs_nothing_beside_it(out: Path) -> None:
    text = (out / "index.html").read_text()
    sources = re.findall(r'src="([^"]*)"', text)
    # the basin has no figure: the bad net is not trained to an end; the animations are two
    assert [source.split(";")[0] for source in sources] == [f"data:image/{kind}" for kind in KINDS]
    assert "<script" not in text
    assert "<link" not in text
    links = [link for link in re.findall(r'href="([^"]*)"', text) if not link.startswith("#")]
    assert len(links) > 10
    assert all((out / link).exists() for link in links)


def test_each_figure_has_its_numbers(out: Path) -> None:
    with (out / "swiss-roll" / "figures" / "gap.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["poison"]) for row in rows] == [0.0, 0.3]
    assert float(rows[0]["gap"]) == pytest.approx(float(rows[0]["train_accuracy"]) - float(rows[0]["test_accuracy"]))
    files = {path.name for path in (out / "swiss-roll" / "figures").iterdir() if path.stat().st_size > 0}
    names = {name.split(".")[0] for name in files if not name.endswith("gif")}
    assert names == {"boundaries", "animation", "gap", "margin", "curvature", "minefield", "volume"}
    assert {f"{name}.{end}" for name in names for end in ("png", "svg", "csv")} | GIFS == files


def test_the_commands_on_the_page_can_be_typed(out: Path) -> None:
    from landscape_cli.main import cli

    text = (out / "index.html").read_text()
    lines = [line for block in re.findall(r"<pre>(.*?)</pre>", text, re.DOTALL) for line in block.splitlines()]
    assert len(lines) > 4
    for line in lines:
        program, name, *arguments = shlex.split(line)
        command = cli.get_command(None, name)  # type: ignore[arg-type]
        assert program == "landscape"
        assert command is not None
        command.make_context(name, arguments)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the drawing, which takes most of the time. For tests of what is measured: they look at the tables."""
    monkeypatch.setattr(captioned_figure, "save", lambda figure, path: path.write_bytes(b"a picture"))
    monkeypatch.setattr(animation, "animated_gif", lambda *_: b"an animation")


@pytest.mark.usefixtures("undrawn")
def test_what_is_there_is_not_measured_again(out: Path) -> None:
    before = {path.name: path.read_bytes() for path in (out / "swiss-roll" / "figures").glob("*.csv")}
    made: list[str] = []
    reproduce(TINY, out, "again", made.append)
    assert made == []
    assert {path.name: path.read_bytes() for path in (out / "swiss-roll" / "figures").glob("*.csv")} == before


@pytest.mark.usefixtures("undrawn")
def test_a_run_that_was_stopped_goes_on(out: Path, tmp_path: Path) -> None:
    def stop(name: str) -> None:
        made.append(name)
        if len(made) == 4:
            raise KeyboardInterrupt

    made: list[str] = []
    (tmp_path / "swiss-roll").mkdir()
    for name in ("nets", "minefield"):
        (tmp_path / "swiss-roll" / name).symlink_to(out / "swiss-roll" / name)
    with pytest.raises(KeyboardInterrupt):
        reproduce(TINY, tmp_path, "first", stop)
    stopped, rest = made[:3], []
    reproduce(TINY, tmp_path, "second", rest.append)
    assert rest
    assert not set(stopped) & set(rest)
    for path in (out / "swiss-roll" / "figures").glob("*.csv"):
        assert (tmp_path / "swiss-roll" / "figures" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.usefixtures("undrawn")
def test_a_run_that_was_killed_goes_on_to_the_same_numbers(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while it trains the minefield. Stops in a measurement are tested above."""
    monkeypatch.setattr(settings, "QUICK", TINY)
    words = ["reproduce", "swiss-roll", "--quick", "--jobs", "1", "--out", tmp_path]
    (tmp_path / "swiss-roll").mkdir()
    (tmp_path / "swiss-roll" / "nets").symlink_to(out / "swiss-roll" / "nets")
    told: list[str] = []
    for last in ("bad minima", ""):
        with Child(command(*words)) as process:
            for line in process.stderr:
                # how many there are depends on when the run ends, which is not the same on every processor
                if named := re.match(r"\d[\d. a-z]*: (.*)", line):  # a time and a measurement, no line of progress
                    told.append(re.sub(r"\d+ (?=bad)", "", named[1]))
                if last and last in line:
                    process.kill()
                    break
            process.wait()
    assert process.returncode == 0
    assert (tmp_path / "index.html").exists()
    # what was under way when it was killed is told twice, all else once
    assert [line for line in set(told) if told.count(line) > 1] == ["minefield: bad minima"]
    for path in (out / "swiss-roll" / "figures").glob("*.csv"):
        assert (tmp_path / "swiss-roll" / "figures" / path.name).read_bytes() == path.read_bytes()
