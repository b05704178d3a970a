"""``pytest --workers 3``: tests are collected once and run in three forks of that process.

Collection imports everything, which takes most of its time; a fork has it all. Each worker takes the next group of
tests that nobody has taken: a file, since its tests share fixtures and modules that they alone import.

On a machine with a GPU, a fork can neither use it nor differentiate if its parent has done so. So no test module does
that when it is imported.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from itertools import chain, pairwise
from multiprocessing.connection import Connection, wait
from typing import Any

import pytest

ALONE = "tests/test_docs.py::test_the_page_runs"  #: each page of the docs is work of its own
RANKS = (
    "tests/cli/test_beside",
    "tests/integrations/test_processes",
    "tests/objective/shards/",
    "tests/test_distributed",
)
TRAINERS = ("tests/integrations/test_hugging_face", "tests/integrations/test_lightning", "[training-loops.md]")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption("--workers", type=int, default=1, metavar="N", help="Run the tests in N forks of this process.")


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Run the tests in workers, if there are several, and report here what each test did."""
    count = session.config.option.workers
    if count < 2 or session.config.option.collectonly or session.testsfailed:
        return None
    groups = groups_of(session.items)
    taken = multiprocessing.get_context("fork").Value("i")
    workers = [Worker(session, groups, taken) for _ in range(min(count, len(groups)))]
    try:
        for kind, told in heard_from(workers):
            report(session.config, kind, told)
            if session.shouldfail:
                raise session.Failed(session.shouldfail)
            if session.shouldstop:
                raise session.Interrupted(session.shouldstop)
    finally:
        for worker in workers:
            worker.end()
    return True


def groups_of(items: list[pytest.Item]) -> list[list[pytest.Item]]:
    """Return the tests by what they belong to, in the order of collection: the shortest, doctests, come last."""
    groups: dict[str, list[pytest.Item]] = {}
    for item in items:
        groups.setdefault(scope_of(item.nodeid), []).append(item)
    return list(groups.values())


def scope_of(nodeid: str) -> str:
    """Return the name of the work that a test belongs to."""
    if any(part in nodeid for part in TRAINERS):
        return "trainers"  # lightning and transformers take seconds to import
    if nodeid.startswith(RANKS):
        return "ranks"  # their processes are forks of one, which takes seconds to import what they need
    return nodeid if nodeid.startswith(ALONE) else nodeid.split("::", 1)[0]


class Worker:
    """A fork that runs tests, and the pipe by which it tells this process what they did."""

    def __init__(self, session: pytest.Session, groups: list[list[pytest.Item]], taken: Any) -> None:
        self.pipe, tells = multiprocessing.Pipe(duplex=False)
        self.test = "no test"  #: that it has begun
        self.pid = os.fork()
        if self.pid == 0:
            _in_a_fork(lambda: _work(session, _untaken(groups, taken), tells))
        tells.close()

    def hear(self) -> tuple[str, Any]:
        """Return the kind of what it tells next, and that."""
        try:
            return self.pipe.recv()
        except EOFError:
            return "died", self.test

    def end(self) -> None:
        """End the process, whatever it does."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def heard_from(workers: list[Worker]) -> Iterator[tuple[str, Any]]:
    """Yield what the workers tell until all are done."""
    running: dict[Any, Worker] = {worker.pipe: worker for worker in workers}
    while running:
        for pipe in wait(list(running)):
            kind, told = running[pipe].hear()
            if kind == "begun":
                running[pipe].test = told
            elif kind in ("done", "died"):
                del running[pipe]
            yield kind, told


def report(config: pytest.Config, kind: str, told: Any) -> None:
    """Tell pytest what a worker told."""
    if kind == "warning":
        config.hook.pytest_warning_recorded.call_historic(kwargs=told)
    elif kind == "report":
        known = config.hook.pytest_report_from_serializable(config=config, data=told)
        config.hook.pytest_runtest_logreport(report=known)
    elif kind == "died":
        words = "its process died, and the rest of its file was not run"
        lost = pytest.TestReport(told, (told, None, told), {}, "failed", words, "call")
        config.hook.pytest_runtest_logreport(report=lost)


class Teller:
    """The plugin of a worker that tells the first process what a test did."""

    def __init__(self, config: pytest.Config, pipe: Connection) -> None:
        self.config, self.pipe = config, pipe

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.pipe.send(("begun", nodeid))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.pipe.send(("report", self.config.hook.pytest_report_to_serializable(config=self.config, report=report)))

    def pytest_warning_recorded(
        self, warning_message: warnings.WarningMessage, when: str, nodeid: str, location: Any
    ) -> None:
        if when == "runtest":  # pytest repeats those of collection to each new plugin
            said = warning_message
            plain = warnings.WarningMessage(str(said.message), said.category, said.filename, said.lineno)
            told = {"warning_message": plain, "when": when, "nodeid": nodeid, "location": location}
            self.pipe.send(("warning", told))


def _untaken(groups: list[list[pytest.Item]], taken: Any) -> Iterator[list[pytest.Item]]:
    """Yield the next group that no worker has taken, until there is none."""
    while True:
        with taken.get_lock():
            number = taken.value
            taken.value += 1
        if number >= len(groups):
            return
        yield groups[number]


def _work(session: pytest.Session, groups: Iterator[list[pytest.Item]], pipe: Connection) -> None:
    """Run groups of tests in a fork, with a capture of its own, since the fork shares the first one's file."""
    plugins = session.config.pluginmanager
    capture = plugins.getplugin("capturemanager")
    capture.stop_global_capturing()
    capture.start_global_capturing()
    capture.suspend_global_capture()
    plugins.unregister(name="terminalreporter")
    plugins.register(Teller(session.config, pipe))
    for item, following in pairwise(chain(chain.from_iterable(groups), [None])):
        assert item is not None
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
    pipe.send(("done", None))


def _in_a_fork(work: Callable[[], object]) -> None:
    """Do something and end the process. It tidies nothing up that is its parent's."""
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)
