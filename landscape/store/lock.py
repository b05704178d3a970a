"""One writer at a time: the lock of a results file."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import weakref
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from landscape.errors import StoreError

_MARK = b"landscape writer: "
_FULL = {errno.ENOSPC: "disk full", errno.EDQUOT: "disk quota used up", errno.EFBIG: "file size limit reached"}


def reason(error: OSError) -> str:
    """Return in a few words why the system refused a write.

    >>> reason(OSError(errno.ENOSPC, "No space left on device"))
    'disk full'
    """
    return _FULL.get(error.errno or 0) or error.strerror or str(error)


def utc_now() -> str:
    """Return this second in ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class WriterLock:
    """The right to write one file, held from construction to :meth:`release` or the end of the process.

    It is an exclusive ``flock`` on ``<file>.lock``, so the system drops it when the process dies, however it dies. The
    text in the lock file says who holds it, for the message to the writer who comes second.

    Raises:
        StoreError: another writer holds it (said at once, without waiting), or the folder cannot be written.
    """

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(f"{target.name}.lock")
        try:
            while not self._acquire(target):
                pass
            self._sign(target)
        except OSError as error:
            fix = f"mkdir -p {target.parent}" if error.errno == errno.ENOENT else "choose a folder you may write"
            raise StoreError(
                f"{target} cannot be written: no lock file can be made next to it ({reason(error)}); nothing was "
                f"changed.\nPut that right ({fix}), or write to another file, such as other.h5."
            ) from error
        weakref.finalize(self, self._file.close)  # for a writer that is dropped and never closed
        _HELD.add(self)

    @property
    def held(self) -> bool:
        """Whether this process still has the lock."""
        return not self._file.closed

    def release(self) -> None:
        """Let other writers in."""
        # Unlinked while held: in the other order a new writer could lose its lock file to us. Where the folder does not
        # allow it any more the file stays behind, which stops nobody.
        with suppress(OSError):
            if self.held and self._is_current():
                self.path.unlink()
        self._file.close()

    def abandon(self) -> None:
        """Drop the copy that a forked child inherits, which would outlive a killed writer and go on holding."""
        self._file.close()

    def _acquire(self, target: Path) -> bool:
        """Take the lock; False if its last holder removed the file meanwhile, so that what we hold has no name."""
        self._file = open(self.path, "a+b", buffering=0)  # noqa: SIM115 - open for as long as the lock is held
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.seek(0)
            holder = self._file.read(200).removeprefix(_MARK).decode(errors="replace").strip()
            self._file.close()
            raise StoreError(
                f"{target} is being written by another run ({holder or 'unnamed'}); two writers would undo each "
                "other's rows.\nWait until that run has ended, or write to another file, such as other.h5."
            ) from error
        if not self._is_current():
            self._file.close()
        return self.held

    def _is_current(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), os.stat(self.path))
        except FileNotFoundError:
            return False

    def _sign(self, target: Path) -> None:
        """Write into the lock file who holds it."""
        self._file.seek(0)
        if not _MARK.startswith(self._file.read(len(_MARK))):
            self._file.close()
            raise StoreError(
                f"{self.path} is not a lock file of ours, and writing {target} needs that name.\n"
                "Choose another name for the results file."
            )
        with suppress(OSError):  # on a full disk the lock holds all the same, without a name in it
            self._file.truncate(0)
            self._file.write(_MARK + f"pid {os.getpid()} on {platform.node()}, since {utc_now()}\n".encode())


_HELD: weakref.WeakSet[WriterLock] = weakref.WeakSet()


def _abandon_all() -> None:
    for lock in list(_HELD):
        lock.abandon()


os.register_at_fork(after_in_child=_abandon_all)
