"""The store: what goes in comes out, and files that are not ours are refused."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from helpers.stores import assert_same, leftovers, make_radii, make_volume, run_python
from landscape.errors import LandscapeError, StoreError
from landscape.results import Cost, Radii, Result, Volume
from landscape.store import Store
from landscape.store.groups import seal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.h5"


# What goes in comes out


@pytest.mark.parametrize("result", [make_radii(40), make_radii(13), make_radii(0, 0), make_volume()])
def test_round_trip_is_exact(path: Path, result: Result) -> None:
    Store(path)["a"] = result
    assert_same(Store(path)["a"], result)
    assert leftovers(path.parent) == []


def test_partial_radii_come_back_as_such(path: Path) -> None:
    Store(path)["radii"] = make_radii(13)
    radii = Store(path)["radii"]
    assert isinstance(radii, Radii)
    assert radii.done.tolist() == [True] * 13 + [False] * 27


@pytest.mark.parametrize(
    "array",
    [
        np.array([[np.nan, -0.0], [np.inf, 5e-324]]),
        np.frombuffer(np.array([0x7FF8000000000123], np.uint64).tobytes(), np.float64),  # a NaN with a payload
        np.array([True, False]),
        np.array([1 / 3], np.float32),
        np.array([1.5, -2.0], np.float16),
        np.array([1 + 2j]),
        np.array([1, 2, 3], ">i4"),
        np.array([-128, 127], np.int8),
        np.array([2**64 - 1], np.uint64),
        np.array(2.5),
        np.array(7, ">u2"),
        np.zeros((3, 0, 2), np.float32),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.random.default_rng(0).standard_normal((100, 200)),
        np.zeros((100_000, 2), bool),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_arrays_keep_every_bit(path: Path, array: np.ndarray) -> None:
    Store(path)["volume"] = Volume((), array, "uniform", 1, 1, {}, Cost(0.0, 0, 0.0))
    back = Store(path)["volume"].arrays()["log_weights"]
    assert (back.dtype, back.shape, back.tobytes()) == (array.dtype, array.shape, array.tobytes())


@pytest.mark.parametrize(
    "config",
    [
        {"scope": "größe_[αβ]", "path": "/data/\udcff/模型.pt", "text": 'a "quote"\n\x00'},
        {"x": 0.1, "y": 1 / 3, "big": 2**70, "cap": math.inf, "none": None, "yes": True, "nested": {"a": [1, [2.0]]}},
        {"long": "x" * 200_000},
    ],
    ids=["text", "numbers", "long"],
)
def test_config_is_kept(path: Path, config: dict) -> None:
    Store(path)["radii"] = make_radii(1, config=config)
    assert repr(Store(path)["radii"].attributes()["config"]) == repr(config)


def test_numpy_values_in_config_become_plain(path: Path) -> None:
    Store(path)["radii"] = make_radii(1, config={"seed": np.int64(3), "grid": np.array([0.5, np.inf]), "pair": (1, 2)})
    assert Store(path)["radii"].attributes()["config"] == {"seed": 3, "grid": [0.5, math.inf], "pair": [1, 2]}


def test_groups_are_replaced_and_deleted_one_by_one(path: Path) -> None:
    with Store(path, write=True) as store:
        assert store.names() == []
        assert "radii" not in store
        store["radii"], store["volume"], store["b.2_c-d"] = make_radii(3), make_volume(), make_radii(4)
        store["radii"] = make_radii(5)
        del store["b.2_c-d"]
        assert list(store) == ["radii", "volume"]
        assert_same(store["radii"], make_radii(5))
        assert_same(store["volume"], make_volume())
        with pytest.raises(StoreError, match=r"no result called 'b\.2_c-d'; it holds: radii, volume"):
            del store["b.2_c-d"]
        with pytest.raises(StoreError, match="no result called 'other'; it holds: radii, volume"):
            store["other"]
    del Store(path)["radii"]
    assert Store(path).names() == ["volume"]


def test_replacing_does_not_grow_the_file(path: Path) -> None:
    with Store(path, write=True) as store:
        store["volume"], store["radii"] = make_volume(), make_radii(1, 4000)
        size = path.stat().st_size
        for _ in range(10):
            store["radii"] = make_radii(1, 4000)
    assert path.stat().st_size == size


def test_large_arrays_are_compressed_and_small_ones_are_not(path: Path) -> None:
    Store(path)["radii"] = make_radii(10, 20_000)
    with h5py.File(path) as file:
        assert file["radii/radii"].compression == "gzip"
        assert file["radii/radii"].id.get_storage_size() < 320_000 / 20
        assert file["radii/status"].compression is None


@pytest.mark.parametrize("name", ["", "a/b", ".", "..", ".hidden", "a b", "ä", "a\n", 3])
def test_bad_names_are_refused(path: Path, name: str) -> None:
    with pytest.raises(StoreError, match="letters, digits"):
        Store(path)[name] = make_radii(1)
    assert not path.exists()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (make_radii(1).to_dict(), "'radii' is a dict"),
        (make_radii(1, config={"path": Path("x")}), "settings of 'radii' cannot be stored"),
        (Volume((), np.array(["x"]), "u", 1, 1, {}, Cost(0.0, 0, 0.0)), "array 'log_weights' of 'radii' has dtype <U1"),
    ],
)
def test_unstorable_values_leave_the_file_alone(path: Path, value: Result, message: str) -> None:
    Store(path)["radii"] = make_radii(2)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=message):
        Store(path)["radii"] = value
    assert path.read_bytes() == before
    assert leftovers(path.parent) == []


# What the file looks like from outside


def test_file_explains_itself_to_plain_h5py(path: Path) -> None:
    Store(path)["radii"] = make_radii(2)
    with h5py.File(path) as file:
        assert (file.attrs["format"], file.attrs["format_version"]) == (b"landscape", 3)
        assert file.attrs["writer"].startswith(b"landscape ")
        group = file["radii"]
        assert group.attrs["kind"] == b"radii"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", group.attrs["created"].decode())
        assert {"landscape", "torch", "numpy", "h5py", "python"} <= json.loads(group.attrs["versions"]).keys()
        assert json.loads(group.attrs["attributes"])["cutoffs"] == [0.1, 1.0]
        assert all(len(dataset.attrs["description"]) > 20 for dataset in group.values())
        assert b"`" not in group["status"].attrs["description"]


def test_describe_is_strict_json(path: Path) -> None:
    with Store(path, write=True) as store:
        store["radii"], store["volume"] = make_radii(13, config={"max_radius": math.inf}), make_volume()
    told = json.loads(json.dumps(Store(path).describe(), allow_nan=False))
    assert (told["format_version"], told["bytes"]) == (3, path.stat().st_size)
    assert told["results"].keys() == {"radii", "volume"}
    radii = told["results"]["radii"]
    assert (radii["kind"], radii["rows"], radii["config"]) == ("radii", {"done": 13, "total": 40}, {"max_radius": None})
    assert radii["datasets"]["status"] == {"shape": [40, 2], "dtype": "int8"}
    assert radii["versions"]["numpy"] == np.__version__
    assert told["results"]["volume"]["rows"] is None


def test_result_of_a_newer_version_is_described_and_kept(path: Path) -> None:
    Store(path)["new"] = make_radii(2)
    with h5py.File(path, "r+") as file:
        file["new"].attrs["kind"] = "torsion"
        seal(file["new"])
        file["notes"] = "written by the user"
    with pytest.raises(LandscapeError, match="does not know a result of kind 'torsion'"):
        Store(path)["new"]
    Store(path)["radii"] = make_radii(1)
    assert Store(path).describe()["results"]["new"]["kind"] == "torsion"
    with h5py.File(path) as file:
        assert file["notes"][()] == b"written by the user"
    with pytest.raises(StoreError, match="'notes' that is not a result"):
        Store(path)["notes"] = make_radii(1)


def test_result_with_other_fields_names_the_version_to_install(path: Path) -> None:
    Store(path)["radii"] = make_radii(2)
    with h5py.File(path, "r+") as file:
        del file["radii/calls"]
        seal(file["radii"])
    with pytest.raises(StoreError, match=r"'calls'(.|\n)*pip install 'landscape-lab==0"):
        Store(path)["radii"]


def test_documented_reader_works(path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    with Store(path, write=True) as store:
        store["radii"], store["volume"] = make_radii(13), make_volume()
    monkeypatch.chdir(path.parent)
    (block,) = re.findall(
        r"```python\n(.*?)```", (Path(__file__).parents[2] / "docs/format.md").read_text("utf-8"), re.DOTALL
    )
    exec(compile(block, "format.md", "exec"), {})
    assert "13 of 40 rays measured" in capsys.readouterr().out


def test_opening_a_file_does_not_import_torch(path: Path) -> None:
    Store(path)["radii"] = make_radii(2)
    assert run_python(f"print(Store({str(path)!r})['radii'].dimension, 'torch' in sys.modules)") == "268336 False\n"


# Files that are not ours, or not writable


def version_1(path: Path) -> None:
    Store(path)["radii"] = make_radii(2)
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 1


def newer_version(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.attrs.update(format="landscape", format_version=4)


def foreign(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["x"] = 1


def foreign_format(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.attrs.update(format=[1, 2], format_version=[1, 2])


def truncated(path: Path) -> None:
    Store(path)["radii"] = make_radii(2)
    os.truncate(path, path.stat().st_size - 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            version_1,
            r"has format version 1 \(written by landscape 0\..*reads format versions 2 and 3(.|\n)*new file",
        ),
        (newer_version, r"format version 4 \(written by an unknown version\)"),
        (foreign, "HDF5 file that landscape did not write"),
        (foreign_format, "HDF5 file that landscape did not write"),
        (lambda path: path.write_text("cutoff,radius\n"), "is not an HDF5 file"),
        (lambda path: path.touch(), "is empty"),
        (truncated, "damaged or was cut short"),
        (lambda path: path.mkdir(), "cannot be read"),
    ],
    ids=["version-1", "newer", "foreign", "foreign-format", "text", "empty", "truncated", "folder"],
)
def test_other_files_are_refused_and_left_alone(path: Path, make: Callable[[Path], None], message: str) -> None:
    make(path)
    before = None if path.is_dir() else path.read_bytes()
    for attempt in (
        lambda: Store(path).names(),
        lambda: Store(path)["radii"],
        lambda: Store(path).describe(),
        lambda: Store(path, write=True),
        lambda: Store(path).__setitem__("radii", make_radii(1)),
    ):
        with pytest.raises(StoreError, match=message):
            attempt()
    assert before is None or path.read_bytes() == before
    assert leftovers(path.parent) == []


def test_every_truncation_is_one_clear_error(path: Path) -> None:
    Store(path)["radii"] = make_radii(40)
    whole = path.read_bytes()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(StoreError, match=r"damaged|not an HDF5 file|empty"):
            Store(path)["radii"]


def test_file_spoilt_during_a_run_is_not_overwritten(path: Path) -> None:
    with Store(path, write=True) as store:
        store["radii"] = make_radii(1)
        path.write_text("somebody else's")
        with pytest.raises(StoreError, match="will not be overwritten"):
            store["radii"] = make_radii(2)
    assert path.read_text() == "somebody else's"


def test_missing_file_and_missing_folder(path: Path) -> None:
    with pytest.raises(StoreError, match=r"there is no file .*run\.h5(.|\n)*--out run\.h5"):
        Store(path).names()
    with pytest.raises(StoreError, match=r"mkdir -p .*/deep/er"):
        Store(path.parent / "deep/er/run.h5", write=True)
    path.write_text("")
    with pytest.raises(StoreError, match="Not a directory"):
        Store(path / "run.h5", write=True)


def test_read_only_file_is_refused_before_the_run(path: Path) -> None:
    Store(path)["radii"] = make_radii(2)
    path.chmod(0o444)
    with pytest.raises(StoreError, match=r"read-only(.|\n)*chmod"):
        Store(path, write=True)
    assert_same(Store(path)["radii"], make_radii(2))
    assert leftovers(path.parent) == []


@contextmanager
def without_privileges() -> Iterator[None]:
    """Act as a user whom permissions bind; they do not bind root."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.fixture
def guarded() -> Iterator[Path]:
    """A results file in a folder that may be read but not written."""
    folder = Path(tempfile.mkdtemp())  # tmp_path lies in a folder that only its owner may enter
    Store(folder / "run.h5")["radii"] = make_radii(2)
    folder.chmod(0o555)
    yield folder / "run.h5"
    folder.chmod(0o755)
    shutil.rmtree(folder)


def test_read_only_folder(guarded: Path) -> None:
    guarded.chmod(0o666)
    with without_privileges():
        assert Store(guarded).names() == ["radii"]
        for name in ("run.h5", "new.h5"):
            with pytest.raises(StoreError, match=r"no lock file can be made next to it \(Permission"):
                Store(guarded.with_name(name), write=True)


@pytest.mark.parametrize(("file_mode", "folder_mode"), [(0o000, 0o755), (0o644, 0o000)])
@pytest.mark.parametrize("write", [False, True])
def test_unreadable_file_or_folder(guarded: Path, file_mode: int, folder_mode: int, write: bool) -> None:
    guarded.chmod(file_mode)
    guarded.parent.chmod(folder_mode)
    with without_privileges(), pytest.raises(StoreError, match="Permission denied"):
        Store(guarded, write=write).names()


def test_file_of_another_owner_is_read_only(guarded: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make a file that belongs to someone else")
    guarded.parent.chmod(0o777)
    with without_privileges(), pytest.raises(StoreError, match="is read-only"):
        Store(guarded, write=True)


def test_mode_and_symbolic_link_survive_a_put(path: Path) -> None:
    Store(path)["radii"] = make_radii(1)
    path.chmod(0o640)
    link = path.with_name("link.h5")
    link.symlink_to(path)
    Store(link)["radii"] = make_radii(2)
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert_same(Store(path)["radii"], make_radii(2))


def test_the_best_volume_of_a_file_is_the_one_with_the_better_verdict(path: Path) -> None:
    store = Store(path)
    store["radii"] = make_radii(3)
    with pytest.raises(LandscapeError, match="no log-volume"):
        store.best_volume()
    bound = make_volume()
    row = replace(bound.results[0], verdict="reliable", log_volume=-70_000.0, interval=(-70_001.0, -69_999.0))
    store["volume"], store["counted"] = bound, replace(bound, results=(row,))
    best = store.best_volume().results[0]
    assert (best.verdict, best.reported, best.interval) == ("reliable", row.log_volume, row.interval)
