"""The arrows of the design: which file may import which, and what an import may cost."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# file or folder of the library -> what it may import from the library; a folder may import itself
ARROWS = {
    "errors": set(),
    "interrupts": set(),
    "results": {"errors"},
    "params": {"errors"},
    "batches": {"errors"},
    "losses": {"batches", "errors"},
    "allocator": set(),
    "program": {"allocator", "params", "batches", "losses", "errors"},
    "lanes": {"program", "errors"},
    "passes": {"program"},
    "ranks": {"errors"},
    "objective": {"params", "batches", "losses", "program", "passes", "ranks", "lanes", "errors"},
    "metric": {"params", "errors"},
    "directions": {"metric", "params", "errors"},
    "axes": {"objective", "directions", "metric", "curvature", "params", "results", "errors"},
    "batchnorm": {"program", "errors"},
    "probe": {"objective", "program", "curvature", "batches", "batchnorm", "losses", "errors"},
    "grid": {"objective", "axes", "batchnorm", "probe", "results", "errors"},
    "slices": {"objective", "axes", "grid", "results", "errors"},
    "slice_plots": {"plots", "results", "errors"},
    "curvature_plots": {"slice_plots", "plots", "results", "errors"},
    "page": {"slice_plots", "results", "errors"},
    "export": {"page", "slice_plots", "results", "errors"},
    "crossing": {"results"},
    "radius": {"ranks", "objective", "directions", "metric", "crossing", "results", "errors"},
    "curvature": {"objective", "program", "metric", "directions", "losses", "params", "results", "errors"},
    "volume": {
        "batches",
        "curvature",
        "radius",
        "crossing",
        "directions",
        "metric",
        "objective",
        "program",
        "passes",
        "ranks",
        "results",
        "errors",
    },
    "checkpoint": {"errors"},
    "usercode": {"checkpoint", "errors"},
    "datafile": {"checkpoint", "errors"},
    "task": {"checkpoint", "datafile", "usercode", "errors"},
    "recipes": {"task", "datafile", "usercode", "interrupts", "errors"},
    "lock": {"errors"},
    "store": {"results", "lock", "interrupts", "errors"},
    "plots": {"results", "volume", "errors"},
    "volume_plots": {"plots", "results", "errors"},
    "reproduce": {
        "recipes",
        "axes",
        "grid",
        "objective",
        "slices",
        "radius",
        "volume",
        "curvature",
        "store",
        "results",
        "plots",
        "slice_plots",
        "errors",
    },
}


def imports(path: Path) -> set[str]:
    """The library's own files that this one imports, wherever in it the import stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module] if node.module != "landscape" else [f"landscape.{a.name}" for a in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("landscape.")}
    return found


FILES = sorted(
    path for path in (ROOT / "landscape").rglob("*.py") if path.parent.name != "landscape" or path.stem != "__init__"
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_flow_one_way(path: Path) -> None:
    home = path.relative_to(ROOT / "landscape").parts[0].removesuffix(".py")
    assert home in ARROWS, f"{path.name} is new: say in ARROWS what it may import"
    wrong = imports(path) - ARROWS[home] - {home} - {"__version__"}
    assert not wrong, f"{path.relative_to(ROOT)} must not import {sorted(wrong)}"


def test_the_arrows_have_no_cycle() -> None:
    arrows = {home: set(allowed) for home, allowed in ARROWS.items()}
    while arrows:
        ready = {home for home, allowed in arrows.items() if not allowed & arrows.keys()}
        assert ready, f"a cycle among {sorted(arrows)}"
        arrows = {home: allowed - ready for home, allowed in arrows.items() if home not in ready}


def test_the_library_does_not_import_the_command_line() -> None:
    assert not [path for path in FILES if "landscape_cli" in path.read_text()]


def test_nothing_heavy_is_imported_before_it_is_used() -> None:
    """``import landscape`` loads neither torch nor scipy, h5py or matplotlib."""
    heavy = ("torch", "numpy", "scipy", "h5py", "matplotlib")
    code = f"import sys, landscape; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_files_and_functions_stay_short() -> None:
    """A file is read in one go: at most 400 lines; a function at most 60."""
    long = []
    for folder in ("landscape", "cli", "benchmarks", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            source = path.read_text()
            if (lines := source.count("\n")) > 400:
                long.append(f"{path.relative_to(ROOT)}: {lines} lines")
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.FunctionDef) and node.end_lineno:
                    first = node.body[0]
                    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
                    docstring = (first.end_lineno or 0) - node.lineno if documented else 0
                    if (size := node.end_lineno - node.lineno - docstring) > 60:
                        long.append(f"{path.relative_to(ROOT)}:{node.name}: {size} lines")
    assert not long
