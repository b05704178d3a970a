"""A flipped bit in a results file: one clear error that names the result, and the others stay readable."""

from __future__ import annotations

import random
from pathlib import Path

import h5py
import pytest

from helpers.stores import assert_same, make_radii, make_volume
from landscape.errors import StoreError
from landscape.results import Result
from landscape.store import Store
from landscape.store.groups import COMPRESS_FROM, HASH, put_text, text_of

FLIPS = 60


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with Store(tmp_path / "run.h5", write=True) as store:
        store["radii"], store["volume"], store["other"] = make_radii(13), make_volume(), make_radii(4)
    return tmp_path / "run.h5"


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def place_of(path: Path, array: str) -> int:
    """Return the first bit of a dataset in the file."""
    with h5py.File(path) as file:
        return 8 * file[array].id.get_offset()


def test_a_flipped_bit_of_a_radius_names_its_group(path: Path) -> None:
    flip(path, place_of(path, "radii/radii"))  # the last digit of the first radius: nothing else would notice
    with pytest.raises(StoreError, match=r"'radii' in .*run\.h5 is damaged \(its array radii does not match") as caught:
        Store(path)["radii"]
    assert "Other results in the file: other, volume." in str(caught.value)
    assert "del landscape.Store('run.h5')['radii']" in str(caught.value)
    assert_same(Store(path)["volume"], make_volume())
    assert_same(Store(path)["other"], make_radii(4))


def test_a_flipped_bit_in_the_settings(path: Path) -> None:
    content = path.read_bytes()
    place = content.index(b'"ess": 1.0')
    flip(path, 8 * (place + len('"ess": ')))  # 1.0 becomes 0.0: still JSON, still a result
    with pytest.raises(StoreError, match=r"'volume' in .* is damaged"):
        Store(path)["volume"]
    described = Store(path).describe()
    assert described["results"].keys() == {"radii", "other"}
    assert "is damaged" in described["damaged"]["volume"]


def test_compressed_arrays_are_checked_by_hdf5_itself(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    Store(path)["radii"] = make_radii(40, COMPRESS_FROM // 8)
    with h5py.File(path) as file:
        assert file["radii/radii"].fletcher32
        place = 8 * (file["radii/radii"].id.get_chunk_info(0).byte_offset + 40)
    flip(path, place)
    with h5py.File(path) as file, pytest.raises(OSError, match="read"):
        file["radii/radii"][:]
    with pytest.raises(StoreError, match=r"'radii' in .* is damaged"):
        Store(path)["radii"]


def test_no_flipped_bit_changes_a_result_in_silence(path: Path) -> None:
    """Bits all over the file. Each leaves a result as it was, or the store says that it is damaged."""
    whole = path.read_bytes()
    truth: dict[str, Result] = {name: Store(path)[name] for name in Store(path).names()}
    noticed, still_read = 0, 0
    for bit in random.Random(0).sample(range(8 * len(whole)), FLIPS):
        path.write_bytes(whole)
        flip(path, bit)
        damaged = 0
        for name, result in truth.items():
            try:
                assert_same(Store(path)[name], result)
            except StoreError:
                damaged += 1
        noticed += damaged > 0
        still_read += 0 < damaged < len(truth)
    assert noticed > FLIPS / 4  # the rest fell into descriptions and unused room
    assert still_read > noticed / 2


def test_a_damaged_group_is_carried_along_as_such_and_can_be_replaced(path: Path) -> None:
    flip(path, place_of(path, "radii/radii"))
    Store(path)["volume"] = make_volume()
    with pytest.raises(StoreError, match=r"'radii' in .* is damaged"):
        Store(path)["radii"]
    Store(path)["radii"] = make_radii(13)
    assert_same(Store(path)["radii"], make_radii(13))
    flip(path, place_of(path, "other/radii"))
    del Store(path)["other"]
    assert Store(path).names() == ["radii", "volume"]


def as_version_2(path: Path) -> None:
    """Take out what version 3 has added."""
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 2
        for group in file.values():
            del group.attrs[HASH]
            for name, text in list(group.attrs.items()):
                group.attrs[name] = text.decode()  # of variable length
            for dataset in group.values():
                del dataset.attrs[HASH]


def test_a_file_without_hashes_is_read_and_gets_them(path: Path) -> None:
    as_version_2(path)
    assert_same(Store(path)["radii"], make_radii(13))
    assert Store(path).describe()["format_version"] == 2
    Store(path)["volume"] = make_volume()
    assert Store(path).describe()["format_version"] == 3
    assert_same(Store(path)["other"], make_radii(4))
    flip(path, place_of(path, "other/radii"))
    with pytest.raises(StoreError, match=r"'other' in .* is damaged"):
        Store(path)["other"]


def test_settings_that_somebody_changed(path: Path) -> None:
    """The tables of HDF5 are whole then; only the hash tells."""
    with h5py.File(path, "r+") as file:
        put_text(file["volume"], "attributes", text_of(file["volume"], "attributes").replace("268336", "268337"))
        put_text(file["volume"], "created", "yesterday")
    with pytest.raises(StoreError, match=r"'volume' in .* is damaged \(its settings do not match their hash\)"):
        Store(path)["volume"]


def test_texts_lie_in_no_heap(path: Path) -> None:
    """A damaged heap can make HDF5 loop for ever."""
    with Store(path, write=True) as store:
        store["long"] = make_radii(1, config={"long": "x" * 200_000})
    assert b"GCOL" not in path.read_bytes()
    as_version_2(path)
    assert b"GCOL" in path.read_bytes()
    Store(path)["volume"] = make_volume()
    assert b"GCOL" not in path.read_bytes()
    assert Store(path)["long"].attributes()["config"] == {"long": "x" * 200_000}


def test_a_bad_byte_in_a_text_can_be_printed(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["writer"] = b"\xff!"
    assert Store(path).describe()["writer"] == "\ufffd!"
