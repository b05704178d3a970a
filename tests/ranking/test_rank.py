"""A family whose truth is built in: what the ranking says of each measure, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from helpers.families import AXES, family
from landscape.errors import LandscapeError
from landscape.ranking import RankingSettings, rank_measures
from landscape.ranking.differences import against_baselines, chance_of_best
from landscape.ranking.rank import noise_share
from landscape.results import Ranking, Runs

QUICK = RankingSettings(bootstrap=200, permutations=200, effective_size=3)


@pytest.fixture(scope="module")
def runs() -> Runs:
    return family()


@pytest.fixture(scope="module")
def ranking(runs: Runs) -> Ranking:
    return rank_measures(runs, "gap", settings=QUICK)


def test_each_measure_gets_what_was_built_into_it(ranking: Ranking) -> None:
    assert ranking.measures == ("good", "inverted", "chance", "one-axis", "learning-rate", "random")
    assert ranking.estimate("Psi", "good") > 0.6
    for statistic in ("Psi", "tau", "spearman", "partial"):
        assert ranking.estimate(statistic, "inverted") == pytest.approx(-1.0)
    assert ranking.estimate("cmi", "inverted") < -0.7
    assert ranking.estimate("sign-error", "inverted") == 1.0
    low, high = ranking.interval("Psi", "good")
    assert 0.3 < low < ranking.estimate("Psi", "good") < high <= 1.0
    assert ranking.estimate("sign-error", "good") < 0.2


def test_a_measure_of_one_axis_predicts_along_that_axis_alone(ranking: Ranking) -> None:
    """Its tau over all configurations is high, since the first axis moves the gap most; psi and CMI tell."""
    place = ranking.measures.index("one-axis")
    assert ranking.estimate("tau", "one-axis") > 0.5
    assert ranking.psi[0, place] > 0.9
    assert np.abs(ranking.psi[1:, place]).max() < 0.5
    assert abs(ranking.estimate("cmi", "one-axis")) < 0.05
    assert abs(ranking.estimate("partial", "one-axis")) < 0.5


def test_the_table_has_no_empty_column(runs: Runs, ranking: Ranking) -> None:
    assert "sign err" in ranking.table()
    few = rank_measures(runs, "gap", settings=replace(QUICK, effective_size=1e6))
    assert "sign err" not in few.table()
    assert np.isnan(few.estimates[few.statistics.index("sign-error")]).all()


def test_what_chance_gives_is_within_its_band(ranking: Ranking) -> None:
    """Psi is the mean over 81 pairs of a product of signs, of variance 1. 810 pairs of them share a net and have
    covariance 1/9. So the standard deviation is sqrt(81 + 810/9) / 81."""
    place = ranking.measures.index("chance")
    assert ranking.null_lower[0, place] < ranking.estimate("Psi", "chance") < ranking.null_upper[0, place]
    expected = 1.96 * np.sqrt(81 + 810 / 9) / 81
    assert ranking.null_upper[0, place] == pytest.approx(expected, rel=0.25)
    assert ranking.null_lower[0, place] == pytest.approx(-expected, rel=0.25)


def test_the_headline_names_the_measure_that_beats_every_baseline(ranking: Ranking) -> None:
    assert ranking.beats_baselines == ("good",)
    assert ranking.headline.startswith("1 of 4 measures predicts the gap better than every baseline, 54 nets of 27 con")
    assert "By chance alone the best of 4 would reach" in ranking.headline
    assert f"Its difference to {ranking.hardest[0]}, the baseline that is hardest to beat" in ranking.headline
    assert np.isnan(ranking.margin[list(map(ranking.measures.index, ranking.baselines))]).all()


def test_a_lucky_draw_of_the_random_baseline_counts_as_a_coin(runs: Runs) -> None:
    lucky = runs.with_measure("random", runs.target("gap"), baseline=True)
    ranking = rank_measures(lucky, "gap", measures=["good"], axes=["width", "lr", "batch"], settings=QUICK)
    assert ranking.estimate("Psi", "random") == pytest.approx(1.0)
    assert ranking.beats_baselines == ("good",)


def test_the_headline_says_that_no_measure_can_be_told_from_the_baselines(runs: Runs) -> None:
    ranking = rank_measures(runs, "gap", measures=["chance", "one-axis"], settings=QUICK)
    assert ranking.beats_baselines == ()
    assert ranking.headline.startswith("No measure can be told from the baselines as a predictor of the gap")


def test_a_baseline_that_is_a_column_or_an_axis_is_always_there(runs: Runs) -> None:
    table = runs.with_measure("train_loss", np.linspace(0, 1, len(runs.nets)))
    table = replace(table, axes={**{k: v for k, v in table.axes.items() if k != "lr"}, "poison": table.axes["lr"]})
    ranking = rank_measures(table, "gap", measures=["good"], settings=QUICK)
    assert ranking.measures == ("good", "train_loss", "beta", "random")
    assert ranking.baselines == ("train_loss", "beta", "random")


def test_a_baseline_of_one_axis_has_undefined_cells(ranking: Ranking) -> None:
    place = ranking.measures.index("learning-rate")
    assert ranking.cells.tolist() == [9, 9, 9]
    assert ranking.cells_defined[:, place].tolist() == [0, 9, 0]
    assert np.isnan(ranking.psi[[0, 2], place]).all()
    assert np.isnan(ranking.estimate("partial", "learning-rate"))


def test_smaller_is_sharper_turns_a_measure_round(runs: Runs) -> None:
    turned = rank_measures(replace(runs, smaller_is_sharper=("inverted",)), "gap", settings=QUICK)
    assert turned.estimate("Psi", "inverted") == pytest.approx(1.0)
    assert turned.estimate("sign-error", "inverted") == 0.0


def test_few_values_and_constant_measures_are_gaps(runs: Runs) -> None:
    values = runs.values.copy()
    values[0, :20] = np.nan
    values[1] = 3.0
    values[2, 0] = np.nan
    ranking = rank_measures(replace(runs, values=values), "gap", settings=QUICK)
    assert ranking.gaps["good"] == "not ranked: it has values on 17 configurations, and 20 are needed."
    assert ranking.gaps["inverted"] == "not ranked: it is the same for every net."
    assert ranking.gaps["chance"] == "no value on 1 of 54 nets; its statistics use the others."
    assert np.isnan(ranking.estimates[:, 0]).all()
    assert np.isnan(ranking.margin[:2]).all()
    assert np.isnan(ranking.estimate("Psi", "inverted"))
    assert np.isfinite(ranking.estimate("tau", "chance"))


def test_nets_that_have_not_converged_are_dropped_and_counted(runs: Runs) -> None:
    table = runs.with_measure("train-loss", np.where(np.arange(54) < 4, 0.9, 0.01), baseline=True)
    ranking = rank_measures(table, "gap", settings=replace(QUICK, max_train_loss=0.05))
    assert ranking.nets == 50
    assert ranking.notes[0] == "4 of 54 nets were left out: their train loss is above 0.05."
    with pytest.raises(LandscapeError, match="needs a column train-loss"):
        rank_measures(runs, "gap", settings=replace(QUICK, max_train_loss=0.05))


def test_the_share_of_noise_follows_its_formula() -> None:
    values, errors = np.array([[1.0, 3.0, np.nan], [2.0, 2.0, 2.0]]), np.array([[0.5, 0.5, 0.5], [0.1, 0.1, 0.1]])
    assert noise_share(values, errors) == pytest.approx([0.125, np.nan], nan_ok=True)
    assert noise_share(np.array([[1.0, 2.0]]), np.full((1, 2), 9.0))[0] == 1.0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"target": "loss"}, "there is no target 'loss'; the table has gap, error"),
        ({"axes": ["depth"]}, "there is no column 'depth' among the axes"),
        ({"measures": ["flatness"]}, "there is no column 'flatness' among the measures"),
        ({"axes": ["width", "lr"]}, "at least 20 configurations, and there are 9"),
    ],
)
def test_what_cannot_be_ranked_is_refused(runs: Runs, change: dict[str, object], words: str) -> None:
    with pytest.raises(LandscapeError, match=words):
        rank_measures(runs, **{"target": "gap", "settings": QUICK, **change})  # type: ignore[arg-type]


def test_targets_that_say_nothing_are_refused(runs: Runs) -> None:
    with pytest.raises(LandscapeError, match=r"the target 'gap' is 0.5 for every net"):
        rank_measures(replace(runs, targets=np.full((2, 54), 0.5)), "gap", settings=QUICK)
    alternating = np.array([[float(seed) for seed in runs.seeds], runs.targets[1]])
    with pytest.raises(LandscapeError, match="is the same for every configuration once seeds are averaged"):
        rank_measures(replace(runs, targets=alternating), "gap", settings=QUICK)
    broken = runs.targets.copy()
    broken[0, 3] = np.nan
    with pytest.raises(LandscapeError, match="the target 'gap' of net 'net-3' is not finite"):
        rank_measures(replace(runs, targets=broken), "gap", settings=QUICK)
    with pytest.raises(LandscapeError, match="no axis"):
        rank_measures(replace(runs, axes={}), "gap", settings=QUICK)
    with pytest.raises(LandscapeError, match="no measure besides baselines"):
        rank_measures(replace(runs, baselines=runs.measures), "gap", settings=QUICK)


def test_the_same_seed_gives_the_same_ranking(runs: Runs, ranking: Ranking) -> None:
    again = rank_measures(runs, "gap", settings=QUICK)
    for name, array in ranking.arrays().items():
        assert np.array_equal(array, again.arrays()[name], equal_nan=True), name
    other = rank_measures(runs, "gap", settings=replace(QUICK, seed=1))
    assert other.interval("Psi", "good") != ranking.interval("Psi", "good")


def test_simultaneous_bounds_are_wider_for_more_measures() -> None:
    random = np.random.default_rng(0)
    psi = np.concatenate([np.full((1, 1, 40), 0.4), 0.4 + 0.1 * random.normal(size=(500, 1, 40))])
    psi[:, :, 39] -= 0.4
    one = against_baselines(psi, np.array([0]), np.array([39]))
    many = against_baselines(psi, np.arange(39), np.array([39]))
    assert one.margin[0] == many.margin[0] == pytest.approx(0.4)
    assert many.lower[0] < one.lower[0] < 0.4
    null = 0.1 * random.normal(size=(2000, 1, 40))
    assert chance_of_best(null, np.array([0])) == pytest.approx(0.1645, rel=0.1)
    assert chance_of_best(null, np.arange(39)) == pytest.approx(0.1 * 3.0, rel=0.1)


def test_a_measure_that_is_blind_along_an_axis_is_compared_as_a_coin() -> None:
    """The width says nothing along the learning rate; so it counts half of what it says along the width."""
    psi = np.tile(np.array([[0.6, 1.0], [0.6, np.nan]]), (3, 1, 1))
    assert against_baselines(psi, np.array([0]), np.array([1])).margin[0] == pytest.approx(0.6 - 0.5)


def test_results_go_through_the_store(runs: Runs, ranking: Ranking) -> None:
    for result in (runs, ranking):
        again = type(result).from_parts(result.arrays(), result.attributes())
        for name, value in vars(result).items():
            if isinstance(value, np.ndarray):
                assert np.array_equal(value, getattr(again, name), equal_nan=True)
            elif name != "axes" or result is ranking:
                assert getattr(again, name) == value, name
    assert len(AXES) == len(ranking.axes)


def test_the_text_shows_each_measure_on_a_line(ranking: Ranking) -> None:
    lines = str(ranking).splitlines()
    heads = next(number for number, line in enumerate(lines) if line.startswith("measure"))
    assert [line.split()[0] for line in lines[heads + 1 : heads + 5]] == ["good", "one-axis", "chance", "inverted"]
    assert "\nlearning-" in str(ranking)  # its other half stands on the next line
    assert "\nrate*\n" in str(ranking)
    assert max(map(len, lines)) <= 80


def test_a_baseline_that_points_the_wrong_way_is_turned_round() -> None:
    """Its inverse is as cheap, so a measure must beat |Psi| = 0.8."""
    psi = np.tile(np.array([[0.6, -0.8]]), (3, 1, 1))
    assert against_baselines(psi, np.array([0]), np.array([1])).margin[0] == pytest.approx(-0.2)


def test_differences_are_paired(runs: Runs) -> None:
    """A copy of a measure differs from it in no resample, though the interval of each is wide."""
    ranking = rank_measures(runs.with_measure("copy", runs.value("good") ** 3), "gap", settings=QUICK)
    assert ranking.difference("good", "copy") == (0.0, 0.0, 0.0)
    low, high = ranking.interval("Psi", "good")
    assert high - low > 0.2
    value, low, high = ranking.difference("good", "chance")
    assert value == pytest.approx(ranking.estimate("Psi", "good") - ranking.estimate("Psi", "chance"))
    assert 0 < low < value < high
    assert ranking.difference("chance", "good") == pytest.approx((-value, -high, -low))


def test_an_unranked_measure_differs_from_none(runs: Runs) -> None:
    ranking = rank_measures(runs.with_measure("same", np.ones(54)), "gap", settings=QUICK)
    assert np.isnan(ranking.difference("same", "good")).all()
    assert np.isfinite(ranking.difference("learning-rate", "good")).all()


def test_intervals_of_few_resamples_say_so(ranking: Ranking) -> None:
    assert "The intervals rest on 200 resamples only. Pass `bootstrap=2000`." in ranking.notes
    with pytest.raises(LandscapeError, match="`bootstrap=20` or more"):
        RankingSettings(bootstrap=5)
