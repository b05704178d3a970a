"""Readers of the standard public image files: file -> arrays of images and their classes.

Images are uint8 with channels first, shape (N, C, H, W), classes int64, shape (N,). A pickle is never executed.
"""

from __future__ import annotations

import gzip
import math
import pickle
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from scipy import io

from landscape.errors import TaskError
from landscape.inputs.data_file import INPUT_NAMES, TARGET_NAMES

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm")
_IDX_DTYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


class Images(NamedTuple):
    """Images and their classes."""

    inputs: np.ndarray
    targets: np.ndarray


def read_idx(path: Path) -> np.ndarray:
    """Return the array in an IDX file, plain or compressed with gzip, as MNIST and Fashion-MNIST come.

    The file holds two zero bytes, one byte for the dtype, one for the number of axes, the lengths of the axes as
    big-endian 32-bit numbers, and the entries (LeCun, "The MNIST database").

    Raises:
        TaskError: if the file is of another kind or a part is missing.
    """
    with path.open("rb") as file:
        head = file.read(2)
    try:
        content = gzip.decompress(path.read_bytes()) if head == b"\x1f\x8b" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, f"its compression ends in an error ({error})") from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _IDX_DTYPES:
        raise _damaged(path, "it does not begin like an IDX file")
    axes, dtype = content[3], np.dtype(_IDX_DTYPES[content[2]])
    shape = tuple(np.frombuffer(content, ">u4", axes, 4).tolist()) if len(content) >= 4 + 4 * axes else ()
    if len(shape) != axes or len(content) != 4 + 4 * axes + math.prod(shape) * dtype.itemsize:
        raise _damaged(path, f"it holds {len(content):,} bytes, which does not fit its shape {shape}")
    return np.frombuffer(content, dtype, offset=4 + 4 * axes).reshape(shape).astype(dtype.newbyteorder("="))


def read_idx_pair(images: Path, labels: Path) -> Images:
    """Return the images and the classes in two IDX files."""
    return _checked(read_idx(images)[:, None], read_idx(labels), images)


def read_svhn(path: Path) -> Images:
    """Return the crops in an SVHN ``.mat`` file (train, test or extra): X (32, 32, 3, N), y (N, 1) from 1 to 10.

    The class 10 stands for the digit 0 (Netzer et al. 2011) and is returned as 0.

    Raises:
        TaskError: if the file is something else.
    """
    try:
        arrays = io.loadmat(path, variable_names=["X", "y"])
        inputs, targets = arrays["X"], arrays["y"]
    except Exception as error:  # scipy raises many kinds for a damaged file
        raise _damaged(path, f"it is not an SVHN file with X and y ({type(error).__name__}: {error})") from error
    if inputs.ndim != 4 or inputs.shape[2] != 3:
        raise _damaged(path, f"X has shape {inputs.shape}, not (32, 32, 3, N)")
    return _checked(np.ascontiguousarray(inputs.transpose(3, 2, 0, 1)), targets.reshape(-1).astype(np.int64) % 10, path)


def read_cifar(path: Path) -> Images:
    """Return the images in a batch of CIFAR-10 in its python form: data (N, 3072) and labels.

    The file is a pickle, and it is not executed. The only thing that it may name is an array of bytes, which this
    module builds itself.

    Raises:
        TaskError: if the file is something else, or if the pickle names anything else.
    """
    try:
        with path.open("rb") as file:
            batch = _BatchUnpickler(file, encoding="bytes").load()
        inputs = batch[b"data"].array().reshape(-1, 3, 32, 32)
        targets = np.asarray(batch[b"labels"], dtype=np.int64)
    except TaskError:
        raise
    except Exception as error:  # unpickling raises nearly anything
        raise _damaged(path, f"it is not a batch of CIFAR-10 ({type(error).__name__}: {error})") from error
    return _checked(inputs, targets, path)


def read_folder(folder: Path) -> Images:
    """Return the images in the subfolders of a folder, one subfolder per class, numbered in the order of their names.

    Raises:
        TaskError: if there are no images, if they differ in size, or if one cannot be read.
    """
    names = sorted(child.name for child in folder.iterdir() if child.is_dir())
    inputs, targets = [], []
    for target, name in enumerate(names):
        for path in sorted(p for p in (folder / name).iterdir() if p.suffix.lower() in SUFFIXES):
            try:
                with Image.open(path) as image:
                    pixels = np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB"))
            except Exception as error:  # Pillow raises many kinds for a damaged file
                raise _damaged(path, f"Pillow cannot read it ({error})") from error
            inputs.append(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))
            if inputs[-1].shape != inputs[0].shape:
                raise _damaged(path, f"its shape is {inputs[-1].shape}, but the first image has {inputs[0].shape}")
            targets.append(target)
    if not inputs:
        raise TaskError(
            f"the image folder {folder} holds no images. Give each class a folder in it: {folder}/cat/0001.png."
        )
    return Images(np.stack(inputs), np.array(targets, dtype=np.int64))


def read_npz(path: Path) -> Images:
    """Return the images in a NumPy archive: uint8 inputs (or X, images, ...), (N, H, W) or (N, H, W, C), and targets.

    Raises:
        TaskError: if the file is something else, see :func:`landscape.inputs.load_data`.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            inputs, targets = (
                next(archive[name] for name in archive.files if name.lower() in known)
                for known in (INPUT_NAMES, TARGET_NAMES)
            )
    except Exception as error:  # a missing name, an object array, or a damaged file
        raise _damaged(path, f"it holds no inputs and targets ({type(error).__name__}: {error})") from error
    inputs = inputs[:, None] if inputs.ndim == 3 else inputs
    if inputs.ndim == 4 and inputs.shape[-1] in (1, 3):
        inputs = np.ascontiguousarray(inputs.transpose(0, 3, 1, 2))
    return _checked(inputs, targets.reshape(-1).astype(np.int64), path)


class _Array:
    """Stands in for an array in a pickle: its shape, dtype and bytes."""

    def __setstate__(self, state: Any) -> None:
        _, self.shape, self.dtype, self.fortran, self.content = state

    def array(self) -> np.ndarray:
        if self.dtype.code not in (b"u1", "u1") or self.fortran:
            raise ValueError("its array does not hold plain bytes")
        return np.frombuffer(self.content, np.uint8).reshape(self.shape)


class _Dtype:
    """Stands in for a dtype in a pickle: its code."""

    def __init__(self, code: Any, *_: Any) -> None:
        self.code = code

    def __setstate__(self, _: Any) -> None:
        """Ignore the byte order: single bytes have none."""


def _encode(text: str, _: str) -> bytes:
    """Return bytes as Python 3 pickles them in the old protocol."""
    return text.encode("latin1")


class _BatchUnpickler(pickle.Unpickler):
    """Reads lists, dicts, numbers, bytes and arrays; every name in the pickle resolves to a stand-in in this file."""

    _stand_ins: dict[tuple[str, str], Callable[..., Any]] = {  # noqa: RUF012
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _Dtype,
        ("_codecs", "encode"): _encode,
        ("numpy.core.multiarray", "_reconstruct"): lambda *_: _Array(),
        ("numpy._core.multiarray", "_reconstruct"): lambda *_: _Array(),
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._stand_ins:
            raise TaskError(
                f"the pickle names {module}.{name}, which no batch of CIFAR-10 holds. It could run any code, so it is "
                "refused.\nGet the file again, or write its images to an npz file."
            )
        return self._stand_ins[module, name]


def _checked(inputs: np.ndarray, targets: np.ndarray, path: Path) -> Images:
    if inputs.dtype != np.uint8 or inputs.ndim != 4:
        raise _damaged(path, f"expected images of uint8 with 3 or 4 axes, got {inputs.dtype} of shape {inputs.shape}")
    if targets.shape != (len(inputs),) or len(inputs) == 0:
        raise _damaged(path, f"{len(inputs):,} images do not fit classes of shape {targets.shape}")
    return Images(inputs, targets.astype(np.int64))


def _damaged(path: Path, why: str) -> TaskError:
    return TaskError(f"the data file {path} cannot be used: {why}. Get it again.")
