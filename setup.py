"""The part of the package's description that pyproject.toml cannot hold: all else is there.

PyPI shows README.md on a page of its own, where links into the repository lead nowhere. So these links become their
words, and the picture is left out, with the paragraph about it.
"""

import re
from pathlib import Path

from setuptools import setup

readme = (Path(__file__).parent / "README.md").read_text("utf-8")
readme = re.sub(r"^!\[[^\]]*\]\((?!https?:)[^)]*\)\n\n.*?\n\n", "", readme, flags=re.MULTILINE | re.DOTALL)
readme = re.sub(r"\[([^\]]*)\]\((?!https?:)[^)]*\)", r"\1", readme)
readme = re.sub(r"^<!--.*-->\n", "", readme, flags=re.MULTILINE)

setup(long_description=readme, long_description_content_type="text/markdown")
