"""Processes that are forks of this one: they have imported everything, so that they start at once, and can be killed.

A fresh Python process needs seconds to import torch. What a test needs of a process is mostly that a signal reaches it
while it writes, or that it has its own output and exit code; a fork has these too.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import torch


class Child:
    """A fork that does one thing, with the names of ``subprocess.Popen``. Ctrl-C reaches it as on a terminal.

    Args:
        work: what to do. It may raise SystemExit; another exception is printed, and the exit code is then 1.
        cwd: its folder; None: that of this process.
        environment: variables to change.
        stderr: a file descriptor for what it says; None: it is kept for ``stderr`` and ``communicate``.
    """

    def __init__(
        self,
        work: Callable[[], object],
        *,
        cwd: Path | None = None,
        environment: dict[str, str] | None = None,
        stderr: int | None = None,
    ) -> None:
        assert torch.get_num_threads() == 1, "a fork copies threads half"
        self._out = tempfile.TemporaryFile("w+")  # noqa: SIM115 (it is read once the process has ended)
        said, say = os.pipe()
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            _run(work, self._out.fileno(), say if stderr is None else stderr, cwd, environment or {})
        os.close(say)
        self.stderr: TextIO = os.fdopen(said)

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._ended(os.WNOHANG)

    def wait(self) -> int:
        """Wait for its end and return the exit code."""
        code = self._ended(0)
        assert code is not None
        return code

    def communicate(self) -> tuple[str, str]:
        """Wait for its end and return what it printed and what it said."""
        said = self.stderr.read()
        self.wait()
        self._out.seek(0)
        with self._out, self.stderr:
            return self._out.read(), said

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it, unless it has ended."""
        if self.poll() is None:
            self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.wait()
        self.stderr.close()
        self._out.close()

    def _ended(self, how: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, how)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


def command(*words: object, before: Callable[[], object] = lambda: None) -> Callable[[], None]:
    """Return the work of typing ``landscape WORDS``.

    Args:
        words: as they are typed.
        before: called in the process first.
    """

    def work() -> None:
        from landscape_cli.main import main

        sys.argv = ["landscape", *map(str, words)]
        before()
        main()

    return work


def stop_once_written(child: Child, path: Path, number: int) -> tuple[str, str]:
    """Wait until the process has written a file, send it a signal, and return what it printed and said."""
    while not path.exists() and child.poll() is None:
        time.sleep(0.005)
    child.send_signal(number)
    return child.communicate()


def write_to(out: int, err: int) -> None:
    """Let what this process prints and says go to two file descriptors; pytest has led both elsewhere."""
    for stream, file in ((1, out), (2, err)):
        os.dup2(file, stream)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", buffering=1, closefd=False)


def _run(work: Callable[[], object], out: int, err: int, cwd: Path | None, environment: dict[str, str]) -> None:
    """The life of the fork. It tidies nothing up that is its parent's."""
    code = 1
    try:
        write_to(out, err)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.update(environment)
        os.chdir(cwd or Path.cwd())
        work()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
