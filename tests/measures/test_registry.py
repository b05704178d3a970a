"""Every measure that docs and tables name is in the registry, in their order."""

import re

import pytest

from landscape.errors import LandscapeError
from landscape.measures import REGISTRY, find_measures, measure, registry

NAMES = """
    average-case, average-case-uniform, worst-case-l2, worst-case-linf, pac-bayes, pac-bayes-magnitude, lambda-max,
    trace, frobenius, llc, log-volume, effective-radius, basin-probability, relative-flatness, fisher-rao, margin,
    spectral-product, frobenius-product, path-norm, distance, critical, low-pass, local-entropy, minimum, normalised,
    keskar, gradient-norm, noise-scale
"""


def test_the_registry_holds_every_measure_in_order():
    names = re.findall(r"[\w-]+", NAMES)
    assert [name for name in REGISTRY if name in names] == names


@pytest.fixture
def looked_for_anew():
    """Forget which packages bring measures, before the test and after it."""
    registry._entry_points.cache_clear()
    yield
    registry._entry_points.cache_clear()


@pytest.mark.usefixtures("looked_for_anew")
def test_packages_bring_measures_by_an_entry_point(monkeypatch):
    class Point:
        name, value = "theirs", "their_package:measure"

        def load(self):
            measure("their-norm", larger="sharper")(lambda objective, draws: 1.0)

    asked = []
    monkeypatch.setattr(registry.metadata, "entry_points", lambda group: asked.append(group) or [Point()])
    try:
        for _ in range(2):
            assert [found.name for found in find_measures("their-norm")] == ["their-norm"]
    finally:
        REGISTRY.pop("their-norm", None)
    assert asked == ["landscape.measures"]


@pytest.mark.usefixtures("looked_for_anew")
def test_a_package_that_cannot_be_loaded_is_one_clear_error(monkeypatch):
    class Point:
        name, value = "theirs", "their_package:measure"

        def load(self):
            raise ImportError("no module named scipyy")

    monkeypatch.setattr(registry.metadata, "entry_points", lambda group: [Point()])
    with pytest.raises(LandscapeError, match=r"(?s)entry point theirs of their_package:measure.*scipyy.*uninstall"):
        find_measures("trace")
