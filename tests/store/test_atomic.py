"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import BinaryIO

import pytest

from landscape.store.atomic import make_folder, write_atomically


@pytest.mark.parametrize("only_writer", [False, True])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path, only_writer: bool) -> None:
    def half(file: BinaryIO) -> None:
        file.write(b"ne")
        raise ValueError("no more")

    target = tmp_path / "note.txt"
    write_atomically(target, b"old", only_writer=only_writer)
    with pytest.raises(ValueError, match="no more"):
        write_atomically(target, half, only_writer=only_writer)
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["note.txt"]


def test_the_old_bytes_are_there_until_the_new_ones_are_complete(tmp_path: Path) -> None:
    target, seen = tmp_path / "note.txt", []

    def write(file: BinaryIO) -> None:
        file.write(b"new")
        seen.append(target.read_bytes())

    write_atomically(target, b"old")
    write_atomically(target, write)
    assert seen == [b"old"]
    assert target.read_bytes() == b"new"


def test_permissions_stay_and_links_are_followed(tmp_path: Path) -> None:
    target, link = tmp_path / "note.txt", tmp_path / "link.txt"
    write_atomically(target, b"old")
    target.chmod(0o640)
    link.symlink_to(target)
    write_atomically(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert target.stat().st_mode & 0o777 == 0o640


def test_what_a_killed_writer_left_is_removed_by_the_only_writer(tmp_path: Path) -> None:
    (tmp_path / ".note.txt.part").write_bytes(b"half")
    write_atomically(tmp_path / "note.txt", b"new", only_writer=True)
    assert os.listdir(tmp_path) == ["note.txt"]


def test_ctrl_c_waits_until_the_file_is_there(tmp_path: Path) -> None:
    def write(file: BinaryIO) -> None:
        signal.raise_signal(signal.SIGINT)
        file.write(b"new")

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "note.txt", write)
    assert (tmp_path / "note.txt").read_bytes() == b"new"


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "missing" / "note.txt", b"new")


def test_folders_are_made_and_endless_paths_refused(tmp_path: Path) -> None:
    make_folder(tmp_path / "a/b")
    make_folder(tmp_path / "a/b")
    assert (tmp_path / "a/b").is_dir()
    with pytest.raises(OSError, match="a path of 1,5"):
        make_folder(tmp_path / ("c/" * 1500))
    assert not (tmp_path / "c").exists()
