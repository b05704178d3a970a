"""Code that a user names on the command line: find it, run it, and report its errors with file and line."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import inspect
import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from landscape.checkpoint.files import not_found
from landscape.errors import LandscapeError, TaskError

_REFERENCE = re.compile(r"(?P<home>.+\.py|[A-Za-z_]\w*(?:\.\w+)*):(?P<name>[A-Za-z_][\w.]*)")
_LIBRARIES = [sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")]
_LIBRARIES += [str(Path(folder).resolve()) for folder in _LIBRARIES]
_NOT_THE_USERS = (*_LIBRARIES, str(Path(__file__).resolve().parents[1]), "<frozen", "<string>")


def is_reference(text: str) -> bool:
    """Whether ``text`` names an object in code: ``pkg.mod:name`` or ``file.py:name``.

    >>> is_reference("nets.small:make"), is_reference("run/net.py:make"), is_reference("data.npz")
    (True, True, False)
    """
    return _REFERENCE.fullmatch(text) is not None


def load_object(reference: str, what: str, folder: Path | None = None) -> Any:
    """Return the object that ``pkg.mod:name`` or ``file.py:name`` names.

    Args:
        reference: the text.
        what: the option that named it, for errors.
        folder: where relative files and modules are searched first; by default the working folder.

    Raises:
        TaskError: if there is no such file, module or name, or importing it fails.
    """
    parts = _REFERENCE.fullmatch(reference)
    if parts is None:
        raise TaskError(
            f"{what} must name a function as pkg.mod:function or file.py:function, not {reference!r}.\n"
            f"For instance: my_file.py:{'make_model' if 'model' in what else 'make'}"
        )
    folder = folder or Path.cwd()
    home = parts["home"]
    module = (
        load_file(folder / os.path.expanduser(home), what) if home.endswith(".py") else _load_module(home, what, folder)
    )
    thing: Any = module
    for name in parts["name"].split("."):
        if not hasattr(thing, name):
            raise TaskError(f"{what}: {home} has no {parts['name']}. {_names_near(name, thing)}")
        thing = getattr(thing, name)
    return thing


def registered_model(reference: str) -> Any:
    """Return the function that torchvision has registered under ``torchvision.models:name``; None for anything else.

    It builds a network of torchvision's own, whoever names it. torchvision is imported as it is installed: a folder of
    that name beside a settings file is not looked at.
    """
    home, _, name = reference.partition(":")
    if home != "torchvision.models":
        return None
    try:
        models = importlib.import_module(home)
    except (ImportError, RuntimeError):  # the latter comes from a torchvision built for another torch
        return None
    return models.get_model_builder(name) if name in models.list_models(module=models) else None


def load_file(path: Path, what: str) -> ModuleType:
    """Return the module in a Python file; its folder becomes importable, as when Python runs a script."""
    if not os.path.isfile(path):
        raise TaskError(f"{what}: {not_found(path, 'file')}")
    _make_importable(path.resolve().parent)
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]
    name = f"landscape_user_{path.stem}_{digest}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise TaskError(f"{what}: {path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickles inside look the module up
    try:
        with blamed(f"{what}: importing {path}"):
            spec.loader.exec_module(module)
    except TaskError:
        del sys.modules[name]
        raise
    return module


def call(function: Any, arguments: dict[str, Any], what: str) -> Any:
    """Return ``function(**arguments)``.

    Raises:
        TaskError: if the function does not take these arguments, or raises.
    """
    shown = f"{getattr(function, '__name__', function)}({', '.join(f'{k}={v!r}' for k, v in arguments.items())})"
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        signature = None  # a function in C: only a call shows whether the arguments fit
    if signature is not None:
        try:
            signature.bind(**arguments)
        except TypeError as error:
            raise TaskError(
                f"{what}: {shown} does not fit {getattr(function, '__name__', function)}{signature}: {error}."
            ) from error
    with blamed(f"{what}: {shown}"):
        return function(**arguments)


@contextmanager
def blamed(what: str) -> Iterator[None]:
    """Turn what a user's code raises into a TaskError that names the file, the line and the exception."""
    try:
        yield
    except LandscapeError as error:
        raise TaskError(f"{what} failed{_place(error)}: {error}") from error
    except (Exception, SystemExit) as error:
        text = str(error.code) if isinstance(error, SystemExit) else str(error)
        text = (error.msg if isinstance(error, SyntaxError) else text).strip()
        raise TaskError(f"{what} failed{_place(error)}: {type(error).__name__}{': ' if text else ''}{text}") from error


def _place(error: BaseException) -> str:
    """Return the place in the user's code: the deepest line outside Python, its libraries and this package."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" at {error.filename}, line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(_NOT_THE_USERS)]
    if not own:
        return ""
    return f" at {own[-1].filename}, line {own[-1].lineno}, in {own[-1].name}"


def _load_module(name: str, what: str, folder: Path) -> ModuleType:
    _make_importable(folder)
    try:
        exists = importlib.util.find_spec(name) is not None
    except ModuleNotFoundError as error:  # a parent package is missing, or one of its own imports is
        exists = not (error.name and (name == error.name or name.startswith(f"{error.name}.")))
    except Exception:  # a parent package raises while it is imported; importing it again shows where
        exists = True
    if not exists:
        files = sorted(path.stem for path in folder.glob("*.py"))
        near = difflib.get_close_matches(name, files, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise TaskError(
            f"{what}: there is no module {name}, neither installed nor in {folder}.{hint}\n"
            "For a file elsewhere name it: path/to/file.py:function."
        )
    with blamed(f"{what}: importing {name}"):
        return importlib.import_module(name)


def _make_importable(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _names_near(name: str, home: Any) -> str:
    public = [n for n, value in vars(home).items() if not n.startswith("_") and callable(value)]
    near = difflib.get_close_matches(name, public, n=1)
    if near:
        return f"Did you mean {near[0]}?"
    return f"It has {', '.join(public[:10])}." if public else "It has no functions."
