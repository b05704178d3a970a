"""A wheel holds every package, every file that a package reads, and a description that PyPI can show."""

from __future__ import annotations

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
from setuptools import find_packages

from distutils.core import run_setup  # isort: skip  # setuptools brings it

ROOT = Path(__file__).parents[1]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


# an sdist holds the files of cli/ under the name that they are imported by
FOLDERS = {"landscape": ROOT / "landscape", "landscape_cli": ROOT / "cli"}
if not FOLDERS["landscape_cli"].exists():
    FOLDERS["landscape_cli"] = ROOT / "typings" / "landscape_cli"


def package_name(folder: Path) -> str:
    name, top = next((name, top) for name, top in FOLDERS.items() if folder.is_relative_to(top))
    return ".".join([name, *folder.relative_to(top).parts])


def test_every_package_is_found() -> None:
    rules = SETTINGS["packages"]["find"]
    found = {name for where in rules["where"] for name in find_packages(str(ROOT / where), include=rules["include"])}
    folders = [path.parent for top in FOLDERS.values() for path in top.rglob("__init__.py")]
    assert found == {package_name(folder) for folder in folders}
    assert {"landscape.volume.annealing", "landscape_cli.commands"} <= found


def test_every_file_beside_the_code_is_package_data() -> None:
    files = [path for top in FOLDERS.values() for path in top.rglob("*") if path.is_file()]
    data = [path for path in files if path.suffix not in (".py", ".pyc")]
    assert data
    left_out = []
    for path in data:
        package = next(parent for parent in path.parents if (parent / "__init__.py").exists())
        patterns = SETTINGS["package-data"].get(package_name(package), [])
        if not any(fnmatch(str(path.relative_to(package)), pattern) for pattern in patterns):
            left_out.append(str(path.relative_to(ROOT)))
    assert not left_out


def test_pypi_gets_a_description_without_links_into_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    metadata = run_setup("setup.py", stop_after="init").metadata
    assert metadata.long_description_content_type == "text/markdown"
    assert "](docs/volume.md)" in (ROOT / "README.md").read_text()
    assert re.findall(r"\]\((?!https?:)", metadata.long_description) == []
    assert "getting started, how to read a volume, commands" in metadata.long_description
    assert "$ landscape volume" in metadata.long_description
    assert "Both nets above" in (ROOT / "README.md").read_text()  # the paragraph about the picture
    assert "Both nets above" not in metadata.long_description
