"""The search for first crossings, on functions of r alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from landscape.rays.crossing import FirstCrossing
from landscape.results import RayStatus

Rise = Callable[[np.ndarray, np.ndarray], np.ndarray]
RAYS = 256
SCALE = np.exp(0.3 * np.random.default_rng(0).normal(size=RAYS))


def search(rise: Rise, rises: list[float], **options: object) -> FirstCrossing:
    """Run a search on u(r) = rise(ray, r)."""
    run = FirstCrossing(RAYS, np.array(rises), **{"first_step": 0.3, **options})  # type: ignore[arg-type]
    while len(rays := run.active()):
        radii = run.propose(rays)
        run.tell(rays, radii, rise(rays, radii), np.ones(len(rays), dtype=bool))
    return run


@pytest.mark.parametrize("power", [0.5, 1, 2, 4, 9])
@pytest.mark.parametrize("first_step", [1e-4, 0.3, 50.0])
def test_power_laws_are_exact(power: float, first_step: float) -> None:
    rises = [0.1, 1.0, 3.0]
    run = search(lambda ray, r: SCALE[ray] * r**power, rises, first_step=first_step)
    truth = (np.array(rises) / SCALE[:, None]) ** (1 / power)
    np.testing.assert_allclose(run.radii, truth, rtol=1e-12)
    assert (run.status == RayStatus.CROSSED).all()


@pytest.mark.parametrize(
    ("rise", "inverse"),
    [
        (lambda ray, r: SCALE[ray] * np.expm1(3 * r), lambda u: np.log1p(u / SCALE[:, None]) / 3),
        (lambda ray, r: SCALE[ray] * (1 - np.cos(r)), lambda u: np.arccos(1 - u / SCALE[:, None])),
        (lambda ray, r: np.tan(r * SCALE[ray] / 2) ** 2, lambda u: 2 * np.arctan(np.sqrt(u)) / SCALE[:, None]),
    ],
    ids=["exponential", "cosine", "tangent"],
)
def test_smooth_rays_are_bracketed_and_interpolated(rise: Rise, inverse: Callable[[np.ndarray], np.ndarray]) -> None:
    rises = [0.01, 0.1, 0.3]
    run = search(rise, rises, rtol=1e-3)
    truth = inverse(np.array(rises)[None, :])
    assert ((run.lower < truth) & (truth <= run.upper)).all()
    assert (run.radii - run.lower <= 1e-3 * run.radii).all()
    # the interpolated crossing is closer than the tolerance promises
    np.testing.assert_allclose(run.radii, truth, rtol=2e-4)


def test_a_quadratic_takes_one_point_beyond_its_march_and_further_cutoffs_two_or_three_more() -> None:
    one = search(lambda ray, r: SCALE[ray] * r**2, [1.0], first_step=0.7)
    three = search(lambda ray, r: SCALE[ray] * r**2, [0.3, 1.0, 3.0], first_step=0.4)
    assert np.median(one.calls) <= 4
    assert np.median(three.calls) <= 4 + 2 * 3


def test_every_wall_that_holds_a_point_of_the_grid_is_found() -> None:
    """A wall [a, b] beyond the first point with b >= step_ratio · a holds one."""
    first_step, step_ratio = 0.05, 1.5
    a = np.random.default_rng(1).uniform(0.06, 0.6, size=RAYS)

    def wall(ray: np.ndarray, r: np.ndarray) -> np.ndarray:
        inside_wall = (r >= a[ray]) & (r <= a[ray] * step_ratio * (1 + 1e-12))
        return np.where(inside_wall, 50.0, 1e-3 * r**2)

    run = search(wall, [1.0], first_step=first_step, step_ratio=step_ratio, max_radius=3.0)
    assert (run.status == RayStatus.CROSSED).all()
    np.testing.assert_allclose(run.radii[:, 0], a, rtol=2e-3)


def test_a_wall_thinner_than_the_step_needs_a_smaller_one() -> None:
    """A wall of width 0.01 at 0.4: a march in doublings steps over it, one with short steps does not."""

    def wall(ray: np.ndarray, r: np.ndarray) -> np.ndarray:
        return np.where((r > 0.4) & (r < 0.41), 50.0, 1e-3 * r**2)

    missed = search(wall, [1.0], first_step=0.25, step_ratio=2.0, max_radius=3.0)
    found = search(wall, [1.0], first_step=0.005, step_ratio=1.02, max_radius=3.0)
    assert (missed.status == RayStatus.CENSORED).all()
    np.testing.assert_allclose(found.radii[:, 0], 0.4, rtol=2e-3)


def test_the_first_of_several_crossings_is_taken() -> None:
    """u = r^2 (1.2 + sin 12 r) crosses some cutoffs several times; a fine grid knows the first."""

    def rise(ray: np.ndarray, r: np.ndarray) -> np.ndarray:
        return SCALE[ray] * r**2 * (1.2 + np.sin(12 * r))

    run = search(rise, [0.5, 1.0], first_step=0.01, step_ratio=1.03, max_points=2000)
    grid = np.linspace(0, 3, 30_001)
    table = rise(np.arange(RAYS)[:, None], grid[None, :])
    for column, cutoff in enumerate([0.5, 1.0]):
        first = grid[(table >= cutoff).argmax(axis=1)]
        np.testing.assert_allclose(run.radii[:, column], first, rtol=2e-3, atol=2e-4)


def test_cap_censors_and_lower_cutoffs_still_cross() -> None:
    run = search(lambda ray, r: SCALE[ray] * r**2, [0.01, 1e6], max_radius=1.0)
    assert (run.status[:, 0] == RayStatus.CROSSED).all()
    assert (run.status[:, 1] == RayStatus.CENSORED).all()
    assert (run.radii[:, 1] == 1.0).all()
    assert np.isinf(run.upper[:, 1]).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nonfinite_values_are_outside(bad: float) -> None:
    run = search(lambda ray, r: np.where(r > SCALE[ray], bad, 1e-9 * r), [1.0])
    assert (run.status == RayStatus.CROSSED).all()
    np.testing.assert_allclose(run.radii[:, 0], SCALE, rtol=1e-3)


def test_steps_and_plateaus_close_too() -> None:
    run = search(lambda ray, r: np.floor(100 * SCALE[ray] * r**2) / 100, [0.995])
    np.testing.assert_allclose(run.radii[:, 0], np.sqrt(1.0 / SCALE), rtol=2e-3)
    assert run.calls.max() <= 40


def test_values_known_only_to_be_above_the_ceiling_do_not_bend_the_result() -> None:
    run = FirstCrossing(RAYS, np.array([0.5]), first_step=0.3)
    while len(rays := run.active()):
        radii = run.propose(rays)
        rise = SCALE[rays] * radii**2
        stopped = rise > 0.6
        # what a stopped pass reports: some mean over what was read, above the ceiling
        run.tell(rays, radii, np.where(stopped, 0.5 + (rise - 0.5) * 0.4, rise), ~stopped)
    np.testing.assert_allclose(run.radii[:, 0], np.sqrt(0.5 / SCALE), rtol=1e-6)


def test_a_ray_that_never_rises_is_given_up_where_there_is_no_cap() -> None:
    run = search(lambda ray, r: np.zeros(len(r)), [1.0], max_points=40)
    assert (run.status == RayStatus.UNFINISHED).all()
    assert (run.calls == 40).all()


def test_the_march_takes_the_points_of_the_grid_in_order_and_the_cap_last() -> None:
    run = search(lambda ray, r: 0.1 * SCALE[ray] * r**3, [0.05, 1e9], first_step=0.3, step_ratio=1.7, max_radius=2.0)
    grid = [*(0.3 * 1.7**k for k in range(4)), 2.0]
    for points in run.points_r:
        marched = points[np.isin(points, grid)]
        np.testing.assert_array_equal(marched, grid)
    assert (run.status[:, 1] == RayStatus.CENSORED).all()


def test_only_points_of_the_grid_decide_the_bracket() -> None:
    """A spike between two points of the grid is seen while the first cutoff closes, and does not stop the second."""

    def spiked(ray: np.ndarray, r: np.ndarray) -> np.ndarray:
        return np.where((r > 1.3) & (r < 1.9), 100.0, SCALE[ray] * 0.3 * r)

    alone = search(spiked, [3.0], first_step=1.0, step_ratio=2.0)
    together = search(spiked, [0.25, 0.4, 0.55, 3.0], first_step=1.0, step_ratio=2.0)
    assert (together.points_u == 100.0).any()
    np.testing.assert_allclose(alone.radii[:, 0], 10 / SCALE, rtol=1e-9)
    np.testing.assert_allclose(together.radii[:, 3], 10 / SCALE, rtol=1e-9)


def test_a_ray_does_not_depend_on_the_rays_beside_it() -> None:
    def rough(ray: np.ndarray, r: np.ndarray) -> np.ndarray:
        return SCALE[ray] * r**2 * (1.2 + np.sin(12 * r))

    run = search(rough, [0.5, 1.0], max_radius=2.0)
    for ray in (0, 100, 255):
        alone = FirstCrossing(1, np.array([0.5, 1.0]), first_step=0.3, max_radius=2.0)
        while len(rays := alone.active()):
            radii = alone.propose(rays)
            alone.tell(rays, radii, rough(np.array([ray]), radii), np.array([True]))
        np.testing.assert_array_equal(alone.radii[0], run.radii[ray])


def test_a_cap_far_off_is_reached_on_a_fine_grid() -> None:
    run = search(lambda ray, r: 0 * r, [1.0], first_step=1e-3, step_ratio=1.02, max_radius=1.0)
    assert (run.status == RayStatus.CENSORED).all()
    assert (run.calls == 350).all()  # log(1000) / log(1.02) = 348.8: 349 points of the grid, and the cap
