"""Results in one HDF5 file that is complete and readable at every moment (docs/format.md describes the file).

A put builds the whole new file in memory and writes it under a hidden name in the same folder. It syncs that file to
the disk and renames it over the old one. A reader therefore sees either the old file or the new one, whatever kills the
writer in between, and HDF5 itself never meets a full disk. The price is one copy of the file in memory and on the disk.
Ctrl-C waits until a put is done.
"""

from __future__ import annotations

import io
import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, Self

import h5py
import numpy as np

from landscape._version import __version__
from landscape.errors import StoreError
from landscape.results import Result, Volume, result_class
from landscape.results.best import best_volume
from landscape.store import groups
from landscape.store.atomic import write_atomically
from landscape.store.interrupts import uninterrupted
from landscape.store.lock import WriterLock, reason

FORMAT = "landscape"
FORMAT_VERSION = 3  # goes up when a stored name or its meaning changes, or when a check is added
_OURS = ("format", "format_version", "writer")  #: attributes of the root
_WITHOUT_HASHES = 2  #: the version that is read too: the same but for the hashes
_LIBRARY = ("v110", "v110")  #: from this format of HDF5 on its own tables carry checksums
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_.-]+")
# What h5py raises on damaged bytes, and json and numpy on what such bytes decode to.
_DAMAGE = (OSError, RuntimeError, KeyError, ValueError)


def usable(text: str) -> str:
    """Return a text with hyphens for what the name of a result may not hold.

    >>> usable("width 16, lr 0.1")
    'width-16-lr-0.1'
    """
    return _NOT_IN_A_NAME.sub("-", text)


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
        try:
            self.path = Path(os.path.realpath(path))
        except (ValueError, TypeError) as error:  # a null character, or no path at all
            raise StoreError(f"{str(path)!r} is no path ({error}). Pass the name of a file such as run.h5.") from error
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

    def __repr__(self) -> str:
        try:
            held = ", ".join(self.names()) or "no results yet"
        except StoreError:
            held = "cannot be read" if self.path.exists() else "no file yet"
        return f"<Store {self.path}: {held}>"

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
            hashed = _hashed(file)
            with self._blaming(name, file):
                group = file[name]
                if hashed:
                    groups.verify(group)
                kind, writer = groups.text_of(group, "kind"), json.loads(groups.text_of(group, "versions"))["landscape"]
                arrays = {key: groups.read_array(dataset, hashed=hashed) for key, dataset in group.items()}
                attributes = json.loads(groups.text_of(group, "attributes"))
        cls = result_class(kind)
        try:
            return cls.from_parts(arrays, attributes)
        except (TypeError, KeyError, ValueError, AttributeError) as error:
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

    def best_volume(self) -> Volume:
        """Return the best log-volume that the file holds at each cutoff: what ``landscape show`` gives first.

        Raises:
            LandscapeError: if there is none.
            StoreError: as for reading a result.
        """
        kinds = {name: about["kind"] for name, about in self.describe()["results"].items()}
        volumes = [name for name, kind in kinds.items() if issubclass(result_class(kind), Volume)]
        return best_volume({name: self[name] for name in volumes}, str(self.path))

    def describe(self) -> dict[str, Any]:
        """Return what the file holds, in strict JSON types (infinity and NaN as None), without reading large arrays.

        Results of a kind that this version does not know are described too. Results whose settings are damaged are
        not: ``damaged`` says for each what is wrong.
        """
        results, damaged = {}, {}
        with _reading(self.path) as file:
            for name in _names(file):
                try:
                    with self._blaming(name, file):
                        if _hashed(file):
                            groups.verify(file[name])
                        results[name] = groups.describe(file[name], hashed=_hashed(file))
                except StoreError as error:
                    damaged[name] = str(error)
            return {
                "path": str(self.path),
                "bytes": self.path.stat().st_size,
                "format_version": int(file.attrs["format_version"]),
                "writer": groups.text_of(file, "writer"),
                "results": results,
                "damaged": damaged,
            }

    @property
    def _writing(self) -> bool:
        return self._lock is not None and self._lock.held

    def _exists(self) -> bool:
        return os.path.exists(self.path)  # unlike Path.exists, no error for a folder that may not be searched

    def _new(self) -> bool:
        """Return whether this is a writer whose file does not exist yet."""
        return self._writing and not self._exists()

    @contextmanager
    def _blaming(self, name: str, file: h5py.File) -> Iterator[None]:
        """Say of damage met while one group is read which group it is, and which others remain."""
        try:
            yield
        except StoreError:
            raise
        except (*_DAMAGE, TypeError, AttributeError) as error:
            others = ", ".join(other for other in _names(file) if other != name)
            raise StoreError(
                f"the result {name!r} in {self.path} is damaged ({error}): its bytes are not those that were written. "
                f"Other results in the file: {others or 'none'}.\n"
                f"Copy the file again, measure {name!r} again (`overwrite=True`), or drop it: "
                f"del landscape.Store({self.path.name!r})[{name!r}]"
            ) from error

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
        image = io.BytesIO()  # the in-memory driver of HDF5 1.14 gives bytes whose first checksum is wrong
        with h5py.File(image, "w", libver=_LIBRARY) as new:
            if self._exists():
                with _reading(self.path) as old:
                    if name in old and name not in _names(old):
                        raise StoreError(f"{self.path} holds something called {name!r} that is not a result of ours.")
                    # Copying the other groups, not editing the old file: HDF5 does not reuse the room of deleted ones.
                    for key in old:
                        if key != name:
                            self._copy(key, old, new)
                    new.attrs.update({key: old.attrs[key] for key in old.attrs if key not in _OURS})
            groups.put_text(new, "format", FORMAT)
            groups.put_text(new, "writer", f"landscape {__version__}")
            new.attrs["format_version"] = FORMAT_VERSION
            if result is not None:
                groups.write_group(new.create_group(name), name, result)
        return image.getvalue()

    def _copy(self, name: str, old: h5py.File, new: h5py.File) -> None:
        """Copy one group as it is: damage in it stays noticeable, since its hashes are copied too."""
        with self._blaming(name, old):
            if _hashed(old) or name not in _names(old):
                old.copy(old[name], new, name)
            else:
                groups.upgrade(old[name], new.create_group(name))

    def _explain(self, error: OSError, name: str, size: int) -> str:
        """Say what stopped a write and what the file still holds."""
        held = "there was no file before"
        if self._exists():
            with _reading(self.path) as file:
                rows = groups.rows(file[name], hashed=_hashed(file)) if name in file else None
                held = f"{rows['done']} rows of {name}" if rows else ", ".join(_names(file)) or "no result"
            held = f"the file still holds {held}"
        return (
            f"{reason(error)}: writing {name!r} to {self.path} needs {size:,} bytes next to the old file; nothing was "
            f"lost: {held}.\nMake room in {self.path.parent}, then measure again with `resume=...`."
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
            "landscape never leaves such a file behind. Something else changed it, perhaps an incomplete copy. Copy it "
            "again, or start over under a new name."
        ) from error


def _check_format(path: Path, file: h5py.File) -> None:
    name = groups.text_of(file, "format") if "format" in file.attrs else None
    version = file.attrs.get("format_version")
    if name != FORMAT:
        raise StoreError(
            f"{path} is an HDF5 file that landscape did not write (its attribute 'format' is {name!r}, "
            f"not {FORMAT!r}), and it will not be overwritten.\nPass a results file of ours, or a new name."
        )
    if not any(np.array_equal(version, known) for known in (_WITHOUT_HASHES, FORMAT_VERSION)):
        writer = groups.text_of(file, "writer") if "writer" in file.attrs else "an unknown version"
        raise StoreError(
            f"{path} has format version {version} (written by {writer}), "
            f"and this landscape reads format versions {_WITHOUT_HASHES} and {FORMAT_VERSION}.\n"
            "Measure again to a new file, such as new.h5. The old file stays readable with h5py."
        )


def _refuse_read_only(path: Path) -> None:
    """Refuse a file marked read-only: renaming over it would work, and root may do anything, but its owner said no."""
    marked = not path.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)
    if marked or not os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        raise StoreError(f"{path} is read-only.\nType chmod u+w {path}, or write to another file, such as other.h5.")


def _hashed(file: h5py.File) -> bool:
    return bool(file.attrs["format_version"] >= FORMAT_VERSION)


def _names(file: h5py.File) -> list[str]:
    return sorted(key for key in file if _is_result(file, key))


def _is_result(file: h5py.File, name: str) -> bool:
    """Whether a name at the root is that of a result. What cannot be opened counts: it was one before its damage."""
    try:
        item = file[name]
        return isinstance(item, h5py.Group) and "kind" in item.attrs
    except _DAMAGE:
        return True
