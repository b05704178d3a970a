"""Islands take the uniform rays of their file or of ``auto``, and a run that was cut or killed goes on with them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import landscape as ls
from helpers.commands import run
from helpers.interruptions import go_on, interrupted
from helpers.islands import few_particles
from helpers.stores import assert_same_arrays
from landscape.results import Islands, Radii
from landscape_cli import estimators

TASK = """
import torch
import landscape


def task():
    points = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    return landscape.Task(model=torch.nn.Linear(3, 1), data=(points, torch.zeros(64, 1)), loss="mse")
"""
NET = "ckpt.pt --task bowl.py --metric identity --rtol 0.05 -q --out run.h5"
CUT = f"volume {NET} --cutoff 0.3 --directions 900"  # a share of the budget has room for some of them
ALONE = f"volume {NET} --cutoff 0.3 --estimator annealed"


@pytest.fixture(autouse=True)
def bowl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder with a checkpoint whose loss is a quadratic; rays may cost a fiftieth of a budget."""
    few_particles(monkeypatch)
    monkeypatch.setattr(estimators, "RAYS_SHARE", 0.02)
    monkeypatch.chdir(tmp_path)
    Path("bowl.py").write_text(TASK)
    torch.save({"weight": torch.zeros(1, 3), "bias": torch.zeros(1)}, "ckpt.pt")


def stored() -> tuple[Radii, Islands]:
    file = ls.Store("run.h5")
    radii, islands = file["radii"], file["islands"]
    assert isinstance(radii, Radii)
    assert isinstance(islands, Islands)
    return radii, islands


def test_auto_gives_its_rays_to_the_islands_and_a_longer_budget_goes_on() -> None:
    run(f"{CUT} --budget 3000")
    radii, islands = stored()
    assert 16 <= radii.directions < 100
    assert islands.reference_radii.tobytes() == radii.radii.tobytes()
    run(f"{CUT} --budget 9000 --resume")
    assert len(stored()[1].groups) > len(islands.groups)


def test_auto_that_is_stopped_in_its_islands_goes_on_to_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    run(f"{CUT} --budget 9000")
    whole = stored()[1]
    Path("run.h5").unlink()
    interrupted(monkeypatch, lambda progress: progress.news)  # after the pilot
    run(f"{CUT} --budget 9000", code=130)
    assert len(stored()[1].groups) < len(whole.groups)
    go_on(monkeypatch)
    run(f"{CUT} --budget 9000 --resume")
    assert_same_arrays(stored()[1], whole)


def test_islands_alone_take_the_rays_of_their_file_and_go_on_with_them() -> None:
    run(f"radius {NET} --cutoff 0.1 --cutoff 0.3 --directions 20")
    run(f"{ALONE} --budget 3000")
    radii, islands = stored()
    assert islands.reference_radii.tobytes() == radii.radii[:, 1:].tobytes()
    run(f"{ALONE} --budget 9000 --resume")
    assert len(stored()[1].groups) > len(islands.groups)
    run(f"{ALONE} --budget 3000 --overwrite")
    found = ls.Store("run.h5")["islands"]
    assert isinstance(found, Islands)
    assert len(found.reference_radii) > 20


def test_islands_keep_their_own_rays_if_others_come_into_the_file() -> None:
    run(f"{ALONE} --budget 3000")
    file = ls.Store("run.h5")
    before = file["islands"]
    run(f"radius {NET} --cutoff 0.1 --cutoff 0.3 --directions 600")
    assert file["radii"].config["first_step_taken"] != before.config["first_step_taken"]
    run(f"{ALONE} --budget 9000 --resume")
    after = file["islands"]
    assert after.reference_radii.tobytes() == before.reference_radii.tobytes()
    assert len(after.groups) > len(before.groups)
