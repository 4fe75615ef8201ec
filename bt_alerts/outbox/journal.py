"""The journal: a private, append-only file of one process. What ``emit`` needs to be fast and to survive ``kill -9``.

Contract
--------
*Appending* is one ``write`` call. When it returns, the line is in the operating system's hands and outlives the process;
with ``fsync`` it outlives a power cut as well. A line that could not be written whole is taken back, so that what the
file holds are whole lines, except for a last one torn by a crash, which nobody was told had been accepted.

*Ownership* is a lock that the operating system drops when the process ends, however it ends. Whoever can take the lock
of a journal knows that its owner is dead, and drains it: :func:`dead_journals`.

*Reading* is by position, and the store keeps the position in the same transaction as what it made of the lines; so
draining can stop anywhere and be repeated without harm.
"""

from __future__ import annotations

import collections
import errno
import os
import secrets
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

SUFFIX = ".jsonl"
ROTATE_AT = 4 * 1024 * 1024  # bytes; a drained journal of this size gives way to a new one

#: Journals of this process. POSIX drops a process's record locks when it closes *any* descriptor of the file, so a
#: journal of our own must never be opened a second time.
_own: set[Path] = set()


class AnyJournal(Protocol):
    """What the planner needs of a journal, on disk or in memory."""

    name: str

    def append(self, line: bytes) -> None: ...

    def read(self, position: int, most: int) -> tuple[list[bytes], int]: ...

    def end(self) -> int: ...


def lock_file(descriptor: int) -> bool:
    """Take the lock of an open file; False where a living process has it."""
    try:
        if sys.platform == "win32":
            os.lseek(descriptor, 2**62, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


class Journal:
    """The journal that this process writes.

    Args:
        folder: where journals of one store live; made where it is missing.
        fsync: whether each line is forced to the disk (about a thousand times slower, safe against power cuts).

    Raises:
        OSError: where the folder cannot be written.
    """

    def __init__(self, folder: Path, *, fsync: bool = False) -> None:
        self._folder = folder
        self._fsync = fsync
        self._lock = threading.Lock()
        self._open()

    def _open(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.name = f"{os.getpid()}-{secrets.token_hex(6)}"
        self.path = self._folder / f"{self.name}{SUFFIX}"
        # Locked under another name first: a journal must never be seen unlocked while its owner lives.
        fresh = self._folder / f"{self.name}.new"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | getattr(os, "O_BINARY", 0)
        self._fd = os.open(fresh, flags, 0o600)
        if not lock_file(self._fd):
            raise OSError(errno.ENOLCK, f"no file locks in {self._folder}: put the store on a local disk")
        os.rename(fresh, self.path)
        _own.add(self.path)
        self._end = 0

    def append(self, line: bytes) -> None:
        """Add one line (without its newline). Raises ``OSError`` where it cannot be written; then nothing was added."""
        record = line + b"\n"
        with self._lock:
            try:
                written = os.write(self._fd, record)
            except OSError:
                self._take_back()
                raise
            if written != len(record):
                self._take_back()
                raise OSError(errno.ENOSPC, "the disk is full")
            if self._fsync:
                os.fsync(self._fd)
            self._end += written

    def _take_back(self) -> None:
        try:
            os.ftruncate(self._fd, self._end)
        except OSError:  # a torn line in the middle is skipped by the reader, and counted
            self._end = os.fstat(self._fd).st_size

    def read(self, position: int, most: int) -> tuple[list[bytes], int]:
        """Up to ``most`` whole lines from ``position``, and the position after them."""
        return _read_lines(self._fd, position, most, self._end)

    def end(self) -> int:
        """The position after the last line."""
        return self._end

    def rotate_if_drained(self, position: int) -> Path | None:
        """Begin a new file where the old one is large and drained; returns the old one's path for the caller to forget."""
        with self._lock:
            if position < ROTATE_AT or position != self._end:
                return None
            old_fd, old_path = self._fd, self.path
            self._open()
        _forget(old_fd, old_path)
        return old_path

    def close(self, *, drained: bool) -> None:
        """Let go of the file, and remove it where everything in it is in the store."""
        with self._lock:
            if self._fd < 0:
                return
            fd, self._fd = self._fd, -1
        if drained:
            _forget(fd, self.path)
        else:
            os.close(fd)
            _own.discard(self.path)

    def abandon(self) -> None:
        """In a forked child: the file is the parent's, let go of this copy of its descriptor."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        _own.discard(self.path)


class DeadJournal:
    """A journal whose process is gone, locked by us while we drain it."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.name = path.name.removesuffix(SUFFIX)
        self._fd = descriptor
        self._end = os.fstat(descriptor).st_size

    def append(self, line: bytes) -> None:
        raise OSError(errno.EROFS, "the journal of a dead process is only read")

    def read(self, position: int, most: int) -> tuple[list[bytes], int]:
        """See :meth:`Journal.read`. A torn last line is left out: it was never acknowledged."""
        return _read_lines(self._fd, position, most, self._end)

    def end(self) -> int:
        """The position after the last byte."""
        return self._end

    def remove(self) -> None:
        """Delete the file; only after the store has everything."""
        _forget(self._fd, self.path)

    def release(self) -> None:
        """Leave it for another time."""
        os.close(self._fd)


def dead_journals(folder: Path) -> Iterator[DeadJournal]:
    """The journals in ``folder`` whose processes are gone, each locked until it is removed or released."""
    if not folder.is_dir():
        return
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        if path in _own:
            continue
        try:
            descriptor = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
        except OSError:
            continue  # another process was quicker, or it is not ours to read
        if not lock_file(descriptor):
            os.close(descriptor)
            continue
        if os.fstat(descriptor).st_nlink == 0:  # drained and removed between our open and our lock
            os.close(descriptor)
            continue
        yield DeadJournal(path, descriptor)


class MemoryJournal:
    """The journal of a store in memory: nothing survives the process, and nothing is meant to."""

    name = "memory"

    def __init__(self) -> None:
        self._lines: collections.deque[bytes] = collections.deque()
        self._first = 0

    def append(self, line: bytes) -> None:
        self._lines.append(line)

    def read(self, position: int, most: int) -> tuple[list[bytes], int]:
        """Lines before ``position`` are forgotten: the caller has them."""
        while self._first < position:
            self._lines.popleft()
            self._first += 1
        lines = [self._lines[i] for i in range(min(most, len(self._lines)))]
        return lines, position + len(lines)

    def end(self) -> int:
        return self._first + len(self._lines)


def _read_lines(descriptor: int, position: int, most: int, end: int) -> tuple[list[bytes], int]:
    want = min(max(0, end - position), 1024 * 1024)
    chunk = _pread(descriptor, want, position)
    while chunk and b"\n" not in chunk and position + len(chunk) < end:  # one line longer than a chunk
        more = _pread(descriptor, 4 * 1024 * 1024, position + len(chunk))
        if not more:
            break
        chunk += more
    lines = chunk.split(b"\n")[:-1][:most]
    return lines, position + sum(len(line) + 1 for line in lines)


def _pread(descriptor: int, size: int, position: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(descriptor, size, position)
    here = os.dup(descriptor)  # Windows: appending is unaffected, because the file is open for appending
    try:
        os.lseek(here, position, os.SEEK_SET)
        return os.read(here, size)
    finally:
        os.close(here)


def _forget(descriptor: int, path: Path) -> None:
    if sys.platform == "win32":
        os.close(descriptor)
        path.unlink(missing_ok=True)
    else:  # removed while locked, so that nobody can take it for a dead process's journal in between
        path.unlink(missing_ok=True)
        os.close(descriptor)
    _own.discard(path)
