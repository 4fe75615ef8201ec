"""What tells that a file changed since it was read."""

from __future__ import annotations

from pathlib import Path

Stamp = tuple[int, int, int, int] | None


def stamp(file: Path) -> Stamp:
    """Times, size and number of a file; None where there is none.

    Editors and secret managers put a new file in the old one's place, copies put its time back.
    """
    try:
        status = file.stat()
    except (OSError, ValueError):  # ValueError: no file can have such a name
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino
