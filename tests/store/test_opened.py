"""`landscape.open`: what a file holds at a glance, each result as a Dataset, and the clear errors of the store."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import h5py
import numpy as np
import pytest

import landscape as ls
from helpers.every_kind import RADII, RESULTS, VOLUME
from helpers.stores import make_radii
from landscape.errors import LandscapeError, MissingExtraError, StoreError
from landscape.store import groups

pytestmark = pytest.mark.skipif(find_spec("xarray") is None, reason="the optional extra 'notebook'")


def file_with(folder: Path, **results: ls.Radii) -> Path:
    with ls.Store(folder / "run.h5", write=True) as store:
        for name, result in results.items():
            store[name] = result
    return folder / "run.h5"


def test_a_file_is_a_mapping_of_datasets(tmp_path: Path) -> None:
    import xarray  # here, since it takes a second to import

    file = ls.open(file_with(tmp_path, radii=RADII, volume=VOLUME))
    assert list(file) == ["radii", "volume"]
    assert isinstance(file["radii"], xarray.Dataset)
    assert np.array_equal(file["radii"].radii.sel(cutoff=0.1), RADII.radii[:, 0])
    assert "volume" in file
    assert "nothing" not in file
    assert file.get("nothing") is None
    tree = xarray.DataTree.from_dict(dict(file))
    assert set(tree.children) == {"radii", "volume"}
    assert file._ipython_key_completions_() == ["radii", "volume"]


def test_every_kind_comes_back_from_a_file(tmp_path: Path) -> None:
    import xarray  # here, since it takes a second to import

    file = ls.open(file_with(tmp_path, **RESULTS))
    for name, result in RESULTS.items():
        xarray.testing.assert_identical(file[name], result.to_xarray())


def test_the_table_says_kinds_sizes_and_verdicts(tmp_path: Path) -> None:
    file = ls.open(file_with(tmp_path, volume=VOLUME, part=make_radii(10), own=RESULTS["measure"], net=RESULTS["net"]))
    shown = repr(file)
    assert shown.splitlines()[0] == f"<ResultsFile {tmp_path / 'run.h5'}: 4 results>"
    lines = {line.split()[0]: " ".join(line.split()) for line in shown.splitlines()[2:]}
    assert lines["part"].startswith("part radii direction 40, cutoff 2")
    assert lines["part"].endswith("10 of 40")
    assert lines["volume"] == "volume volume direction 40, cutoff 2 reliable, lower bound"
    assert lines["own"].endswith("draw 200 estimate")
    assert lines["net"] == "net net measure 2 estimate, exact"
    assert "&lt;ResultsFile" in file._repr_html_()
    assert "<td" in file._repr_html_()


def test_it_sees_what_is_written_after_it_was_opened(tmp_path: Path) -> None:
    path = file_with(tmp_path, radii=make_radii(1))
    file = ls.open(path)
    ls.Store(path)["radii"] = make_radii(40)
    assert (file["radii"].status == 0).all()


def test_a_kind_of_a_newer_version_is_shown_and_refused(tmp_path: Path) -> None:
    path = file_with(tmp_path, radii=RADII, volume=VOLUME)
    with h5py.File(path, "r+") as raw:
        groups.put_text(raw["volume"], "kind", "hologram")
        groups.seal(raw["volume"])
    file = ls.open(path)
    assert " ".join(repr(file).splitlines()[-1].split()) == "volume hologram unknown to this version"
    with pytest.raises(LandscapeError, match="does not know a result of kind 'hologram'"):
        file["volume"]


def test_damage_is_shown_and_refused(tmp_path: Path) -> None:
    path = file_with(tmp_path, radii=RADII, volume=VOLUME)
    with h5py.File(path, "r+") as raw:
        raw["volume"].attrs["kind"] = np.bytes_("hologram")
    file = ls.open(path)
    assert "damaged" in repr(file)
    with pytest.raises(StoreError, match="damaged"):
        file["volume"]
    assert file["radii"].sizes["direction"] == 40
    with pytest.raises(StoreError, match="no result called 'x'; it holds: radii, volume"):
        file["x"]


def test_what_is_no_results_file_gives_the_errors_of_the_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no file"):
        ls.open(tmp_path / "missing.h5")
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(StoreError, match="not an HDF5 file"):
        ls.open(tmp_path / "text.h5")
    with pytest.raises(StoreError, match="cannot be read"):
        ls.open(tmp_path)
    for no_path in (None, 3, b"run.h5", ["run.h5"]):
        with pytest.raises(StoreError, match="is no path"):
            ls.open(no_path)  # type: ignore[arg-type]
    path = file_with(tmp_path, radii=RADII)
    with h5py.File(path, "r+") as raw:
        raw.attrs["format_version"] = 99
    with pytest.raises(StoreError, match="format version"):
        ls.open(path)


def test_without_xarray_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = file_with(tmp_path, radii=RADII)
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(MissingExtraError, match=r"landscape\.open\(\) needs .* xarray"):
        ls.open(path)


def test_a_star_import_keeps_the_open_of_python() -> None:
    assert "open" not in ls.__all__
    assert "Store" in ls.__all__
    assert "open" in dir(ls)
