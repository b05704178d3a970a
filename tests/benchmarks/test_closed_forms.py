"""The cases that docs/sharpness.md shows: each measure agrees with its closed form."""

import pytest

from benchmarks import closed_forms
from landscape.measures import REGISTRY

MEASURED_ELSEWHERE = {"basin-probability", "effective-radius", "minimum", "normalised"}  # by tests of their own


@pytest.fixture(scope="module")
def cases():
    return list(closed_forms.cases())


def test_every_measure_agrees_with_its_closed_form(cases):
    assert [case.measure.name for case in cases if not case.agrees] == []


def test_no_measure_is_left_out(cases):
    assert {case.measure.name for case in cases} == set(REGISTRY) - MEASURED_ELSEWHERE


def test_the_ticks_of_a_ranking_name_these_measures(cases):
    assert {case.measure.name for case in cases} == {
        name for name, definition in REGISTRY.items() if definition.closed_form
    }


def test_a_wrong_value_would_be_noticed(cases):
    wrong = [closed_forms.Case(case.measure, case.form, 2 * case.truth + 0.1) for case in cases]
    assert not any(case.agrees for case in wrong)
