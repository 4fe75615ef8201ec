"""The schema, its version, and the steps from older ones. Migrations go forward only.

The steps are SQL that SQLite takes as it is; :func:`for_postgres` says the same in PostgreSQL's words.
"""

from __future__ import annotations

import re
import sqlite3

VERSION = 4

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

_V3 = """
ALTER TABLE alerts ADD COLUMN due REAL NOT NULL DEFAULT 0;              -- not before, for one that waits for a planner
CREATE INDEX alerts_waiting ON alerts (seq) WHERE state = 'waiting';
CREATE INDEX alerts_by_state ON alerts (state, reason);                 -- the ledger counts it
ALTER TABLE alerts ADD COLUMN files INTEGER NOT NULL DEFAULT 0;         -- how many attachments it has
UPDATE alerts SET files = 1 WHERE body LIKE '%"attachments":[{%';
CREATE INDEX alerts_with_files ON alerts (seq) WHERE files > 0;
CREATE INDEX alerts_by_stored ON alerts (stored);                       -- the oldest are pruned first

ALTER TABLE deliveries ADD COLUMN batch TEXT NOT NULL DEFAULT '';       -- goes in one message with the others of it
UPDATE deliveries SET batch = 'held' WHERE gather = 1;
ALTER TABLE deliveries DROP COLUMN gather;
ALTER TABLE deliveries ADD COLUMN tried REAL NOT NULL DEFAULT 0;       -- last attempt; in the future: a clock went back
ALTER TABLE deliveries ADD COLUMN progress TEXT NOT NULL DEFAULT '';    -- plain JSON: what the service has already
DROP INDEX deliveries_pending;
CREATE INDEX deliveries_pending ON deliveries (channel, target, priority DESC, seq) WHERE state = 'pending';
CREATE INDEX deliveries_due ON deliveries (channel, target, due) WHERE state = 'pending';
CREATE INDEX deliveries_expiring ON deliveries (channel, target, expires) WHERE state = 'pending';
CREATE INDEX deliveries_by_batch ON deliveries (channel, target, batch, seq) WHERE state = 'pending' AND batch != '';
CREATE INDEX deliveries_by_state ON deliveries (channel, state);        -- ledger and health count it

ALTER TABLE attempts ADD COLUMN channel TEXT NOT NULL DEFAULT '';
ALTER TABLE attempts ADD COLUMN owner TEXT NOT NULL DEFAULT '';         -- which process tried
UPDATE attempts SET channel = (SELECT d.channel FROM deliveries d WHERE d.seq = attempts.delivery);
CREATE INDEX attempts_by_channel ON attempts (channel, seq);

ALTER TABLE targets ADD COLUMN leased_at REAL NOT NULL DEFAULT 0;
ALTER TABLE targets ADD COLUMN held_at REAL NOT NULL DEFAULT 0;         -- when not_before or open_until was set
ALTER TABLE targets ADD COLUMN paced_until REAL NOT NULL DEFAULT 0;     -- for all but critical alerts
ALTER TABLE targets ADD COLUMN pace REAL NOT NULL DEFAULT 1;            -- part of its rate that it takes just now
ALTER TABLE targets ADD COLUMN open_until REAL NOT NULL DEFAULT 0;      -- circuit breaker: nothing before
ALTER TABLE targets ADD COLUMN trips INTEGER NOT NULL DEFAULT 0;        -- circuit breaker: 0 is closed
ALTER TABLE channels ADD COLUMN held_at REAL NOT NULL DEFAULT 0;

CREATE TABLE leases (name TEXT PRIMARY KEY, owner TEXT NOT NULL, leased_at REAL NOT NULL, leased_until REAL NOT NULL);

CREATE TABLE processes (
    owner TEXT PRIMARY KEY,
    role TEXT NOT NULL,                 -- strategy or worker
    about TEXT NOT NULL,                -- plain JSON
    started REAL NOT NULL,
    seen REAL NOT NULL,
    ended REAL
);

CREATE TABLE pruned (ledger TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL, n INTEGER NOT NULL,
    PRIMARY KEY (ledger, state, reason));   -- so that the ledgers go on balancing
"""

_V4 = """
ALTER TABLE alerts ADD COLUMN rule TEXT NOT NULL DEFAULT '';            -- which rule gave the reason
ALTER TABLE alerts ADD COLUMN trail TEXT NOT NULL DEFAULT '';           -- plain JSON: what rules had to say
ALTER TABLE deliveries ADD COLUMN reason TEXT NOT NULL DEFAULT '';      -- why it waits, or goes there
CREATE INDEX deliveries_by_reason ON deliveries (channel, reason) WHERE reason != '';
"""

#: What takes a store of version N to N + 1, by N.
STEPS: dict[int, str] = {0: _V1, 1: _V2, 2: _V3, 3: _V4}

_POSTGRES = (
    (r"\bINTEGER PRIMARY KEY\b", "BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY"),
    (r"\bINTEGER\b", "BIGINT"),
    (r"\bREAL\b", "DOUBLE PRECISION"),
    (r"\bBLOB\b", "BYTEA"),
    (r"\) WITHOUT ROWID;", ");"),
)


def for_postgres(step: str) -> str:
    """A step in PostgreSQL's words."""
    for pattern, words in _POSTGRES:
        step = re.sub(pattern, words, step)
    return step


def newer(store: str, version: int) -> str:
    """What to say of a store that a later version of this package has made its own."""
    return (
        f"the store {store} was written by a newer bt_alerts (schema {version}, this one knows {VERSION}): upgrade "
        "with `pip install -U bt-alerts`"
    )


def older(store: str) -> str:
    """What to say of a store that an earlier version wrote, where it may only be read."""
    return (
        f"the store {store} was written by an older bt_alerts: `bt-alerts health` brings it to this version (schema "
        f"{VERSION}); then look again"
    )


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
