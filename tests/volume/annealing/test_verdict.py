"""What rounds of islands must show for the verdict ``settled``: each condition fails alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from helpers.every_kind import ISLANDS
from landscape.results.islands import RoundRow
from landscape.volume.annealing.verdict import Round, chance_of, checks_of, exact, rounds_of

OUT = np.array([-10.4, -10.2, -10.1, -9.9, -10.0, -9.8, -10.3, -9.9])
SOUND = Round(4.0, 80, OUT, OUT + 0.3, 0.1, 0.2, 1.0, 0.5, 0.0)
EARLIER = Round(1.0, 20, OUT - 0.2, OUT + 0.5, 0.1, 0.2, 1.0, 0.5, 0.0)

FAULTS = {
    "islands": ([EARLIER, replace(SOUND, out=OUT[:4], back=OUT[:4] + 0.3)], -12.0),
    "spread of the islands": ([EARLIER, replace(SOUND, out=6 * (OUT + 10) - 10, back=6 * (OUT + 10) - 9.5)], -12.0),
    "gap to the way back": ([EARLIER, replace(SOUND, back=OUT + 4.0)], -12.0),
    "shift with effort": ([replace(EARLIER, out=OUT - 2.0), SOUND], -12.0),
    "second start": ([EARLIER, replace(SOUND, start_shift=2.0)], -12.0),
    "finer grid": ([EARLIER, replace(SOUND, survives=0.8)], -12.0),
    "uniform rays": ([EARLIER, SOUND], -9.0),
}


def failed(rounds: list[Round], rays: float | np.ndarray, longest: float = -1.0) -> list[str]:
    """The conditions that fail, for rays of one log mass or of several."""
    return [check.name for check in checks_of(rounds, np.zeros(100) + rays, longest) if not check.met]


def heavy(count: int, excess: float) -> np.ndarray:
    """100 rays, of which so many carry a mean that is so many nats above -10."""
    masses = np.full(100, -200.0)
    masses[:count] = -10 + excess + np.log(100 / count)
    return masses


def test_sound_rounds_meet_every_condition() -> None:
    assert failed([EARLIER, SOUND], -12.0) == []


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_fails_its_own_condition(name: str) -> None:
    assert failed(*FAULTS[name]) == [name]


def test_a_way_back_below_the_way_out_has_not_mixed() -> None:
    assert "gap to the way back" in failed([EARLIER, replace(SOUND, back=OUT - 2.0)], -12.0)


def test_without_a_round_of_a_fourth_of_the_effort_nothing_is_settled() -> None:
    assert failed([replace(EARLIER, effort=2.0), SOUND], -12.0) == ["shift with effort"]
    assert failed([SOUND], -12.0) == ["shift with effort"]


def test_more_effort_adds_nothing_if_two_rounds_agree_to_a_hundredth() -> None:
    one, four = (replace(SOUND, effort=effort, out=OUT / 1e3, back=OUT / 1e3) for effort in (1.0, 4.0))
    assert exact([one, four])
    assert not exact([four])
    assert not exact([replace(one, effort=2.0), four])
    assert not exact([one, replace(four, back=OUT / 1e3 + 0.02)])
    assert not exact([replace(one, out=OUT / 1e3 - 0.02), four])
    assert not exact([one, replace(four, back=np.full(8, np.inf))])


def test_the_way_back_is_the_log_of_the_mean_inverse() -> None:
    assert SOUND.value_back == pytest.approx(-np.log(np.mean(np.exp(-SOUND.back))))
    assert SOUND.value == pytest.approx(np.log(np.mean(np.exp(OUT))))


def test_a_lucky_ray_is_chance_unless_it_is_too_heavy_or_longer_than_all_particles() -> None:
    rounds = [EARLIER, SOUND]
    assert failed(rounds, heavy(1, 2.3)) == []
    assert failed(rounds, heavy(1, 2.3), longest=0.02) == ["uniform rays"]
    assert failed(rounds, heavy(1, 5.0)) == ["uniform rays"]
    assert failed(rounds, heavy(8, 2.3)) == ["uniform rays"]
    assert failed(rounds, heavy(100, 0.6)) == ["uniform rays"]


def test_the_chance_bounds_what_heavy_tails_do() -> None:
    """Weights of a Pareto distribution with tail index 0.9: the bound is below 5 % in at most 5 % of the sets."""
    random = np.random.default_rng(0)
    weights = -0.9 * np.log(random.random((2000, 512)))
    low = np.mean([chance_of(row, np.log(10.0)) < 0.05 for row in weights])
    assert low <= 0.05


def test_the_longest_end_is_found_among_islands_of_fewer_particles() -> None:
    """Places that islands leave empty hold NaN."""
    log_radii = np.where(np.arange(10) < 8, ISLANDS.log_radii, np.nan)
    whole = RoundRow(0, 0, 1.0, 20, 2, 0.1, 0.2, 1.0, 0.5, 100.0, 100.0)
    (only,) = rounds_of(replace(ISLANDS, log_radii=log_radii, rounds=np.array([whole])), 0)
    assert only.longest == ISLANDS.log_radii[:, :8].max()


def test_the_share_on_a_finer_grid_is_rounded_down() -> None:
    """A share just below the limit must not read as the limit."""
    checks = {
        check.name: check for check in checks_of([EARLIER, replace(SOUND, survives=0.8999)], np.full(9, -12.0), -1.0)
    }
    assert checks["finer grid"].words == "89 % of V is left on a finer grid; at least 90 % must be"
