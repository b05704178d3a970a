"""Read files of torch.save without running any code in them."""

from __future__ import annotations

import argparse
import datetime
import pathlib
import pickle
import re
import sys
import types
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from landscape.checkpoint.files import damaged_entry, is_zip
from landscape.errors import CheckpointError, first_line, shortened

_PLAIN_TYPES = (list, dict, tuple, int, float, bool, str, frozenset, slice, range)
_UNKNOWN_GLOBAL = r"GLOBAL (\S+) (?:was not|whose)"  # in torch's complaint about a name that it does not know
_SYSTEM_MODULES = (
    "os", "posix", "nt", "sys", "subprocess", "_posixsubprocess", "shutil", "runpy", "importlib", "socket", "ctypes",
    "pty", "code", "pickle", "webbrowser", "multiprocessing", "asyncio", "pip", "pdb", "timeit", "cProfile",
)  # fmt: skip
_PLAIN_BUILTINS = ("object", "set", "complex", "bytearray", "bytes", "getattr", "type", "property")
_NUMBER_CODES = "?bBhHiIlLqQefdgFDGSU"  # every numpy dtype except objects, records and times


@dataclass(frozen=True)
class Loaded:
    """What a file of torch.save holds.

    Attributes:
        content: the object, its tensors on the CPU.
        skipped: names of the Python objects that were not made; inert stand-ins lie in their places.
        refusal: what to say if the weights are not among the rest.
    """

    content: Any
    skipped: tuple[str, ...] = ()
    refusal: str = ""


def load_pickle(path: Path, *, unsafe: bool) -> Loaded:
    """Read a file written by torch.save.

    Objects of unknown classes are not made, and none of their code runs: the weights beside them can be read all the
    same. A file that names functions of the system (exec, os.system, ...) is refused as a whole.

    Raises:
        CheckpointError: for a damaged file, and, unless ``unsafe``, for one that cannot be read as plain data.
    """
    if not is_zip(path):
        return _loaded(path, unsafe, zipped=False)
    with ThreadPoolExecutor(1) as pool:
        damage = pool.submit(damaged_entry, path)

        def check() -> None:
            if entry := damage.result():
                raise CheckpointError(
                    f"{path} is damaged: the bytes of its entry {entry} do not match their checksum. Copy or download "
                    "it again."
                ) from None

        if unsafe:  # no code of a damaged file runs
            check()
        try:
            return _loaded(path, unsafe, zipped=True)  # torch copies the bytes while a thread looks at them
        finally:
            check()  # whatever failed, damage is the reason


def _loaded(path: Path, unsafe: bool, *, zipped: bool) -> Loaded:
    """Return what a file holds, whether or not its bytes match their checksums."""
    skipped = dict[str, type]()
    try:
        if unsafe:
            with _importable(Path.cwd(), path.resolve().parent):
                return Loaded(torch.load(path, map_location="cpu", weights_only=False))
        return _load_plain(path, skipped, zipped)
    except Exception as error:  # unpickling raises nearly anything
        if unsafe:
            raise CheckpointError(_unsafe_failure(path, error)) from error
        needed = sorted({*skipped, *re.findall(_UNKNOWN_GLOBAL, str(error))})
        if needed or zipped:
            raise CheckpointError(_refusal(path, needed, error)) from error
        raise CheckpointError(
            f"{path} is damaged or cut short ({_reason(error)}). Copy or download it again."
        ) from error


def _load_plain(path: Path, skipped: dict[str, type], zipped: bool) -> Loaded:
    """Read a file as plain data; ``skipped`` is filled with a stand-in for each Python object in it."""
    skipped.update({name: stand_in(name) for name in (_listed_globals(path) if zipped else ())})
    while not any(_is_of_the_system(name) for name in skipped):
        stand_ins = [(kind, name) for name, kind in skipped.items()]
        try:
            with torch.serialization.safe_globals([*harmless_globals(), *stand_ins]):
                content = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            if not _add_stand_in(skipped, str(error)):
                raise
        else:
            refusal = _refusal(path, sorted(skipped), None) if skipped else ""
            return Loaded(content, tuple(skipped), refusal)
    raise pickle.UnpicklingError("functions of the system")


def _add_stand_in(skipped: dict[str, type], complaint: str) -> bool:
    """Add or change the stand-in that torch complains about; False if it complains about something else."""
    if unknown := re.search(_UNKNOWN_GLOBAL, complaint):
        name = unknown.group(1) if "." in unknown.group(1) else f"builtins.{unknown.group(1)}"
        new = name not in skipped
        skipped.setdefault(name, stand_in(name))
        return new
    filled = re.search(r"Can only (setitem|append|extend).* but got <class '([\w.]+)'>", complaint, re.IGNORECASE)
    if filled is None or filled.group(2) not in skipped:
        return False
    skipped[filled.group(2)] = _StandInDict if filled.group(1).lower() == "setitem" else _StandInList
    return True


class StandIn:
    """In the place of an object of an unknown class: holds nothing, does nothing."""

    def __new__(cls, *_: Any, **__: Any) -> StandIn:
        return object.__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        """Complain in the words of later torch: torch 2.6 fills any object as a dict."""
        raise pickle.UnpicklingError(f"Can only setitem on a dict, but got {type(self)}")


def stand_in(name: str) -> type[StandIn]:
    """Return a class of stand-ins that has the name of the class that it replaces."""
    module, _, short = name.rpartition(".")
    return type(short, (StandIn,), {"__module__": module, "__qualname__": short})


class _StandInDict:
    """Makes a plain dict in the place of an unknown kind of dict."""

    def __new__(cls, *_: Any) -> Any:
        return OrderedDict()


class _StandInList:
    """Makes a plain list in the place of an unknown kind of list."""

    def __new__(cls, *_: Any) -> Any:
        return []


def _is_of_the_system(name: str) -> bool:
    """Whether a name in a pickle can only be there to run something: no checkpoint holds such an object.

    >>> _is_of_the_system("posix.system"), _is_of_the_system("builtins.exec"), _is_of_the_system("my.Config")
    (True, True, False)
    """
    home, _, short = name.rpartition(".")
    return home.partition(".")[0] in _SYSTEM_MODULES or (home == "builtins" and short not in _PLAIN_BUILTINS)


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


def _listed_globals(path: Path) -> list[str]:
    """Return the Python objects that a zip archive of torch names, apart from those that are allowed."""
    try:
        with torch.serialization.safe_globals(harmless_globals()):
            return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # a pickle of another protocol cannot be listed
        return []


def _refusal(path: Path, needed: list[str], error: Exception | None) -> str:
    shown = ", ".join(needed[:5]) + (", ..." if len(needed) > 5 else "")
    if any(name.startswith("torch.nn.modules.") for name in needed):
        own = [name for name in needed if not name.startswith("torch.")]
        what = f"is a whole pickled model ({own[0] if own else needed[0]}), not only its weights"
    elif needed:
        what = f"holds Python objects in addition to the weights ({shown})"
    else:
        what = f"is pickled in a way that cannot be read safely ({_reason(error) if error else 'unknown'})"
    return (
        f"{path} {what}; reading it can run any code in the file, so it is refused.\n"
        "If you trust the source of the file, pass `unsafe=True`. It is safer if the author "
        "saves only model.state_dict(), and you pass the network with `model=...` or `task=...`."
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
    return shortened((tail.group(1) if tail else first_line(error)).strip().rstrip("."))
