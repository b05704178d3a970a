"""The docs build as a site: links and anchors lead somewhere, tutorials run, and a reader needs no network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TUTORIALS = sorted(path.stem for path in (ROOT / "docs" / "tutorials").glob("*.py"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the site, built with warnings as errors."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def text_of(page: Path) -> str:
    return unescape(re.sub(r"<[^>]+>", "", page.read_text("utf-8")))


def test_a_reader_needs_no_network(site: Path) -> None:
    code, style = (
        r"""<(?:script|img|iframe)[^>]+src="?https?:""",
        r"""<link[^>]+(?:stylesheet|preconnect)[^>]+https?:""",
    )
    loaded = re.compile(rf"{code}|{style}|@import url\(http")
    pages = [page for form in ("*.html", "*.css") for page in site.rglob(form)]
    assert len(pages) > 20
    assert [page.name for page in pages if loaded.search(page.read_text("utf-8"))] == []


@pytest.mark.parametrize("name", TUTORIALS)
def test_a_tutorial_shows_what_its_cells_print(site: Path, name: str) -> None:
    page = text_of(site / "tutorials" / f"{name}.html")
    assert "(loss, filter metric, n = " in page  # a sentence to quote
    assert "Traceback" not in page
    notebook = (site / "tutorials" / f"{name}.ipynb").read_text("utf-8")
    assert '"output_type": "stream"' in notebook


def test_the_references_name_every_option_and_every_public_name(site: Path) -> None:
    import landscape
    from landscape_cli.main import cli

    commands = text_of(site / "reference" / "commands.html")
    options = [
        option
        for name in cli.list_commands(None)
        for parameter in cli.get_command(None, name).params
        for option in parameter.opts
        if option.startswith("--") and not getattr(parameter, "hidden", False)
    ]
    assert options
    assert [option for option in options if option not in commands] == []

    page = (site / "reference" / "python.html").read_text("utf-8")
    public = [name for name in landscape.__all__ if not name.startswith("_")]
    assert "log_volume" in public
    assert [
        name for name in public if f'id="landscape.{name}"' not in page and f'id="landscape.results.{name}"' not in page
    ] == []
