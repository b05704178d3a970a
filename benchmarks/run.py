"""Measure everything that docs/benchmarks.md claims, in one run, and write the page.

python -m benchmarks.run        (or: make bench)
"""

from __future__ import annotations

import platform
import time
from pathlib import Path

import torch

from benchmarks import curvature, curvature_limits, engine, radii, slices

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
KNOWN_BODIES = "## Annealed volumes of known bodies"  #: begins the sections of the page that other commands write


def machine() -> str:
    """Return one line on the machine and the versions."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        name = models[0] if models else name
    return f"{name}, {torch.get_num_threads()} threads, Python {platform.python_version()}, torch {torch.__version__}"


def write(body: list[str], seconds: float) -> None:
    """Write the page with the sections made so far, and keep those of other commands, which are its last."""
    _, begin, kept = (PAGE.read_text() if PAGE.exists() else "").partition(KNOWN_BODIES)
    head = [
        "# Benchmarks",
        "",
        f"Made by `make bench` on {time.strftime('%Y-%m-%d')}: {machine()}; seed 0; {seconds / 60:.0f} minutes. "
        "Ratios are medians of paired runs, taken in turn.",
        "",
    ]
    PAGE.write_text("\n".join([*head, *body]).rstrip() + "\n" + (f"\n{begin}{kept}" if begin else ""))


def main() -> None:
    """Measure, part by part."""
    started = time.perf_counter()
    torch.manual_seed(0)
    body: list[str] = []
    parts = (
        engine.small_net,
        engine.resnet,
        engine.memory,
        radii.section,
        slices.section,
        curvature.products,
        curvature_limits.limits,
        curvature.eigenpairs,
        curvature.scaling,
    )
    for part in parts:
        body += part()
        print(f"{part.__module__}.{part.__name__}: {time.perf_counter() - started:.0f} s", flush=True)
        write(body, time.perf_counter() - started)  # after each part: an hour's numbers survive a late failure
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
