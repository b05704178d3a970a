"""Points spread over the processes that ``torchrun`` started, on one machine or on several.

Every rank runs the same program and holds the same state. What costs, the loss and its gradient at many points, comes
in chunks; whole chunks go to the ranks in turn, and every rank gets the results of all. Where a chunk ends does not
depend on the number of ranks, and neither does any number, to the last bit, as long as all machines round alike:
whether they do is checked at every exchange.

Nothing here acts outside of :func:`spread`: a process group that somebody else made is theirs.
"""

from __future__ import annotations

import os
import re
import tempfile
import traceback
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from landscape.errors import LandscapeError, RankError

if TYPE_CHECKING:
    import torch
    import torch.distributed as dist

Chunk = TypeVar("Chunk")
Found = TypeVar("Found")


@dataclass(frozen=True)
class _Group:
    rank: int
    size: int
    handle: dist.ProcessGroup | None


@dataclass(frozen=True)
class _Message:
    """What one rank tells the others: where it stands, what it found, or why it stops."""

    place: int
    found: dict[int, Any] = field(default_factory=dict)
    failure: Exception | None = None


_ALONE = _Group(0, 1, None)
_SAMPLE = 64
_END = -1  # the place of a rank that has left
_group = _ALONE
_over = False  # whether a rank has left: then nobody waits for anybody any more


def rank() -> int:
    """Return which process this is; 0, outside of :func:`spread`."""
    return _group.rank


def count() -> int:
    """Return how many processes share the work; 1, outside of :func:`spread`.

    >>> count()
    1
    """
    return _group.size


def launched() -> int:
    """Return how many processes ``torchrun`` started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def spread() -> Iterator[None]:
    """Spread the measurements in this block over all processes that ``torchrun`` started; without it do nothing.

    Every process must make the same calls. A process group that exists already is used, with its backend (``gloo`` or
    ``nccl``); otherwise one with ``gloo`` is made for the block. An exception that ends the block on one rank ends it
    on all: the others raise it too, with the rank that met it.

    Raises:
        RankError: where another rank failed, is gone, or has come to other numbers.

    >>> with spread():
    ...     count()
    1
    """
    global _group, _over
    import torch.distributed as dist

    own = not dist.is_initialized()
    if own and launched() == 1:
        yield
        return
    if own:
        dist.init_process_group("gloo")
    _group = _Group(dist.get_rank(), dist.get_world_size(), dist.group.WORLD)
    _over = False
    try:
        yield
        _leave(None)
    except RankError:
        raise
    except Exception as error:
        _leave(error)
        raise
    finally:
        _group = _ALONE
        if own:
            dist.destroy_process_group()


def each(
    chunks: Sequence[Chunk], compute: Callable[[Chunk], Found], check: Callable[[], bytes] | None = None
) -> list[Found]:
    """Return ``compute`` of every chunk, in order; each is computed on one rank and handed to all.

    Args:
        chunks: the same on every rank.
        compute: called with a chunk; what it returns is pickled on the way to other ranks.
        check: makes something of what the chunks hold, by which ranks that have come apart are found out.

    Raises:
        RankError: as for :func:`spread`. What ``compute`` raises is raised on every rank.

    >>> each([1, 2, 3], lambda x: x**2)
    [1, 4, 9]
    """
    if _group.size == 1:
        return [compute(chunk) for chunk in chunks]
    mine: dict[int, Found] = {}
    failure: Exception | None = None
    try:
        for index in range(_group.rank, len(chunks), _group.size):
            mine[index] = compute(chunks[index])
    except Exception as error:
        failure = error
    place = zlib.crc32(check() if check else b"", len(chunks))
    told = _exchange(_Message(place, mine, _sendable(failure)))
    if failure is not None:
        raise failure
    for message in told:
        if message.failure is not None:
            raise message.failure
    if any(message.place != place for message in told):
        raise RankError(
            f"the {_group.size} ranks no longer measure the same points, so their numbers cannot be put together.\n"
            "Their machines round differently, or the ranks were given other files or options: start all on machines "
            "of one kind, with the same versions and the same command."
        )
    found = {index: result for message in told for index, result in message.found.items()}
    return [found[index] for index in range(len(chunks))]


def sample(rows: torch.Tensor) -> bytes:
    """Return some entries of each row, shape (k, n), for ``check``: ranks that round differently differ in all."""
    stride = max(1, rows.shape[1] // _SAMPLE)
    return bytes(rows[:, ::stride].double().cpu().numpy().tobytes())


def from_first(make: Callable[[], Found]) -> Found:
    """Return what ``make`` returns on rank 0, on every rank: a clock's time, or what only one machine has."""
    return each([None], lambda _: make())[0]


@contextmanager
def file_of_rank(path: str | Path) -> Iterator[Path]:
    """Yield the file for this rank to work on: on rank 0 the file itself, on others a copy that is thrown away.

    So every rank reads the same, the file need not be within reach of all machines, and only one of them writes it.
    """
    path = Path(path)
    if _group.size == 1:
        yield path
        return
    held = from_first(lambda: path.read_bytes() if path.is_file() else None)
    if _group.rank == 0:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        if held is not None:
            copy.write_bytes(held)
        yield copy


def _leave(error: Exception | None) -> None:
    """Tell the others that this rank is done, and hear from them whether all are."""
    if _over:
        return
    told = _exchange(_Message(_END, failure=_sendable(error)))
    if error is not None:
        return
    for message in told:
        if message.failure is not None:
            raise message.failure
    if any(message.place != _END for message in told):
        raise RankError("one rank was done before the others: not all of them made the same calls.")


def _exchange(mine: _Message) -> list[_Message]:
    """Return the messages of all ranks, in order."""
    global _over
    import torch.distributed as dist

    told: list[Any] = [None] * _group.size
    try:
        dist.all_gather_object(told, mine, group=_group.handle)
    except RuntimeError as error:
        raise RankError(
            f"another of the {_group.size} ranks is gone, stopped or killed ({_reason(error)}).\n"
            "What was finished is kept where --out was given: type the same command again, with --resume."
        ) from error
    _over = any(message.place == _END for message in told)
    return told


def _reason(error: RuntimeError) -> str:
    """Return the first sentence of an error of the process group, without the place in its source.

    >>> _reason(RuntimeError("[/gloo/pair.cc:553] Connection closed by peer [127.0.0.1]:15786. This may be ..."))
    'Connection closed by peer [127.0.0.1]:15786'
    """
    line = str(error).partition("\n")[0]
    return re.sub(r"^\[[^]]*:\d+\]\s*", "", line).partition(". ")[0][:120]


def _sendable(error: Exception | None) -> Exception | None:
    """Return an error as other ranks raise it: a bug comes with its traceback."""
    if error is None:
        return None
    if type(error).__module__ == LandscapeError.__module__:
        return error
    return RuntimeError(f"rank {_group.rank} failed:\n" + "".join(traceback.format_exception(error)))
