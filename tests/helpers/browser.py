"""Chromium without a window: what a page looks like once it is laid out."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no chromium is installed")


class Reader(HTMLParser):
    """Which tags are open at the end, every address that the page names, its identifiers, the cells of its tables."""

    VOID = ("meta", "input", "br", "img")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.identifiers: list[str] = []
        self.cells: list[list[str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th") and self.cells:
            self.cells[-1].append("")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "data")]
        self.identifiers += [value or "" for name, value in attrs if name == "id"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open) and "small" not in self.open:
            self.cells[-1][-1] += data


def ask(page: str, questions: str, folder: Path, *, width: int = 1400, dark: bool = False) -> list[str]:
    """Return the answers to JavaScript expressions once the browser has laid out the page.

    The page's own policy allows no script but its own, so the questions are put into a copy without that policy.

    Args:
        page: the HTML.
        questions: statements that leave the answers in ``document.title``, with ``|`` between them.
        folder: for the page and the browser's profile.
        width: of the window in pixels.
        dark: whether the reader prefers dark pages.
    """
    open_page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    assert open_page != page
    document = dumped(open_page.replace("</body>", f"<script>{questions}</script></body>"), folder, width, dark)
    title = re.search(r"<title>([^<|]*\|[^<]*)</title>", document)
    assert title, document[-2000:]
    return title[1].split("|")


def dumped(page: str, folder: Path, width: int = 1400, dark: bool = False) -> str:
    """Return the document as the browser holds it after its scripts have run."""
    (folder / "page.html").write_text(page)
    command = [
        str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
        f"--window-size={width},900", f"--user-data-dir={folder}/profile",
        *(["--blink-settings=preferredColorScheme=0"] if dark else []),
        "--dump-dom", f"file://{folder}/page.html",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout
