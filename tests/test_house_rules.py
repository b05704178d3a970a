"""What an import may cost, how long files and functions may be, and where each job is done.

`lint-imports` checks who may import whom.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_nothing_heavy_is_imported_before_it_is_used() -> None:
    """``import landscape`` loads neither torch nor scipy, h5py or matplotlib; nor do its callbacks load a trainer."""
    heavy = ("torch", "numpy", "scipy", "h5py", "matplotlib", "lightning", "pytorch_lightning", "transformers")
    code = f"import sys, landscape, landscape.integrations; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_slow_parts_of_scipy_are_loaded_when_they_are_used() -> None:
    """``import scipy`` leaves them until then; the first takes a fifth of a second, and most commands need neither."""
    slow = re.compile(r"(from|import) scipy\.(optimize|stats)\b|from scipy import .*\b(optimize|stats)\b")
    paths = [path for folder in ("landscape", "cli") for path in (ROOT / folder).rglob("*.py")]
    assert [path.name for path in paths if slow.search(path.read_text("utf-8"))] == []


def test_files_and_functions_stay_short() -> None:
    """A file is read in one go: at most 400 lines; a function at most 60."""
    long = []
    for folder in ("landscape", "cli", "benchmarks", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            source = path.read_text()
            if (lines := source.count("\n")) > 400:
                long.append(f"{path.relative_to(ROOT)}: {lines} lines")
            for node in _functions(_tree(path)):
                first = node.body[0]
                documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
                docstring = (first.end_lineno or 0) - node.lineno if documented else 0
                if (size := (node.end_lineno or 0) - node.lineno - docstring) > 60:
                    long.append(f"{path.relative_to(ROOT)}:{node.name}: {size} lines")
    assert not long


@pytest.mark.parametrize(
    ("code", "places"),
    [
        (r"Philox\(|default_rng\(", {"landscape/rays/streams.py"}),
        (r"os\.(replace|rename)\(|\.write_(text|bytes)\(", {"landscape/store/atomic.py", "landscape/distributed.py"}),
        (
            r"sha256\(",
            {
                "landscape/objective/digest.py",
                "landscape/objective/reading.py",
                "landscape/inputs/user_code.py",
                "landscape/pages/environment.py",  # of a script, for the browser
                "landscape/store/groups.py",
            },
        ),
        (r"stored \{.*asked", {"landscape/results/resume.py"}),
        (r"class Progress\b", {"landscape/results/progress.py"}),
        (r":\.\d%\}", set()),
    ],
    ids=["random numbers", "files", "hashes", "same settings", "progress", "shares in per cent"],
)
def test_each_job_is_done_in_one_place(code: str, places: set[str]) -> None:
    """CONTRIBUTING.md names the helper for each. A second one beside it would soon behave in another way."""
    found = set()
    for folder in ("landscape", "cli"):
        for path in (ROOT / folder).rglob("*.py"):
            lines = [line for line in path.read_text("utf-8").splitlines() if ">>>" not in line]
            if re.search(code, "\n".join(lines)):
                found.add(path.relative_to(ROOT).as_posix())
    assert found == places


def test_messages_of_the_library_name_keywords() -> None:
    """The command line turns keywords into flags. A flag may stand only in a whole command, such as ``pip install``."""
    wrong = []
    for path in (ROOT / "landscape").rglob("*.py"):
        if path.parent.name in ("reproduce", "reports"):  # they print the commands that made a figure or a file
            continue
        for line, text in _texts(_tree(path)):
            for flag in re.finditer(r"(?<![\w-])--[a-z][a-z-]*", text):
                if not re.search(r"landscape [a-z]+ |pip install", text[: flag.start()]):
                    wrong.append(f"{path.relative_to(ROOT)}:{line}: {flag[0]}")
    assert not wrong


@cache
def _tree(path: Path) -> ast.Module:
    """Return what stands in a file of Python."""
    return ast.parse(path.read_text())


def _functions(node: ast.AST) -> Iterator[ast.FunctionDef]:
    """Yield every function in a file; expressions, which hold none, are not looked through."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):
            if isinstance(child, ast.FunctionDef):
                yield child
            yield from _functions(child)


def _texts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield line and text of each string that is no docstring; the values in an f-string are left out."""
    documented = ast.Module | ast.ClassDef | ast.FunctionDef
    docstrings = {id(node.body[0].value) for node in ast.walk(tree) if isinstance(node, documented)
                  if node.body and isinstance(node.body[0], ast.Expr)}  # fmt: skip
    formatted = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    for node in formatted:
        yield node.lineno, "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))
    left_out = docstrings | {id(part) for node in formatted for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in left_out:
            yield node.lineno, node.value
