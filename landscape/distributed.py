"""Points spread over the processes that ``torchrun`` started, on one machine or on several.

Every rank runs the same program and holds the same state. The expensive part is the loss and its gradient at many
points. It comes in chunks. Whole chunks go to the ranks in turn, and every rank gets all results. The chunks do not
depend on the number of ranks. Neither does any result, to the last bit, if all machines round alike; every exchange
checks that they do.

Outside :func:`spread` nothing here acts, even if other code has made a process group.
"""

from __future__ import annotations

import os
import pickle
import re
import tempfile
import time
import traceback
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from landscape.errors import LandscapeError, RankError, first_line

if TYPE_CHECKING:
    import torch
    import torch.distributed as dist

__all__ = ["count", "launched", "rank", "spread"]  # the rest is for measurements

Chunk = TypeVar("Chunk")
Outcome = TypeVar("Outcome")


@dataclass(frozen=True)
class _Group:
    rank: int
    size: int
    handle: dist.ProcessGroup | None


@dataclass(frozen=True)
class _Message:
    """What one rank tells the others."""

    place: int  #: a checksum of where it stands, or that it has left
    results: dict[int, Any] = field(default_factory=dict)  #: by the index of the chunk
    failure: Exception | None = None  #: why it stops


_ALONE = _Group(0, 1, None)
_ROOM = 4096  # bytes of a message that one exchange carries
_LENGTH = 8  # bytes that tell how long it is
_SAMPLE = 64  # entries per row in a checksum
FAIL_TOGETHER = 30.0  #: seconds that ranks may lie apart if they fail for the same reason
_POLL = 0.01  # seconds
_GLANCE = 1e-5  # seconds, so few that no exchange gets longer by them
_LONGEST_HELD = 5.0  # seconds after which something else must hold a tensor of an exchange
_WORDS = "landscape: last words"  # key in the store of the process group
_RECENT = 60.0  # seconds after which words belong to another failure
_END = -1  # the place of a rank that has left
_group = _ALONE
_over = False  # whether a rank has left; then no rank waits for another


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

    Every process must make the same calls. An existing process group is used, with its backend (``gloo`` or ``nccl``).
    Otherwise one with ``gloo`` is made for the block. An exception that ends the block on one rank ends it on all: the
    others raise it too, and it names the rank where it occurred.

    Raises:
        RankError: if another rank failed, is gone, or has computed other numbers.

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
    chunks: Sequence[Chunk], compute: Callable[[Chunk], Outcome], check: Callable[[], bytes] | None = None
) -> list[Outcome]:
    """Return ``compute`` of every chunk, in order; each is computed on one rank and handed to all.

    Args:
        chunks: the same on every rank.
        compute: called with a chunk; its result is pickled on the way to other ranks.
        check: returns bytes that depend on the content of the chunks, so that ranks with different content notice.

    Raises:
        RankError: as for :func:`spread`. An exception of ``compute`` is raised on every rank.

    >>> each([1, 2, 3], lambda x: x**2)
    [1, 4, 9]
    """
    if _group.size == 1:
        return [compute(chunk) for chunk in chunks]
    mine: dict[int, Outcome] = {}
    failure: Exception | None = None
    try:
        for index in range(_group.rank, len(chunks), _group.size):
            mine[index] = compute(chunks[index])
    except Exception as error:
        failure = error
    place = zlib.crc32(check() if check else b"", len(chunks))
    messages = _exchange(_Message(place, mine, _sendable(failure)))
    if failure is not None:
        raise failure
    for message in messages:
        if message.failure is not None:
            raise message.failure
    if any(message.place != place for message in messages):
        raise RankError(
            f"the {_group.size} ranks no longer measure the same points, so their numbers cannot be combined.\n"
            "Their machines round differently, or the ranks got different files or options: start all on machines of "
            "one kind, with the same versions and the same command."
        )
    results = {index: result for message in messages for index, result in message.results.items()}
    return [results[index] for index in range(len(chunks))]


@contextmanager
def alone() -> Iterator[None]:
    """Let this rank work on its own in the block, as if there were no others; they must not wait for it meanwhile.

    Use it inside ``compute`` of :func:`each`, whose results all ranks get afterwards.
    """
    global _group
    before, _group = _group, _ALONE
    try:
        yield
    finally:
        _group = before


def added(part: Callable[[slice], torch.Tensor]) -> torch.Tensor:
    """Return the sum over ranks of ``part(mine)``, where ``mine`` takes every rank's own share of a sequence.

    The parts are added in their own dtype, so another number of ranks may change the last digits. All ranks get the
    same bytes.

    Raises:
        RankError: as for :func:`each`.

    >>> import torch
    >>> added(lambda mine: torch.arange(4)[mine].sum())
    tensor(6)
    """
    import torch.distributed as dist

    own: list[torch.Tensor] = []
    each(range(_group.size), lambda index: own.append(part(slice(index, None, _group.size))))
    if _group.size > 1:
        with exchanging(_group.size), let_go(*own):
            dist.all_reduce(own[0], group=_group.handle)
    return own[0]


@contextmanager
def exchanging(ranks: int) -> Iterator[None]:
    """Turn the error of an exchange into one that says that a rank is gone."""
    try:
        yield
    except RuntimeError as error:
        if said := _last_words():
            raise RankError(said) from error
        raise RankError(
            f"another of the {ranks} ranks is gone, stopped or killed ({_reason(error)}).\n"
            "What is in a results file is kept: start all again, with `resume=...`."
        ) from error


@contextmanager
def let_go(*tensors: Any) -> Iterator[None]:
    """Wait after an exchange of these tensors until the threads of gloo hold none of them any more.

    A thread that drops a tensor last needs the lock of Python. With torch 2.6 the end of a process group waits for
    those threads and has that lock meanwhile, so both would wait for ever.
    """
    before = [(tensor, tensor._use_count()) for tensor in tensors if tensor.is_cpu]
    yield
    deadline = time.monotonic() + _LONGEST_HELD
    while any(tensor._use_count() > uses for tensor, uses in before) and time.monotonic() < deadline:
        time.sleep(_GLANCE)


class Sampled(Protocol):
    """Something that tells ranks apart in its own way."""

    def sample(self) -> bytes:
        """Return bytes that depend on its content."""


def fails_alone(error: Exception, ranks: int, place: str) -> bool:
    """Return whether this rank fails where others do not; then it must take part in no exchange any more.

    The others, which wait for it, get its last words once it is gone. Ranks that fail together go on together.

    Args:
        error: why this rank fails.
        ranks: how many work together.
        place: the same words on all ranks that fail here together, and never used again.
    """
    global _over
    import torch.distributed as dist

    words = f"rank {dist.get_rank()} failed: {type(error).__name__}: {first_line(error)}"
    with suppress(RuntimeError):  # the first rank, which keeps the words, may be gone
        store = dist.distributed_c10d._get_default_store()
        store.set(_WORDS, f"{time.time()} {words}")
        store.add(place, 1)
        deadline = time.monotonic() + FAIL_TOGETHER
        while time.monotonic() < deadline:
            if store.add(place, 0) >= ranks:
                return False
            time.sleep(_POLL)
    _over = True
    return True


def _last_words() -> str:
    """Return what a rank said of its failure just now; empty if it said nothing."""
    import torch.distributed as dist

    with suppress(RuntimeError):
        store = dist.distributed_c10d._get_default_store()
        if store.check([_WORDS]):
            when, _, words = store.get(_WORDS).decode().partition(" ")
            return words if time.time() - float(when) < _RECENT else ""
    return ""


def sample(rows: torch.Tensor | Sampled) -> bytes:
    """Return some entries of each row, shape (k, n), for ``check``. Different rounding shows in nearly all entries."""
    if hasattr(rows, "sample"):
        return rows.sample()
    stride = max(1, rows.shape[1] // _SAMPLE)
    return bytes(rows[:, ::stride].double().cpu().numpy().tobytes())


def from_first(make: Callable[[], Outcome]) -> Outcome:
    """Return the result of ``make`` on rank 0, on every rank: for a clock's time, or a file that one machine has."""
    return each([None], lambda _: make())[0]


@contextmanager
def file_of_rank(path: str | Path) -> Iterator[Path]:
    """Yield the file for this rank to work on: on rank 0 the file itself, on others a temporary copy.

    So every rank reads the same bytes, only one machine needs access to the file, and only rank 0 writes it.
    """
    path = Path(path)
    if _group.size == 1:
        yield path
        return
    content = from_first(lambda: path.read_bytes() if path.is_file() else None)
    if _group.rank == 0:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        if content is not None:
            copy.write_bytes(content)
        yield copy


def _leave(error: Exception | None) -> None:
    """Tell the others that this rank is done, and check that all are."""
    if _over:
        return
    messages = _exchange(_Message(_END, failure=_sendable(error)))
    if error is not None:
        return
    for message in messages:
        if message.failure is not None:
            raise message.failure
    if any(message.place != _END for message in messages):
        raise RankError("one rank was done before the others: not all of them made the same calls.")


def _exchange(mine: _Message) -> list[_Message]:
    """Return the messages of all ranks, in order."""
    global _over
    import torch.distributed as dist

    messages: list[Any] = [None] * _group.size
    with exchanging(_group.size):
        if dist.get_backend(_group.handle) == "gloo":
            messages = [pickle.loads(words) for words in _gathered(pickle.dumps(mine))]
        else:
            dist.all_gather_object(messages, mine, group=_group.handle)
    _over = any(message.place == _END for message in messages)
    return messages


def _gathered(mine: bytes) -> list[bytes]:
    """Return the bytes of all ranks. A short message takes one exchange; torch's own function always takes two."""
    sent = _swapped(_padded(mine, _ROOM))
    lengths = [int.from_bytes(part[:_LENGTH], "big") for part in sent]
    if max(lengths) > _ROOM:
        sent = _swapped(_padded(mine, max(lengths)))
    return [part[_LENGTH : _LENGTH + length] for part, length in zip(sent, lengths, strict=True)]


def _padded(words: bytes, room: int) -> bytes:
    """Return the length of a message and so much of it as there is room for."""
    return len(words).to_bytes(_LENGTH, "big") + words[:room].ljust(room, b"\0")


def _swapped(mine: bytes) -> list[bytes]:
    """Return what all ranks send, which is of one length."""
    import torch
    import torch.distributed as dist

    words = torch.frombuffer(bytearray(mine), dtype=torch.uint8)
    if len(mine) == _LENGTH + _ROOM:
        sent, *parts = _short_messages(_group.size)
        dist.all_gather(parts, sent.copy_(words), group=_group.handle)
    else:
        parts = [torch.empty_like(words) for _ in range(_group.size)]
        with let_go(words, *parts):
            dist.all_gather(parts, words, group=_group.handle)
    return [part.numpy().tobytes() for part in parts]


@cache
def _short_messages(ranks: int) -> list[torch.Tensor]:
    """Return room for a short message and one from each rank; it is kept, so no thread can be the last to hold it."""
    import torch

    return [torch.empty(_LENGTH + _ROOM, dtype=torch.uint8) for _ in range(1 + ranks)]


def _reason(error: RuntimeError) -> str:
    """Return the first sentence of an error of the process group, without the place in its source.

    >>> _reason(RuntimeError("[/gloo/pair.cc:553] Connection closed by peer [127.0.0.1]:15786. This may be ..."))
    'Connection closed by peer [127.0.0.1]:15786'
    """
    return re.sub(r"^\[[^]]*:\d+\]\s*", "", first_line(error)).partition(". ")[0]


def _sendable(error: Exception | None) -> Exception | None:
    """Return an error in the form that other ranks raise: a bug comes with its traceback."""
    if error is None:
        return None
    if type(error).__module__ == LandscapeError.__module__:
        return error
    return RuntimeError(f"rank {_group.rank} failed:\n" + "".join(traceback.format_exception(error)))
