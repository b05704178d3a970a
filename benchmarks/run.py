"""Measure what docs/benchmarks.md claims of speed and memory, in one run, and write the page.

    python -m benchmarks.run        (or: make bench)

The sections on bodies of known volume stay as they are; ``python -m benchmarks.known_bodies_page`` writes them.
"""

from __future__ import annotations

import time

import torch

from benchmarks import curvature, curvature_limits, engine, radii, relative_flatness, slices, worst_case
from benchmarks.page import KNOWN_BODIES, PAGE, command_line, machine


def write(body: list[str], seconds: float) -> None:
    """Write the page with the sections measured so far; keep the last sections, which other commands write."""
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
    command_line(__doc__).parse_args()
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
        worst_case.section,
        relative_flatness.section,
    )
    for part in parts:
        body += part()
        print(f"{part.__module__}.{part.__name__}: {time.perf_counter() - started:.0f} s", flush=True)
        write(body, time.perf_counter() - started)  # after each part: the numbers of an hour survive a late failure
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
