"""Files that are complete under their name or not there at all."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from landscape.store.interrupts import uninterrupted

_DEEPEST = 200  #: parts of a path


def write_atomically(
    target: str | os.PathLike[str], content: bytes | Callable[[BinaryIO], object], *, only_writer: bool = False
) -> None:
    """Write a hidden file beside ``target``, sync it to the disk and rename it over ``target``.

    So ``target`` holds the old bytes or the new ones, whatever kills the process in between. An error leaves the old
    file as it was. The new file keeps the permissions of the old one; a symbolic link is followed. Ctrl-C waits until
    the file is written.

    Args:
        target: the file.
        content: its bytes, or a function that writes them to the open file that it gets.
        only_writer: the caller holds a lock on ``target``. Then the hidden file has a fixed name, and one that a killed
            writer left behind is removed. Otherwise its name has the process number, so that two writers do not meet.

    Raises:
        OSError: the folder is missing or cannot be written, or the disk is full.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_atomically(f"{folder}/note.txt", b"all of it")
    ...     Path(folder, "note.txt").read_text(), os.listdir(folder)
    ('all of it', ['note.txt'])
    """
    path = Path(os.path.realpath(target))
    part = path.with_name(f".{path.name}.part" if only_writer else f".{path.name}.{os.getpid()}.part")
    with uninterrupted():
        try:
            part.unlink(missing_ok=True)
            with open(part, "xb") as file:
                if os.path.exists(path):
                    os.fchmod(file.fileno(), stat.S_IMODE(path.stat().st_mode))
                if callable(content):
                    content(file)
                else:
                    file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except BaseException:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, unless they are there.

    Raises:
        OSError: if one cannot be made, or the path has more than 200 parts (``Path.mkdir`` calls itself for each).
    """
    if len(folder.parts) > _DEEPEST:
        raise OSError(errno.ENAMETOOLONG, f"a path of {len(folder.parts):,} folders", str(folder))
    folder.mkdir(parents=True, exist_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a new name in a folder survive a power cut.

    Some network disks refuse to sync a folder. A power cut there may bring back the old file, which is complete too.
    """
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
