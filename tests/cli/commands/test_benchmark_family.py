"""``landscape benchmark FAMILY``: nets are measured, kept one by one, and ranked."""

from __future__ import annotations

import csv
import multiprocessing
import re
import signal
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import pytest
import torch

from helpers import children
from helpers.children import Child
from helpers.commands import flat, run
from helpers.families import MEASURES, RATES, WIDTHS, checkpoints
from landscape.errors import LandscapeError
from landscape.measures import REGISTRY
from landscape.ranking import rank
from landscape.ranking.family import check_same_data, find_nets, table_of
from landscape.results import NetMeasures, Runs
from landscape.results.sharpness import BELOW_ROUNDING
from landscape.store import Store
from landscape_cli import processes
from landscape_cli.benchmark_family import measured, settings_of
from landscape_cli.commands.benchmark import command

QUICK = "--bootstrap 20 --effective-size 1 -q --scope all"
OWN = "--measures mine.py:size,mine.py:flatness"


@pytest.fixture
def family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(rank, "INFORMATION_PERMUTATIONS", 4)  # nothing here looks at the information
    Path("mine.py").write_text(MEASURES)
    checkpoints(Path("family"))
    return Path("family")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a run that nothing stopped, of which tests look at the nets."""
    folder, known = tmp_path_factory.mktemp("whole"), dict(REGISTRY)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(rank, "INFORMATION_PERMUTATIONS", 4)
        Path("mine.py").write_text(MEASURES)
        checkpoints(Path("family"))
        run(f"benchmark family {OWN} --keep-all --out bench.h5 --jobs 1 {QUICK}")
    REGISTRY.clear()
    REGISTRY.update(known)
    return folder / "bench.h5"


def nets_in(path: str | Path) -> dict[str, NetMeasures]:
    store = Store(path)
    found = {name: store[name] for name in store if name.startswith("net-")}
    return {name: result for name, result in found.items() if isinstance(result, NetMeasures)}


def test_a_family_is_measured_and_ranked(family: Path) -> None:
    done = run(f"benchmark {family} {OWN},gradient-norm --keep-all --out bench.h5 --jobs 1 {QUICK}")
    rows = {row["measure"]: row for row in csv.DictReader(Path("bench.csv").read_text().splitlines())}
    assert {"parameters", "norm", "train-loss", "learning-rate", "random"} < set(rows)
    assert {name for name, row in rows.items() if row["baseline"] == "0"} == {"size", "flatness", "gradient-norm"}
    assert rows["size"]["invariances"] == "permutation"
    assert (rows["gradient-norm"]["closed-form"], rows["size"]["closed-form"]) == ("yes", "")
    assert "20 nets of 20 configurations" in flat(done.stdout)
    assert "Which measures predict the gap" in Path("bench.html").read_text()
    runs = Store("bench.h5")["runs"]
    assert isinstance(runs, Runs)
    assert runs.target_names == ("gap", "error", "loss")
    assert runs.axes == {"width": [w for w in WIDTHS for _ in RATES], "lr": list(RATES) * 5}
    weights = torch.load(family / "width-4-lr-0.2-seed-0.pt")["state_dict"].values()
    place = runs.nets.index("width-4-lr-0.2-seed-0")
    assert runs.value("size")[place] == pytest.approx(sum(float(w.abs().sum()) for w in weights), rel=1e-5)
    assert runs.value("parameters")[place] == sum(w.numel() for w in weights)
    assert runs.standard_errors[runs.measures.index("size"), place] == 0.25
    assert runs.smaller_is_sharper == ("flatness",)
    assert runs.targets[:, place] == pytest.approx([0.09, 0.09, 0.9])


def test_a_measure_that_fails_is_a_stated_gap(family: Path) -> None:
    """A net of w units has 4 w + 1 parameters, so that only those of six units have more than 21."""
    Path("mine.py").write_text(MEASURES.replace("> 60", "> 21"))
    done = run(f"benchmark {family} {OWN} --keep-all --out bench.h5 --jobs 1 {QUICK}")
    expected = "flatness: not ranked: it has values on 16 configurations, and 20 are needed. Reason: too large."
    assert expected in flat(done.stdout)
    assert np.isfinite([net.values[1] for net in nets_in("bench.h5").values()]).sum() == 16


def test_nets_that_have_not_converged_are_left_out(family: Path, whole: Path) -> None:
    done = run(f"benchmark {family} {OWN} --out bench.h5 --jobs 1 {QUICK}", code=2)
    assert "needs at least 20 configurations, and there are 19" in done.output
    assert not Path("bench.h5").exists()  # refused before anything was measured
    nets = list(nets_in(whole).values())
    assert table_of(nets).notes == ("1 of 20 nets were left out: their training did not converge.",)
    assert len(table_of(nets, keep_all=True).nets) == 20


def test_a_killed_run_continues(family: Path, whole: Path) -> None:
    """A measure kills the process at the fourth net. What was measured is kept; the rest comes out as in one go."""
    command = f"benchmark {family} {OWN} --keep-all --out bench.h5 --jobs 1 {QUICK}".split()
    Path("kill").touch()
    with Child(children.command(*command)) as killed:
        assert killed.wait() == -signal.SIGKILL
    first = nets_in("bench.h5")
    assert len(first) == 3
    Path("kill").unlink()
    refused = run(" ".join(command), code=2)
    assert "bench.h5 already holds 3 nets" in refused.output
    run(" ".join(command) + " --resume")
    unbroken, resumed = nets_in(whole), nets_in("bench.h5")
    assert list(resumed) == list(unbroken)
    for name, net in unbroken.items():
        assert np.array_equal(net.values, resumed[name].values)
        assert net.config == resumed[name].config
    assert all(np.array_equal(first[name].seconds, resumed[name].seconds) for name in first)


def test_processes_give_the_same_numbers(family: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "SPAWN", multiprocessing.get_context("fork"))
    with click.Context(command, info_name="benchmark") as context:
        words = [str(family), "--measures", "mine.py:size,gradient-norm", "--out", "bench.h5", "--jobs", "2"]
        command.parse_args(context, words)
    nets, config = find_nets([family])[:3], settings_of(context.params)
    alone = {net.net: net for net in measured(nets, {**context.params, "jobs": 1}, config)}
    together = {net.net: net for net in measured(nets, context.params, config)}
    assert sorted(together) == sorted(alone) == sorted(net.name for net in nets)
    for name, net in alone.items():
        assert together[name].values == pytest.approx(net.values, rel=1e-6)


def test_ctrl_c_keeps_the_nets_that_are_measured(family: Path, whole: Path) -> None:
    """--overwrite begins with the first net again; what is no net of that name is not taken for one."""
    stopping = MEASURES.replace("os.kill(os.getpid(), 9)", "raise KeyboardInterrupt")
    line = f"benchmark {family} {OWN} --keep-all --out bench.h5 --jobs 1 {QUICK}"
    Path("mine.py").write_text(stopping)
    for words in ("", " --overwrite"):
        Path("kill").write_text("")
        done = run(line + words, code=130)
        assert "interrupted after 3 of 20 nets, kept in bench.h5; continue with: landscape benchmark" in done.stderr
        assert len(nets_in("bench.h5")) == 3
    name = "net-width-2-lr-0.1-seed-0"
    with Store("bench.h5", write=True) as store:
        del store[name]
        store[name] = Store(whole)["runs"]
    assert f"bench.h5 holds something else under the name {name}" in run(f"{line} --resume", code=2).output


def test_a_process_that_is_killed_or_fails_is_one_clear_error(family: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "SPAWN", multiprocessing.get_context("fork"))
    with click.Context(command, info_name="benchmark") as context:
        command.parse_args(context, [str(family), "--measures", "mine.py:size", "--out", "bench.h5", "--jobs", "2"])
    nets, config = find_nets([family])[:3], settings_of(context.params)
    Path("kill").write_text("...")
    with pytest.raises(LandscapeError, match="a process that measured nets was killed"):
        list(measured(nets, context.params, config))
    with pytest.raises(LandscapeError, match=f"{nets[0].path}: .*scope"):
        list(measured(nets, {**context.params, "scope": "nothing", "jobs": 1}, config))


def test_what_no_net_holds_and_what_two_share_is_refused(family: Path, whole: Path) -> None:
    """A checkpoint without axes has its poison as one; nets that differ only in the seed are of one task."""
    with pytest.raises(LandscapeError, match="the family has no net"):
        table_of([])
    first, second, *_ = nets_in(whole).values()
    other = replace(second, axes=dict(first.axes), config={**second.config, "data_hash": "another"})
    with pytest.raises(LandscapeError, match="differ only in the seed, and were measured on different data"):
        check_same_data([first, other])
    doubtful = [replace(net, verdicts=(BELOW_ROUNDING, *net.verdicts[1:])) for net in nets_in(whole).values()]
    note = table_of(doubtful, keep_all=True).notes[-1]
    assert note == "size: it is below the rounding of the loss on 20 of 20 nets; the values are used."
    head, *table = str(first).splitlines()
    assert head == "width-2-lr-0.1-seed-0: width 2, lr 0.1, seed 0; error 0, gap 0, loss 0"
    assert [line.split()[::2] for line in table] == [
        ["measure", "verdict"],
        ["size", "estimate"],
        ["flatness", "exact"],
    ]
    content = torch.load(family / "width-2-lr-0.1-seed-0.pt")
    torch.save({**content, "axes": {}}, "alone.pt")
    assert find_nets(["alone.pt"])[0].axes == {"poison": 0.0}
    for folder in ("one/deep", "two/deep"):
        Path(folder).mkdir(parents=True)
        torch.save(content, f"{folder}/net.pt")
    with pytest.raises(LandscapeError, match="two checkpoints would be called 'deep-net'"):
        find_nets(["one/deep", "two/deep"])


def test_other_options_or_other_weights_cannot_be_continued(family: Path) -> None:
    run(f"benchmark {family} --measures gradient-norm --keep-all --out bench.h5 --jobs 1 {QUICK}")
    done = run(f"benchmark {family} --measures gradient-norm --seed 1 --out bench.h5 --resume --jobs 1 {QUICK}", code=2)
    assert "seed: stored 0, asked 1" in done.output
    path = family / "width-2-lr-0.1-seed-0.pt"
    content = torch.load(path)
    next(iter(content["state_dict"].values())).add_(1.0)
    torch.save(content, path)
    done = run(f"benchmark {family} --measures gradient-norm --out bench.h5 --resume --jobs 1 {QUICK}", code=2)
    assert "the stored net width-2-lr-0.1-seed-0 was measured with other settings" in done.output


def test_nets_of_different_tasks_are_refused(family: Path) -> None:
    content = torch.load(family / "width-2-lr-0.1-seed-0.pt")
    content["landscape_task"]["args"]["data_seed"] = 5
    torch.save(content, family / "another.pt")
    done = run(f"benchmark {family} --out bench.h5", code=2)
    assert "the checkpoints belong to different tasks" in done.output
    assert not Path("bench.h5").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "Type either a folder of checkpoints, or --table runs.csv."),
        ("family --table mine.py", "Type either a folder of checkpoints, or --table runs.csv."),
        ("family", "Add --out bench.h5."),
        ("family --out page.html", "Add --out bench.h5."),
        ("nowhere --out bench.h5", "there is no file or folder nowhere"),
        ("mine.py --out bench.h5", "mine.py does not say how it was trained"),
        ("family --out bench.h5 --measures nothing", "the measure 'nothing' is not known"),
        ("family --out bench.h5 --resume --overwrite", "Type one of the two"),
        ("family --out bench.h5 --rho -1", "expected positive numbers"),
    ],
)
def test_misuse_is_one_clear_error(family: Path, words: str, message: str) -> None:
    assert message in flat(run(f"benchmark {words}", code=2).output)


def test_folders_with_the_same_names_are_told_apart(family: Path) -> None:
    checkpoints(Path("other"))
    nets = find_nets(["family", "other"])
    assert len(nets) == 40
    assert nets[0].name == "family-width-2-lr-0.1-seed-0"
    Path("empty").mkdir()
    with pytest.raises(LandscapeError, match="empty holds no checkpoint"):
        find_nets(["empty"])


def test_a_missing_axis_is_named(whole: Path) -> None:
    nets = list(nets_in(whole).values())
    del nets[4].axes["lr"]
    with pytest.raises(LandscapeError, match=r"has no value on the axis 'lr'"):
        table_of(nets)


def test_ticks_for_closed_forms_are_those_of_the_guide() -> None:
    guide = (Path(__file__).parents[3] / "docs" / "sharpness.md").read_text()
    rows = re.findall(r"^\| `([a-z0-9-]+)` .*\| yes \|$", guide.partition("## Closed forms")[2], re.MULTILINE)
    assert set(rows) == {name for name, definition in REGISTRY.items() if definition.closed_form}
