"""The SQLite schema, its version, and the steps from older ones. Migrations go forward only."""

from __future__ import annotations

import sqlite3

VERSION = 2

_V1 = """
CREATE TABLE alerts (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL,
    kind TEXT NOT NULL,
    priority INTEGER NOT NULL,          -- rank: 4 critical … 0 info
    time REAL NOT NULL,                 -- Unix seconds, like every time here
    symbol TEXT NOT NULL,
    strategy TEXT NOT NULL,
    run TEXT NOT NULL,
    source TEXT NOT NULL,
    body TEXT NOT NULL,                 -- the alert as JSON
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    stored REAL NOT NULL,
    acknowledged REAL
);
CREATE INDEX alerts_by_run ON alerts (run, seq);
CREATE INDEX alerts_by_time ON alerts (time);

CREATE TABLE deliveries (
    seq INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    alert INTEGER NOT NULL REFERENCES alerts (seq),
    channel TEXT NOT NULL,
    target TEXT NOT NULL,
    priority INTEGER NOT NULL,
    silent INTEGER NOT NULL,
    due REAL NOT NULL,                  -- not before; moves with each retry
    promised REAL NOT NULL,             -- when it should have arrived; what lateness is measured from
    created REAL NOT NULL,
    expires REAL NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    answers INTEGER NOT NULL DEFAULT 0,
    outcome TEXT NOT NULL DEFAULT '',
    detail TEXT NOT NULL DEFAULT '',
    service_id TEXT NOT NULL DEFAULT '',
    settled REAL
);
CREATE INDEX deliveries_pending ON deliveries (channel, priority DESC, seq) WHERE state = 'pending';
CREATE INDEX deliveries_by_alert ON deliveries (alert);
CREATE INDEX deliveries_dead ON deliveries (seq) WHERE state IN ('dead', 'expired');

CREATE TABLE attempts (
    seq INTEGER PRIMARY KEY,
    delivery INTEGER NOT NULL REFERENCES deliveries (seq),
    started REAL NOT NULL,
    took REAL NOT NULL,                 -- seconds
    outcome TEXT NOT NULL,
    detail TEXT NOT NULL,
    service_id TEXT NOT NULL,
    facts TEXT NOT NULL
);
CREATE INDEX attempts_by_delivery ON attempts (delivery);

CREATE TABLE targets (
    channel TEXT NOT NULL,
    target TEXT NOT NULL,               -- hash of the address, which can be a secret
    label TEXT NOT NULL,
    owner TEXT,
    leased_until REAL NOT NULL DEFAULT 0,
    not_before REAL NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,    -- in a row, over all deliveries
    tokens REAL,
    tokens_at REAL NOT NULL DEFAULT 0,
    disabled TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (channel, target)
) WITHOUT ROWID;

CREATE TABLE channels (
    channel TEXT PRIMARY KEY,
    fingerprint TEXT NOT NULL DEFAULT '',   -- of its configuration
    disabled TEXT NOT NULL DEFAULT '',
    not_before REAL NOT NULL DEFAULT 0
) WITHOUT ROWID;

CREATE TABLE rule_state (
    rule TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    until REAL,
    PRIMARY KEY (rule, key)
) WITHOUT ROWID;
CREATE INDEX rule_state_until ON rule_state (until) WHERE until IS NOT NULL;

CREATE TABLE journals (journal TEXT PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID;

CREATE TABLE unreadable (
    seq INTEGER PRIMARY KEY,
    journal TEXT NOT NULL,
    position INTEGER NOT NULL,
    line BLOB NOT NULL
);
"""

_V2 = """
ALTER TABLE deliveries ADD COLUMN thread TEXT NOT NULL DEFAULT '';      -- of its alert
ALTER TABLE deliveries ADD COLUMN gather INTEGER NOT NULL DEFAULT 0;    -- goes in a digest when it is due
ALTER TABLE deliveries ADD COLUMN ask_at REAL;                          -- when to ask what became of the message
CREATE INDEX deliveries_by_thread ON deliveries (channel, target, thread, settled)
    WHERE thread != '' AND service_id != '';
CREATE INDEX deliveries_to_ask ON deliveries (channel, ask_at) WHERE ask_at IS NOT NULL;
ALTER TABLE targets ADD COLUMN memory TEXT NOT NULL DEFAULT '';         -- plain JSON that its dispatcher wants back
"""

#: What takes a store of version N to N + 1, by N.
STEPS: dict[int, str] = {0: _V1, 1: _V2}


def version_of(connection: sqlite3.Connection) -> int:
    """The version that a store says it has; 0 for an empty file."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def is_foreign(connection: sqlite3.Connection) -> bool:
    """Whether there are tables and no version of ours. One statement, because another process may just be migrating."""
    row = connection.execute(
        "SELECT user_version = 0 AND EXISTS (SELECT 1 FROM sqlite_master) FROM pragma_user_version"
    ).fetchone()
    return bool(row[0])


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a store to :data:`VERSION`, each step in a transaction of its own."""
    while (version := version_of(connection)) < VERSION:
        try:
            connection.executescript(
                f"BEGIN IMMEDIATE;\n{STEPS[version]}\nPRAGMA user_version = {version + 1};\nCOMMIT;"
            )
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if version_of(connection) == version:  # else another process took this step first
                raise
