"""Timings in separate processes, so that no contender profits from the warm memory or the settings of another.

A worker imports a module, prepares one contender, and runs it whenever it is asked to.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from benchmarks.timing import Pair


@dataclass
class Run:
    """The runs of one contender.

    Attributes:
        seconds: of each run, in order.
        peak: bytes of resident memory at the peak of all runs, beyond the memory before the first.
        answer: what the last run returned.
    """

    seconds: list[float] = field(default_factory=list)
    peak: int = 0
    answer: Any = None


class Worker:
    """A process that holds one contender: ``module.prepare(task, name)`` returns what is called at each run."""

    def __init__(self, module: str, task: str, name: str) -> None:
        command = [sys.executable, "-m", "benchmarks.workers", module, task, name]
        self.run = Run()
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._reply()

    def once(self, *, warmup: bool = False) -> None:
        """Run the contender once."""
        assert self._process.stdin is not None
        self._process.stdin.write("run\n")
        self._process.stdin.flush()
        reply = self._reply()
        if not warmup:
            self.run.seconds.append(reply["seconds"])
        self.run.peak = max(self.run.peak, reply["peak"])
        self.run.answer = reply["answer"]

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _reply(self) -> Any:
        assert self._process.stdout is not None
        for line in self._process.stdout:  # the contender may print too
            if line.startswith("{"):
                return json.loads(line)
        raise RuntimeError(f"the worker ended: {' '.join(map(str, self._process.args))}")  # type: ignore[arg-type]


@contextmanager
def workers(module: str, task: str, names: Sequence[str]) -> Iterator[list[Worker]]:
    """Start one worker per contender, and end them all."""
    with ExitStack() as stack:
        started = []
        for name in names:
            started.append(Worker(module, task, name))
            stack.callback(started[-1].close)
        yield started


def in_turn(module: str, task: str, names: Sequence[str], *, runs: int, warmup: bool = True) -> dict[str, Run]:
    """Run all contenders in turn, ``runs`` times, and return the runs of each."""
    with workers(module, task, names) as started:
        for worker in started if warmup else ():
            worker.once(warmup=True)
        for turn in range(runs):
            for worker in started if turn % 2 == 0 else reversed(started):
                worker.once()
        return {name: worker.run for name, worker in zip(names, started, strict=True)}


def ratio(a: Run, b: Run) -> Pair:
    """Return A and B run by run."""
    return Pair(tuple(a.seconds), tuple(b.seconds))


def _memory(word: str) -> int:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(word))


def _serve(module: str, task: str, name: str) -> None:
    call = importlib.import_module(module).prepare(task, name)
    before = _memory("VmRSS")
    print("{}", flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        answer = call()
        seconds = time.perf_counter() - started
        print(json.dumps({"seconds": seconds, "peak": _memory("VmHWM") - before, "answer": answer}), flush=True)


if __name__ == "__main__":
    _serve(*sys.argv[1:])
