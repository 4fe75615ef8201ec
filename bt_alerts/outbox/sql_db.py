"""What the shared SQL needs of a database connection: question marks as placeholders, and cursors that can be read.

Where a statement must lock rows that a later one changes, it says so in a comment, ``/* FOR UPDATE */``. SQLite passes
over it, for whoever writes there has the whole file; for PostgreSQL the words are taken out of the comment.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol


class Cursor(Protocol):
    """The answer to a statement."""

    @property
    def rowcount(self) -> int: ...

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...


class Db(Protocol):
    """A connection in a transaction. The statements are those that SQLite and PostgreSQL have in common."""

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Cursor: ...

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> Cursor: ...
