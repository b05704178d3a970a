"""Read inputs and targets from a data file; they are found by their names."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.checkpoint.files import damaged_entry, is_zip, locate, sniff
from landscape.checkpoint.foreign import FOREIGN
from landscape.checkpoint.huggingface import read_safetensors
from landscape.checkpoint.pickles import harmless_globals
from landscape.errors import TaskError, first_line

INPUT_NAMES = ("inputs", "input", "x", "data", "images", "image", "features")
TARGET_NAMES = ("targets", "target", "y", "labels", "label")
#: inputs of transformers models; a file with one of these is a batch of named tensors
_MODEL_INPUTS = ("input_ids", "inputs_embeds", "pixel_values", "input_values", "input_features")
_CHANNELS = (1, 3, 4)
_BRIGHTEST = 255.0  # of 8 bits
_SCALE = "If the net was trained on scaled images, write these to the file instead, as float32."
_PIXELS = 100.0  # normalised images hold no larger number; images in [0, 255] do
_FORMS = "npz, npy (a structured array), h5, pt (a dict or a pair of tensors) or safetensors"


_NORMALISE = (
    "If the net was trained on normalised images, write these to the file instead: (x / 255 - mean) / std, as float32 "
    "with channels first."
)


@dataclass(frozen=True)
class FileData:
    """What is in a data file.

    Attributes:
        data: inputs and targets, or a dict of arrays for a transformers model, as :func:`load_data` returns them.
        notes: what was done to images, and what to do if the net was trained on images scaled in another way.
    """

    data: tuple[Tensor, Tensor] | dict[str, Tensor]
    notes: tuple[str, ...]


def load_data(path: str | Path) -> tuple[Tensor, Tensor] | dict[str, Tensor]:
    """Return the inputs and targets in a file, shapes (N, ...) and (N, ...).

    Inputs are called inputs, input, x, data, images, image or features; targets are called targets, target, y, labels
    or label, in upper or lower case. Other entries are ignored. A file with the inputs of a transformers model
    (input_ids, pixel_values, ...) gives a dict of all its arrays of that length. An .npy file must hold a structured
    array; its fields are the names.

    Numbers are changed as follows:

    1. uint8 inputs with three or four axes are images: they become float32 in [0, 1] with channels first. (N, H, W, C)
       with C of 1, 3 or 4 becomes (N, C, H, W), and (N, H, W) becomes (N, 1, H, W). No mean is subtracted.
    2. float64 inputs and targets become float32; other integers and booleans become int64.
    3. integer targets of shape (N, 1) become (N,).

    Raises:
        TaskError: if the file is missing, damaged or of another kind, a name is absent or ambiguous, the lengths
            differ, or an array holds Python objects.
    """
    return read_data_file(path).data


def read_data_file(path: str | Path) -> FileData:
    """Return what :func:`load_data` does, and notes that say what was done to images."""
    path = locate(path, "data file", TaskError)
    if path.is_dir():
        raise TaskError(f"the data {path} is a folder. Pass a file ({_FORMS}), or `data='my_data.py:batches'`.")
    try:
        with _arrays(path) as arrays:
            data = _choose(arrays, path)
            return FileData(data, tuple(_notes(arrays, data)))
    except TaskError:
        raise
    except Exception as error:  # readers of damaged arrays, archives and HDF5 files raise nearly anything
        raise TaskError(f"the data file {path} cannot be read ({first_line(error)}). Write it again.") from error


@contextmanager
def _arrays(path: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the arrays in a file by name; each has a shape and a dtype, and HDF5 reads the values later."""
    kind = sniff(path)
    if kind in ("npz", "npy"):
        yield _read_numpy(path)
    elif kind in ("hdf5", "keras"):
        import h5py

        with h5py.File(path, "r") as file:
            names: list[str] = []
            file.visit(names.append)
            yield {name: file[name] for name in names if isinstance(file[name], h5py.Dataset)}
    elif kind == "torch":
        yield _read_torch(path)
    elif kind == "safetensors":
        yield read_safetensors(path)
    else:
        what = FOREIGN.get(kind, f"a {kind} file")
        raise TaskError(
            f"the data file {path} is {what}.\nData files are {_FORMS}; for anything else: `data='my_data.py:batches'`."
        )


def _read_numpy(path: Path) -> dict[str, Any]:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            if loaded.dtype.names is None:
                raise TaskError(
                    f"the data file {path} holds one array, {loaded.dtype} {loaded.shape}; inputs and targets must "
                    "come together.\nWrite them to one file: numpy.savez('data.npz', inputs=x, targets=y)."
                )
            return {name: np.ascontiguousarray(loaded[name]) for name in loaded.dtype.names}
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise TaskError(
            f"the data file {path} holds pickled Python objects, which can run any code when they are read, so it is "
            "refused.\nWrite plain arrays: numpy.savez(path, inputs=x.astype('float32'), targets=y.astype('int64'))."
        ) from None


def _read_torch(path: Path) -> dict[str, Any]:
    if is_zip(path) and (entry := damaged_entry(path)):
        raise TaskError(f"the data file {path} is damaged: its entry {entry} does not match its checksum.")
    try:
        with torch.serialization.safe_globals(harmless_globals()):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise TaskError(
            f"the data file {path} holds more than plain tensors, which can run any code when it is read, so it is "
            "refused.\nWrite it again: torch.save({'inputs': x, 'targets': y}, path)."
        ) from error
    except RuntimeError as error:
        raise ValueError(str(error)) from error
    if isinstance(loaded, Mapping):
        return {str(name): item for name, item in loaded.items() if isinstance(item, Tensor | np.ndarray)}
    if isinstance(loaded, list | tuple) and [isinstance(item, Tensor | np.ndarray) for item in loaded] == [True, True]:
        return {"inputs": loaded[0], "targets": loaded[1]}
    raise TaskError(
        f"the data file {path} holds a {type(loaded).__name__}; it must hold a dict or a pair of tensors.\n"
        "Write it again: torch.save({'inputs': x, 'targets': y}, path)."
    )


def _choose(arrays: Mapping[str, Any], path: Path) -> tuple[Tensor, Tensor] | dict[str, Tensor]:
    """Return the inputs and targets among the arrays of a file, or all arrays of a batch for transformers."""
    if model_inputs := _named(arrays, _MODEL_INPUTS):
        length = arrays[model_inputs[0]].shape[:1]
        chosen = {name: value for name, value in arrays.items() if len(value.shape) and value.shape[:1] == length}
        return {_last(name): _plain(value, name, path, image=True) for name, value in chosen.items()}
    name_of = {}
    for role, known in (("inputs", INPUT_NAMES), ("targets", TARGET_NAMES)):
        names = _named(arrays, known)
        if len(names) != 1:
            problem = f"several arrays could be the {role}: {', '.join(names)}" if names else f"none is called {role}"
            raise TaskError(
                f"the data file {path} does not say what the {role} are ({problem}). It holds {_listing(arrays)}.\n"
                f"Call them inputs and targets, one each, or pass `data='my_data.py:batches'`. Known names: "
                f"{', '.join(known)}."
            )
        name_of[role] = names[0]
    inputs, targets = name_of["inputs"], name_of["targets"]
    x, y = _plain(arrays[inputs], inputs, path, image=True), _plain(arrays[targets], targets, path, image=False)
    if x.dim() > 0 and y.dim() > 0 and len(x) == len(y) == 0:
        raise TaskError(
            f"the data file {path} holds no samples: {inputs} has shape {tuple(x.shape)} and {targets} has shape "
            f"{tuple(y.shape)}. Write some to it, or pass other `data=...`."
        )
    if x.dim() == 0 or y.dim() == 0 or len(x) != len(y):
        raise TaskError(
            f"the data file {path} must hold one target for each input; {inputs} has shape {tuple(x.shape)} and "
            f"{targets} has shape {tuple(y.shape)}."
        )
    if not y.is_floating_point() and y.dim() == 2 and y.shape[1] == 1:
        y = y[:, 0]
    return x, y


def _notes(arrays: Mapping[str, Any], data: tuple[Tensor, Tensor] | dict[str, Tensor]) -> Iterator[str]:
    """Say what was done to the images among the inputs, if there are any."""
    if isinstance(data, tuple):
        inputs = {_named(arrays, INPUT_NAMES)[0]: data[0]}
    else:
        inputs = {name: data[_last(name)] for name in _named(arrays, _MODEL_INPUTS)}
    for name, tensor in inputs.items():
        bytes_in_file = str(arrays[name].dtype).removeprefix("torch.") == "uint8"
        if bytes_in_file and tensor.is_floating_point():
            yield (
                f"{name} holds uint8 images: they were divided by 255, so pixels lie in [0, 1], and no mean was "
                f"subtracted. {_NORMALISE}"
            )
        elif bytes_in_file and tensor.dim() == 2:
            yield (
                f"{name} holds uint8 numbers in rows: they became int64 and were not scaled. If they are pixels, write "
                "the file as the net was trained: x / 255 as float32, or normalised."
            )
        elif tensor.dim() == 4 and tensor.is_floating_point() and len(tensor) and float(tensor.amax()) > _PIXELS:
            yield (
                f"{name} holds images with numbers up to {float(tensor.amax()):g}: they were taken as they are, not "
                f"scaled. {_NORMALISE if float(tensor.amax()) <= _BRIGHTEST else _SCALE}"
            )


def _named(arrays: Mapping[str, Any], known: tuple[str, ...]) -> list[str]:
    return [name for name in arrays if _last(name).lower() in known]


def _last(name: str) -> str:
    """Return the last part of an HDF5 path."""
    return name.rpartition("/")[2]


def _plain(value: Any, name: str, path: Path, *, image: bool) -> Tensor:
    """Return an array as the tensor that a network or a loss takes."""
    if not isinstance(value, Tensor):
        array = np.asarray(value[()])
        if array.dtype.kind not in "biuf":
            raise TaskError(
                f"the data file {path}: {name} has dtype {array.dtype}, which is no number. Write numeric arrays."
            )
        value = torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))
    if value.dtype == torch.float64:
        return value.float()
    if value.is_floating_point() or value.is_complex():
        return value
    if image and value.dtype == torch.uint8 and value.dim() in (3, 4):
        if value.dim() == 3:
            value = value[:, None]
        elif value.shape[-1] in _CHANNELS:
            value = value.permute(0, 3, 1, 2)
        return value.contiguous().float() / 255
    return value.long()


def _listing(arrays: Mapping[str, Any]) -> str:
    if not arrays:
        return "no array"
    shown = [f"{name} {tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}" for name, value in arrays.items()]
    return ", ".join(shown[:12]) + (", ..." if len(shown) > 12 else "")
