"""Ways to damage bytes, texts and folders."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

#: values that a user, a script or a broken download may leave in a file
VALUES = (
    "", " ", "0", "-1", "1", "2", "3.7", "nan", "inf", "-inf", "1e309", "1e-320", "99999999999999999999", "none",
    "all", "weights", "x", "ä€🙂", "a" * 3000, "b/" * 1500 + "c", "/absent/x", ".", "./x",
    "/dev/null", "~nobody/x", "--", "-", "%s",
    "{}", "[]", '{"hidden": 8}', '{"hidden": -1}', '{"a": [1]}', "null", "a:b", "a.py:b", "os:getcwd", "net.py:make",
    "net.py:", ":", "*", "[", "(", "(?P<", "\\", "cuda:99", "float32", "12parsecs", "5min", "0s", "1e9s",
    "100KB", "1KB", "run.h5", "net.pt", "data.npz", "net.py", "missing.pt", "folder", "landscape.toml",
)  # fmt: skip


def damaged(content: bytes, other: bytes, rng: random.Random) -> bytes:
    """Return a file's bytes with one kind of damage; ``other`` is another file, for mixtures of the two."""
    kinds: list[Callable[[bytearray, bytes, random.Random], bytes]] = [
        _flip, _overwrite, _cut, _drop, _repeat, _zero, _insert, _splice, _end,
    ]  # fmt: skip
    return rng.choice(kinds)(bytearray(content or b"\0"), other, rng)


def damage_folder(source: Path, target: Path, rng: random.Random) -> None:
    """Copy a folder and damage, remove, empty or exchange one of its files."""
    shutil.copytree(source, target)
    files = sorted(path for path in target.rglob("*") if path.is_file())
    path = rng.choice(files)
    match rng.randrange(6):
        case 0:
            path.unlink()
        case 1:
            path.write_bytes(b"")
        case 2:
            path.write_bytes(rng.choice(files).read_bytes())
        case _:
            path.write_bytes(damaged(path.read_bytes(), rng.choice(files).read_bytes(), rng))


def damaged_text(text: str, rng: random.Random) -> str:
    """Return a text with a word replaced, or with other damage."""
    words = text.split('"')
    if rng.random() < 0.7 and len(words) > 2:
        words[rng.randrange(len(words))] = rng.choice(VALUES)
        return '"'.join(words)
    return damaged(text.encode(), b"[x]\n", rng).decode("utf-8", "replace")


def _place(content: bytearray, rng: random.Random) -> int:
    """Return a place in a file; tables lie at its ends, so these are hit more often."""
    near = min(len(content), 300)
    return rng.choice((rng.randrange(len(content)), rng.randrange(near), len(content) - 1 - rng.randrange(near)))


def _flip(content: bytearray, _: bytes, rng: random.Random) -> bytes:
    for _bit in range(rng.choice((1, 1, 2, 8, 64))):
        content[_place(content, rng)] ^= 1 << rng.randrange(8)
    return bytes(content)


def _overwrite(content: bytearray, _: bytes, rng: random.Random) -> bytes:
    place = _place(content, rng)
    content[place : place + rng.choice((1, 2, 4, 8, 32))] = rng.randbytes(rng.choice((1, 2, 4, 8, 32)))
    return bytes(content)


def _cut(content: bytearray, _: bytes, rng: random.Random) -> bytes:
    return bytes(content[: _place(content, rng)])


def _end(content: bytearray, _: bytes, rng: random.Random) -> bytes:
    return bytes(content[_place(content, rng) :])


def _drop(content: bytearray, _: bytes, rng: random.Random) -> bytes:
    place = _place(content, rng)
    del content[place : place + rng.randrange(1, 200)]
    return bytes(content)


def _repeat(content: bytearray, _: bytes, rng: random.Random) -> bytes:
    place = _place(content, rng)
    return bytes(content[:place] + content[place : place + 500] + content[place:])


def _zero(content: bytearray, _: bytes, rng: random.Random) -> bytes:
    place, length = _place(content, rng), rng.randrange(1, 600)
    content[place : place + length] = bytes(len(content[place : place + length]))
    return bytes(content)


def _insert(content: bytearray, _: bytes, rng: random.Random) -> bytes:
    place = _place(content, rng)
    return bytes(content[:place] + rng.randbytes(rng.randrange(1, 60)) + content[place:])


def _splice(content: bytearray, other: bytes, rng: random.Random) -> bytes:
    return bytes(content[: _place(content, rng)]) + other[rng.randrange(max(len(other), 1)) :]
