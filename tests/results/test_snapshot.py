"""The table of a run: one row per step, gaps with their reasons, at most 80 columns."""

from __future__ import annotations

import math
import re

import numpy as np

import landscape as ls
from landscape.results import Cost, Measure, Snapshot, snapshots_text


def measure(name: str, value: float, verdict: str = "estimate", reasons: tuple[str, ...] = ()) -> Measure:
    error = 0.01 if verdict == "estimate" else math.nan
    return Measure(name, value, error, verdict, reasons, "sharper", (), np.zeros(0), {}, Cost(6.0, 1, 0.5))


def snapshot(step: int, epoch: float = math.nan, gap: bool = False, names: tuple[str, ...] = ("trace",)) -> Snapshot:
    measures = {name: measure(name, 1.25 * step) for name in names}
    if gap:
        reason = f"the loss is {step / 7:.3g}, not below the cutoff"
        measures["radius"] = measure("radius", math.nan, "failed", (reason,))
    else:
        measures["radius"] = measure("radius", 1.0, "lower bound")
    return Snapshot.of(measures, step, epoch, {"seed": 0, "step_from": "training"})


def test_rows_are_steps_and_reasons_are_said_once() -> None:
    text = snapshots_text([snapshot(200), snapshot(20, gap=True), snapshot(40, gap=True), snapshot(60, gap=True)])
    head, *rows = [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()[:5]]
    assert head == ["step", "trace", "radius"]
    assert [row[0] for row in rows] == ["20", "40", "60", "200"]
    assert rows[0][2] == "-"
    assert rows[3][1:] == ["250 ± 0.01", ">= 1"]
    notes = " ".join(" ".join(text.splitlines()[5:]).split())
    assert notes.count("not below the cutoff") == 1
    assert "radius at step 20 and 2 more, up to step 60: the loss is 2.86," in notes


def test_many_measures_are_several_blocks() -> None:
    names = tuple(f"a-measure-of-name-{k}" for k in range(8))
    text = snapshots_text([snapshot(step, epoch=step / 10, names=names) for step in (10, 20)])
    assert max(map(len, text.splitlines())) <= 80
    blocks = text.split("\n\n")
    assert len(blocks) > 2
    assert all(block.split()[:2] == ["step", "epoch"] for block in blocks)
    assert all(name in text for name in names)


def test_it_is_a_result_like_others(tmp_path) -> None:
    ls.Store(tmp_path / "run.h5")["step-1"] = before = snapshot(1, epoch=0.5, gap=True)
    after = ls.Store(tmp_path / "run.h5")["step-1"]
    assert after == before
    assert isinstance(after, Snapshot)
    assert after.measures["radius"].reasons == before.reasons[1]
    assert after.to_frame().columns.tolist()[:3] == ["step", "epoch", "measure"]
    assert repr(after).startswith("<Snapshot: step 1, epoch 0.5: trace 1.25 ± 0.01 (estimate)")
    assert "<td" in after._repr_html_()
    assert after.cost == Cost(12.0, 2, 1.0)
