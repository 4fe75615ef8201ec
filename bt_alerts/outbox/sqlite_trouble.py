"""What SQLite and the file system complain of, as a sentence that says what to do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bt_alerts.errors import StoreError


class StoreLocked(StoreError):
    """Another process has the store; trying again helps."""

    passing = True


_REASONS: Mapping[str, str] = {
    "file is not a database": "is not a database of bt_alerts: give `store:` another path, or move that file away",
    "unable to open database file": "cannot be opened: make its folder and give this user the right to write there",
    "attempt to write a readonly database": "cannot be written: give this user the right to write the file and folder",
    "database is locked": "is locked by another process; nothing is lost, it is tried again",
    "database or disk is full": "cannot grow, the disk is full: free some space; alerts wait in the journal meanwhile",
    "database disk image is malformed": "is damaged: restore a backup, or move it away and start anew",
}


def why(exc: Exception, path: Path) -> str:
    text = str(exc)
    said = next((words for start, words in _REASONS.items() if start in text), None)
    if said is None and isinstance(exc, PermissionError | NotADirectoryError | IsADirectoryError | FileExistsError):
        said = f"cannot be used ({exc.strerror}): give `store:` a path that this user may write"
    return f"the store {path} {said}" if said else f"the store {path} cannot be used: {text}"
