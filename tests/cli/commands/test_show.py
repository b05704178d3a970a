"""``landscape show``: what a results file holds."""

from __future__ import annotations

from pathlib import Path

import h5py

from helpers.commands import KEYS, SMALL, flat, run, stored, strict
from landscape.store.groups import seal


def test_show_says_what_is_in_the_file(here: Path) -> None:
    run(f"volume {SMALL} --estimator uniform --out run.h5")
    text = run("show run.h5").stdout
    for words in ("format 3", "60 of 60 rays", "seed 0", "checkpoint ckpt.pt", "torch 2", "log10 V", "median r"):
        assert words in flat(text)
    digest = stored().config["theta_hash"]
    assert digest[:12] in text
    assert digest not in text
    found = strict(run("show run.h5 --json").stdout)
    assert found["format_version"] == 3
    assert found["results"]["radii"]["rows"] == {"done": 60, "total": 60}
    assert found["results"]["volume"]["summary"].keys() >= KEYS


def test_show_of_an_unbounded_run_is_strict_json(here: Path) -> None:
    """Without a cap the interval ends at infinity, and pending rays hold NaN."""
    run(f"volume {SMALL} --estimator uniform --metric identity --cutoff 0.5 --out run.h5")
    strict(run("show run.h5 --json").stdout)


def test_show_tells_of_kinds_it_does_not_know(here: Path) -> None:
    run(f"volume {SMALL} --estimator uniform --out run.h5")
    with h5py.File("run.h5", "r+") as file:
        file["volume"].attrs["kind"] = "smell"
        seal(file["volume"])
    text = run("show run.h5").stdout
    assert "volume (smell)" in text
    assert "does not know this kind" in text
    strict(run("show run.h5 --json").stdout)


def test_a_damaged_result_is_named_and_the_others_are_shown_and_drawn(here: Path) -> None:
    run(f"volume {SMALL} --estimator uniform --out run.h5")
    with h5py.File("run.h5") as file:
        place = file["volume/log_weights"].id.get_offset()
    content = bytearray(Path("run.h5").read_bytes())
    content[place] ^= 1
    Path("run.h5").write_bytes(content)
    for line in ("show run.h5", "plot run.h5"):
        done = run(line, code=2)
        assert "the result 'volume' in" in done.stderr
        assert "log_weights does not match its hash" in done.stderr
    assert "== radii ==" in run("show run.h5", code=2).stdout
    assert Path("run-radii.png").exists()
    found = strict(run("show run.h5 --json", code=2).stdout)
    assert found["damaged"].keys() == {"volume"}
    assert "log_weights" in run("compare run.h5 run.h5", code=2).stderr
    assert "log_weights" in run(f"volume {SMALL} --estimator uniform --out run.h5 --resume", code=2).stderr
    run(f"volume {SMALL} --estimator uniform --out run.h5 --overwrite")
    run("show run.h5")
