"""Where the parts of a task are named, and whose code may run: what the caller passed, or a ``landscape.toml``.

Code that the caller names may run: the user typed it. So may code that a ``landscape.toml`` of the user's own
names: one in the working folder or below it, or in a parent folder within the same repository. A settings file anywhere
else may have come with a download. Code that it names needs consent. Its data files, names of losses and registered
models need none, since they run no code from the folder.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from landscape.errors import TaskError

SETTINGS_FILE = "landscape.toml"
_SETTINGS: dict[str, type] = {"task": str, "model": str, "model_args": dict, "data": str, "loss": str, "output": str}


@dataclass(frozen=True)
class Settings:
    """One source of the parts of a task.

    Attributes:
        values: what it names, by key.
        folder: relative paths start here.
        source: "" for what the caller passed, else the toml file.
        trusted: whether code that it names may run.
    """

    values: Mapping[str, Any]
    folder: Path
    source: str = ""
    trusted: bool = True

    def label(self, key: str) -> str:
        """Return what to call a key in an error."""
        return f"{self.source}: {key}" if self.source else f"`{key}=...`"

    def require_consent(self, key: str, code: str, function: str) -> None:
        """Refuse to run code that a settings file of somebody else names.

        Args:
            key: what the code is for.
            code: the Python file or module.
            function: its function.

        Raises:
            TaskError: unless the settings are trusted.
        """
        if self.trusted:
            return
        file = os.path.realpath(self.folder / code) if code.endswith(".py") else code
        settings = os.path.realpath(self.source)
        raise TaskError(
            f"{settings} lies outside the working folder and names code for its {key}: {function}() in {file}. It may "
            "have come with a download, so nothing in it was run.\n"
            f"Read {file}. If you trust it, pass `trust_code=True`. Otherwise name the network and the data yourself: "
            "`task='my_task.py'`, or `model='my_net.py:make_net'` and `data='data.npz'`."
        )


def read_settings(checkpoint: Path, *, trust_code: bool) -> Settings | None:
    """Return the settings in the folder of the checkpoint, or else in the working folder; None if there are none.

    Raises:
        TaskError: if the file is damaged, or has an unknown key or a value of another type.
    """
    folders = [checkpoint] if checkpoint.is_dir() else []
    folders += [checkpoint.absolute().parent, Path.cwd()]
    path = next((folder / SETTINGS_FILE for folder in folders if (folder / SETTINGS_FILE).is_file()), None)
    if path is None:
        return None
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise TaskError(f"{path} cannot be read as TOML: {error}") from None
    for key, value in values.items():
        if key not in _SETTINGS:
            near = difflib.get_close_matches(key, _SETTINGS, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise TaskError(f"{path} has the unknown key {key!r}.{hint} Known are {', '.join(_SETTINGS)}.")
        if not isinstance(value, _SETTINGS[key]):
            wanted = "a table" if _SETTINGS[key] is dict else "a string"
            raise TaskError(f"{path}: {key} must be {wanted}, not {value!r}.")
    if "task" in values and ("model" in values or "model_args" in values):
        raise TaskError(f"{path} has both task and model; a task brings its own model. Keep one of them.")
    return Settings(values, path.parent, str(path), trusted=trust_code or is_own(path))


def is_own(path: Path) -> bool:
    """Whether a file lies in the working folder, below it, or in a parent of it within the same repository.

    Symbolic links are followed first: a link in the working folder to a file elsewhere is not the user's own.
    """
    real, here = Path(os.path.realpath(path)), Path(os.path.realpath(Path.cwd()))
    if real.is_relative_to(here):
        return True
    root = next((folder for folder in (here, *here.parents) if (folder / ".git").exists()), here)
    return real.parent in here.parents and real.parent.is_relative_to(root)
