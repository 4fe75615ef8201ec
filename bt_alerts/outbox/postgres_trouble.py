"""What PostgreSQL and the way there complain of, as a sentence that says what to do."""

from __future__ import annotations

import re

import psycopg
from psycopg import errors

from bt_alerts.errors import StoreError
from bt_alerts.redact import redact


class StoreAway(StoreError):
    """The server cannot be reached just now; trying again later helps."""

    passing = True


class StoreBusy(StoreError):
    """Others have locked what is needed, for long; trying again later helps."""

    passing = True


class StoreConflict(StoreError):
    """Two transactions were in each other's way, and this one was undone; trying again at once helps."""

    passing = True


#: A server tells these before there is a connection, and libpq passes on nothing but the text.
_REFUSED = (
    (r"password authentication failed|no password supplied|authentication failed|Ident authentication",
     "refuses user or password: mend them in `store:`, in PGPASSWORD, or in the file ~/.pgpass"),
    (r'database ".*" does not exist', "does not exist: create the database (`createdb`), or mend its name in `store:`"),
    (r'role ".*" does not exist', "refuses the user: create it (`createuser`), or mend its name in `store:`"),
    (r"no pg_hba.conf entry|pg_hba.conf rejects",
     "may not be used from here: allow this host, user and database in the server's pg_hba.conf"),
    (r"permission denied for database", "may not be used by this user: GRANT CONNECT ON DATABASE … TO …"),
    (r"certificate|SSL error|does not support SSL|sslmode|root.crt", "cannot be reached safely"),
    (r"invalid (connection option|integer value|port number|sslmode|.* value:)|could not parse|missing key|"
     r"bad value for", "has an address that is wrong: mend `store:`"),
)  # fmt: skip

_IN_USE: tuple[tuple[tuple[type[psycopg.Error], ...], type[StoreError], str], ...] = (
    ((errors.DeadlockDetected, errors.SerializationFailure), StoreConflict,
     "was needed by two at once; it is tried again"),
    ((errors.LockNotAvailable, errors.QueryCanceled), StoreBusy, "is busy; it is tried again"),
    ((errors.ReadOnlySqlTransaction,), StoreAway, "is read-only just now (a standby?); it is tried again"),
    ((errors.InsufficientPrivilege,), StoreError, "may not be written by this user: let it own the schema, or grant "
     "what docs/postgres.md lists"),
    ((errors.DiskFull,), StoreError, "cannot grow, the server's disk is full: free some space; alerts wait in the "
     "journal meanwhile"),
)  # fmt: skip


def why_not_opened(exc: Exception, name: str) -> StoreError:
    """Why there is no connection."""
    text = _line(exc)
    for pattern, words in _REFUSED:
        if re.search(pattern, text, re.IGNORECASE):
            return StoreError(f"the store {name} {words} ({text})")
    return away(name, text)


def why(exc: psycopg.Error, name: str, *, broken: bool) -> StoreError:
    """Why a statement failed; ``broken``: the connection did."""
    for kinds, told, words in _IN_USE:
        if isinstance(exc, kinds):
            return told(f"the store {name} {words}")
    if broken:
        return away(name, _line(exc))
    return StoreError(f"the store {name} cannot be used: {_line(exc)}")


def away(name: str, reason: str) -> StoreAway:
    """The server is not there, or went away."""
    return StoreAway(f"the store {name} cannot be reached just now ({reason}); it is tried again")


def _line(exc: Exception) -> str:
    """The first line of what was said, without a secret; that of a connection without what is told before the cause."""
    lines = redact(exc).strip().splitlines() or [type(exc).__name__]
    text = re.sub(r"^.*?(?:FATAL|ERROR): +", "", lines[0])
    return re.sub(r"^(connection failed: )?connection to server .*? failed: |^\w+ing \w+ failed: ", "", text).rstrip(
        ". "
    )
