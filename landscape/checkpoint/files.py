"""The kind of a file, told from its first bytes and never from its name."""

from __future__ import annotations

import codecs
import difflib
import os
import re
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from landscape.checkpoint.foreign import foreign_kind, hdf5_kind
from landscape.errors import LandscapeError

_LEGACY_TORCH = bytes.fromhex("8a0a6cfc9c46f9206aa85019")  # the number that torch.save wrote first before torch 1.6
_ZIP = b"PK\x03\x04"
_LONGEST_SHOWN = 1000  # characters of a path
_ADDRESS = re.compile(r"(https?|s3|gs|hf|ftp):/")  # a path has lost one of the strokes
_SHARE = 2**26  # bytes of an archive that are worth a thread
_LARGEST_HEADER = 100_000_000  # bytes; the limit that safetensors itself sets


def sniff(path: Path) -> str:
    """Return the kind of a file.

    One of ``torch`` (written by torch.save), ``torchscript``, ``pt2`` (written by torch.export.save), ``safetensors``,
    or a key of :data:`landscape.checkpoint.foreign.FOREIGN`.
    """
    with path.open("rb") as file:
        head = file.read(1024)
    if not head:
        return "empty"
    if head.startswith(_ZIP):
        return _sniff_zip(path)
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return hdf5_kind(path)
    if kind := foreign_kind(head):
        return kind
    if head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= _LARGEST_HEADER:
        return "safetensors"
    if head[0] == 0x80 and head[1:2] <= b"\x05":
        return "torch" if _LEGACY_TORCH in head[2:24] else "pickle"
    return _sniff_text(head)


def locate(path: str | Path, what: str, error: type[LandscapeError]) -> Path:
    """Return a path that exists, with ``~`` expanded; otherwise raise an error that says which names are near.

    Paths that no system takes, such as names of 3,000 characters, count as paths that do not exist.
    """
    if not isinstance(path, str | os.PathLike):
        raise error(f"the {what} must be a path, not a value of type {type(path).__name__}. Pass its name.")
    found = Path(os.path.expanduser(path))
    if not os.path.exists(found):
        raise error(not_found(found, what))
    return found


def not_found(path: Path, what: str) -> str:
    """Return the message for a path that does not exist, with similar names that do."""
    folder = path.parent
    if _ADDRESS.match(str(path)):
        return f"the {what} {path} is an address, not a file. Download it first, and pass the path of the file."
    if os.path.islink(path):
        return f"the {what} {path} is a link to {os.readlink(path)}, which leads to no file."
    if len(str(path)) > _LONGEST_SHOWN:
        shown, length = f"{str(path)[:40]} ... {path.name[-40:]}", len(str(path))
        return f"the {what} {shown} does not exist: a path of {length:,} characters."
    if not os.path.isdir(folder):
        return f"the {what} {path} does not exist, and neither does the folder {folder}."
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    near = difflib.get_close_matches(path.name, names, n=3, cutoff=0.6)
    near += [name for name in names if Path(name).stem == path.stem and name not in near]
    if near:
        return f"the {what} {path} does not exist. Did you mean {' or '.join(str(folder / name) for name in near)}?"
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return f"the {what} {path} does not exist. The folder {folder} holds {shown or 'nothing'}."


def is_zip(path: Path) -> bool:
    """Whether a file begins as a zip archive does; that is how torch tells its newer format from the older one."""
    with path.open("rb") as file:
        return file.read(4) == _ZIP


def damaged_entry(path: Path) -> str | None:
    """Return what is damaged in a zip archive, as :func:`zip_damage` does; threads share the entries of a large one."""
    shares = min(os.cpu_count() or 1, 1 + path.stat().st_size // _SHARE)

    def look(share: int) -> str | None:
        with path.open("rb") as file:
            return zip_damage(file, share, shares)

    if shares == 1:
        return look(0)
    with ThreadPoolExecutor(shares) as pool:
        return next(filter(None, pool.map(look, range(shares))), None)


def zip_damage(file: IO[bytes], share: int = 0, shares: int = 1) -> str | None:
    """Return the first entry of a zip archive whose bytes do not match their checksum; None if all do.

    torch itself does not check, so a flipped bit would become part of a weight. Entries without a checksum pass: torch
    can be told not to write them. Of several shares, this looks at one.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            for entry in archive.infolist()[share::shares]:
                if entry.CRC != 0 and not _is_whole(archive, entry):
                    return entry.filename
    except Exception:  # a mutilated table of contents raises nearly anything
        return "table of contents"
    return None


def _is_whole(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bool:
    try:
        with archive.open(entry) as file:
            while file.read(1 << 20):
                pass
    except Exception:  # so do mutilated entries: of another version, compressed in an unknown way, encrypted
        return False
    return True


def _sniff_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception:  # BadZipFile, but also UnicodeDecodeError, NotImplementedError, struct.error ...
        return "torn zip"
    inner = {name.partition("/")[2] for name in names}
    if "serialized_exported_program.json" in names or any(n.startswith("models/") for n in inner):
        return "pt2"
    if "constants.pkl" in inner:
        return "torchscript"
    if "data.pkl" in inner:
        return "torch"
    if "model.weights.h5" in names:
        return "keras"
    return "npz" if names and all(name.endswith(".npy") for name in names) else "zip"


def _sniff_text(head: bytes) -> str:
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)  # the head may end within a character
    except UnicodeDecodeError:
        return "unknown"
    if not all(character.isprintable() or character in "\n\r\t\f" for character in text):
        return "unknown"
    if text.startswith("version https://git-lfs"):
        return "git-lfs"
    return "html" if text.lstrip().lower().startswith(("<!doctype html", "<html")) else "text"
