"""Results as xarray datasets: the same numbers with names, units and settings; netCDF and ArviZ read them."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.every_kind import ISLANDS, RADII, RESULTS, SHOWN, VOLUME, llc
from landscape.errors import MissingExtraError
from landscape.measures.llc.diagnostics import effective_sample_size, split_rhat
from landscape.results import Result
from landscape.results.units import TEXT

pytestmark = pytest.mark.skipif(find_spec("xarray") is None, reason="the optional extra 'notebook'")


@pytest.mark.parametrize("name", SHOWN)
def test_every_variable_has_a_unit_and_every_setting_fits_into_a_file(name: str, tmp_path: Path) -> None:
    pytest.importorskip("h5netcdf")
    data = SHOWN[name].to_xarray()
    for key, variable in data.variables.items():
        assert "units" in variable.attrs or variable.dtype.kind == "U", key
        assert not any(str(axis).endswith(("_0", "_1")) for axis in variable.dims), (key, variable.dims)
    data.to_netcdf(tmp_path / "result.nc", engine="h5netcdf")
    import xarray  # here, since it takes a second to import

    # older releases of xarray read seconds as time differences unless told not to
    with xarray.open_dataset(tmp_path / "result.nc", engine="h5netcdf", decode_timedelta=False) as back:
        xarray.testing.assert_identical(back.load(), data)


@pytest.mark.parametrize("name", RESULTS)
def test_every_array_is_in_the_dataset_bit_for_bit(name: str) -> None:
    result = RESULTS[name]
    data = result.to_xarray()
    for key, array in result.arrays().items():
        values = data[key].values
        assert values.dtype == array.dtype
        assert sorted(map(repr, values.ravel().tolist())) == sorted(map(repr, array.ravel().tolist())), key
    assert data.attrs["kind"] == result.kind


@pytest.mark.parametrize("name", RESULTS)
def test_variables_describe_themselves(name: str) -> None:
    data = RESULTS[name].to_xarray()
    for key in RESULTS[name].arrays():
        assert len(data[key].attrs["description"]) > 5, key


def test_radii_are_found_by_cutoff_and_direction() -> None:
    data = RADII.to_xarray()
    assert data.radii.dims == ("cutoff", "direction")
    assert data.radii.attrs["units"] == "metric units"
    assert data.cutoff.attrs["units"] == "loss"
    assert np.array_equal(data.radii.sel(cutoff=0.5), RADII.radii[:, 1])
    assert data.attrs["config_metric"] == "filter"
    assert data.attrs["cost_evaluations"] == 30.0


def test_a_volume_has_its_verdicts_and_sentences() -> None:
    data = VOLUME.to_xarray()
    assert data.attrs["verdict"] == "reliable, lower bound"
    assert data.log_volume.attrs == {
        "units": "nats",
        "description": "log V in metric coordinates, natural log.",
    }
    row = data.sel(cutoff=0.5)
    assert row.verdict.item() == "lower bound"
    assert row.bound.item() == VOLUME.results[1].bound
    assert row.report.item() == VOLUME.results[1].report


def test_planes_are_found_by_their_coordinates() -> None:
    plane: Any = RESULTS["plane"]
    data = plane.to_xarray()
    assert data.loss.sel(x=plane.x[3], y=plane.y[1]).item() == plane.loss[1, 3]


@pytest.mark.parametrize("name", [name for name in SHOWN if name != "islands"])
def test_every_column_of_a_frame_has_a_unit(name: str) -> None:
    frame = SHOWN[name].to_frame()
    units = frame.attrs["units"]
    assert set(units) == set(frame.columns)
    for column, unit in units.items():
        assert (unit == TEXT) == (not np.issubdtype(np.asarray(frame[column].tolist()).dtype, np.number)
                                  and frame[column].dtype != bool), column  # fmt: skip
        if unit == "nats":
            assert "nats" in str(column)


def test_arviz_reads_the_chains_and_agrees_with_us() -> None:
    arviz = pytest.importorskip("arviz")
    measure = llc(chains=4, draws=200)
    data = measure.to_xarray()[["samples"]]
    assert data.samples.dims == ("chain", "draw")
    assert arviz.rhat(data).samples.item() == pytest.approx(split_rhat(measure.chains), abs=1e-9)
    assert arviz.ess(data, method="mean").samples.item() == pytest.approx(
        effective_sample_size(measure.chains), rel=0.02
    )
    table = arviz.summary(data, round_to=12)
    assert table.loc["samples", "mean"] == pytest.approx(measure.value, abs=1e-9)


def test_arviz_reads_rays_and_islands() -> None:
    arviz = pytest.importorskip("arviz")
    rays = RADII.to_xarray()[["radii"]].rename(direction="draw").expand_dims("chain")
    table = arviz.summary(rays, kind="stats", round_to=12)
    assert table["mean"].tolist() == pytest.approx(RADII.radii.mean(0))
    islands = ISLANDS.to_xarray()
    assert islands.log_radii.dims == ("group", "chain", "draw")
    assert np.array_equal(islands.log_radii.values[1, 1], ISLANDS.log_radii[1, 5:])
    worst = arviz.rhat(islands[["log_radii"]])
    assert worst.log_radii.dims == ("group",)
    chains = ISLANDS.log_radii[0].reshape(2, 5)
    assert islands.log_radii.values[0].tolist() == chains.tolist()


def test_without_xarray_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(MissingExtraError, match=r"to_xarray\(\) needs [^!]* pip install 'landscape-lab\[notebook\]'"):
        RADII.to_xarray()


@pytest.mark.parametrize("name", ["sharpness", "comparison"])
def test_tables_that_no_file_keeps_compare_too(name: str) -> None:
    table = SHOWN[name]
    assert table == table
    assert table.to_xarray().attrs["kind"] == name
    assert table.to_xarray().attrs["verdict"] in ("estimate, exact", "settled")
    assert table == replace(table)  # type: ignore[type-var]
    assert not any(table == other for other in (None, 1.0, "text", *RESULTS.values()))


@pytest.mark.parametrize("name", RESULTS)
def test_eq_answers_whatever_it_is_compared_with(name: str) -> None:
    result = RESULTS[name]
    assert result == result
    twin = type(result).from_parts(result.arrays(), result.attributes())
    assert result == twin
    for other in (None, 1.0, np.zeros(3), "text", *(each for key, each in RESULTS.items() if key != name)):
        if isinstance(other, np.ndarray):
            assert not np.any(result == other)
        else:
            assert result != other
    assert isinstance(hash(type(result)), int)
    assert isinstance(result, Result)
