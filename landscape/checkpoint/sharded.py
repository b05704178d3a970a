"""Folders of torch.distributed.checkpoint: one ``.metadata`` and shards ``*.distcp``; FSDP and torchtitan write them.

torch's reader unpickles ``.metadata``, which can run any code. Here only the classes that torch itself writes there are
known. Shards are read by torch as plain tensors. Objects that are not tensors are left out, and so are optimisers.
"""

from __future__ import annotations

import io
import pathlib
import pickle
from collections import OrderedDict
from collections.abc import Container
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from landscape.checkpoint.files import zip_damage
from landscape.checkpoint.search import is_bookkeeping
from landscape.errors import CheckpointError, first_line

METADATA = ".metadata"
_CLASSES = (
    "Metadata",
    "TensorStorageMetadata",
    "BytesStorageMetadata",
    "ChunkStorageMetadata",
    "TensorProperties",
    "MetadataIndex",
    "StorageMeta",
    "_MEM_FORMAT_ENCODING",
)
_PATHS = ("PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath")


def read_sharded(folder: Path) -> dict[str, Any]:
    """Return what a folder of torch.distributed.checkpoint holds, nested as it was saved, without optimisers.

    Raises:
        CheckpointError: if a file is missing or damaged, or ``.metadata`` names a class that torch does not write.
    """
    if not torch.distributed.is_available():
        raise CheckpointError(f"{folder} is a folder of torch.distributed.checkpoint, which this torch does not have.")
    # needs a torch with torch.distributed
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.filesystem import FileSystemReader
    from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata
    from torch.distributed.checkpoint.state_dict_loader import _load_state_dict

    class Reader(FileSystemReader):
        def read_metadata(self, *_: Any, **__: Any) -> Metadata:
            return metadata

    try:
        with (folder / METADATA).open("rb") as file:
            metadata = _Unpickler(file).load()
        places: dict[str, Any] = metadata.planner_data or {}
        tensors: dict[str, Tensor] = {
            name: torch.empty(about.size, dtype=about.properties.dtype)
            for name, about in metadata.state_dict_metadata.items()
            if isinstance(about, TensorStorageMetadata) and not any(map(is_bookkeeping, _path(name, places)[:-1]))
        }
        absent = {
            entry.relative_path
            for index, entry in metadata.storage_data.items()
            if index.fqn in tensors and not (folder / entry.relative_path).is_file()
        }
        if absent:
            raise CheckpointError(f"{folder} is incomplete: it lacks {sorted(absent)[0]}. Copy the whole folder.")
        if damaged := _damaged_shard(folder, metadata.storage_data, tensors):
            raise CheckpointError(f"{folder} is damaged: {damaged} does not match its checksums. Copy it again.")
        _load_state_dict(dict(tensors), Reader(folder), no_dist=True)
    except CheckpointError:
        raise
    except (Exception, CheckpointException) as error:  # damaged pickles and shards raise nearly anything
        raise CheckpointError(
            f"{folder} is a damaged folder of torch.distributed.checkpoint ({first_line(error)}). Copy it again."
        ) from error
    nested: dict[str, Any] = {}
    for name, tensor in tensors.items():
        *keys, last = _path(name, places)
        level = nested
        for key in keys:
            level = level.setdefault(key, {})
        level[last] = tensor
    return nested


def _damaged_shard(folder: Path, storage: dict[Any, Any], names: Container[str]) -> str | None:
    """Return the first shard with a tensor whose bytes do not match their checksums, which torch does not compare."""
    for index, entry in storage.items():
        if index.fqn not in names or getattr(entry, "transform_descriptors", None):
            continue
        with (folder / entry.relative_path).open("rb") as file:
            file.seek(entry.offset)
            piece = io.BytesIO(file.read(entry.length))
        if piece.read(4) == b"PK\x03\x04" and zip_damage(piece):
            return str(entry.relative_path)
    return None


def _path(name: str, places: dict[str, Any]) -> tuple[Any, ...]:
    """Return the keys under which a tensor was saved."""
    return tuple(places.get(name) or (name,))


class _Unpickler(pickle.Unpickler):
    """Reads ``.metadata`` and knows only what torch writes there: its own plain classes, sizes and dtypes."""

    def find_class(self, module: str, name: str) -> Any:
        from torch.distributed.checkpoint import filesystem, metadata  # needs a torch with torch.distributed

        if module == metadata.__name__ and name in _CLASSES and hasattr(metadata, name):
            return getattr(metadata, name)
        if (module, name) == (filesystem.__name__, "_StorageInfo"):
            return filesystem._StorageInfo
        if module == "torch" and (name == "Size" or isinstance(getattr(torch, name, None), torch.dtype)):
            return getattr(torch, name)
        if (module, name) == ("torch.serialization", "_get_layout"):
            return torch.serialization._get_layout
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module in ("pathlib", "pathlib._local") and name in _PATHS:
            return pathlib.PurePosixPath
        raise CheckpointError(
            f"{METADATA} names {module}.{name}, which torch.distributed.checkpoint does not write there. Reading it "
            "could run any code, so it is refused."
        )
