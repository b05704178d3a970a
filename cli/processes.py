"""Processes that work for a command: they leave Ctrl-C to it, share the cores, and end when it ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch

SPAWN = multiprocessing.get_context("spawn")  #: a fork would copy torch's threads half


@contextmanager
def processes(jobs: int, prepare: Callable[..., None] | None = None, *args: Any) -> Iterator[ProcessPoolExecutor]:
    """Give a pool of ``jobs`` processes; an exception, Ctrl-C among them, ends them at once.

    Only hand them work that may end at any moment: files must be written whole or not at all.

    Args:
        jobs: how many.
        prepare: called with ``args`` in each process before its first task.
        args: of ``prepare``.
    """
    threads = max(1, (os.cpu_count() or 1) // jobs)
    with ProcessPoolExecutor(jobs, SPAWN, _start, (threads, prepare, args)) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def _start(threads: int, prepare: Callable[..., None] | None, args: tuple[Any, ...]) -> None:
    """Prepare a process of the pool."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the command, which ends its processes
    torch.set_num_threads(threads)
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)  # the command was killed: what it wrote is left to the next one

    threading.Thread(target=end_with_parent, daemon=True).start()
    if prepare is not None:
        prepare(*args)
