"""What a process of several does; forked by test_distributed.py, or run as a script by torchrun.

python tests/helpers/ranks.py measure FOLDER     radii and volumes, written to FOLDER/RANK.npz
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
from landscape.rays import make_metric
from landscape.volume import anneal, count_hits, importance_volume
from landscape.volume.annealing.points import sphere
from landscape.volume.annealing.star_body import StarBody
from landscape.volume.annealing.targets import Ray, SoftTarget
from landscape.volume.ray_weights.measure import make_measure


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
    objective = bent(3, n=4)
    found |= preconditioned() | walked()
    metric = make_metric("identity", objective.theta, objective.scope)
    body = StarBody(
        objective,
        metric,
        make_measure(objective, metric),
        criterion="loss",
        cutoff=0.5,
        centre=objective.centre,
        max_radius=1.0,
        rtol=1e-4,
        step_ratio=2.0,
        first_step=0.1,
    )
    phi = sphere(torch.from_numpy(np.random.default_rng(0).normal(size=(25, 4))))
    target = SoftTarget(body, Ray.between(0.3, 1.0, 4), 3.0, 0.4)
    with objective.running():
        points, force = target.points_at(phi), target.force(phi)
    return found | {"rises": points.rises, "log radius": points.log_radius, "force": force.numpy()}


def narrow() -> ls.Objective:
    """A body with unequal axes."""
    h = torch.logspace(0, 4, 8, dtype=torch.float64)
    return ls.Objective.from_function(
        lambda x: (h * x**2).sum(-1) + x.abs().pow(3).sum(-1), torch.zeros(8, dtype=torch.float64), lanes=7
    )


def preconditioned() -> dict[str, Any]:
    """Chains and rays in coordinates learnt from slopes, and a hash of these."""
    walks: dict[str, Any] = {"chains": 5, "temperatures": 2, "path": "radius", "precondition": "slopes"}
    chains = anneal(narrow(), [0.5], metric="identity", **walks)
    rays = importance_volume(narrow(), [0.5], proposal="slopes", metric="identity", directions=24)
    return {
        "shape": np.frombuffer(bytes.fromhex(chains.config["preconditioners"][0]), dtype=np.uint8),
        "chains": chains.log_weights,
        "trace": chains.trace,
        "rays": rays.log_weights,
    }


def walked() -> dict[str, Any]:
    """Chains by growth, some of which give way to others, and chains by the Gaussian measure."""
    given: dict[str, Any] = {"metric": "identity", "chains": 5, "temperatures": 4, "precondition": "none"}
    grown = anneal(narrow(), [0.5], path="growth", **given)
    drawn = anneal(bent(3, n=4), [0.5], path="radius", measure="gaussian", sigma=0.3, **given)
    assert min(grown.resamplings(0)) > 0
    return {
        "grown": grown.log_weights,
        "trace of growth": grown.trace,
        "drawn": drawn.log_weights,
        "trace of the Gaussian": drawn.trace,
    }


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
    elif words[0] == "landscape":
        from landscape_cli.main import main

        sys.argv = words
        main()
    else:
        with distributed.spread():
            if words[0] == "measure":
                np.savez(f"{words[1]}/{distributed.rank()}.npz", **measure())
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
