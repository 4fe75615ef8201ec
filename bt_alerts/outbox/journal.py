"""The journal: a private, append-only file of one process. What ``emit`` needs to be fast and to survive ``kill -9``.

Contract
--------
*Appending* is one ``write`` call. When it returns, the line is in the operating system's hands and outlives the
process; with ``fsync`` it outlives a power cut as well. A line that could not be written whole is taken back, so that
what the file holds are whole lines, except for a last one torn by a crash, which nobody was told had been accepted.

*Ownership* is a lock that the operating system drops when the process ends, however it ends. Whoever can take the lock
of a journal knows that its owner is dead, and drains it: :func:`dead_journals`.

*Reading* is by position, and the store keeps the position in the same transaction as what it made of the lines; so
draining can stop anywhere and be repeated without harm.

*Who drains* is in the file's name. A process drains its own journal (``….jsonl``), or leaves that to the workers of
this machine (``….shared.jsonl``) or to the child that it has for it (``….child.jsonl``); a worker's own is
``….worker.jsonl``. A journal that others read gives way to a new one only when the store has all of it, and whoever has
it open still sees that it was removed: the store forgets its position last, so nothing is ever read twice.

*Goodbye.* A journal that is closed as it should be, and stays because it is not drained, ends with a last line that
says so. Where that is missing, its process died.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import itertools
import os
import secrets
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from bt_alerts.outbox.entries import Closed, decode, encode

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

SUFFIX = ".jsonl"
ROTATE_AT = 4 * 1024 * 1024  # bytes; a drained journal of this size gives way to a new one
LONGEST_GOODBYE = 256  # bytes of a file's end in which its last line is looked for

#: Who drains a journal: the process itself, any worker of this machine, its own child, or itself as a worker.
OWN, SHARED, CHILD, WORKER = "", "shared", "child", "worker"

#: Journals that this process has open, by device and inode, because a folder can be reached by several paths. POSIX
#: gives a process its own locks again and drops them when it closes *any* descriptor of the file, so a journal that
#: we have open must never be opened a second time.
_own: set[tuple[int, int]] = set()
_own_lock = threading.Lock()


def _after_fork_in_child() -> None:  # locks are not inherited: the parent's journals are not ours
    global _own_lock  # noqa: PLW0603 - another thread may have held it
    _own_lock = threading.Lock()
    _own.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


class AnyJournal(Protocol):
    """What the planner needs of a journal, on disk or in memory."""

    name: str
    owner: str

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
        flavour: who drains it: :data:`OWN`, :data:`SHARED`, :data:`CHILD` or :data:`WORKER`.

    Raises:
        OSError: where the folder cannot be written.
    """

    def __init__(self, folder: Path, *, fsync: bool = False, flavour: str = OWN) -> None:
        self._folder = folder
        self._fsync = fsync
        self.flavour = flavour
        self._lock = threading.Lock()
        #: One of its own, so that a strategy that writes waits for no planner that reads.
        self._reading = threading.Lock()
        #: The name under which this process leases targets.
        self.owner = f"{os.getpid()}-{secrets.token_hex(6)}"
        self._files = itertools.count(1)
        self._open()

    def _open(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        name = f"{self.owner}.{next(self._files)}{'.' if self.flavour else ''}{self.flavour}"
        path = self._folder / f"{name}{SUFFIX}"
        # Locked under another name first: a journal must never be seen unlocked while its owner lives.
        fresh = self._folder / f"{name}.new"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | getattr(os, "O_BINARY", 0)
        descriptor = os.open(fresh, flags, 0o600)
        try:
            if not lock_file(descriptor):
                raise OSError(errno.ENOLCK, f"no file locks in {self._folder}: put the store on a local disk")
            _claim(descriptor)
            os.rename(fresh, path)
        except BaseException:
            _let_go(descriptor)
            fresh.unlink(missing_ok=True)
            raise
        self.name, self.path, self._fd = name, path, descriptor
        self._torn = False
        self._end = 0  # last: whoever reads the end first and then the name never mistakes the new file for the old

    def append(self, line: bytes) -> None:
        """Add one line (without its newline). Raises ``OSError`` where it cannot be written; then nothing was added."""
        with self._lock:
            if self._fd < 0:
                raise OSError(errno.EBADF, "the journal is closed")
            record = b"\n" * self._torn + line + b"\n"
            written = 0
            try:
                written = os.write(self._fd, record)
                if written != len(record):
                    raise OSError(errno.ENOSPC, "the disk is full")
                if self._fsync:
                    os.fsync(self._fd)
            except OSError:
                self._take_back(written, len(record))
                raise
            self._torn = False
            self._end += len(record)

    def _take_back(self, written: int, wanted: int) -> None:
        if written == wanted and self.read_by_others:
            # Whole, so another process may have read it by now, and a position must never lead beyond the end. The
            # caller writes it again; that it is there twice does no harm.
            self._torn = False
            self._end += written
            return
        try:
            os.ftruncate(self._fd, self._end)
        except OSError:  # the torn line gets an end of its own, so that the reader skips it alone, and counts it
            self._torn = True
            self._end = os.fstat(self._fd).st_size

    def read(self, position: int, most: int) -> tuple[list[bytes], int]:
        """Up to ``most`` whole lines from ``position``, and the position after them; none when it is closed."""
        with self._reading:
            if self._fd < 0:
                return [], position
            return _read_lines(self._fd, position, most, self._end)

    def end(self) -> int:
        """The position after the last line."""
        return self._end

    @property
    def read_by_others(self) -> bool:
        """Another process reads it while this one writes."""
        return self.flavour in {SHARED, CHILD}

    def rotate_if_drained(self, position: int) -> Path | None:
        """Begin a new file where the old one is large and drained; returns the path of the old one, now removed."""
        with self._lock:
            if position < ROTATE_AT or position != self._end:
                return None
            old_fd, old_path = self._fd, self.path
            self._open()
        with self._reading:
            _forget(old_fd, old_path)
        return old_path

    def close(self, *, drained_to: int = -1) -> bool:
        """Let go of the file; removes it, and says True, where the store has everything up to its end.

        One that stays says goodbye.
        """
        with self._lock:
            if self._fd < 0:
                return False
            fd, self._fd = self._fd, -1
            drained = drained_to >= self._end
            if not drained:
                self._goodbye(fd)
        with self._reading:  # or its reader would go on in whatever file has that number next
            if drained:
                _forget(fd, self.path)
            else:
                _let_go(fd)
        return drained

    def say_goodbye(self) -> None:
        """The process is about to end as it should, without closing this."""
        with self._lock:
            if self._fd >= 0:
                self._goodbye(self._fd)

    def _goodbye(self, descriptor: int) -> None:
        with contextlib.suppress(OSError):  # a full disk: then it looks as if the process had died
            os.write(descriptor, b"\n" * self._torn + encode(Closed()) + b"\n")

    def abandon(self) -> None:
        """In a forked child: the file is the parent's, let go of this copy of its descriptor."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class DeadJournal:
    """A journal whose process is gone, locked by us while we drain it."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.name = path.name.removesuffix(SUFFIX)
        self.owner = self.name.partition(".")[0]
        self._fd = descriptor
        self._end = os.fstat(descriptor).st_size
        #: When its process last wrote, in Unix seconds: the last sign of life that is known of it.
        self.seen = os.fstat(descriptor).st_mtime

    @property
    def flavour(self) -> str:
        """Who was to drain it."""
        return flavour_of(self.name)

    @property
    def read_by_others(self) -> bool:
        """See :attr:`Journal.read_by_others`."""
        return self.flavour in {SHARED, CHILD}

    @property
    def died(self) -> bool:
        """Its process had something to say and ended without a goodbye."""
        begun = self._end > 0 or self.name.split(".")[1:2] != ["1"]
        return begun and not self._said_goodbye()

    def _said_goodbye(self) -> bool:
        start = max(0, self._end - LONGEST_GOODBYE)
        lines = _pread(self._fd, self._end - start, start).split(b"\n")[:-1]
        with contextlib.suppress(ValueError):
            return bool(lines) and isinstance(decode(lines[-1]), Closed)
        return False

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
        _let_go(self._fd)


class LiveJournal:
    """A journal that a living process of this machine writes, opened to be read only; see :func:`live_journal`."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.name = path.name.removesuffix(SUFFIX)
        self.owner = self.name.partition(".")[0]
        self._fd = descriptor

    def append(self, line: bytes) -> None:
        raise OSError(errno.EROFS, "the journal of another process is only read")

    def read(self, position: int, most: int) -> tuple[list[bytes], int]:
        """See :meth:`Journal.read`. One that was removed has nothing: the store has all of it.

        The store may have forgotten its position by then, and everything would be read a second time.
        """
        status = os.fstat(self._fd)
        if status.st_nlink == 0:
            return [], position
        return _read_lines(self._fd, position, most, status.st_size)

    def end(self) -> int:
        """The position after the last byte."""
        return os.fstat(self._fd).st_size

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)


def live_journal(path: Path) -> LiveJournal | None:
    """Open the journal of a living process; None where it is gone, or this process's own."""
    with _own_lock, contextlib.suppress(OSError):
        if _identity(os.stat(path)) not in _own:
            return LiveJournal(path, os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0)))
    return None


def flavour_of(name: str) -> str:
    """Who drains the journal of this name."""
    return name.split(".", 2)[2] if name.count(".") == 2 else OWN


def dead_journals(folder: Path) -> Iterator[DeadJournal]:
    """The journals in ``folder`` whose processes are gone, each locked until it is removed or released."""
    if not folder.is_dir():
        return
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        with _own_lock:
            try:
                if _identity(os.stat(path)) in _own:
                    continue
                descriptor = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
            except OSError:
                continue  # another process was quicker, or it is not ours to read
            # A living process has it; or it was drained and removed between our open and our lock.
            if not lock_file(descriptor) or os.fstat(descriptor).st_nlink == 0:
                os.close(descriptor)
                continue
            _own.add(_identity(os.fstat(descriptor)))
        yield DeadJournal(path, descriptor)


class MemoryJournal:
    """The journal of a store in memory: nothing survives the process, and nothing is meant to."""

    def __init__(self) -> None:
        # A name of its own: beside a store on disk, which keeps positions, it is no other process's journal.
        self.name = self.owner = f"memory-{os.getpid()}-{secrets.token_hex(6)}"
        self._lines: collections.deque[bytes] = collections.deque()
        self._lock = threading.Lock()
        self._first = 0

    def append(self, line: bytes) -> None:
        with self._lock:
            self._lines.append(line)

    def read(self, position: int, most: int) -> tuple[list[bytes], int]:
        """Lines before ``position`` are forgotten: the caller has them."""
        with self._lock:
            while self._first < position and self._lines:
                self._lines.popleft()
                self._first += 1
            lines = list(itertools.islice(self._lines, most))
        return lines, position + len(lines)

    def end(self) -> int:
        with self._lock:
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


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _claim(descriptor: int) -> None:
    with _own_lock:
        _own.add(_identity(os.fstat(descriptor)))


def _let_go(descriptor: int) -> None:
    with _own_lock:
        _own.discard(_identity(os.fstat(descriptor)))
        os.close(descriptor)


def _forget(descriptor: int, path: Path) -> None:
    if sys.platform == "win32":
        _let_go(descriptor)
        path.unlink(missing_ok=True)
    else:  # removed while locked, so that nobody can take it for a dead process's journal in between
        path.unlink(missing_ok=True)
        _let_go(descriptor)
