"""The standard data files, small ones made here byte by byte, and real ones where they are at hand."""

from __future__ import annotations

import gzip
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import io

import landscape as ls
from helpers.shared_data import shared_data
from landscape.recipes import image_files


def idx(array: np.ndarray) -> bytes:
    codes = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}
    head = struct.pack(">BBBB", 0, 0, codes[array.dtype.str[1:]], array.ndim)
    return head + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "i4", "f4", "f8"])
@pytest.mark.parametrize("packed", [True, False])
def test_idx(dtype: str, packed: bool, tmp_path: Path) -> None:
    array = (np.arange(24).reshape(2, 3, 4) * 5).astype(dtype)
    path = tmp_path / "array"
    path.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    found = image_files.read_idx(path)
    assert found.dtype == array.dtype
    assert np.array_equal(found, array)


@pytest.mark.parametrize(
    "content",
    [b"", b"\0\0", b"PK\3\4", idx(np.zeros((3, 4), "u1"))[:-1], idx(np.zeros(3, "u1")) + b"\0", b"\x1f\x8b\0"],
)
def test_what_is_no_idx_file(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "array").write_bytes(content)
    with pytest.raises(ls.LandscapeError, match="Get it again"):
        image_files.read_idx(tmp_path / "array")


def test_idx_images_and_classes_go_together(tmp_path: Path) -> None:
    images, labels = tmp_path / "images", tmp_path / "labels"
    pixels = np.arange(5 * 4 * 3, dtype="u1").reshape(5, 4, 3)
    images.write_bytes(idx(pixels))
    labels.write_bytes(idx(np.array([1, 0, 2, 2, 1], "u1")))
    inputs, targets = image_files.read_idx_pair(images, labels)
    assert np.array_equal(inputs, pixels[:, None])
    assert targets.tolist() == [1, 0, 2, 2, 1]
    labels.write_bytes(idx(np.zeros(4, "u1")))
    with pytest.raises(ls.LandscapeError, match="5 images do not fit"):
        image_files.read_idx_pair(images, labels)


def test_svhn_has_samples_last_and_ten_for_zero(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (7, 32, 32, 3), dtype=np.uint8)
    labels = np.array([10, 1, 2, 9, 10, 5, 3], dtype=np.uint8)[:, None]
    for name in ("train", "test", "extra"):
        io.savemat(
            tmp_path / f"{name}_32x32.mat", {"X": pixels.transpose(1, 2, 3, 0), "y": labels}, do_compression=True
        )
        inputs, targets = image_files.read_svhn(tmp_path / f"{name}_32x32.mat")
        assert targets.tolist() == [0, 1, 2, 9, 0, 5, 3]
        assert inputs.dtype == np.uint8
        assert np.array_equal(inputs, pixels.transpose(0, 3, 1, 2))
    io.savemat(tmp_path / "other.mat", {"X": pixels, "y": labels})
    with pytest.raises(ls.LandscapeError, match="X has shape"):
        image_files.read_svhn(tmp_path / "other.mat")
    (tmp_path / "torn.mat").write_bytes((tmp_path / "train_32x32.mat").read_bytes()[:300])
    with pytest.raises(ls.LandscapeError, match="not an SVHN file"):
        image_files.read_svhn(tmp_path / "torn.mat")


def test_real_svhn_crops_survive_the_way_through_a_mat_file(tmp_path: Path) -> None:
    with np.load(shared_data("svhn_micro42.npz")) as archive:
        pixels, digits = archive["X"], archive["Y"]
    labels = np.where(digits == 0, 10, digits).astype(np.uint8)[:, None]
    io.savemat(tmp_path / "test_32x32.mat", {"X": pixels.transpose(1, 2, 3, 0), "y": labels})
    inputs, targets = image_files.read_svhn(tmp_path / "test_32x32.mat")
    assert np.array_equal(targets, digits)
    direct = image_files.read_npz(shared_data("svhn_micro42.npz"))
    assert np.array_equal(inputs, direct.inputs)
    assert inputs.shape == (42, 3, 32, 32)


def batch(path: Path, protocol: int, count: int = 4) -> np.ndarray:
    data = np.random.default_rng(1).integers(0, 256, (count, 3072), dtype=np.uint8)
    content = {b"batch_label": b"one", b"labels": list(range(count)), b"data": data, b"filenames": [b"a.png"] * count}
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return data


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_cifar_batches(protocol: int, tmp_path: Path) -> None:
    data = batch(tmp_path / "data_batch_1", protocol)
    inputs, targets = image_files.read_cifar(tmp_path / "data_batch_1")
    assert np.array_equal(inputs, data.reshape(-1, 3, 32, 32))
    assert targets.tolist() == [0, 1, 2, 3]


def test_a_batch_as_python_2_wrote_it(tmp_path: Path) -> None:
    """The original files: protocol 2, byte strings, and numpy under the name it had then."""
    new = pickle.dumps({b"labels": [7], b"data": np.arange(3072, dtype="u4").astype("u1").reshape(1, -1)}, protocol=2)
    old = new.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    (tmp_path / "b").write_bytes(old)
    inputs, targets = image_files.read_cifar(tmp_path / "b")
    assert (inputs[0, 0, 0, 5], targets.tolist()) == (5, [7])


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_is_never_executed(protocol: int, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    (tmp_path / "b").write_bytes(pickle.dumps({b"labels": [0], b"data": Evil(mark)}, protocol=protocol))
    with pytest.raises(ls.LandscapeError, match=r"mkdir, which no batch .* refused"):
        image_files.read_cifar(tmp_path / "b")
    assert not mark.exists()
    # nor does a stand-in lead on to what it stands for
    through = b"\x80\x04\x8c\x05numpy\x8c\x15ndarray.__class__.mro\x93."
    (tmp_path / "b").write_bytes(through)
    with pytest.raises(ls.LandscapeError, match="refused"):
        image_files.read_cifar(tmp_path / "b")


@pytest.mark.parametrize(
    "content",
    [b"", b"text", pickle.dumps([1, 2]), pickle.dumps({b"data": np.zeros((1, 3072)), b"labels": [0]})],
)
def test_what_is_no_batch(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(content)
    with pytest.raises(ls.LandscapeError, match="Get it again"):
        image_files.read_cifar(tmp_path / "b")


def test_a_folder_of_images(tmp_path: Path) -> None:
    for number, name in enumerate(("cat", "dog")):
        (tmp_path / name).mkdir()
        for k in range(2):
            Image.fromarray(np.full((5, 4, 3), 10 * number + k, np.uint8)).save(tmp_path / name / f"{k}.png")
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    inputs, targets = image_files.read_folder(tmp_path)
    assert inputs.shape == (4, 3, 5, 4)
    assert inputs[:, 0, 0, 0].tolist() == [0, 1, 10, 11]
    assert targets.tolist() == [0, 0, 1, 1]
    Image.fromarray(np.zeros((6, 4, 3), np.uint8)).save(tmp_path / "dog" / "2.png")
    with pytest.raises(ls.LandscapeError, match="but the first image has"):
        image_files.read_folder(tmp_path)
    (tmp_path / "dog" / "2.png").write_bytes(b"torn")
    with pytest.raises(ls.LandscapeError, match="Pillow cannot read it"):
        image_files.read_folder(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ls.LandscapeError, match="Give each class a folder"):
        image_files.read_folder(tmp_path / "empty")


def test_npz(tmp_path: Path) -> None:
    pixels = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    np.savez(tmp_path / "a.npz", X=pixels, Y=np.array([[3], [1]]))
    inputs, targets = image_files.read_npz(tmp_path / "a.npz")
    assert np.array_equal(inputs, pixels.transpose(0, 3, 1, 2))
    assert targets.tolist() == [3, 1]
    np.savez(tmp_path / "b.npz", X=pixels.astype(float), Y=np.array([3, 1]))
    with pytest.raises(ls.LandscapeError, match="expected images of uint8"):
        image_files.read_npz(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", X=pixels, Y=np.array([{}, {}]))
    with pytest.raises(ls.LandscapeError, match="no inputs and targets"):
        image_files.read_npz(tmp_path / "c.npz")
