"""The table of measures: names, several sizes, errors, budgets, resuming."""

import math

import pytest
import torch

import landscape as ls
from landscape.measures import REGISTRY


@pytest.fixture(scope="module")
def bowl():
    return ls.Objective.from_function(lambda x: x.square().sum(-1) / 2, torch.ones(4, dtype=torch.float64))


@pytest.fixture
def own_measure():
    @ls.measure("own-norm", larger="flatter", invariant=("permutation",))
    def own_norm(objective, draws):
        return float(objective.theta.norm()), 0.5

    yield "own-norm"
    del REGISTRY["own-norm"]


def test_a_measure_of_ones_own(bowl, own_measure):
    measure = ls.sharpness(bowl, own_measure)[own_measure]
    assert (measure.value, measure.standard_error, measure.verdict) == (2.0, 0.5, "estimate")
    assert (measure.larger, measure.invariances) == ("flatter", ("permutation",))


def test_several_sizes_give_one_row_each(bowl):
    table = ls.sharpness(bowl, ["average-case", "trace"], rho=[0.1, 0.2])
    assert list(table) == ["average-case@0.1", "average-case@0.2", "trace"]
    assert table["average-case@0.2"].config["rho"] == 0.2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"measures": "sharp"}, "'sharp' is not known"),
        ({"measures": []}, "there is no measure"),
        ({"rho": 0.0}, "`rho` must be a positive number"),
        ({"rho": -1.0}, "`rho` must be a positive number"),
        ({"rho": "a"}, "`rho` must be a positive number"),
        ({"rho": []}, "`rho` is an empty list"),
        ({"rho": True}, "`rho` must be a positive number"),
        ({"nbeta": "x"}, "`nbeta` must be a positive number"),
        ({"cutoff": -1.0}, "`cutoff` must be a positive number"),
        ({"measures": None}, "`measures` must be"),
        ({"draws": 2}, "`draws` must be a whole number of at least 4"),
        ({"metric": "round"}, "'round' is not known"),
        ({"budget": "soon"}, "Invalid budget 'soon'"),
        ({"seed": -1}, "the seed must be"),
    ],
)
def test_misuse_is_one_clear_error(bowl, options, words):
    with pytest.raises(ls.LandscapeError, match="(?s).*".join(words.split("...")).replace("(", r"\(")):
        ls.sharpness(bowl, **{"measures": "trace", **options})


def test_a_measure_that_cannot_be_taken_is_a_stated_gap(bowl):
    @ls.measure("broken", larger="sharper")
    def broken(objective, draws):
        return "no number"

    try:
        measure = ls.sharpness(bowl, "broken,trace")["broken"]
    finally:
        del REGISTRY["broken"]
    assert math.isnan(measure.value)
    assert measure.verdict == "failed"
    assert "returned str" in measure.reasons[0]


def test_a_spent_budget_is_a_stated_gap(bowl):
    table = ls.sharpness(bowl, ["average-case", "low-pass", "lambda-max"], rho=0.1, budget=20)
    assert table["average-case"].verdict == "estimate"
    assert table["lambda-max"].verdict == "failed"
    assert "the budget is spent" in table["lambda-max"].reasons[0]


def test_a_measure_that_shares_a_run_is_taken_after_it_whatever_is_left(bowl):
    table = ls.sharpness(bowl, ["effective-radius", "log-volume"], cutoff=4.0, budget=100)
    assert table["log-volume"].cost.evaluations > 100
    assert table["effective-radius"].verdict != "failed"


def test_known_measures_are_kept_and_others_are_refused(bowl):
    first = ls.sharpness(bowl, "trace")
    taken = []
    table = ls.sharpness(bowl, "trace,lambda-max", resume=first, on_progress=taken.append)
    assert table["trace"] is first["trace"]
    told = [(now.done, now.total, now.words, now.news) for now in taken]
    assert told == [(1, 2, "trace", False), (2, 2, "lambda-max", True)]
    assert dict(taken[-1].snapshot()) == dict(table)
    with pytest.raises(ls.LandscapeError, match="seed: stored 0, asked 1"):
        ls.sharpness(bowl, "trace", seed=1, resume=first)


def test_a_failed_measure_is_tried_again(bowl):
    first = ls.sharpness(bowl, "trace,average-case", budget=1)
    assert first["average-case"].verdict == "failed"
    again = ls.sharpness(bowl, "trace,average-case", resume=first)
    assert again["trace"] is first["trace"]
    assert again["average-case"].verdict == "estimate"


def test_a_measure_is_stored_and_read_back(bowl, tmp_path):
    measure = ls.sharpness(bowl, "average-case")["average-case"]
    store = ls.Store(tmp_path / "run.h5")
    store["sharpness-average-case"] = measure
    again = store["sharpness-average-case"]
    assert again.to_dict() == measure.to_dict()


def test_the_table_prints_values_errors_and_reasons(bowl):
    text = str(ls.sharpness(bowl, "trace,average-case,low-pass", budget=1))
    assert "trace" in text
    assert "exact" in text
    assert "note: average-case, low-pass: not begun" in text  # a reason that two share is printed once


def test_a_name_that_is_taken_is_refused():
    with pytest.raises(ls.LandscapeError, match="already"):
        ls.measure("trace", larger="sharper")(lambda objective, draws: 0.0)
    with pytest.raises(ls.LandscapeError, match="'bigger'"):
        ls.measure("new", larger="bigger")
    with pytest.raises(ls.LandscapeError, match="'rotation' is not known"):
        ls.measure("new", larger="sharper", invariant=("rotation",))


def test_what_is_resumed_counts_for_a_budget_in_passes(bowl):
    names = ["average-case", "trace", "gradient-norm"]
    whole = ls.sharpness(bowl, names, rho=0.1, budget=40)
    again = ls.sharpness(bowl, names, rho=0.1, budget=40, resume={name: whole[name] for name in names[:2]})
    assert {n: m.verdict for n, m in again.items()} == {n: m.verdict for n, m in whole.items()}
    assert whole["gradient-norm"].verdict == "failed"


@pytest.fixture(scope="module")
def wide():
    """A bowl of 30 dimensions with unequal curvature: 20 products do not make its trace exact."""
    curvature = torch.linspace(0.1, 3.0, 30, dtype=torch.float64)
    return ls.Objective.from_function(lambda x: (x.square() * curvature).sum(-1) / 2, torch.zeros_like(curvature))


def test_what_a_budget_has_cut_is_taken_anew_with_a_larger_one(wide):
    short = ls.sharpness(wide, "trace,frobenius", probes=20, budget=100)
    assert {name: (len(row.samples), row.cut_by) for name, row in short.items()} == {
        "trace": (10, "100"),
        "frobenius": (10, "100"),  # it shares the products, and so their end
    }
    again = ls.sharpness(wide, "trace,frobenius", probes=20, budget=100, resume=short)
    assert again == short
    more = ls.sharpness(wide, "trace,frobenius", probes=20, budget=1_000, resume=short)
    assert {name: (len(row.samples), row.cut_by) for name, row in more.items()} == {
        "trace": (20, ""),
        "frobenius": (20, ""),
    }


def test_chains_keep_to_a_budget_in_passes(wide):
    measure = ls.sharpness(wide, "llc", nbeta=10.0, budget=30_000)["llc"]
    assert measure.cut_by == "30000"
    assert measure.cost.evaluations < 30_000
    assert ls.sharpness(wide, "llc", nbeta=10.0, budget=30_000)["llc"].value == measure.value


def test_a_volume_gets_a_share_of_a_budget_in_passes(wide):
    measure = ls.sharpness(wide, "log-volume", cutoff=1.0, budget=20_000, volume_budget=1_000_000)["log-volume"]
    assert measure.cut_by == "20000"
    assert measure.cost.evaluations < 20_000
