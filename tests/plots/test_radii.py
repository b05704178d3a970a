"""Figures: drawn without a display, nothing clipped, and honest about what they show."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from matplotlib.figure import Figure

from helpers.figures import assert_nothing_is_cut_off, laid_out, no_warnings, words
from landscape import plots
from landscape.results import Cost, Radii, RayStatus, Volume
from landscape.volume import volume_from_radii


def some_radii(
    rays: int = 200, cutoffs: tuple[float, ...] = (0.1, 1.0), n: int = 2000, cap: float = math.inf, **config: object
) -> Radii:
    """Log-normal radii, larger for larger cutoffs, with the loss r^2 along the first few rays."""
    table = 0.3 * np.sqrt(cutoffs) * np.exp(0.3 * np.random.default_rng(0).normal(size=(rays, 1)))
    censored = table >= cap
    radii = np.where(censored, cap, table)
    at = np.linspace(0.01, 0.5, 12)
    return Radii(
        radii=radii,
        status=np.where(censored, RayStatus.CENSORED, RayStatus.CROSSED).astype(np.int8),
        lower=radii,
        upper=radii,
        calls=np.full(rays, 5),
        evaluations=np.full(rays, 5.0),
        nonfinite=np.zeros(rays, dtype=np.int64),
        profile_ray=np.repeat(np.arange(4), len(at)),
        profile_radius=np.tile(at, 4),
        profile_loss=np.concatenate([(k + 1) * at**2 for k in range(4)]),
        cutoffs=cutoffs,
        dimension=n,
        log_scale_sum=0.0,
        centre=0.0,
        config={"criterion": "loss", "metric": "filter", "max_radius": None if math.isinf(cap) else cap, **config},
        cost=Cost(5.0 * rays, 5 * rays, 1.0),
    )


HARD = {
    "one cutoff": some_radii(cutoffs=(0.1,)),
    "many cutoffs close together": some_radii(cutoffs=(0.1, 0.101, 0.102, 0.5, 10.0)),
    "all censored": some_radii(cap=0.01),
    "some censored, one unfinished": replace(
        some := some_radii(rays=12345, cutoffs=(0.000123, 1234.5), n=268336, cap=0.9),
        status=np.where(some.radii == some.radii.min(), RayStatus.UNFINISHED, some.status).astype(np.int8),
    ),
    "equal radii": replace(some_radii(cutoffs=(1.0,)), radii=np.full((200, 1), 0.25)),
    "one ray": some_radii(rays=1),
    "no profile, radius 0": replace(
        some_radii(), radii=np.where(np.arange(200)[:, None] < 50, 0.0, some_radii().radii),
        profile_ray=np.zeros(0, dtype=np.int64), profile_radius=np.zeros(0), profile_loss=np.zeros(0),
    ),
    "identity, rise": some_radii(metric="identity", criterion="rise"),
}  # fmt: skip

ALONE_TOO = ("many cutoffs close together", "some censored, one unfinished", "no profile, radius 0")


@cache
def drawn(name: str) -> dict[str, Figure]:
    """The figures of hard radii, which tests only look at."""
    radii, volume = HARD[name], volume_from_radii(HARD[name])
    return {
        "histogram": plots.radius_histogram(radii),
        "rays": plots.loss_along_rays(radii),
        "weights": plots.sorted_weights(volume),
        "overview": plots.overview(radii, volume),
    }


@pytest.mark.parametrize("name", HARD)
def test_no_text_is_clipped_and_nothing_warns(name: str) -> None:
    with no_warnings():
        # the overview holds the other three, in less room
        for figure in drawn(name).values() if name in ALONE_TOO else [drawn(name)["overview"]]:
            assert_nothing_is_cut_off(figure)


def test_the_panel_titles_do_not_run_into_each_other() -> None:
    figure = drawn("some censored, one unfinished")["histogram"]
    renderer = laid_out(figure)
    for axes in figure.axes:
        left, right = (title.get_window_extent(renderer) for title in (axes._left_title, axes._right_title))
        assert left.x1 < right.x0


def test_cutoff_labels_stay_apart() -> None:
    figure = drawn("many cutoffs close together")["rays"]
    heights = sorted(text.get_position()[1] for text in figure.axes[0].texts)
    assert len(heights) == 5
    assert np.diff(heights).min() > 0.05


def test_axes_carry_the_units_of_the_metric() -> None:
    assert HARD["one ray"].config["metric"] == "filter"
    assert "relative perturbation r" in words(drawn("one ray")["histogram"])
    assert "distance r" in words(drawn("identity, rise")["histogram"])
    assert "loss above the centre" in words(drawn("identity, rise")["rays"])
    assert "KL" in words(plots.loss_along_rays(some_radii(criterion="kl")))


def test_the_histogram_counts_every_ray_once() -> None:
    radii = some_radii(cap=0.4)
    figure = plots.radius_histogram(radii)
    for column, axes in enumerate(figure.axes):
        assert sum(patch.get_height() for patch in axes.patches) == radii.directions
        hatched = [patch for patch in axes.patches if patch.get_hatch()]
        assert sum(patch.get_height() for patch in hatched) == (radii.status[:, column] == RayStatus.CENSORED).sum()
    censored = int((radii.status[:, 1] == RayStatus.CENSORED).sum())
    assert censored > 0
    assert f"{censored} (" in words(figure)


def test_an_unfinished_run_says_so_and_leaves_the_pending_rays_out() -> None:
    radii = some_radii()
    rays = np.arange(200)[:, None] >= 80
    partial = replace(
        radii,
        radii=np.where(rays, np.nan, radii.radii),
        status=np.where(rays, RayStatus.PENDING, radii.status).astype(np.int8),
    )
    figure = plots.radius_histogram(partial)
    assert "80 of 200 rays measured so far" in words(figure)
    assert sum(patch.get_height() for patch in figure.axes[0].patches) == 80
    nothing = replace(
        radii,
        radii=np.full_like(radii.radii, np.nan),
        status=np.full_like(radii.status, RayStatus.PENDING),
        profile_ray=np.zeros(0, dtype=np.int64), profile_radius=np.zeros(0), profile_loss=np.zeros(0),
    )  # fmt: skip
    assert "0 of 200 rays" in words(plots.overview(nothing))


def test_the_loss_gets_a_log_axis_only_where_it_spans_decades() -> None:
    assert plots.loss_along_rays(some_radii()).axes[0].get_yscale() == "log"
    flat = replace(some_radii(), profile_loss=np.linspace(0.2, 1.0, 48), centre=0.2)
    assert plots.loss_along_rays(flat).axes[0].get_yscale() == "linear"
    negative = replace(some_radii(), profile_loss=some_radii().profile_loss - 1.0, centre=-1.0)
    assert plots.loss_along_rays(negative).axes[0].get_yscale() == "linear"


def test_each_ray_starts_at_the_centre_on_a_linear_axis() -> None:
    flat = replace(some_radii(), profile_loss=np.linspace(0.2, 1.0, 48), centre=0.19)
    lines = plots.loss_along_rays(flat).axes[0].lines[:4]
    assert all((line.get_xdata()[0], line.get_ydata()[0]) == (0.0, 0.19) for line in lines)


def collapsed() -> Volume:
    return volume_from_radii(some_radii(n=200_000))


def test_the_weights_say_how_far_they_can_be_trusted() -> None:
    volume = collapsed()
    told = words(plots.sorted_weights(volume))
    assert f"ess {volume.results[0].ess:.1f} of 200 rays" in told
    assert "lower bound" in told
    trusted = volume_from_radii(some_radii(n=1))
    assert "reliable" in words(plots.sorted_weights(trusted))


def test_the_weights_fall_from_the_largest_at_zero() -> None:
    volume = collapsed()
    curve = plots.sorted_weights(volume).axes[0].lines[0]
    steps = np.asarray(curve.get_ydata())
    spread = np.ptp(volume.log_weights[:, 0]) / math.log(10)
    assert steps[0] == 0
    assert (np.diff(steps) <= 0).all()
    assert steps[-1] == pytest.approx(-spread)
