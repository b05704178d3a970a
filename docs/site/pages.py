"""Hooks of mkdocs: pages that come from elsewhere, and code blocks as the tests of the guides mark them."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
#: pages of the site that stand at the top of the repository
FROM_THE_TOP = {
    "index.md": "README.md",
    "contributing.md": "CONTRIBUTING.md",
    "security.md": "SECURITY.md",
    "changelog.md": "CHANGELOG.md",
}
PUBLIC = ROOT / "landscape" / "__init__.pyi"
_OTHER_NAMES = "<!-- other public names -->"  #: where the reference of Python describes what it does not list itself
_FENCE = re.compile(r"^(\s*```\w+) [\w-]+$", re.MULTILINE)  # ```console skip, ```py bowl


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from the top of the repository."""
    for name, source in FROM_THE_TOP.items():
        text = (ROOT / source).read_text("utf-8")
        for page, original in FROM_THE_TOP.items():
            text = text.replace(f"]({original}", f"]({page}")
        files.append(File.generated(config, name, content=text.replace("](docs/", "](")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Take off the word after a fence's language: it is for the tests. List public names that a page leaves out."""
    if _OTHER_NAMES in markdown:
        markdown = markdown.replace(_OTHER_NAMES, "\n".join(other_names(markdown)))
    return _FENCE.sub(r"\1", markdown)


def other_names(markdown: str) -> list[str]:
    """Return a directive for each public name that the page does not describe; results have a section of their own."""
    public = re.findall(r"^from \.(\w*) import \w+ as (\w+)$", PUBLIC.read_text("utf-8"), re.MULTILINE)
    described = set(re.findall(r"^::: landscape\.(\w+)$", markdown, re.MULTILINE))
    names = [name for module, name in public if module not in ("results", "_version") and name not in described]
    return [f"::: landscape.{name}" for name in names]
