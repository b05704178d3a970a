"""How many evaluations of the loss a radius takes, next to doubling with bisection and to scipy's root finder.

python -m benchmarks.radii
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import elementwise

import landscape as ls
from benchmarks import nets
from benchmarks.page import print_section
from landscape.rays import RandomDirections, make_metric
from landscape.recipes import load_recipe, task_from_record

Loss = Callable[[np.ndarray, np.ndarray], np.ndarray]


def bisection(loss: Loss, cutoff: float, rays: int, rtol: float, start: float) -> np.ndarray:
    """Return the evaluations per ray of doubling from ``start`` and halving to a relative width ``rtol``."""
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
    """Return the evaluations per ray of scipy's bracket_root and find_root (Chandrupatla) on log loss."""
    all_rays = np.arange(rays)

    def height(r: np.ndarray, ray: np.ndarray) -> np.ndarray:
        chosen, radii = (np.ravel(x) for x in np.broadcast_arrays(ray, r))
        return (np.log(loss(chosen.astype(int), radii)) - np.log(cutoff)).reshape(np.shape(r))

    bracket = elementwise.bracket_root(height, np.full(rays, start), xmin=0.0, xmax=4.0, args=(all_rays,))
    root = elementwise.find_root(height, bracket.bracket, args=(all_rays,), tolerances={"xrtol": rtol, "fatol": 0})
    return bracket.nfev + root.nfev


def compare(name: str, objective: ls.Objective, cutoffs: list[float], rays: int, others: int) -> list[str]:
    """Return the rows of one net: the first cutoff alone, then all cutoffs; the other searches on fewer rays."""
    steps = RandomDirections(make_metric("filter", objective.theta, objective.scope), 0, objective.theta).steps(
        range(rays)
    )

    def loss(chosen: np.ndarray, radii: np.ndarray) -> np.ndarray:
        return objective.along(steps[chosen.tolist()], radii).values

    one = ls.basin_radii(objective, cutoffs[:1], directions=rays)
    every = ls.basin_radii(objective, cutoffs, directions=rays)
    further = (every.calls.mean() - one.calls.mean()) / (len(cutoffs) - 1)
    further_median = (np.median(every.calls) - np.median(one.calls)) / (len(cutoffs) - 1)
    share_read = one.evaluations.sum() / one.calls.sum()
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
    label = f"landscape, each further cutoff of {cutoffs[1:]}"
    lines.append(f"| {name} | {label} | {rays} | {further_median:.2f} | {further:.2f} | |")
    lines.append(f"| {name} | landscape, share of the data read per evaluation | {rays} | | {share_read:.3f} | |")
    return lines


def section() -> list[str]:
    """Return the section of the page."""
    lines = [
        "## Evaluations per radius",
        "",
        "Evaluations of the loss along a ray until the crossing is known to the tolerance. The search of scipy starts",
        "at the median radius, which it could not know. `python -m benchmarks.radii`",
        "",
        "| net | method | rays | median | mean | most |",
        "|---|---|---|---|---|---|",
    ]
    trained = load_recipe("swiss-roll").train(seed=0)
    task = task_from_record(trained.record)
    task.model.load_state_dict(trained.state)
    swiss = ls.Objective(task.model, task.data, task.loss)
    lines += compare("swiss roll, n = 3,457", swiss, [0.1, 0.3, 1.0], 400, 400)
    checkpoint = nets.resnet20()
    if checkpoint is not None:
        objective = ls.Objective(*checkpoint, "cross_entropy")
        lines += compare(f"ResNet-20, n = {objective.dimension:,}", objective, [0.5, 1.0, 2.0], 24, 6)
    return [*lines, ""]


if __name__ == "__main__":
    print_section(__doc__, section)
