"""Every measure that docs and tables name is in the registry, in their order."""

import re

from landscape.measures import REGISTRY

NAMES = """
    average-case, average-case-uniform, worst-case-l2, worst-case-linf, pac-bayes, pac-bayes-magnitude, lambda-max,
    trace, frobenius, llc, log-volume, effective-radius, basin-probability, relative-flatness, fisher-rao, margin,
    spectral-product, frobenius-product, path-norm, distance, critical, low-pass, local-entropy, minimum, normalised,
    keskar, gradient-norm, noise-scale
"""


def test_the_registry_holds_every_measure_in_order():
    names = re.findall(r"[\w-]+", NAMES)
    assert [name for name in REGISTRY if name in names] == names
