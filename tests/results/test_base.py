"""Results compare without raising: bit for bit in their arrays, NaN equal to NaN."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helpers.curvature_results import results
from helpers.stores import make_radii, make_volume
from landscape.results import NOTHING, Result
from landscape.store import Store

CURVATURES = results()


@pytest.mark.parametrize(
    "result", [make_radii(10), make_volume(), *CURVATURES.values()], ids=["radii", "volume", *CURVATURES]
)
def test_a_stored_result_equals_the_one_in_memory(result: Result, tmp_path: Path) -> None:
    with Store(tmp_path / "run.h5", write=True) as store:
        store["result"] = result
    assert Store(tmp_path / "run.h5")["result"] == result


def test_one_bit_or_one_attribute_makes_a_difference() -> None:
    radii = make_radii(10)
    assert radii == make_radii(10)  # with NaN for the rays that are not measured
    assert radii != make_radii(11)
    assert radii != replace(radii, radii=np.nextafter(radii.radii, 9.0))
    assert radii != replace(radii, radii=radii.radii.astype(np.float32))
    assert radii != replace(radii, calls=radii.calls + 1)
    assert radii != replace(radii, cost=NOTHING)
    assert radii != replace(radii, config={**radii.config, "seed": 1})
    assert radii != replace(radii, nonfinite=radii.nonfinite[:5])
    assert radii != make_volume()
    assert radii != "radii"


def test_zero_and_minus_zero_are_different_bits_and_every_nan_is_alike() -> None:
    radii = make_radii(10)
    zeros = replace(radii, profile_radius=np.zeros(2))
    assert zeros != replace(radii, profile_radius=-np.zeros(2))
    assert replace(radii, profile_radius=np.array([np.nan])) == replace(radii, profile_radius=np.array([-np.nan]))
    assert replace(radii, centre=np.nan) == replace(radii, centre=-np.nan)


def test_results_stay_unhashable() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(make_radii(1))
