"""Results in one HDF5 file that is complete and readable at every moment (docs/format.md describes the file).

A put builds the whole new file in memory, writes it under a hidden name in the same folder, syncs it to the disk and
renames it over the old one. A reader therefore sees either the old file or the new one, whatever kills the writer in
between, and HDF5 itself never meets a full disk. The price is one copy of the file in memory and on the disk. Ctrl-C
waits until a put is done.
"""

from __future__ import annotations

import inspect
import json
import os
import platform
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NoReturn, Self

import h5py
import numpy as np

from landscape._version import __version__
from landscape.errors import StoreError
from landscape.results import RayStatus, Result, result_class
from landscape.store.atomic import write_atomically
from landscape.store.interrupts import uninterrupted
from landscape.store.lock import WriterLock, reason, utc_now

FORMAT = "landscape"
FORMAT_VERSION = 2  # goes up when a stored name or its meaning changes
COMPRESS_FROM = 65536  #: bytes; below this the bookkeeping of compressed chunks outweighs what they save
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")
# What h5py raises on damaged bytes, and json and numpy on what such bytes decode to.
_DAMAGE = (OSError, RuntimeError, KeyError, ValueError)


class Store:
    """Results by name in one HDF5 file.

    Reading opens the file for the length of one call, so it works while another process writes and sees the newest
    complete state. ``write=True`` keeps every other writer out until :meth:`close`; without it an assignment or a
    ``del`` does so for its own length only. The file is created by the first assignment.

    A partial result is an ordinary result, so an interrupted run is continued by reading it, measuring the rest and
    putting it back. A Store is used by one thread.

    Args:
        path: the file. A symbolic link is followed.
        write: refuse other writers from now on, and check now that the file can be written.

    Raises:
        StoreError: the file is missing (when reading), damaged, not ours, of another format version, not writable, or
            being written by someone else; the disk is full. The file is never left worse than before.

    >>> import tempfile
    >>> from landscape.results import Cost, Volume
    >>> volume = Volume((), np.zeros((2, 1)), "uniform", 3, 2, {"seed": 0}, Cost(2.0, 4, 0.1))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Store(f"{folder}/run.h5")["volume"] = volume
    ...     store = Store(f"{folder}/run.h5")
    ...     store.names(), store["volume"].config
    (['volume'], {'seed': 0})
    """

    def __init__(self, path: str | os.PathLike[str], *, write: bool = False) -> None:
        self.path = Path(os.path.realpath(path))
        self._lock: WriterLock | None = None
        if write:
            if self._exists():
                with _reading(self.path):
                    _refuse_read_only(self.path)
            self._lock = WriterLock(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let other writers in. Reading still works afterwards."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def names(self) -> list[str]:
        """Return the names of the results in the file, sorted."""
        if self._new():
            return []
        with _reading(self.path) as file:
            return _names(file)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def __getitem__(self, name: str) -> Result:
        if self._new():
            self._refuse_missing(name, [])
        with _reading(self.path) as file:
            if name not in _names(file):
                self._refuse_missing(name, _names(file))
            group = file[name]
            kind, writer = group.attrs["kind"], json.loads(group.attrs["versions"])["landscape"]
            arrays = {key: _read_array(dataset) for key, dataset in group.items()}
            attributes = json.loads(group.attrs["attributes"])
        cls = result_class(kind)
        try:
            return cls.from_parts(arrays, attributes)
        except (TypeError, KeyError) as error:
            raise StoreError(
                f"{name!r} in {self.path} does not have the fields of a result of kind {kind!r} ({error}).\n"
                f"It was written by landscape {writer}, this is {__version__}: pip install 'landscape-lab=={writer}'"
            ) from error

    def __setitem__(self, name: str, result: Result) -> None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise StoreError(
                f"a result cannot be stored as {name!r}: it becomes the name of an HDF5 group.\n"
                "Use letters, digits, '-', '_' and '.', not beginning with a dot, such as 'radii-seed1'."
            )
        if not isinstance(result, Result):
            raise StoreError(f"the store holds results such as Radii or Volume; {name!r} is a {type(result).__name__}.")
        self._replace(name, result)

    def __delitem__(self, name: str) -> None:
        held = self.names()
        if name not in held:
            self._refuse_missing(name, held)
        self._replace(name, None)

    def describe(self) -> dict[str, Any]:
        """Return what the file holds, in strict JSON types (infinity and NaN as None), without reading large arrays.

        Results of a kind that this version does not know are described too.
        """
        with _reading(self.path) as file:
            return {
                "path": str(self.path),
                "bytes": self.path.stat().st_size,
                "format_version": int(file.attrs["format_version"]),
                "writer": str(file.attrs["writer"]),
                "results": {name: _describe(file[name]) for name in _names(file)},
            }

    @property
    def _writing(self) -> bool:
        return self._lock is not None and self._lock.held

    def _exists(self) -> bool:
        return os.path.exists(self.path)  # unlike Path.exists, no error for a folder that may not be searched

    def _new(self) -> bool:
        """Return whether this is a writer whose file does not exist yet."""
        return self._writing and not self._exists()

    def _refuse_missing(self, name: object, held: list[str]) -> NoReturn:
        raise StoreError(f"{self.path} holds no result called {name!r}; it holds: {', '.join(held) or 'nothing yet'}.")

    @uninterrupted()
    def _replace(self, name: str, result: Result | None) -> None:
        """Put ``result`` in the place of the one called ``name``; None takes that one out."""
        if not self._writing:
            with Store(self.path, write=True) as writer:
                writer._replace(name, result)
            return
        image = self._image(name, result)
        try:
            write_atomically(self.path, image, only_writer=True)
        except OSError as error:
            raise StoreError(self._explain(error, name, len(image))) from error

    def _image(self, name: str, result: Result | None) -> bytes:
        """Return the bytes of the file with that one result replaced."""
        with h5py.File("new", "w", driver="core", backing_store=False) as new:
            if self._exists():
                with _reading(self.path) as old:
                    if name in old and name not in _names(old):
                        raise StoreError(f"{self.path} holds something called {name!r} that is not a result of ours.")
                    # Copying the other groups, not editing the old file: HDF5 does not reuse the room of deleted ones.
                    for key in old:
                        if key != name:
                            old.copy(old[key], new, key)
                    new.attrs.update(old.attrs)
            new.attrs.update(format=FORMAT, format_version=FORMAT_VERSION, writer=f"landscape {__version__}")
            if result is not None:
                _write_group(new.create_group(name), name, result)
            new.flush()
            return new.id.get_file_image()

    def _explain(self, error: OSError, name: str, size: int) -> str:
        """Say what stopped a write and what the file still holds."""
        held = "there was no file before"
        if self._exists():
            with _reading(self.path) as file:
                rows = _rows(file[name]) if name in file else None
                held = f"{rows['done']} rows of {name}" if rows else ", ".join(_names(file)) or "no result"
            held = f"the file still holds {held}"
        return (
            f"{reason(error)}: writing {name!r} to {self.path} needs {size:,} bytes beside the old file; nothing was "
            f"lost: {held}.\nMake room in {self.path.parent}, then run the same command again with --resume."
        )


@contextmanager
def _reading(path: Path) -> Iterator[h5py.File]:
    """Open a file of ours; whatever else lies there becomes one StoreError, as does damage met while reading."""
    try:
        with open(path, "rb") as raw:
            empty = not raw.read(1)
    except FileNotFoundError as error:
        raise StoreError(
            f"there is no file {path}, so there are no results to read.\n"
            f"Check the name, or make it with: landscape volume CHECKPOINT --out {path.name}"
        ) from error
    except OSError as error:
        raise StoreError(
            f"{path} cannot be read ({error.strerror}); a results file is an HDF5 file such as run.h5.\n"
            "Pass the name of such a file that you may read."
        ) from error
    if empty or not h5py.is_hdf5(path):
        raise StoreError(
            f"{path} is {'empty' if empty else 'not an HDF5 file'}, and it will not be overwritten.\n"
            "Pass a results file written by landscape, or a new name."
        )
    try:
        with h5py.File(path, "r") as file:
            _check_format(path, file)
            yield file
    except _DAMAGE as error:
        raise StoreError(
            f"{path} is damaged or was cut short ({error}).\n"
            "landscape never leaves such a file behind, so something else changed it, perhaps an incomplete copy: "
            "copy it again, or start over under a new name."
        ) from error


def _check_format(path: Path, file: h5py.File) -> None:
    name, version = file.attrs.get("format"), file.attrs.get("format_version")
    if not (isinstance(name, str) and name == FORMAT):
        raise StoreError(
            f"{path} is an HDF5 file that landscape did not write (its attribute 'format' is {name!r}, "
            f"not {FORMAT!r}), and it will not be overwritten.\nPass a results file of ours, or a new name."
        )
    if not np.array_equal(version, FORMAT_VERSION):
        raise StoreError(
            f"{path} has format version {version} (written by {file.attrs.get('writer', 'an unknown version')}), "
            f"and this landscape reads format version {FORMAT_VERSION}.\n"
            "Measure again to a new file: --out new.h5. The old file stays readable with h5py."
        )


def _refuse_read_only(path: Path) -> None:
    """Refuse a file marked read-only: renaming over it would work, and root may do anything, but its owner said no."""
    marked = not path.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)
    if marked or not os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        raise StoreError(f"{path} is read-only.\nType chmod u+w {path}, or write to another file: --out other.h5")


def _names(file: h5py.File) -> list[str]:
    return sorted(key for key, item in file.items() if isinstance(item, h5py.Group) and "kind" in item.attrs)


def _write_group(group: h5py.Group, name: str, result: Result) -> None:
    """Write one result: its arrays as datasets, everything else as readable JSON."""
    group.attrs["kind"] = result.kind
    group.attrs["created"] = utc_now()
    group.attrs["versions"] = json.dumps(_versions())
    group.attrs["attributes"] = _to_json(name, result.attributes())
    descriptions = _descriptions(type(result))
    for key, array in result.arrays().items():
        if array.dtype.kind not in "biufc":
            raise StoreError(f"the array {key!r} of {name!r} has dtype {array.dtype}; the store holds only numbers.")
        # Byte-shuffled numbers compress at level 1 nearly as well as at level 9, several times faster.
        large = array.nbytes >= COMPRESS_FROM
        options = {"compression": "gzip", "compression_opts": 1, "shuffle": True} if large else {}
        dataset = group.create_dataset(key, data=array, **options)
        dataset.attrs["description"] = descriptions.get(key, "")


def _read_array(dataset: h5py.Dataset) -> np.ndarray:
    # dataset[()] would turn an array without axes into a scalar and lose its byte order.
    array = np.empty(dataset.shape, dataset.dtype)
    if array.size:
        dataset.read_direct(array)
    return array


def _to_json(name: str, attributes: Mapping[str, Any]) -> str:
    try:
        text = json.dumps(attributes, ensure_ascii=False, indent=1)
    except (TypeError, ValueError) as error:
        raise StoreError(
            f"the settings of {name!r} cannot be stored as text ({error}).\n"
            "Keep only numbers, strings, lists and dicts in its config."
        ) from error
    # File names that are not UTF-8 hold lone surrogates, which HDF5 refuses; this writes them as JSON escapes.
    return text.encode("utf-8", "backslashreplace").decode()


def _describe(group: h5py.Group) -> dict[str, Any]:
    attributes = json.loads(group.attrs["attributes"], parse_constant=lambda _: None)
    return {
        "kind": group.attrs["kind"],
        "created": group.attrs["created"],
        "versions": json.loads(group.attrs["versions"]),
        "rows": _rows(group),
        "config": attributes.get("config", {}),
        "datasets": {key: {"shape": list(data.shape), "dtype": str(data.dtype)} for key, data in group.items()},
    }


def _rows(group: h5py.Group) -> dict[str, int] | None:
    """Return how many rays or rows are measured of how many, or None for a result that does not consist of them."""
    if group.attrs["kind"] == "radii":
        done = (_read_array(group["status"]) != RayStatus.PENDING).all(axis=1)
    elif "done" in group:
        done = _read_array(group["done"])
    else:
        return None
    return {"done": int(done.sum()), "total": len(done)}


def _descriptions(cls: type[Result]) -> dict[str, str]:
    """Return what the docstring of a result class says of each of its fields, so that the file explains itself."""
    text = inspect.cleandoc(cls.__doc__ or "")
    entries = re.findall(r"^    (\w+(?:, \w+)*): (.*(?:\n {8}.*)*)", text, re.MULTILINE)
    plain = {names: re.sub(r":\w+:(?=`)|`", "", " ".join(text.split())) for names, text in entries}
    return {name: text for names, text in plain.items() for name in names.split(", ")}


@cache
def _versions() -> dict[str, str | None]:
    # From the installed metadata: importing torch to learn its version takes seconds.
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, str | None] = {"landscape": __version__, "python": platform.python_version()}
    for package in ("torch", "numpy", "h5py"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found
