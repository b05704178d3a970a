"""Read files of torch.save without running any code in them."""

from __future__ import annotations

import argparse
import datetime
import pathlib
import pickle
import re
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from landscape.checkpoint.files import damaged_entry, is_zip
from landscape.errors import CheckpointError, first_line

_PLAIN_TYPES = (list, dict, tuple, int, float, bool, str, frozenset, slice, range)
_NUMBER_CODES = "?bBhHiIlLqQefdgFDGSU"  # every numpy dtype except objects, records and times


def load_pickle(path: Path, *, unsafe: bool) -> Any:
    """Return the object in a file written by torch.save, its tensors on the CPU.

    Raises:
        CheckpointError: for a damaged file, and, unless ``unsafe``, for one that needs more than plain data.
    """
    zipped = is_zip(path)
    if zipped and (entry := damaged_entry(path)):
        raise CheckpointError(
            f"{path} is damaged: the bytes of its entry {entry} do not match their checksum. Copy or download it again."
        )
    try:
        if unsafe:
            with _importable(Path.cwd(), path.resolve().parent):
                return torch.load(path, map_location="cpu", weights_only=False)
        with torch.serialization.safe_globals(harmless_globals()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling raises nearly anything
        if unsafe:
            raise CheckpointError(_unsafe_failure(path, error)) from error
        needed = _needed_globals(path, error, zipped)
        if needed or zipped:
            raise CheckpointError(_refusal(path, needed, error)) from error
        raise CheckpointError(
            f"{path} is damaged or cut short ({_reason(error)}). Copy or download it again."
        ) from error


@contextmanager
def _importable(*folders: Path) -> Iterator[None]:
    """Make these folders importable, after all others: the code of a pickled model may be there."""
    added = [str(folder) for folder in folders if str(folder) not in sys.path]
    sys.path.extend(added)
    try:
        yield
    finally:
        for folder in added:
            sys.path.remove(folder)


def harmless_globals() -> list[Any]:
    """Return the Python objects that a checkpoint may name, apart from tensors.

    Each builds plain data from given bytes and runs no code from the file: numbers and arrays of numpy (without the
    object dtype), the options of argparse, containers, paths (as pure paths, which never touch the disk), and times.
    """
    scalar, reconstruct = np.float64(0).__reduce__()[0], np.zeros(0).__reduce__()[0]
    numpy_names = [("scalar", scalar), ("_reconstruct", reconstruct)]
    paths: list[tuple[Any, str]] = [(pathlib.PurePosixPath, "PosixPath"), (pathlib.PurePosixPath, "PurePosixPath")]
    paths += [(pathlib.PureWindowsPath, "WindowsPath"), (pathlib.PureWindowsPath, "PureWindowsPath")]
    return [
        *((thing, f"numpy.{core}.multiarray.{name}") for name, thing in numpy_names for core in ("core", "_core")),
        (np.ndarray, "numpy.ndarray"),
        (np.dtype, "numpy.dtype"),
        *{type(np.dtype(code)) for code in _NUMBER_CODES},
        *((thing, f"{home}.{name}") for thing, name in paths for home in ("pathlib", "pathlib._local")),
        *((thing, f"builtins.{thing.__name__}") for thing in _PLAIN_TYPES),
        # torch can only fill lists and dicts
        (_plain_dict, "collections.defaultdict"),
        (_plain_list, "collections.deque"),
        *(argparse.Namespace, types.SimpleNamespace),
        *(datetime.datetime, datetime.date, datetime.time, datetime.timedelta),
    ]


def _plain_dict(*_: Any) -> dict[Any, Any]:
    return {}


def _plain_list(items: Any = (), *_: Any) -> list[Any]:
    return list(items)


def _needed_globals(path: Path, error: Exception, zipped: bool) -> list[str]:
    """Return the Python objects that the file names and that were refused."""
    names = set(re.findall(r"GLOBAL (\S+) (?:was not|whose)", str(error)))
    if zipped:
        try:
            with torch.serialization.safe_globals(harmless_globals()):
                names |= set(torch.serialization.get_unsafe_globals_in_checkpoint(path))
        except Exception:  # a pickle of another protocol cannot be listed; the names in the error remain
            pass
    return sorted(names)


def _refusal(path: Path, needed: list[str], error: Exception) -> str:
    shown = ", ".join(needed[:5]) + (", ..." if len(needed) > 5 else "")
    if any(name.startswith("torch.nn.modules.") for name in needed):
        own = [name for name in needed if not name.startswith("torch.")]
        what = f"is a whole pickled model ({own[0] if own else needed[0]}), not only its weights"
    elif needed:
        what = f"holds Python objects in addition to the weights ({shown})"
    else:
        what = f"is pickled in a way that cannot be read safely ({_reason(error)})"
    return (
        f"{path} {what}; reading it can run any code in the file, so it is refused.\n"
        "If you trust the source of the file, pass --unsafe-load (in Python: unsafe=True). It is safer if the author "
        "saves only model.state_dict(), and you pass the network with --model or --task."
    )


def _unsafe_failure(path: Path, error: Exception) -> str:
    if isinstance(error, AttributeError | ImportError):
        return (
            f"{path} is pickled Python, and its code is not here: {_reason(error)}.\n"
            "Run landscape in the folder from which the files of the model can be imported, or put them into the "
            "folder of the checkpoint."
        )
    return f"{path} cannot be unpickled: {type(error).__name__}: {_reason(error)}"


def _reason(error: Exception) -> str:
    if isinstance(error, EOFError | IndexError | pickle.UnpicklingError) and not str(error).strip():
        return "it ends too early"
    tail = re.search(r"WeightsUnpickler error: *\n*(.+)", str(error))  # torch puts its own advice first
    return (tail.group(1) if tail else first_line(error)).strip().rstrip(".")[:200]
