"""Processes that are told of each other as torchrun tells them, for tests of ranks."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from helpers.ranks import forked
from landscape_cli.beside import told_of_each_other

PATIENCE = 100.0  #: seconds that a run may take in all
FORKS = multiprocessing.get_context("forkserver")
SLOW = [
    "torch.distributed.run",
    "torch._decomp.decompositions_for_jvp",
    "torch._dynamo",
    "torch.fx.experimental.symbolic_shapes",
    "landscape.slices",
    "landscape.volume",
    "landscape_cli.estimators",
    "helpers.sharded",
]
FORKS.set_forkserver_preload(SLOW)


@dataclass(frozen=True)
class Done:
    """How a process ended, and what it said."""

    returncode: int | None
    stdout: str
    stderr: str


def together(
    count: int,
    words: list[str],
    cwd: Path,
    then: Callable[[list[int]], None] = lambda pids: None,
    wait: float = PATIENCE,
) -> list[Done]:
    """Do one thing in ``count`` processes, told of each other as torchrun tells them.

    They are forks of a process that has imported everything: most of the time of a fresh one goes into that.

    Args:
        count: processes.
        words: for ``helpers.ranks.work``.
        cwd: their folder.
        then: called with their process ids once they run.
        wait: seconds until those that have not ended are killed; their code is then that of SIGKILL.
    """
    output = [cwd / f"rank-{rank}" for rank in range(count)]
    running = [
        FORKS.Process(target=forked, args=(words, told, cwd, into))
        for told, into in zip(told_of_each_other(count), output, strict=True)
    ]
    for process in running:
        process.start()
    try:
        then([process.pid or 0 for process in running])
        deadline = time.monotonic() + wait
        for process in running:
            process.join(max(0.0, deadline - time.monotonic()))
    finally:
        for process in running:
            process.kill()
            process.join()
    texts = [tuple(into.with_suffix(ending).read_text() for ending in (".out", ".err")) for into in output]
    return [Done(process.exitcode, *text) for process, text in zip(running, texts, strict=True)]
