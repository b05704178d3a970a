"""How many evaluations a radius takes: ours, plain doubling and bisection, and scipy's vectorised root finder.

python -m benchmarks.radii
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.optimize import elementwise

import landscape as ls
from benchmarks import nets
from landscape.rays import RandomDirections, make_metric
from landscape.recipes import swiss_roll, task_from_record

Loss = Callable[[np.ndarray, np.ndarray], np.ndarray]


def bisection(loss: Loss, cutoff: float, rays: int, rtol: float, start: float) -> np.ndarray:
    """Return the evaluations a ray takes by doubling from ``start`` and halving to a relative width ``rtol``."""
    low, high = np.zeros(rays), np.full(rays, start)
    calls = np.zeros(rays, dtype=int)
    growing = np.ones(rays, dtype=bool)
    while len(active := np.flatnonzero(growing)):
        inside = loss(active, high[active]) < cutoff
        calls[active] += 1
        growing[active[~inside]] = False
        grown = active[inside]
        low[grown], high[grown] = high[grown], 2 * high[grown]
        growing &= high <= 1
    while len(active := np.flatnonzero(high - low > rtol * high)):
        middle = (low[active] + high[active]) / 2
        inside = loss(active, middle) < cutoff
        calls[active] += 1
        low[active[inside]], high[active[~inside]] = middle[inside], middle[~inside]
    return calls


def scipy_root(loss: Loss, cutoff: float, rays: int, rtol: float, start: float) -> np.ndarray:
    """Return the evaluations a ray takes by scipy's bracket_root and find_root (Chandrupatla) on log loss."""
    all_rays = np.arange(rays)

    def height(r: np.ndarray, ray: np.ndarray) -> np.ndarray:
        chosen, radii = (np.ravel(x) for x in np.broadcast_arrays(ray, r))
        return (np.log(loss(chosen.astype(int), radii)) - np.log(cutoff)).reshape(np.shape(r))

    bracket = elementwise.bracket_root(height, np.full(rays, start), xmin=0.0, xmax=4.0, args=(all_rays,))
    root = elementwise.find_root(height, bracket.bracket, args=(all_rays,), tolerances={"xrtol": rtol, "fatol": 0})
    return bracket.nfev + root.nfev


def compare(name: str, objective: ls.Objective, cutoffs: list[float], rays: int, others: int) -> list[str]:
    """Return the rows of the table for one net: the first cutoff alone, then all; the other searches on fewer rays."""
    steps = RandomDirections(make_metric("filter", objective.theta, objective.scope), 0, objective.theta).steps(
        range(rays)
    )

    def loss(chosen: np.ndarray, radii: np.ndarray) -> np.ndarray:
        return objective.along(steps[chosen.tolist()], radii).values

    one = ls.basin_radii(objective, cutoffs[:1], directions=rays)
    every = ls.basin_radii(objective, cutoffs, directions=rays)
    further = (every.calls.mean() - one.calls.mean()) / (len(cutoffs) - 1)
    further_median = (np.median(every.calls) - np.median(one.calls)) / (len(cutoffs) - 1)
    read = one.evaluations.sum() / one.calls.sum()
    start = float(f"{np.median(one.radii):.1g}")
    with objective.running():
        rows = {
            "landscape, rtol 1e-3": one.calls,
            "doubling and bisection, 1e-3": bisection(loss, cutoffs[0], others, 1e-3, 1e-3),
            "doubling and bisection, 1e-4": bisection(loss, cutoffs[0], others, 1e-4, 1e-3),
            "scipy bracket_root + find_root, 1e-3": scipy_root(loss, cutoffs[0], others, 1e-3, start),
        }
    lines = [
        f"| {name} | {method} | {len(calls)} | {np.median(calls):g} | {calls.mean():.2f} | {calls.max()} |"
        for method, calls in rows.items()
    ]
    lines.append(
        f"| {name} | landscape, each further of {cutoffs[1:]} | {rays} | {further_median:.2f} | {further:.2f} | |"
    )
    lines.append(f"| {name} | landscape, share of the data read an evaluation | {rays} | | {read:.3f} | |")
    return lines


def section() -> list[str]:
    """Return the section of the page."""
    lines = [
        "## Evaluations a radius",
        "",
        "Loss evaluations along a ray until the crossing is known to the tolerance. scipy's search was started at the",
        "median radius, which it cannot know. `python -m benchmarks.radii`",
        "",
        "| net | method | rays | median | mean | most |",
        "|---|---|---|---|---|---|",
    ]
    trained = swiss_roll.train(seed=0)
    task = task_from_record(trained.record)
    task.model.load_state_dict(trained.state)
    swiss = ls.Objective(task.model, task.data, task.loss)
    lines += compare("swiss roll, n = 3,457", swiss, [0.1, 0.3, 1.0], 400, 400)
    found = nets.resnet20()
    if found is not None:
        objective = ls.Objective(found[0], found[1], "cross_entropy")
        lines += compare(f"ResNet-20, n = {objective.dimension:,}", objective, [0.5, 1.0, 2.0], 24, 6)
    return [*lines, ""]


if __name__ == "__main__":
    torch.manual_seed(0)
    print("\n".join(section()))
