"""The page docs/benchmarks.md: where it lies, its line on the machine, and how one benchmark prints its section."""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable, Iterable
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
FIGURES = PAGE.parent / "figures"
KNOWN_BODIES = "## Annealed volumes of known bodies"  #: begins the sections of the page that other commands write


def machine() -> str:
    """Return one line on the machine and the versions."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        name = models[0] if models else name
    return f"{name}, {torch.get_num_threads()} threads, Python {platform.python_version()}, torch {torch.__version__}"


def put_section(heading: str, lines: Iterable[str], page: Path = PAGE) -> None:
    """Put a section in its place on the page, or at its end.

    Args:
        heading: of the section, the text after ``## ``.
        lines: what follows it.
        page: the page.
    """
    text = page.read_text() if page.exists() else "# Benchmarks\n"
    before, _, after = text.partition(f"## {heading}\n")
    _, mark, rest = after.partition("\n## ")
    section = "\n".join([f"## {heading}", "", *lines]).rstrip()
    page.write_text(f"{before.rstrip()}\n\n{section}\n{mark}{rest}")


def command_line(description: str | None) -> argparse.ArgumentParser:
    """Return a parser whose ``--help`` shows the docstring of a benchmark as it is."""
    return argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


def seed_range(text: str) -> range:
    """Return the seeds of an option ``A:B``: A to B - 1."""
    first, _, end = text.partition(":")
    return range(int(first), int(end))


def print_section(description: str | None, section: Callable[[], list[str]]) -> None:
    """Measure and print the section of one benchmark, seed 0; with ``--help`` print its description instead."""
    command_line(description).parse_args()
    torch.manual_seed(0)
    print("\n".join(section()))
