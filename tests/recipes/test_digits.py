"""The digits need scikit-learn, and say so."""

from __future__ import annotations

import pytest

import landscape as ls
from landscape.recipes import load_recipe
from landscape.training import Member


def test_digits_without_their_package_and_with_it() -> None:
    recipe = load_recipe("digits")
    try:
        import sklearn  # noqa: F401
    except ImportError:
        with pytest.raises(ls.LandscapeError, match=r"landscape-lab\[digits\]"):
            recipe.training([Member(0)])
        pytest.skip("needs scikit-learn, which is not installed")
    summaries = [trained.summary for trained in recipe.training([Member(0), Member(0, 0.2)], steps=600).run()]
    assert min(row.train_accuracy for row in summaries) > 0.95
    assert summaries[0].test_accuracy > 0.85
    assert summaries[1].test_accuracy < 0.7
    assert recipe.task(0).data[0].shape == (300, 64)
