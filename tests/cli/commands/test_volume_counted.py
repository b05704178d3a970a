"""``landscape volume --estimator counted``: the number of the library, kept beside its hits, and continued."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

import landscape as ls
from helpers.commands import flat, make_task, run, strict
from helpers.stores import assert_same_arrays
from landscape.results import CountedVolume, Hits
from landscape.volume import counted_volume

NET = "volume ckpt.pt --task my_task.py --estimator counted --max-radius 0.2 --cutoff 0.5 --cutoff 0.02"


def test_the_numbers_are_those_of_the_library(here: Path) -> None:
    task = make_task()
    task.model.load_state_dict(torch.load("ckpt.pt"))
    objective = ls.Objective(task.model, task.data, task.loss)
    expected = counted_volume(objective, [0.02, 0.5], max_radius=0.2, seed=2, budget=3000)
    found = strict(run(f"{NET} --seed 2 --budget 3000 --json").stdout)
    assert found["estimator"] == "counted"
    assert found["inside"] == expected.inside.tolist()
    assert [row["log_volume"] for row in found["results"]] == [
        None if math.isinf(row.log_volume) else row.log_volume for row in expected.results
    ]
    assert found["results"][1]["verdict"] == "reliable"


def test_it_prints_the_counts_and_no_infinite_number(here: Path) -> None:
    done = run(f"{NET} --budget 300 --out run.h5")
    assert "counting points in the ball of the cap" in flat(done.stderr)
    assert "sublevel set" in done.stdout
    assert "no bound" in done.stdout
    assert "inf " not in done.stdout.replace("\n", " ")
    store = ls.Store("run.h5")
    assert store.names() == ["counted", "hits"]
    assert isinstance(store["counted"], CountedVolume)
    assert run(f"{NET} --budget 300 --out run.h5 --resume").stdout == done.stdout
    shown = run("show run.h5").stdout
    assert "counted" in shown


def test_every_state_of_the_file_goes_on_to_the_same_bytes(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states, put = list[bytes](), ls.Store.__setitem__

    def put_and_copy(store: ls.Store, name: str, result: Any) -> None:
        put(store, name, result)
        states.append(Path("whole.h5").read_bytes())

    with monkeypatch.context() as patch:
        patch.setattr("landscape_cli.progress.COMMIT_EVERY", 0.0)
        patch.setattr("landscape_cli.progress.COMMIT_SHARE", math.inf)
        patch.setattr(ls.Store, "__setitem__", put_and_copy)
        run(f"{NET} --budget 3000 -q --out whole.h5")
    whole = {name: ls.Store("whole.h5")[name] for name in ("hits", "counted")}
    assert isinstance(whole["hits"], Hits)
    assert len(states) > 3
    for state in (states[0], states[len(states) // 2], states[-2]):
        Path("run.h5").write_bytes(state)
        run(f"{NET} --budget 3000 -q --out run.h5 --resume")
        for name, result in whole.items():
            assert_same_arrays(ls.Store("run.h5")[name], result)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--measure gaussian --sigma 1", "--measure applies to --estimator auto or uniform"),
        ("--directions 50", "--directions applies to --estimator"),
        ("--metric identity --max-radius none", "Pass a finite --max-radius"),
    ],
)
def test_what_does_not_apply_is_refused(here: Path, line: str, words: str) -> None:
    done = run(f"{NET} {line}", code=2)
    assert words in flat(done.stderr)
