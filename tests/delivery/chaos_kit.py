"""What the tests of crashes share: processes that are killed at a chosen moment, faulty versions of our own code, and
the audit that says what a crash cost.

Nothing in the product knows of this. The process that is to die wraps methods of the real classes and kills itself with
SIGKILL in one of them; for one moment, when the request was read and not answered, the service kills it.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from alerts_kit import until, webhook

from bt_alerts.alert import Alert, Source
from bt_alerts.errors import StoreError
from bt_alerts.outbox.base import Outbox
from bt_alerts.testing import FakeService, Received

HERE = Path(__file__).parent

# Processes -------------------------------------------------------------------------------------------


class Child:
    """A process that the nursery started."""

    def __init__(self, pid: int, said: Path, gone: Path) -> None:
        self.pid = pid
        self._said = said
        self._gone = gone

    @property
    def said(self) -> list[str]:
        """The whole lines that it printed so far."""
        return self._said.read_text().split("\n")[:-1]

    @property
    def log(self) -> str:
        """What it complained of."""
        log = Path(f"{self._said}.log")
        return log.read_text() if log.exists() else ""

    @property
    def alive(self) -> bool:
        return not self._gone.exists()

    def stop(self) -> None:
        """Let it stand still, so that others can see what it was at."""
        os.kill(self.pid, signal.SIGSTOP)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def wait(self, timeout: float = 60.0) -> int:
        """Wait for its end: its exit code, or the signal that ended it as a negative number."""
        until(self._gone.exists, timeout)
        return int(self._gone.read_text())


class Nursery:
    """Starts processes in a few milliseconds: forks of one that has no threads and has imported everything.

    A context manager; processes that still live at its end are killed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number = 0
        path = os.pathsep.join([str(HERE), str(HERE.parent), *filter(None, sys.path)])
        self._process = subprocess.Popen(
            [sys.executable, "-c", "import chaos_kit; chaos_kit.nurse()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
            text=True,
        )

    def start(self, what: Callable[..., None], *args: object, **environment: str) -> Child:
        """Run a function of this module, with arguments that JSON can hold, in a process of its own."""
        self._number += 1
        said, gone = self._folder / f"said-{self._number}", self._folder / f"gone-{self._number}"
        said.touch()
        order = {
            "call": what.__name__,
            "args": [str(arg) if isinstance(arg, Path) else arg for arg in args],
            "said": str(said),
            "gone": str(gone),
            "environment": {
                "XDG_STATE_HOME": os.environ["XDG_STATE_HOME"],
                "TMPDIR": str(self._folder),
                **environment,
            },
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return Child(int(self._process.stdout.readline()), said, gone)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=60)


def nurse() -> None:
    """The life of the process that all the others are forks of."""
    import bt_alerts.cli
    import bt_alerts.cli.worker
    import bt_alerts.delivery.child
    import bt_alerts.delivery.courier
    import bt_alerts.delivery.engine
    import bt_alerts.delivery.worker
    import bt_alerts.dispatchers.webhook
    import bt_alerts.manager
    import bt_alerts.outbox.postgres
    import bt_alerts.outbox.sqlite
    import bt_alerts.settings  # noqa: F401

    _look_after(sys.stdin.fileno())


def _look_after(stdin: int) -> None:
    """Start what is ordered, and note the end of each process."""
    living: dict[int, str] = {}
    # Written to by the signal itself: one that comes just before we wait would not end a wait for orders alone.
    ended, ringer = os.pipe()
    os.set_blocking(ended, False)
    os.set_blocking(ringer, False)
    signal.set_wakeup_fd(ringer)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)

    def start(order: dict[str, Any]) -> None:
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.close(ended)
            os.close(ringer)
            _live(order)
        living[pid] = order["gone"]
        print(pid, flush=True)

    def reap() -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(ended, 4096)
        while living:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            note = Path(f"{living[pid]}.part")
            note.write_text(str(os.waitstatus_to_exitcode(status)))
            note.rename(living.pop(pid))

    orders = b""
    while True:
        ready, _, _ = select.select([stdin, ended], [], [])
        if ended in ready:
            reap()
        if stdin in ready:
            heard = os.read(stdin, 65_536)
            if not heard:
                break
            *whole, orders = (orders + heard).split(b"\n")
            for order in whole:
                start(json.loads(order))
    for pid in list(living):
        os.kill(pid, signal.SIGKILL)
    while living:
        select.select([ended], [], [])
        reap()


def _live(order: dict[str, Any]) -> None:
    """In the fork: do what was ordered, and end without coming back."""
    code = 1
    try:
        said = os.open(order["said"], os.O_WRONLY | os.O_APPEND)
        os.dup2(said, 1)
        os.dup2(os.open(f"{order['said']}.log", os.O_WRONLY | os.O_CREAT, 0o600), 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.environ.update(order["environment"])
        globals()[order["call"]](*order["args"])
        code = 0
    except SystemExit as exc:
        code = int(exc.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


# What they do ----------------------------------------------------------------------------------------


def settings_for(urls: Sequence[str], worker: str = "thread") -> dict[str, Any]:
    """One webhook channel with these addresses."""
    return {
        "alerts": {"hook": webhook(*urls)},
        "delivery": {"flush_timeout": 0, "worker": worker, "retry_delay": 0.05},
    }


def strategy(  # noqa: PLR0917 - handed to a process
    store: str,
    urls: list[str],
    number: int,
    worker: str = "thread",
    pause: float = 0.0,
    armed: dict[str, Any] | None = None,
) -> None:
    """Emit, print the id of each alert that was accepted, and stay. Ends by a kill."""
    from bt_alerts import AlertManager

    said = threading.Event()
    if armed and worker == "process":  # it is the child of the child that is to die
        sys.path.insert(0, _arming_at_start(armed))
    elif armed:
        arm(**armed, said=said if number else None)
    manager = AlertManager(settings_for(urls, worker), store=store)
    manager.start()
    for i in range(number):
        alert = Alert.make(f"number {i}", kind="signal", type="signal", source=Source.LIVE, strategy=f"s{os.getpid()}")
        if manager.emit(alert):
            os.write(1, f"{alert.id}\n".encode())  # unbuffered: what is printed was accepted
            said.set()
        time.sleep(pause)
    while True:
        time.sleep(60)


def deliver_for_others(store: str, urls: list[str], armed: dict[str, Any] | None = None) -> None:
    """``bt-alerts worker``, until it is told to end."""
    from bt_alerts.cli import main

    if armed:
        arm(**armed)
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", delete=False) as file:
        json.dump(settings_for(urls, "external"), file)  # which is YAML too
    sys.argv = ["bt-alerts", "worker", "-c", file.name, "--store", store]
    main()


def _arming_at_start(armed: dict[str, Any]) -> str:
    """A folder that arms every Python that has it on its path."""
    folder = Path(armed["note"] + ".site")
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        textwrap.dedent(f"""
        import sys
        if any("bt_alerts.delivery.child" in word for word in sys.orig_argv):
            import chaos_kit
            chaos_kit.arm(**{armed!r})
        """)
    )
    return str(folder)


# Failpoints ------------------------------------------------------------------------------------------

#: Where a process is killed, and whether the message that it was at is repeated. The order is that of one delivery.
FAILPOINTS: Mapping[str, bool] = {
    "before the commit of planning": False,
    "after the commit of planning": False,
    "after the claim": False,
    "before the bytes are sent": False,
    "after the bytes were sent": True,
    "after the answer": True,
    "before settling": True,
    "before the commit of settling": True,
    "after settling": False,
}


def arm(point: str, hit: int, note: str, mutant: str = "", said: threading.Event | None = None) -> None:
    """Have this process kill itself when it comes to a point for the ``hit``th time; once for each ``note``.

    Args:
        point: one of :data:`FAILPOINTS`; empty for none.
        hit: from 1.
        note: a file that is made where it happens; a process that finds it lives on. Before, it holds the process id.
        mutant: one of :data:`MUTANTS` to be at the same time.
        said: is set when the first alert was printed. Planning can be faster, and there would be none to lose.
    """
    if mutant:
        MUTANTS[mutant]()
    place = Path(note)
    if not point or place.exists():
        return
    Path(f"{note}.pid").write_text(str(os.getpid()))
    left = [hit]

    def here() -> None:
        left[0] -= 1
        if left[0] == 0:
            if said is not None and "planning" in point:
                said.wait(60)
            place.touch()
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)  # the signal may come a moment later

    _WRAP[point](here)


def _outboxes() -> list[Any]:
    from bt_alerts.outbox.postgres import PostgresOutbox
    from bt_alerts.outbox.sqlite import SqliteOutbox

    return [SqliteOutbox, PostgresOutbox]


def _around(owner: Any, name: str, before: Callable[..., None], after: Callable[[Any], None]) -> None:
    original = getattr(owner, name)

    @functools.wraps(original)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        before(*args)
        result = original(*args, **kwargs)
        after(result)
        return result

    setattr(owner, name, wrapped)


def _nothing(*_: Any) -> None:
    pass


def _at_planning(here: Callable[[], None], *, after: bool) -> None:
    """Where something was decided, or a journal was read, the end of the transaction."""
    from bt_alerts.outbox.sql_planning import SqlTransaction

    planned = [False]

    def note(*_: Any) -> None:
        planned[0] = True

    _around(SqlTransaction, "decide", note, _nothing)
    _around(SqlTransaction, "set_position", lambda tx, journal, position: note() if position > 0 else None, _nothing)
    for outbox in _outboxes():
        original = outbox.transaction

        @contextlib.contextmanager
        def transaction(self: Any, original: Any = original) -> Iterator[Any]:
            with original(self) as tx:
                yield tx
                if planned[0] and not after:
                    here()
            if planned[0] and after:
                here()
            planned[0] = False

        outbox.transaction = transaction


def _after_claim(here: Callable[[], None]) -> None:
    for outbox in _outboxes():
        _around(outbox, "claim", _nothing, lambda claim: here() if claim is not None else None)
        _around(outbox, "settle_and_claim", _nothing, lambda both: here() if both[1] is not None else None)


def _at_deliver(here: Callable[[], None], *, after: bool) -> None:
    from bt_alerts.dispatchers.webhook import WebhookDispatcher

    _around(
        WebhookDispatcher,
        "deliver",
        _nothing if after else lambda *_: here(),
        (lambda _: here()) if after else _nothing,
    )


def _at_settle(here: Callable[[], None], *, after: bool) -> None:
    for outbox in _outboxes():
        for name in ("settle", "settle_and_claim"):  # the second is one transaction, in which no method is called
            _around(outbox, name, _nothing if after else lambda *_: here(), (lambda _: here()) if after else _nothing)


def _before_settling_commits(here: Callable[[], None]) -> None:
    from bt_alerts.outbox import sql_settle

    _around(sql_settle, "settle", _nothing, lambda _: here())


_WRAP: Mapping[str, Callable[[Callable[[], None]], None]] = {
    "before the commit of planning": functools.partial(_at_planning, after=False),
    "after the commit of planning": functools.partial(_at_planning, after=True),
    "after the claim": _after_claim,
    "before the bytes are sent": functools.partial(_at_deliver, after=False),
    "after the bytes were sent": _nothing,  # the service does it, see `killing_service`
    "after the answer": functools.partial(_at_deliver, after=True),
    "before settling": functools.partial(_at_settle, after=False),
    "before the commit of settling": _before_settling_commits,
    "after settling": functools.partial(_at_settle, after=True),
}


def kill_at_request(service: FakeService, hit: int, note: Path) -> None:
    """Have the service kill whoever is armed when it has read its ``hit``th request, and leave that unanswered."""

    def body(received: Received) -> bytes:
        if len(service.requests) >= hit and not note.exists():
            note.touch()
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(Path(f"{note}.pid").read_text()), signal.SIGKILL)
        return b""

    service.answer(200, body)


# Mutants ---------------------------------------------------------------------------------------------


def _settles_before_it_sends() -> None:
    from bt_alerts.delivery.courier import Courier
    from bt_alerts.outbox.base import DeliveryState, Settlement

    original = Courier._attempt

    def attempt(self: Any, claim: Any, now: float) -> Any:
        self._outbox.settle(claim, Settlement(DeliveryState.DELIVERED, "sent"), self._owner, started=now, now=now)
        return original(self, claim, now)

    Courier._attempt = attempt  # type: ignore[method-assign]


def _commits_the_position_before_the_alerts() -> None:
    from bt_alerts.delivery.planner import BATCH, Planner

    def drain(self: Any, journal: Any) -> int:
        with self._outbox.transaction() as tx:
            position = tx.position(journal.name)
            lines, after = journal.read(position, BATCH)
            if not lines:
                return 0
            tx.set_position(journal.name, after)
        with self._outbox.transaction() as tx:
            for line in lines:
                self._plan_line(tx, journal.name, position, line, self._clock())
        return len(lines)

    Planner.drain = drain  # type: ignore[method-assign]


def _removes_the_journal_before_the_commit() -> None:
    from bt_alerts.delivery.planner import Planner

    original = Planner.drain

    def drain(self: Any, journal: Any) -> int:
        with contextlib.suppress(FileNotFoundError):
            journal.path.unlink()
        return original(self, journal)

    Planner.drain = drain  # type: ignore[method-assign]


def _leases_nothing() -> None:
    for outbox in _outboxes():
        original = outbox.claim

        def claim(self: Any, channel: str, owner: str, now: float, lease: float, *more: Any, original: Any = original,
                  **named: Any) -> Any:  # fmt: skip
            return original(self, channel, owner, now, 0.0, *more, **named)

        outbox.claim = claim
        _go_through_claim(outbox)


def _go_through_claim(outbox: Any) -> None:
    from bt_alerts.outbox.base import Outbox

    outbox.settle_and_claim = Outbox.settle_and_claim


def _gives_back_what_others_have_leased() -> None:
    """The worker takes each target away from whoever has it before it claims."""
    for outbox in _outboxes():
        original = outbox.claim

        def claim(self: Any, channel: str, *more: Any, original: Any = original, **named: Any) -> Any:
            with self._write() as db:
                db.execute("UPDATE targets SET owner = NULL, leased_until = 0, leased_at = 0")
            return original(self, channel, *more, **named)

        outbox.claim = claim
        _go_through_claim(outbox)


def _has_a_key_for_each_attempt() -> None:
    from bt_alerts.delivery.courier import Courier

    original = Courier._context

    def context(self: Any, claim: Any, now: float, **named: Any) -> Any:
        made = original(self, claim, now, **named)
        return dataclasses.replace(made, key=f"{made.key}-{os.urandom(4).hex()}")

    Courier._context = context  # type: ignore[method-assign]


#: Ways to be wrong, and so what the tests must see.
MUTANTS: Mapping[str, Callable[[], None]] = {
    "settles before it sends": _settles_before_it_sends,
    "commits the position before the alerts": _commits_the_position_before_the_alerts,
    "removes the journal before the commit": _removes_the_journal_before_the_commit,
    "leases nothing": _leases_nothing,
    "gives back what others have leased": _gives_back_what_others_have_leased,
    "has a key for each attempt": _has_a_key_for_each_attempt,
}


# The audit -------------------------------------------------------------------------------------------


#: Kinds of alert that are also told where the store cannot be asked, or nobody delivers from it.
PAST_THE_STORE = {"outbox.trouble", "worker.died"}


@dataclasses.dataclass(frozen=True)
class Audit:
    """What became of everything that was accepted, by the store and by the service, which must agree."""

    accepted: int
    lost: int
    repeated: int
    complaints: tuple[str, ...]


def audit(outbox: Outbox, accepted: Iterable[Sequence[str]], received: Iterable[Received], in_flight: int = 0) -> Audit:
    """Compare what strategies were told with what the store has and what the service got.

    Args:
        outbox: the store, when nothing is pending any more.
        accepted: for each strategy the ids of the alerts that ``emit`` accepted, in order.
        received: what the service got, in order.
        in_flight: how many deliveries were in flight when a process was killed: so many may have been repeated.
    """
    runs = [list(run) for run in accepted]
    ids = {id_ for run in runs for id_ in run}
    kept = {row[0] for row in outbox.rows("SELECT id FROM alerts")}
    keys: dict[tuple[str, str], list[str]] = {}  # by alert and path, those under which it came
    messages: collections.Counter[tuple[str, str]] = collections.Counter()  # by key and path
    for request in received:
        if len(request.body) < int(request.headers["content-length"]):
            continue  # whoever sent it was killed in the middle: nothing arrived
        message, key = request.json()["data"], request.headers["webhook-id"]
        if message["kind"] in PAST_THE_STORE and message["id"] not in kept:
            continue
        messages[key, request.path] += 1
        for id_ in message.get("data", {}).get("alerts", [message["id"]]):  # a storm of errors goes as one message
            keys.setdefault((id_, request.path), []).append(key)
    paths = {path for _, path in keys}
    told = {id_ for id_, _ in keys}
    repeated = messages.total() - len(messages)
    ledger = outbox.ledger()
    complaints = []
    if ids - kept:
        complaints.append(f"lost: {len(ids - kept)} of {len(ids)} accepted alerts are not in the store")
    if kept - told or len(keys) != len(told) * len(paths):
        complaints.append(f"not told: of {len(kept)} alerts in the store the service got {len(told)}")
    if told - kept:
        complaints.append(f"made up: {len(told - kept)} alerts that the store does not know")
    if repeated > in_flight:
        complaints.append(f"repeated: {repeated}, and only {in_flight} were in flight")
    if any(len(set(each)) > 1 for each in keys.values()):
        complaints.append("key: a repeat came under another key")
    if not ledger.balanced or ledger.unreadable or ledger.waiting:
        complaints.append(f"ledger: {ledger}")
    if not ledger.deliveries["delivered"] + ledger.deliveries["digested"] == ledger.created == len(keys):
        complaints.append(f"ledger: {dict(ledger.deliveries)}, and {len(keys)} arrived")
    complaints += [
        f"order: {path}" for path in sorted(paths) if not _in_order(runs, [i for i, at in keys if at == path])
    ]
    return Audit(len(ids), len(ids - kept), repeated, tuple(complaints))


def _in_order(runs: list[list[str]], arrived: list[str]) -> bool:
    """Whether the alerts of each strategy arrived in the order in which it emitted them."""
    place = {id_: number for number, id_ in enumerate(arrived)}
    for run in runs:
        places = [place[id_] for id_ in run if id_ in place]
        if places != sorted(places):
            return False
    return True


def at_rest(outbox: Outbox) -> bool:
    """Whether every journal is read, the dead have left none, everything is decided, and nothing is pending."""
    assert outbox.journals is not None
    with contextlib.suppress(StoreError, FileNotFoundError):
        for path in outbox.journals.glob("*.jsonl"):
            if not _lives(int(path.name.split("-")[0])) or outbox.position(path.stem) < path.stat().st_size:
                return False
        (waiting,) = next(outbox.rows("SELECT count(*) FROM alerts WHERE state = 'waiting'"))
        return not waiting and not counted(outbox)["pending"]
    return False


def come_to_rest(outbox: Outbox, timeout: float = 60.0) -> None:
    """Wait until it is at rest, without asking so often that nobody else has the processor."""
    until(lambda: at_rest(outbox) or time.sleep(0.03), timeout)


def end_workers(outbox: Outbox) -> None:
    """Kill the processes that were started to deliver, and would go on for a while without their strategy."""
    for process in outbox.processes():
        if process.role == "worker":
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(process.about["pid"]), signal.SIGKILL)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def counted(outbox: Outbox) -> collections.Counter[str]:
    """Deliveries by state, counted by the rows."""
    return collections.Counter(
        {s: int(n) for s, n in outbox.rows("SELECT state, count(*) FROM deliveries GROUP BY state")}
    )
