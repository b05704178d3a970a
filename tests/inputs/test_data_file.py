"""Data files of every kind give the same inputs and targets."""

from __future__ import annotations

import os
import pathlib

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from helpers.shared_data import shared_data
from landscape.errors import TaskError
from landscape.inputs import load_data, read_data_file

INPUTS = np.arange(12, dtype=np.float32).reshape(4, 3)
TARGETS = np.array([0, 1, 2, 1], dtype=np.int64)


def write(path: pathlib.Path, arrays: dict[str, np.ndarray]) -> pathlib.Path:
    """Write named arrays in the form that the suffix names."""
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".npy":
        fields = [(name, a.dtype, a.shape[1:]) for name, a in arrays.items()]
        rows = np.empty(len(next(iter(arrays.values()))), dtype=fields)
        for name, array in arrays.items():
            rows[name] = array
        np.save(path, rows)
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = array
    elif path.suffix == ".safetensors":
        save_file({name: torch.from_numpy(array) for name, array in arrays.items()}, path)
    else:
        torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, path)
    return path


def message(path: pathlib.Path) -> str:
    with pytest.raises(TaskError) as caught:
        load_data(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("suffix", ["npz", "npy", "h5", "pt", "safetensors"])
def test_every_kind_of_file_gives_inputs_and_targets(suffix, tmp_path):
    inputs, targets = load_data(write(tmp_path / f"data.{suffix}", {"inputs": INPUTS, "targets": TARGETS}))
    assert torch.equal(inputs, torch.from_numpy(INPUTS))
    assert torch.equal(targets, torch.from_numpy(TARGETS))
    assert (inputs.dtype, targets.dtype) == (torch.float32, torch.int64)
    inputs += 1  # the memory is the tensor's own


@pytest.mark.parametrize(
    "names",
    [
        ("x", "y"),
        ("X", "Y"),
        ("data", "labels"),
        ("data", "target"),
        ("images", "labels"),
        ("image", "label"),
        ("input", "y"),
    ],
)
def test_the_usual_names_are_known(names, tmp_path):
    inputs, targets = load_data(write(tmp_path / "data.npz", dict(zip(names, (INPUTS, TARGETS), strict=True))))
    assert len(inputs) == len(targets) == 4


def test_other_entries_and_folders_of_an_hdf5_file(tmp_path):
    arrays = {"test/x": INPUTS, "test/y": TARGETS, "info/mean": np.float64(3), "classes": np.arange(10)}
    inputs, _ = load_data(write(tmp_path / "data.h5", arrays))
    assert torch.equal(inputs, torch.from_numpy(INPUTS))
    both = write(tmp_path / "both.h5", {**arrays, "train/x": INPUTS, "train/y": TARGETS})
    assert "several arrays could be the inputs: test/x, train/x" in message(both)


@pytest.mark.parametrize("pair", [tuple, list])
def test_a_pair_in_a_torch_file(pair, tmp_path):
    torch.save(pair([torch.from_numpy(INPUTS), torch.from_numpy(TARGETS)]), tmp_path / "data.pt")
    assert torch.equal(load_data(tmp_path / "data.pt")[1], torch.from_numpy(TARGETS))
    torch.save({"x": INPUTS, "y": TARGETS}, tmp_path / "arrays.pt")
    assert torch.equal(load_data(tmp_path / "arrays.pt")[0], torch.from_numpy(INPUTS))


def test_images_become_floats_with_channels_first(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (4, 5, 6, 3)).astype(np.uint8)
    inputs, _ = load_data(write(tmp_path / "data.npz", {"x": images, "y": TARGETS}))
    assert torch.equal(inputs, torch.from_numpy(images.astype(np.float32) / 255).permute(0, 3, 1, 2))
    assert inputs.is_contiguous()
    inputs, _ = load_data(write(tmp_path / "first.npz", {"x": images.transpose(0, 3, 1, 2), "y": TARGETS}))
    assert torch.equal(inputs, torch.from_numpy(images.astype(np.float32) / 255).permute(0, 3, 1, 2))
    inputs, _ = load_data(write(tmp_path / "grey.npz", {"x": images[..., 0], "y": TARGETS}))
    assert inputs.shape == (4, 1, 5, 6)
    assert inputs.max() <= 1


IMAGES = np.random.default_rng(0).integers(0, 256, (4, 5, 6, 3)).astype(np.uint8)


@pytest.mark.parametrize("suffix", ["npz", "h5", "pt"])
@pytest.mark.parametrize(
    ("name", "images", "said"),
    [
        ("x", IMAGES, "x holds uint8 images: they were divided by 255, so pixels lie in [0, 1], and no mean was"),
        ("x", IMAGES[..., 0], "divided by 255"),
        ("pixel_values", IMAGES, "pixel_values holds uint8 images: they were divided by 255"),
        ("x", IMAGES.reshape(4, -1), "x holds uint8 numbers in rows: they became int64 and were not scaled"),
        ("x", IMAGES.astype(np.float32), "x holds images with numbers up to 255: they were taken as they are"),
        ("x", IMAGES.astype(np.float32) * 257, "If the net was trained on scaled images, write these"),
        ("x", IMAGES.astype(np.float32) / 255, ""),
        ("x", INPUTS, ""),
    ],
)
def test_what_was_done_to_images_is_said(
    name: str, images: np.ndarray, said: str, suffix: str, tmp_path: pathlib.Path
) -> None:
    path = write(tmp_path / f"data.{suffix}", {name: images, "y" if name == "x" else "labels": TARGETS})
    notes = read_data_file(path).notes
    assert len(notes) == bool(said)
    for note in notes:
        assert said in note
        assert "as float32" in note
        assert ("x / 255" in note) == (images.max() <= 255)


@pytest.mark.parametrize(
    ("inputs", "targets", "dtypes"),
    [
        (INPUTS.astype(np.float64), TARGETS.astype(np.uint8), (torch.float32, torch.int64)),
        (INPUTS.astype(">f4"), TARGETS.astype(">i2"), (torch.float32, torch.int64)),
        (INPUTS.astype(np.int32), TARGETS.astype(np.float64), (torch.int64, torch.float32)),
        (INPUTS.astype(np.uint8), TARGETS > 0, (torch.int64, torch.int64)),
        (INPUTS.astype(np.float16), TARGETS[:, None], (torch.float16, torch.int64)),
    ],
)
def test_dtypes(inputs, targets, dtypes, tmp_path):
    x, y = load_data(write(tmp_path / "data.npz", {"x": inputs, "y": targets}))
    assert (x.dtype, y.dtype) == dtypes
    assert torch.equal(x.float(), torch.from_numpy(INPUTS))
    assert y.shape == (4,)
    assert torch.equal(y.long(), torch.from_numpy(targets.reshape(-1).astype(np.int64)))


def test_float_targets_keep_their_shape(tmp_path):
    _, y = load_data(write(tmp_path / "data.npz", {"x": INPUTS, "y": INPUTS[:, :1]}))
    assert y.shape == (4, 1)


def test_the_inputs_of_a_transformers_model_stay_named(tmp_path):
    arrays = {"input_ids": TARGETS[:, None], "attention_mask": TARGETS[:, None] * 0 + 1, "labels": TARGETS}
    batch = load_data(write(tmp_path / "data.npz", {**arrays, "vocabulary": np.arange(9)}))
    assert set(batch) == set(arrays)
    assert batch["input_ids"].shape == (4, 1)


@pytest.mark.parametrize(
    ("arrays", "text"),
    [
        ({"a": INPUTS, "b": TARGETS}, "none is called inputs). It holds a (4, 3) float32, b (4,) int64"),
        ({"x": INPUTS}, "none is called targets"),
        ({"x": INPUTS, "data": INPUTS, "y": TARGETS}, "several arrays could be the inputs: x, data"),
        ({"x": INPUTS, "y": TARGETS, "Y": TARGETS}, "several arrays could be the targets: y, Y"),
        ({"x": INPUTS, "y": TARGETS[:3]}, "x has shape (4, 3) and y has shape (3,)"),
        ({"x": INPUTS[:0], "y": TARGETS[:0]}, "holds no samples"),
        ({"x": INPUTS, "y": np.int64(3)}, "y has shape ()"),
        ({"x": INPUTS, "y": np.array(list("abca"))}, "no number"),
    ],
)
def test_what_cannot_be_told_is_an_error(arrays, text, tmp_path):
    assert text in message(write(tmp_path / "data.npz", arrays))


@pytest.mark.parametrize("suffix", ["npz", "npy"])
def test_pickled_objects_are_refused(suffix, tmp_path):
    mark = tmp_path / "mark"

    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(mark),)

    objects = np.array([Trap()], dtype=object)
    path = tmp_path / f"data.{suffix}"
    if suffix == "npz":
        np.savez(path, x=INPUTS, y=objects)
    else:
        np.save(path, objects)
    assert "run any code" in message(path)
    torch.save({"x": torch.ones(1), "y": Trap()}, tmp_path / "data.pt")
    assert "run any code" in message(tmp_path / "data.pt")
    assert not mark.exists()


def test_files_that_are_no_data(tmp_path):
    (tmp_path / "data.csv").write_text("a,b\n1,2\n")
    assert "text file" in message(tmp_path / "data.csv")
    np.save(tmp_path / "x.npy", INPUTS)
    assert "numpy.savez" in message(tmp_path / "x.npy")
    torch.save(torch.ones(3), tmp_path / "one.pt")
    assert "dict or a pair" in message(tmp_path / "one.pt")
    (tmp_path / "empty.npz").write_bytes(b"")
    assert "empty file" in message(tmp_path / "empty.npz")
    assert "is a folder" in message(tmp_path)
    write(tmp_path / "data.npz", {"x": INPUTS, "y": TARGETS})
    with pytest.raises(TaskError, match=r"Did you mean .*data\.npz"):
        load_data(tmp_path / "dat.npz")


@pytest.mark.parametrize("suffix", ["npz", "npy", "h5", "pt", "safetensors"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_files_cut_short(suffix, share, tmp_path):
    path = write(tmp_path / f"data.{suffix}", {"inputs": INPUTS.repeat(200, 1), "targets": TARGETS})
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert "the data file" in message(path)


def test_real_images():
    inputs, targets = load_data(shared_data("cifar10_lossless200.npz"))
    assert inputs.shape == (200, 3, 32, 32)
    assert targets.shape == (200,)
    assert 0 <= inputs.min() < inputs.max() <= 1
