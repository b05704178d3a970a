"""Rays searched again on finer grids."""

from __future__ import annotations

import numpy as np
import torch

import landscape as ls
from landscape.rays import finer_radii


def shells(*walls: tuple[float, float]) -> ls.Objective:
    """Return a cone of slope 0.1 with walls of height 9 at these radii; its basin of cutoff 1 has radius 10."""

    def f(x: torch.Tensor) -> torch.Tensor:
        r = x.norm(dim=-1)
        walled = torch.zeros_like(r, dtype=torch.bool)
        for low, high in walls:
            walled |= (r > low) & (r < high)
        return torch.where(walled, 9.0, 0.1 * r)

    return ls.Objective.from_function(f, torch.zeros(3, dtype=torch.float64))


def search_again(objective: ls.Objective, radii: list[float], **options: object) -> np.ndarray:
    steps = torch.eye(3, dtype=torch.float64)[: len(radii)]
    with objective.running():
        return finer_radii(objective, steps, np.array(radii), cutoff=1.0, first_step=4.0, **options).radii  # type: ignore[arg-type]


def test_a_wall_is_found_on_the_grids_that_have_a_point_in_it() -> None:
    # 0.5 · 1.2^12 = 4.458, 0.5 · 1.1^23 = 4.477, 0.5 · 1.05^45 = 4.492
    objective = shells((4.47, 4.48))
    found = search_again(objective, [10.0, 10.0])
    np.testing.assert_allclose(found, [[10.0, 10.0], [4.47, 4.47], [10.0, 10.0]], rtol=1e-3)


def test_a_ray_without_walls_keeps_its_radius_to_the_last_bit() -> None:
    radii = [10.0, 10.000001, 9.999]
    assert (search_again(shells(), radii) == np.array(radii)).all()


def test_walls_beyond_a_radius_and_rays_within_the_first_point_cost_nothing() -> None:
    objective = shells((5.0, 8.0))
    assert (search_again(objective, [4.9, 0.49]) == [4.9, 0.49]).all()
    with objective.running():
        steps = torch.eye(3, dtype=torch.float64)[:1]
        finer = finer_radii(objective, steps, np.array([0.49]), cutoff=1.0, first_step=4.0)
    assert finer.cost.calls == 0


def test_the_cost_is_one_evaluation_for_each_point_inside() -> None:
    objective = shells()
    with objective.running():
        steps = torch.eye(3, dtype=torch.float64)[:2]
        finer = finer_radii(objective, steps, np.array([10.0, 1.0]), cutoff=1.0, first_step=4.0, step_ratios=[2.0])
    assert finer.cost.calls == finer.cost.evaluations == 5 + 1  # 0.5, 1, 2, 4, 8 and 0.5: 1.0 is not inside its radius
