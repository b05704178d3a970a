"""One result as one HDF5 group: its arrays as datasets, everything else as readable JSON, and hashes of both.

A flipped bit anywhere in a group is noticed when it is read. HDF5 itself checks its own tables (the file has the format
of HDF5 1.10, in which they carry checksums) and the compressed arrays (its filter Fletcher32). It checks neither small
arrays nor texts. So each dataset has an attribute ``sha256``, the hash of its numbers, and each group has one too, the
hash of its attributes and of the hashes of its datasets.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from functools import cache
from typing import Any

import h5py
import numpy as np

from landscape._version import __version__
from landscape.errors import StoreError
from landscape.results import RayStatus, Result
from landscape.results.described import descriptions
from landscape.store.lock import utc_now

COMPRESS_FROM = 65536  #: bytes; below this the bookkeeping of compressed chunks outweighs what they save
HASH = "sha256"
_TEXTS = ("kind", "created", "versions", "attributes")  #: the attributes of a group


class DamagedGroupError(ValueError):
    """The bytes of a group are not those that were written."""


def write_group(group: h5py.Group, name: str, result: Result) -> None:
    """Write one result into an empty group.

    Raises:
        StoreError: if it holds something that is no number and no plain setting.
    """
    put_text(group, "kind", result.kind)
    put_text(group, "created", utc_now())
    put_text(group, "versions", json.dumps(_versions()))
    put_text(group, "attributes", _to_json(name, result.attributes()))
    about = descriptions(type(result))
    for key, array in result.arrays().items():
        if array.dtype.kind not in "biufc":
            raise StoreError(f"the array {key!r} of {name!r} has dtype {array.dtype}; the store holds only numbers.")
        # Byte-shuffled numbers compress at level 1 nearly as well as at level 9, several times faster.
        large = array.nbytes >= COMPRESS_FROM
        options = {"compression": "gzip", "compression_opts": 1, "shuffle": True, "fletcher32": True} if large else {}
        dataset = group.create_dataset(key, data=array, **options)
        put_text(dataset, "description", about.get(key, ""))
        put_text(dataset, HASH, _array_hash(array))
    put_text(group, HASH, _group_hash(group))


def put_text(home: h5py.HLObject, name: str, text: str) -> None:
    """Write an attribute as a text of fixed length.

    HDF5 keeps texts of variable length in a heap without checksums, and a damaged heap can make it loop for ever.
    """
    content = text.encode("utf-8", "replace") or b" "
    home.attrs.create(name, np.bytes_(content), dtype=h5py.string_dtype("utf-8", len(content)))


def text_of(home: h5py.HLObject, name: str) -> str:
    """Return a text attribute: of fixed length (bytes in h5py), or of variable length, as in format version 2."""
    value = home.attrs[name]
    content = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")
    return content.decode("utf-8", "replace").strip(" ")  # a bad byte becomes a character that can be printed


def seal(group: h5py.Group) -> None:
    """Write the hashes of a group and of its datasets."""
    for dataset in group.values():
        put_text(dataset, HASH, _array_hash(_raw_array(dataset)))
    put_text(group, HASH, _group_hash(group))


def upgrade(old: h5py.Group, new: h5py.Group) -> None:
    """Copy a group of format version 2 into an empty group of version 3."""
    for name in _TEXTS:
        put_text(new, name, text_of(old, name))
    for key, dataset in old.items():
        old.copy(dataset, new, key, without_attrs=True)
        put_text(new[key], "description", text_of(dataset, "description"))
    seal(new)


def verify(group: h5py.Group) -> None:
    """Check everything in a group but its arrays; :func:`read_array` checks those.

    Raises:
        DamagedGroupError: if the hashes differ.
    """
    if HASH not in group.attrs or text_of(group, HASH) != _group_hash(group):
        raise DamagedGroupError("its settings do not match their hash")


def read_array(dataset: h5py.Dataset, *, hashed: bool) -> np.ndarray:
    """Return the numbers of a dataset, compared with their hash if it has one.

    Raises:
        DamagedGroupError: if the hashes differ.
    """
    array = _raw_array(dataset)
    if hashed and (HASH not in dataset.attrs or text_of(dataset, HASH) != _array_hash(array)):
        raise DamagedGroupError(f"its array {dataset.name.rpartition('/')[2]} does not match its hash")
    return array


def describe(group: h5py.Group, *, hashed: bool) -> dict[str, Any]:
    """Return what a group holds in strict JSON types, without reading large arrays."""
    attributes = json.loads(text_of(group, "attributes"), parse_constant=lambda _: None)
    return {
        "kind": text_of(group, "kind"),
        "created": text_of(group, "created"),
        "versions": json.loads(text_of(group, "versions")),
        "rows": rows(group, hashed=hashed),
        "verdicts": _verdicts(attributes),
        "config": attributes.get("config", {}),
        "datasets": {key: {"shape": list(data.shape), "dtype": str(data.dtype)} for key, data in group.items()},
    }


def _verdicts(attributes: Mapping[str, Any]) -> list[str]:
    """Return the verdicts of a result, each once: of a volume one per cutoff, of a measure its own."""
    several = attributes.get("verdicts") or [row.get("verdict") for row in attributes.get("results", ())]
    return [verdict for verdict in dict.fromkeys([attributes.get("verdict"), *several]) if verdict]


def rows(group: h5py.Group, *, hashed: bool) -> dict[str, int] | None:
    """Return how many rays or rows are measured of how many, or None for a result that does not consist of them."""
    if text_of(group, "kind") == "radii":
        done = (read_array(group["status"], hashed=hashed) != RayStatus.PENDING).all(axis=1)
    elif "done" in group:
        done = read_array(group["done"], hashed=hashed)
    else:
        return None
    return {"done": int(done.sum()), "total": len(done)}


def _raw_array(dataset: h5py.Dataset) -> np.ndarray:
    # dataset[()] would turn an array without axes into a scalar and lose its byte order.
    array = np.empty(dataset.shape, dataset.dtype)
    if array.size:
        dataset.read_direct(array)
    return array


def _array_hash(array: np.ndarray) -> str:
    sha = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode())
    sha.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return sha.hexdigest()


def _group_hash(group: h5py.Group) -> str:
    parts = {name: text_of(group, name) for name in _TEXTS}
    arrays = {name: text_of(dataset, HASH) for name, dataset in group.items()}
    return hashlib.sha256(json.dumps([parts, arrays], sort_keys=True).encode()).hexdigest()


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
