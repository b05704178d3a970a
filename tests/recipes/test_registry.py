"""Recipes by name: those that this version does not know are refused with one clear line."""

from __future__ import annotations

import pytest

import landscape as ls
from landscape.recipes import load_recipe, task_from_record


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"recipe": "jelly-roll"}, "this version knows swiss-roll"),
        ({"recipe": "swiss-roll", "args": {"size": 3}}, "does not fit"),
        ({"recipe": "swiss-roll", "args": {"data_seed": -1}}, "whole number"),
        ({}, "this version knows swiss-roll"),
    ],
)
def test_records_of_other_versions(record: dict[str, object], words: str) -> None:
    with pytest.raises(ls.LandscapeError, match=words):
        task_from_record(record)


def test_a_recipe_that_is_not_there() -> None:
    with pytest.raises(ls.LandscapeError, match="the recipes are: swiss-roll"):
        load_recipe("jelly-roll")
