"""Compare two results files: every stored number and text but times, which no two runs share."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from landscape.results import Cost, Measure

TIMES = ("seconds", "created")  #: datasets, attributes and keys of attributes that hold a time
_HASH = "sha256"  # of an array, or of a group with its times


def assert_same_files(first: Path, second: Path) -> None:
    """Assert that two files hold the same groups, datasets and attributes, byte for byte, but for times."""
    one, other = contents(first), contents(second)
    assert sorted(one) == sorted(other)
    assert not [place for place, value in one.items() if value != other[place]]


def contents(path: Path) -> dict[str, Any]:
    """Return what a file holds, by its place: datasets as (dtype, shape, bytes), attributes as text, without times."""
    found: dict[str, Any] = {}
    with h5py.File(path) as file:
        homes: list[h5py.HLObject] = [file]
        file.visititems(lambda _, home: homes.append(home))
        for home in homes:
            name = home.name.rpartition("/")[2]
            if isinstance(home, h5py.Dataset) and name not in TIMES:
                found[home.name] = (home.dtype.str, home.shape, np.asarray(home).tobytes())
            for key, value in home.attrs.items():
                if key not in TIMES and (key != _HASH or (isinstance(home, h5py.Dataset) and name not in TIMES)):
                    found[f"{home.name} {key}"] = _text(value)
    return found


def without_time(measure: Measure) -> Measure:
    """Return a measure whose cost says nothing about seconds."""
    return replace(measure, cost=Cost(measure.cost.evaluations, measure.cost.calls, 0.0))


def _text(value: Any) -> str:
    """Return an attribute as text; JSON without its times."""
    text = value.decode() if isinstance(value, bytes) else str(value)
    try:
        return json.dumps(_timeless(json.loads(text)))
    except ValueError:
        return text


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(each) for key, each in value.items() if key not in TIMES}
    return [_timeless(each) for each in value] if isinstance(value, list) else value
