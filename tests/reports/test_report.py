"""A report: every kind of result is on it, what is damaged or new is named, and the page needs nothing else."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np
import pytest
from markupsafe import Markup, escape

import landscape as ls
from helpers import curvature_results, every_kind
from helpers.browser import Reader, ask, dumped, needs_browser
from helpers.families import family
from helpers.slice_results import make_line, make_plane
from helpers.stores import make_radii, make_volume
from landscape.errors import StoreError
from landscape.pages import figures
from landscape.ranking import RankingSettings, rank_measures
from landscape.reports import pictures, read_contents, report_page
from landscape.reports.parts import TITLES
from landscape.results import Cost, LaplaceVolume, Measure, Result, Snapshot, Volume

EVIL = "<script>alert(1)</script>"
COMMAND = "landscape volume ckpt.pt --out run.h5 --resume"


def measure(name: str, step: int = 0, **changes: Any) -> Measure:
    config = {"checkpoint": f"{step}.pt", "step": step, "command": "landscape sharpness 0.pt --out run.h5"}
    values = (name, 1.5, 0.25, "estimate", ("few draws",), "sharper", (), np.zeros(0), config, Cost(7.0, 1, 0.5))
    return replace(Measure(*values), **changes)


def laplace() -> LaplaceVolume:
    row = replace(make_volume().results[0], cutoff=1.0, verdict="approximation")
    one = np.zeros(1)
    return LaplaceVolume(
        (row,), np.zeros((0, 1)), "laplace", 12, 0, {"scope": "weights", "curvature": "Hessian"}, Cost(9, 9, 1.0),
        one, one, one, one, 0.0,
    )  # fmt: skip


def all_kinds() -> dict[str, Result]:
    curvature = curvature_results.results()
    for name in ("unconverged", "float32", "xtrace", "exact trace", "singular"):
        del curvature[name]
    config = {"command": COMMAND, "checkpoint": "ckpt.pt", "max_radius": 1.0, "parameters": 300_000}
    return {
        "radii": make_radii(13, config=config),
        "volume": make_volume(),
        "laplace": laplace(),
        "line-random": make_line(notes=("a note about the line",)),
        "plane-random": make_plane(7, 5),
        "a-sharpness-trace": measure("trace", 0),
        "b-sharpness-trace": measure("trace", 100),
        **curvature,
    }


def cheap(config: dict[str, Any] | None = None) -> Result:
    """A result without a figure, which takes longest."""
    return replace(curvature_results.results()["trace"], config=config or {"operator": "hessian"})


def written(folder: Path, results: Mapping[str, Result], name: str = "run.h5") -> Path:
    with ls.Store(folder / name, write=True) as store:
        for key, result in results.items():
            store[key] = result
    return folder / name


def page_of(*paths: Path) -> str:
    return report_page([read_contents(path) for path in paths])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("report")


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return page_of(written(folder, all_kinds()))


def test_the_page_is_whole_and_needs_nothing_else(page: str) -> None:
    reader = Reader(page)
    assert reader.open == []
    assert all(address.startswith(("#", "data:image/png;base64,")) for address in reader.addresses)
    assert not re.search(r"https?:|@import", page)
    assert len(set(reader.identifiers)) == len(reader.identifiers)
    assert {address[1:] for address in reader.addresses if address[0] == "#"} <= set(reader.identifiers)
    assert set(re.findall(r"url\(#([^)]+)\)", page)) <= set(reader.identifiers)


def test_every_result_is_on_the_page_with_its_numbers(page: str) -> None:
    text = re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL)
    for name, result in all_kinds().items():
        assert f"<summary>{name}</summary>" in text
        if result.kind not in ("volume", "laplace", "measure"):
            assert str(escape(result.brief)) in text, name
    assert "a note about the line" in text
    assert "trace: few draws" in text
    assert "unfinished: 13 of 40 are measured. Continue with: <code>landscape volume ckpt.pt --out run.h5" in text
    cells = [cell for row in Reader(text).cells for cell in row]
    assert {"1.5", "-75,812.3", "~ -75,812.3"} & set(cells)


def test_notes_name_the_estimator_that_they_are_about(page: str) -> None:
    assert "<li>uniform: lower bound: fewer than 100 rays" in page


def test_it_begins_with_the_sentences_to_quote(page: str) -> None:
    best = make_volume().results[0].report
    first = re.search(r'<p class="headline"><span class="verdict">(.*?)</span> (.*?)</p>', page)
    assert first
    assert first[1] == "lower bound"
    assert first[2] == str(escape(best))
    assert page.index("headline") < page.index("What was measured") < page.index("Measure it again")


def test_the_commands_to_measure_it_again_begin_anew(page: str) -> None:
    shown = re.search(r'<pre tabindex="0">(pip install.*?)</pre>', page, flags=re.DOTALL)
    assert shown
    lines = shown[1].splitlines()
    assert lines[0].startswith(f"pip install landscape-lab=={ls.__version__} torch==")
    assert "+" not in lines[0]
    assert sorted(lines[1:]) == ["landscape sharpness 0.pt --out run.h5", COMMAND.removesuffix(" --resume")]
    assert "Made in Python, which records no command: " in page


def test_settings_that_all_results_share_stand_once(tmp_path: Path) -> None:
    config = {"metric": "filter", "seed": 3, "parameters": 300_000, "dimension": 268_336, "max_radius": None}
    page = page_of(written(tmp_path, {"one": cheap(config), "two": cheap({"metric": "filter", "seed": 0})}))
    rows = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page.split("Measure it again")[0])
    assert ("metric", "filter") in rows
    assert ("entries that move", "n = 268,336 of D = 300,000 parameters") in rows
    assert ("cap on the radius", "none") in rows
    assert not [text for label, text in rows if label == "seed"]  # 3 and 0
    assert ("seed", "3") in re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page)


@dataclass(frozen=True)
class Odd(Result):
    """A kind that the page was not written for."""

    kind: ClassVar[str] = "odd"

    name: str
    cost: Cost

    def __str__(self) -> str:
        return f"oddness of {self.name}\nnote: it is odd"


def test_a_training_run_is_one_part_with_a_row_per_step(tmp_path: Path) -> None:
    config = {"step_from": "training", "seed": 0}
    run = {
        f"step-{step}": Snapshot.of(
            {"trace": measure("trace", value=step / 7, verdict="failed" if step == 30 else "estimate")},
            step,
            1.0,
            config,
        )
        for step in (10, 20, 30)
    }
    page = page_of(written(tmp_path, run))
    reader = Reader(page)
    rows = [row for row in reader.cells if row[:1] in (["10"], ["20"], ["30"])]
    assert rows == [["10", "1", "1.43 ± 0.25"], ["20", "1", "2.86 ± 0.25"], ["30", "1", "-"]]
    assert page.count("<figcaption") == 1
    assert "trace at step 10 and 2 more, up to step 30: few draws" in page
    assert "step 10, epoch 1: trace" in page_of(written(tmp_path, {"step-10": run["step-10"]}, "one.h5"))


def test_a_kind_that_is_new_to_the_page_is_shown_and_one_new_to_landscape_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, {"mine": Odd("x", Cost(1, 1, 1)), "trace": cheap()})
    page = page_of(path)
    assert "oddness of x" in page
    assert "<li>it is odd</li>" in page
    monkeypatch.delitem(Result._kinds, "odd")
    page = page_of(path)
    assert "<b>mine</b> is of the kind odd, which landscape" in page
    assert "<summary>trace</summary>" in page


def test_a_damaged_group_is_named_and_the_rest_is_there(tmp_path: Path) -> None:
    path = written(tmp_path, {"radii": make_radii(40), "other": cheap(), "line": cheap()})
    with h5py.File(path) as file:
        place = file["radii/radii"].id.get_offset()
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    page = page_of(path)
    assert "<b>radii</b> is damaged." in page
    assert "<summary>line</summary>" in page
    assert "<summary>other</summary>" in page
    assert "<summary>radii</summary>" not in page
    assert Reader(page).open == []


def test_a_file_without_results_says_so(tmp_path: Path) -> None:
    path = written(tmp_path, {"trace": cheap()})
    del ls.Store(path)["trace"]
    assert "The file holds no result that can be read." in page_of(path)


def test_no_kind_of_result_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every kind that the store takes has a title, and makes a page. Its figures are made and not drawn."""
    monkeypatch.setattr(pictures, "as_svg", lambda figure, name, words: Markup(f'<svg id="{name}"></svg>'))
    results = every_kind.RESULTS
    page = page_of(written(tmp_path, results))
    assert set(re.findall(r"<summary>(.*?)</summary>", page)) == set(results)
    assert {"volume" if isinstance(result, Volume) else result.kind for result in results.values()} == set(TITLES)
    assert Reader(page).open == []
    assert len(set(Reader(page).identifiers)) == len(Reader(page).identifiers)


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    config = {"checkpoint": EVIL, "command": f"landscape radius {EVIL}; rm -r x", EVIL: EVIL, "metric": EVIL, "step": 0}
    results = {
        "line": make_line(notes=(EVIL, "`<b>`"), direction=EVIL, config=config),
        "measure": measure(EVIL, reasons=(EVIL,), config=config),
        "layers": curvature_results.make_traces(np.ones(3), [EVIL, "a", "-->"], config=config),
        "odd": Odd(f"{EVIL}\n{EVIL}   {EVIL}", Cost(1, 1, 1)),
    }
    page = page_of(written(tmp_path, results))
    assert page.count("<script") == 1
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<code>&lt;b&gt;</code>" in page
    assert f"landscape radius {escape(shlex.quote(f'{EVIL};'))} rm -r x" in page
    assert Reader(page).open == []


def test_a_ranking_is_the_page_of_the_benchmark(tmp_path: Path) -> None:
    runs = family()
    ranking = rank_measures(runs, "gap", settings=RankingSettings(bootstrap=100, permutations=100, effective_size=3))
    page = page_of(written(tmp_path, {"runs": runs, "ranking": ranking}))
    assert str(escape(ranking.headline)) in page
    assert page.count('class="net ') == len(ranking.measures) * len(runs.nets)
    assert len(set(Reader(page).identifiers)) == len(Reader(page).identifiers)


def test_several_files_are_compared_first(tmp_path: Path) -> None:
    same = {"data_hash": "d", "theta_hash": "a", "metric": "identity"}
    other = {**same, "theta_hash": "b"}
    trace = cheap(same)
    first = {"trace": trace, "m": measure("m", config=same), "volume": make_volume()}
    first["bound"], bound = measure("worst", config=same, verdict="lower bound"), measure("worst", config=other)
    first |= {"stable": replace(measure("stable", config=same), invariances=("relu-rescaling",)), "again": trace}
    second = {
        "trace": replace(trace, config=other),
        "stable": replace(measure("stable", config=other), invariances=("relu-rescaling",)),
        "again": trace,
        "m": measure("m", config={**other, "data_hash": "e"}),
        "line": cheap(),
        "bound": bound,
        "volume": make_volume(),
    }
    page = page_of(written(tmp_path, first, "a.h5"), written(tmp_path, second, "b.h5"))
    assert page.index("Side by side") < page.index("What was measured")
    answers = {row[0]: row[-1] for row in Reader(page.split("What was measured")[0]).cells if len(row) == 4}
    assert answers["trace"] == "with care: it changes if the weights are rescaled and the function stays"
    assert answers["m"] == "no: hash of the data: d and e"
    assert answers["stable"] == "yes"
    assert answers["again"] == "yes: the same weights, so any difference is an error of measurement"
    assert answers["line"] == "only one file has it"
    assert answers["Log-volume of the basin"] == "yes: the answer stands below"
    assert answers["bound"] == "only as far as the verdicts go: lower bound, estimate"
    assert "the larger basin is unknown" in page
    assert len(set(Reader(page).identifiers)) == len(Reader(page).identifiers)


def test_files_of_different_bodies_say_why_they_are_not_compared(tmp_path: Path) -> None:
    wider = replace(make_volume(), config={"scope": "all"})
    page = page_of(written(tmp_path, {"v": make_volume()}, "a.h5"), written(tmp_path, {"v": wider}, "b.h5"))
    assert "are not compared: the two were measured with different settings" in page
    assert "no: scope: weights and all" in page


def test_report_writes_the_page_and_never_over_results(tmp_path: Path) -> None:
    path = written(tmp_path, {"trace": cheap()})
    out = ls.report(path, out=tmp_path / "page.html")
    assert out.read_text("utf-8").startswith("<!doctype html>")
    assert ls.report([ls.Store(path)], out=out) == out
    before = path.read_bytes()
    for wrong in (path, tmp_path / "no" / "page.html", tmp_path):
        with pytest.raises(StoreError, match=r"out=\.\.\."):
            ls.report(path, out=wrong)
    assert path.read_bytes() == before
    with pytest.raises(StoreError, match="there is no file"):
        ls.report(tmp_path / "missing.h5", out=out)
    with pytest.raises(ls.LandscapeError, match="at least one results file"):
        ls.report([], out=out)
    for nothing in (5, None, [path, 5], b"run.h5"):
        with pytest.raises(StoreError, match=r"a report is of results files such as run\.h5, got a (int|NoneType)"):
            ls.report(nothing, out=out)  # type: ignore[arg-type]
    with pytest.raises(StoreError, match=r"got None\. Pass"):
        ls.report(path, out=None)  # type: ignore[arg-type]


QUESTIONS = """
const press = (key) => frame.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}));
const frame = document.querySelector('.zoom');
press('+'); press('+');
const large = frame.dataset.scale;
press('0');
frame.parentElement.querySelector('.tools button').click();
const paper = getComputedStyle(document.body).backgroundColor;
document.title = [document.documentElement.scrollWidth, innerWidth, large, frame.dataset.scale,
  document.querySelectorAll('main, nav[aria-label], h1').length, paper,
  document.querySelectorAll('svg.drawn:not([aria-label])').length].join('|');
"""


@needs_browser
@pytest.mark.parametrize(("width", "dark"), [(1400, False), (400, True)])
def test_a_browser_lays_it_out_and_figures_can_be_enlarged(page: str, tmp_path: Path, width: int, dark: bool) -> None:
    wide, window, large, button, marks, paper, nameless = ask(page, QUESTIONS, tmp_path, width=width, dark=dark)
    assert int(wide) <= int(window)
    assert (large, button) == ("2.25", "1.5")
    assert int(marks) == 3
    assert paper == ("rgb(23, 25, 27)" if dark else "rgb(255, 255, 255)")
    assert nameless == "0"


@needs_browser
def test_the_policy_lets_the_own_script_run_and_no_other(page: str, tmp_path: Path) -> None:
    other = "<script>document.title = 'foreign'</script>"
    document = dumped(page.replace("</body>", f"{other}</body>"), tmp_path)
    assert "<title>foreign" not in document
    assert document.count('class="tools"') == page.count('class="card zoom"')


def test_a_figure_that_would_be_a_large_svg_is_a_picture_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = ls.plots.line_figure(make_line())
    assert "<path" in figures.as_svg(figure, "line", "the loss")
    monkeypatch.setattr(figures, "_LARGEST_SVG", 1000)
    small = figures.as_svg(figure, "line", "the loss")
    assert re.fullmatch(
        r'<svg class="drawn" viewBox="[\d. ]+" role="img" aria-label="the loss">'
        r'<image width="100%" height="100%" href="data:image/png;base64,[\w+/=]+"/></svg>',
        small,
    )
