"""Islands estimate known integrals: out from below, back from above, and they do not know of each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from landscape.errors import OutOfBudget
from landscape.objective import Objective
from landscape.rays import basin_radii, make_metric
from landscape.results.islands import PATHS, PilotRow
from landscape.volume.annealing import find_schedule as schedule_finder
from landscape.volume.annealing import pilot
from landscape.volume.annealing.find_schedule import find_schedule
from landscape.volume.annealing.islands import Key, backwards, forwards, second_start
from landscape.volume.annealing.pilot import Pilot, Piloted, TooFewLevels
from landscape.volume.body.star_body import StarBody
from landscape.volume.ray_weights.measure import make_measure

N = 6
ISLANDS = 32


def body_of(loss: object, cap: float = math.inf) -> StarBody:
    """Return the body below 1 of a function of points, shape (..., 6)."""
    objective = Objective.from_function(loss, torch.zeros(N, dtype=torch.float64))  # type: ignore[arg-type]
    rays = basin_radii(objective, [1.0], metric="identity", directions=64, max_radius=cap, rtol=1e-6)
    metric = make_metric("identity", objective.theta, objective.scope)
    return StarBody.of(objective, metric, rays, 1.0, make_measure(objective, metric))


def nothing() -> None:
    """Stop nothing."""


def off_centre_by(x: torch.Tensor, distance: float) -> torch.Tensor:
    """Return the squared distance from a point so far from theta."""
    return (x[..., 0] - distance).square() + x[..., 1:].square().sum(-1)


def off_centre(x: torch.Tensor) -> torch.Tensor:
    """Return a unit ball whose centre is 0.6 away."""
    return off_centre_by(x, 0.6)


def oval(x: torch.Tensor) -> torch.Tensor:
    """Return an ellipsoid whose half-axes go down to a hundredth, and whose centre is 0.6 of the first away."""
    return off_centre(x * torch.logspace(0, 2, N, dtype=x.dtype))


def steep(x: torch.Tensor) -> torch.Tensor:
    """Return a loss with the same ball, whose gradients around theta describe no ellipsoid like it."""
    return off_centre(x) ** 4


def half_space(x: torch.Tensor) -> torch.Tensor:
    """Return a wall just beyond theta on two sides; under a cap of 1 a quarter of the ball is left."""
    return 1e4 * torch.clamp(x[..., :2].amax(-1), min=0.0)


def narrow(x: torch.Tensor) -> torch.Tensor:
    """Return a ball of radius 2/5 off its centre, far below the cap of 1."""
    return 6.25 * off_centre_by(x, 0.1)


CASES = {
    "ellipsoid": (oval, math.inf, -N * math.log(10.0)),
    "ellipsoid under a cap": (oval, 2.0, -N * math.log(10.0)),
    "radius": (steep, math.inf, 0.0),
    "radius under a cap": (steep, 2.0, 0.0),
    "shell": (half_space, 1.0, -2 * math.log(2.0)),
    "growth": (narrow, 1.0, -N * math.log(2.5)),
}  #: loss, cap and log E[r^n] by the path that suits it


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[StarBody, Piloted, float, str]:
    """A body, its schedule, log E[r^n] and the path that suits it."""
    loss, cap, truth = CASES[request.param]
    body = body_of(loss, cap)
    with body.objective.running(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(pilot, "_LOST", 5.0)
        # growth serves bodies of many dimensions that are no ellipsoid
        grows = request.param == "growth"
        patch.setattr(schedule_finder, "_MOST_OF_RADIUS", 0 if grows else 200)
        found = find_schedule(body, 0, 1, nothing, affords=lambda _: not grows)
        return body, found, truth, request.param.partition(" ")[0]


def test_the_path_suits_the_body(case: tuple[StarBody, Piloted, float, str]) -> None:
    _, piloted, _, name = case
    assert piloted.schedule.path.name == name
    assert piloted.schedule.path.is_end(piloted.schedule.levels[-1].place)


def test_out_and_back_are_unbiased(case: tuple[StarBody, Piloted, float, str]) -> None:
    body, piloted, truth, _ = case
    levels = piloted.schedule.at(1.5)
    with body.objective.running():
        out = forwards(body, piloted.schedule.path, levels, ISLANDS, 8, Key(1, 5, 0), nothing)
        back = backwards(piloted.schedule.path, levels, out.particles, ISLANDS, Key(1, 6, 0), nothing)
    means = np.exp(out.log_means - truth)
    assert abs(means.mean() - 1) < 4 * means.std(ddof=1) / math.sqrt(ISLANDS)
    inverse = np.exp(back.log_means + truth)
    assert abs(inverse.mean() - 1) < 4 * inverse.std(ddof=1) / math.sqrt(ISLANDS)


@pytest.mark.parametrize("name", ["radius", "shell"])
def test_a_hasty_schedule_serves_if_a_careful_one_is_too_dear(name: str) -> None:
    """It costs a tenth of it, islands on it are unbiased, and a run that goes on takes it again."""
    loss, cap, truth = CASES[name]
    body = body_of(loss, cap)
    with body.objective.running():
        asked: list[float] = []
        hasty = find_schedule(body, 0, 1, nothing, affords=lambda dearer: bool(asked.append(dearer)))
        spent = body.spent.evaluations
        body.spent.clear()
        careful = find_schedule(body, 0, 1, nothing)
        both = body.spent.evaluations
        again = find_schedule(body, 0, 1, nothing, known=row_of(hasty))
        out = forwards(body, hasty.schedule.path, hasty.schedule.at(2.0), ISLANDS, 8, Key(1, 5, 0), nothing)
    assert 1 / 2.5 < asked[-1] * spent / (both - spent) < 2.5
    assert 10 * spent < both
    assert steps_of(again) == steps_of(hasty)
    assert len(hasty.schedule) < len(careful.schedule)
    means = np.exp(out.log_means - truth)
    assert abs(means.mean() - 1) < 4 * means.std(ddof=1) / math.sqrt(ISLANDS)


def test_a_careful_pilot_that_the_budget_ends_leaves_the_hasty_schedule() -> None:
    body = body_of(half_space, 1.0)
    with body.objective.running():
        hasty = find_schedule(body, 0, 1, nothing, affords=lambda dearer: False)
        most = 2 * body.spent.evaluations
        body.spent.clear()

        def check() -> None:
            if body.spent.evaluations > most:
                raise OutOfBudget

        assert steps_of(find_schedule(body, 0, 1, check)) == steps_of(hasty)


@pytest.mark.parametrize("affords", [True, False])
def test_particles_grow_if_the_path_by_the_cap_is_too_long(affords: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small MLP had no estimate but that of uniform rays, 1,300 nats too low: one pilot had spent everything."""
    sent: list[int] = []

    def shrink(self: Pilot) -> Piloted:
        sent.append(self._care.particles)
        raise TooFewLevels if len(sent) == 1 else OutOfBudget

    body = body_of(steep, 1.0)
    monkeypatch.setattr(Pilot, "shrink", shrink)
    with body.objective.running():
        found = find_schedule(body, 0, 1, nothing, affords=lambda _: affords or not sent)
    assert found.schedule.path.name == "growth"
    assert sent == ([6, 32] if affords else [6])


def test_a_careful_pilot_that_is_late_hurries() -> None:
    """Islands on its levels are unbiased, and a run that goes on takes the same ones."""
    loss, cap, truth = CASES["shell"]
    body = body_of(loss, cap)
    with body.objective.running():
        calm = find_schedule(body, 0, 1, nothing)
        passes = body.spent.evaluations
        body.spent.clear()
        late = find_schedule(body, 0, 1, nothing, share=lambda: 1.5 * body.spent.evaluations / passes)
        assert 2 < late.careful < len(late.schedule) < len(calm.schedule)
        assert body.spent.evaluations < 0.9 * passes
        again = find_schedule(body, 0, 1, nothing, known=row_of(late))
        out = forwards(body, late.schedule.path, late.schedule.at(2.0), ISLANDS, 8, Key(1, 5, 0), nothing)
    assert math.isinf(calm.careful)
    assert steps_of(again) == steps_of(late)
    means = np.exp(out.log_means - truth)
    assert abs(means.mean() - 1) < 4 * means.std(ddof=1) / math.sqrt(ISLANDS)


def steps_of(piloted: Piloted) -> list[float]:
    """Return the step of each level."""
    return [level.step for level in piloted.schedule.levels]


def row_of(piloted: Piloted) -> PilotRow:
    """Return what a run keeps of a pilot."""
    path = PATHS.index(piloted.schedule.path.name)
    found = (0, path, len(piloted.schedule), piloted.passes_per_level, piloted.tried)
    return PilotRow(*found, 0.0, 0.0, piloted.careful, piloted.count)


def test_islands_end_uniform_in_the_body() -> None:
    """A quarter of the ball: both first coordinates of a direction are negative, and E|phi_0| is known."""
    body = body_of(half_space, 1.0)
    with body.objective.running():
        schedule = find_schedule(body, 0, 1, nothing).schedule
        ends = forwards(body, schedule.path, schedule.at(3.0), ISLANDS, 8, Key(2, 5, 0), nothing).particles
    assert bool((ends.phi[:, :2] < 0).all())
    expected = math.gamma(N / 2) / math.sqrt(math.pi) / math.gamma((N + 1) / 2)
    means = -ends.phi[:, :2].mean(1).numpy().reshape(ISLANDS, -1).mean(axis=1)
    assert abs(means.mean() - expected) < 4 * means.std(ddof=1) / math.sqrt(ISLANDS)


def test_an_island_does_not_depend_on_how_many_there_are_in_other_groups(
    case: tuple[StarBody, Piloted, float, str],
) -> None:
    body, piloted, _, _ = case
    levels = piloted.schedule.at(0.5)
    with body.objective.running():
        one, again, other = (
            forwards(body, piloted.schedule.path, levels, 2, 4, Key(3, 5, group), nothing) for group in (0, 0, 1)
        )
    assert np.array_equal(one.log_means, again.log_means)
    assert not np.array_equal(one.log_means, other.log_means)


def test_a_second_start_ends_where_the_islands_end() -> None:
    body = body_of(off_centre)
    with body.objective.running():
        piloted = find_schedule(body, 0, 1, nothing)
        path, levels = piloted.schedule.path, piloted.schedule.at(3.0)
        ends = forwards(body, path, levels, ISLANDS, 4, Key(1, 5, 0), nothing).particles
        longest = torch.zeros(128, N, dtype=torch.float64)
        longest[:, 0] = 1.0
        start = path.look(longest, levels[len(levels) // 2].place)
        late = second_start(path, levels, start, ISLANDS, Key(1, 7, 0), nothing)
    error = math.hypot(late.std(ddof=1), ends.log_mass.std(ddof=1)) / math.sqrt(128)
    assert start.log_mass.mean() - ends.log_mass.mean() > 10 * error
    assert abs(late.mean() - ends.log_mass.mean()) < 4 * error
