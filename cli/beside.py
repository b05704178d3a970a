"""``--processes N``: more processes of the same command on this machine, which share its measurements."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click

from landscape import distributed

_BESIDE = "LANDSCAPE_BESIDE"  # set in the environment of the processes that are started here
_POLL, _PATIENCE = 0.2, 5.0  # seconds between looks, and for a process to end by itself


@contextmanager
def beside(processes: int | None, words: Sequence[str]) -> Iterator[None]:
    """Run the block as the first of several processes, each of which runs the same command.

    They share the cores. Ctrl-C reaches the first one alone, and the others end with it.

    Args:
        processes: how many in all; None or 1 for no others.
        words: what was typed after ``landscape``.

    Raises:
        UsageError: under ``torchrun``, which has started processes already.
    """
    if os.environ.get(_BESIDE):
        threading.Thread(target=_end_with_the_first, daemon=True).start()
        yield
        return
    if not processes or processes == 1:
        yield
        return
    if (launched := distributed.launched()) > 1:
        raise click.UsageError(
            f"--processes {processes} starts processes, but torchrun has started {launched} already. Leave out one of "
            "the two."
        )
    threads = max(1, (os.cpu_count() or 1) // processes)
    first, *rest = told_of_each_other(processes)
    others = [_start(words, {**told, "OMP_NUM_THREADS": str(threads)}) for told in rest]
    os.environ.update(first)
    import torch  # for speed alone: most commands end before they need it

    torch.set_num_threads(threads)
    joined = threading.Event()
    threading.Thread(target=_watch, args=(others, joined), daemon=True).start()
    try:
        with distributed.spread():
            joined.set()
            yield
    finally:
        joined.set()
        _end(others)


def told_of_each_other(count: int) -> list[dict[str, str]]:
    """Return environment variables for each process on this machine that tell it of the others, as torchrun does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [{**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]


def _start(words: Sequence[str], told: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "landscape", *words],
        env={**os.environ, **told, _BESIDE: "1"},
        stdin=subprocess.PIPE,  # closes when this process ends, however it ends
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _end_with_the_first() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


def _watch(others: Sequence[subprocess.Popen[bytes]], joined: threading.Event) -> None:
    """End this process if another one ends before all have joined; it would wait for half an hour."""
    while not joined.wait(_POLL):
        for number, other in enumerate(others, start=2):
            if other.poll() is not None:
                click.echo(
                    f"Error: process {number} of {len(others) + 1} ended before it could measure anything (code "
                    f"{other.returncode}). Leave out --processes to see why.",
                    err=True,
                )
                os._exit(click.UsageError.exit_code)


def _end(others: Sequence[subprocess.Popen[bytes]]) -> None:
    for other in others:
        assert other.stdin is not None
        other.stdin.close()
    for other in others:
        try:
            other.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            other.kill()
            other.wait()
