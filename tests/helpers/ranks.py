"""What a process of several does; forked by test_distributed.py, or run as a script by torchrun.

python tests/helpers/ranks.py measure FOLDER     radii and volumes, written to FOLDER/RANK.npz
python tests/helpers/ranks.py regrouped FOLDER   what shares batches, to FOLDER/COUNT-RANK.npz for groups of each size
python tests/helpers/ranks.py tracked FOLDER     a training under DistributedDataParallel, measured while it runs
python tests/helpers/ranks.py sharded NAMES       checks of helpers/sharded.py
python tests/helpers/ranks.py fail | leave | stray | bug
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

import landscape as ls
from landscape import distributed
from landscape.volume import count_hits, importance_volume
from landscape.volume.annealing import party
from landscape.volume.annealing import run as islands
from landscape.volume.annealing.party import Party
from landscape.volume.annealing.reference_rays import REFERENCE_RAYS


def bent(lanes: int, n: int = 12) -> ls.Objective:
    """A body that is no ellipsoid, with the given number of points in a chunk."""
    h = torch.arange(1, n + 1, dtype=torch.float64)
    made = ls.Objective.from_function(
        lambda x: (h * x**2).sum(-1) + x.abs().pow(3).sum(-1) + 0.3 * torch.sin(3 * x).square().sum(-1),
        torch.full((n,), 0.0, dtype=torch.float64),
        lanes=lanes,
    )
    assert made.plan.lanes == lanes
    return made


def measure() -> dict[str, np.ndarray]:
    """Every kind of work that is spread, with chunks of one point and of several."""
    found: dict[str, Any] = {}
    for lanes in (1, 3):
        radii = ls.basin_radii(bent(lanes), [0.5, 2.0], metric="identity", directions=24)
        found |= {f"radii {lanes}": radii.radii, f"profile {lanes}": radii.profile_loss, f"calls {lanes}": radii.calls}
        hits = count_hits(bent(lanes, n=4), [0.5], metric="identity", max_radius=0.5, directions=120, budget="1h")
        found |= {f"hits {lanes}": np.array([hits.ray, hits.radius, hits.loss, hits.peak])}
    return found | slopes() | walked()


def regrouped(folder: str) -> None:
    """Measure in groups of the first one, two, ... ranks of those that run, to FOLDER/COUNT-RANK.npz."""
    everyone, rank = distributed._group, distributed.rank()
    for count in range(1, everyone.size + 1):
        handle = torch.distributed.new_group(list(range(count)))
        if rank < count:
            distributed._group = distributed._Group(rank, count, handle)
            np.savez(f"{folder}/{count}-{rank}.npz", **batched())
        distributed._group = everyone


def batched() -> dict[str, Any]:
    """Points that run one at a time on five batches, more and fewer than there are ranks, and traces of the batches."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(23, 3, generator=generator), torch.randint(2, (23,), generator=generator)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    objective = ls.Objective(model, (x, y), batch_size=5, lanes=1)
    assert objective.batches == 5
    radii = ls.basin_radii(objective, [1.05 * objective.centre], metric="identity", directions=7, step_ratio=8.0)
    assert (radii.evaluations % 1 > 0).any()  # passes that stopped early
    line, plane = ls.slice_1d(objective, steps=5), ls.slice_2d(objective, steps=3)
    traces = ls.trace(ls.Hessian(objective), 4), ls.layer_traces(ls.Hessian(objective), 4)
    pairs = ls.top_eigenpairs(ls.Hessian(objective), 2)
    assert round(traces[0].cost.evaluations, 9) == 4
    return {
        "radii": radii.radii,
        "profile": radii.profile_loss,
        "passes": radii.evaluations,
        "line": np.stack([line.loss, line.accuracy]),
        "plane": np.stack([plane.loss, plane.accuracy]),
        "trace": traces[0].samples,
        "layers": traces[1].samples,
        "eigenvalues to rounding": pairs.values,
    }


def narrow() -> ls.Objective:
    """A body with unequal axes."""
    h = torch.logspace(0, 4, 8, dtype=torch.float64)
    return ls.Objective.from_function(
        lambda x: (h * x**2).sum(-1) + x.abs().pow(3).sum(-1), torch.zeros(8, dtype=torch.float64), lanes=7
    )


def slopes() -> dict[str, Any]:
    """Rays in coordinates learnt from slopes."""
    rays = importance_volume(narrow(), [0.5], proposal="slopes", metric="identity", directions=24)
    return {"slopes": rays.log_weights}


def walked() -> dict[str, Any]:
    """Islands whose budget ends in the second group of the third round; and rays that a budget cuts."""
    party.PARTIES.update(dict.fromkeys(party.PARTIES, Party(2, 2, 2)))
    islands._SAFE = 1.6  # the last round is larger than the budget
    found = islands.run_islands(bent(25, n=3), [0.5], metric="identity", rtol=0.05, budget=6_000)
    assert (len(found.groups), len(found.rounds)) == (5, 3)
    few = islands.run_islands(bent(5, n=3), [0.5], metric="identity", rtol=0.05, budget=1_000)
    assert len(few.reference_radii) < REFERENCE_RAYS
    return found.arrays() | {"passes": np.array(found.cost.evaluations), "few": few.reference_radii}


def fail() -> None:
    """A loss that has no value on the second rank alone, where a chunk is computed."""

    def loss(x: torch.Tensor) -> torch.Tensor:
        if distributed.rank() == 1 and len(x) > 1:
            raise ValueError("no memory left on this card")
        return x.square().sum(-1)

    theta = torch.zeros(4, dtype=torch.float64)
    objective = ls.Objective.from_function(loss, theta, lanes=5)
    ls.basin_radii(objective, [1.0], metric="identity", directions=50)


def leave() -> None:
    """A rank that finds no file, while the others measure."""
    if distributed.rank() == 1:
        raise ls.LandscapeError("the checkpoint net.pt does not exist here")
    ls.basin_radii(bent(3), [1.0], metric="identity", directions=50)


def stray() -> None:
    """A rank that measures something else."""
    ls.basin_radii(bent(3), [1.0], metric="identity", directions=50, seed=distributed.rank())


def bug() -> None:
    """A rank that meets an error which is not the user's."""
    if distributed.rank() == 1:
        raise KeyError("lost")
    ls.basin_radii(bent(3), [1.0], metric="identity", directions=50)


def work(words: list[str]) -> None:
    """Do what the words say: one of the above, a command of landscape, or what torchrun starts."""
    torch.set_num_threads(1)
    if words[0] == "torchrun":
        from torch.distributed.run import main as launch

        launch(words[1:])
    elif words[0] == "sharded":
        from helpers.sharded import check

        check(words[1:])
    elif words[0] == "tracked":
        from helpers.training import tracked_ddp

        tracked_ddp(Path(words[1]))
    elif words[0] == "landscape":
        from landscape_cli.main import main

        sys.argv = words
        main()
    else:
        with distributed.spread():
            if words[0] == "measure":
                np.savez(f"{words[1]}/{distributed.rank()}.npz", **measure())
            elif words[0] == "regrouped":
                regrouped(words[1])
            else:
                {"fail": fail, "leave": leave, "stray": stray, "bug": bug}[words[0]]()


def forked(words: list[str], told: dict[str, str], cwd: Path, output: Path) -> None:
    """Do so as a process of its own, told of the others, its stdout and stderr in files named after ``output``."""
    os.environ.update(told)
    os.chdir(cwd)
    for stream, ending in ((1, ".out"), (2, ".err")):
        os.dup2(os.open(output.with_suffix(ending), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    work(words)


if __name__ == "__main__":
    work(sys.argv[1:])
