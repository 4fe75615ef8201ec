"""The bell of a store in a file: heard by everybody who listens, and never in the ringer's way."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import types
from pathlib import Path

import pytest
from alerts_kit import python, run_python, until

from bt_alerts.outbox import fifo
from bt_alerts.outbox.fifo import FifoBell
from bt_alerts.outbox.memory import MemoryOutbox
from bt_alerts.outbox.sqlite import SqliteOutbox

resource = pytest.importorskip("resource", reason="there are no FIFOs")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no FIFOs")

LISTENER = """
import sys, time
from pathlib import Path
from bt_alerts.outbox import fifo
fifo.LINGER = 10.0  # a busy machine may give a listener no processor within the usual four milliseconds
bell = fifo.FifoBell(Path(sys.argv[1]))
bell.listen(lambda: print("heard", flush=True))
print("listening", flush=True)
time.sleep(60)
"""


def test_a_ring_that_is_left_for_a_moment_is_heard_by_every_process_that_listens(tmp_path: Path) -> None:
    path = tmp_path / "bell"
    listeners = [python(LISTENER, path) for _ in range(3)]
    try:
        for listener in listeners:
            assert listener.stdout is not None
            assert listener.stdout.readline() == b"listening\n"
        FifoBell(path).ring()
        for listener in listeners:
            assert listener.stdout is not None
            assert listener.stdout.readline() == b"heard\n"
    finally:
        for listener in listeners:
            listener.kill()
            listener.communicate()


def test_what_was_written_before_each_ring_is_seen_after_it(tmp_path: Path) -> None:
    """However rings and looks fall together: the last look comes after the last ring."""
    bell, written, seen = FifoBell(tmp_path / "bell"), [0], [0]
    end = bell.listen(lambda: seen.__setitem__(0, written[0]))
    ringer = FifoBell(tmp_path / "bell")
    for number in range(1, 300):
        written[0] = number
        ringer.ring()
        if number % 7 == 0:
            time.sleep(fifo.LINGER * (number % 5) / 3)
        if number % 31 == 0:
            until(lambda number=number: seen[0] == number, timeout=5)  # type: ignore[misc]
    end()


def test_nobody_need_listen(tmp_path: Path) -> None:
    bell = FifoBell(tmp_path / "bell")
    for _ in range(100_000):  # more than a FIFO holds
        bell.ring()
    heard = threading.Event()
    end = bell.listen(heard.set)
    assert heard.wait(5)
    end()
    bell.close()
    bell.ring()


def test_a_ringer_survives_the_end_of_who_listened_whatever_it_does_with_sigpipe(tmp_path: Path) -> None:
    script = """
    import signal, sys
    from pathlib import Path
    from bt_alerts.outbox.fifo import FifoBell
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # as programs for the command line do
    bell = FifoBell(Path(sys.argv[1]))
    listener = FifoBell(Path(sys.argv[1]))
    end = listener.listen(lambda: None)
    bell.ring()
    end()
    for _ in range(1000):
        bell.ring()
    print("alive")
    """
    assert run_python(script, tmp_path / "bell") == "alive\n"


def test_only_this_user_may_ring(tmp_path: Path) -> None:
    FifoBell(tmp_path / "bell").ring()
    assert (tmp_path / "bell").stat().st_mode & 0o777 == 0o600


def test_something_else_of_that_name_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "bell").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "bell")
    for name in ("bell", "link"):
        bell = FifoBell(tmp_path / name)
        bell.ring()
        bell.listen(lambda: None)()
    assert (tmp_path / "bell").read_text() == "mine"


def test_a_folder_where_none_can_be_made_is_asked_once_in_each_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []
    monkeypatch.setattr(fifo, "open_fifo", lambda path: asked.append(path) or -1)
    monkeypatch.setattr(fifo, "TRY_AGAIN", 3600.0)  # the second that it is may pass in between on a slow machine
    bell = FifoBell(tmp_path / "nowhere" / "bell")
    for _ in range(1000):
        bell.ring()
    assert len(asked) == 1


def test_a_fork_can_ring_too(tmp_path: Path) -> None:
    bell, heard = FifoBell(tmp_path / "bell"), threading.Event()
    listener = FifoBell(tmp_path / "bell")
    end = listener.listen(heard.set)
    bell.ring()
    assert heard.wait(5)
    time.sleep(5 * fifo.LINGER)
    heard.clear()
    pid = os.fork()
    if pid == 0:
        bell.ring()
        os._exit(0)
    os.waitpid(pid, 0)
    assert heard.wait(5)
    end()


def test_ending_to_listen_ends_the_thread_and_may_be_said_twice(tmp_path: Path) -> None:
    before = set(threading.enumerate())  # a store of another test may be open still
    end = FifoBell(tmp_path / "bell").listen(lambda: None)
    (listener,) = [t for t in set(threading.enumerate()) - before if t.name == "bt_alerts bell"]
    end()
    end()
    until(lambda: not listener.is_alive())


def test_which_store_has_which_bell(tmp_path: Path) -> None:
    outbox = SqliteOutbox(tmp_path / "store.db")
    assert isinstance(outbox.bell(), FifoBell)
    outbox.bell().ring()
    assert (tmp_path / "store.db.bell").is_fifo()
    outbox.close()
    assert not isinstance(MemoryOutbox().bell(), FifoBell)


def test_a_bell_that_is_rung_without_end_leaves_time_for_other_things(tmp_path: Path) -> None:
    """Rings come in bunches: who listens is called a few hundred times a second at most."""
    process = python(
        "import sys\nfrom pathlib import Path\nfrom bt_alerts.outbox.fifo import FifoBell\n"
        "bell = FifoBell(Path(sys.argv[1]))\nprint('on', flush=True)\nwhile True: bell.ring()",
        tmp_path / "bell",
    )
    assert process.stdout is not None
    process.stdout.readline()
    calls: list[None] = []
    begun = time.monotonic()
    end = FifoBell(tmp_path / "bell").listen(lambda: calls.append(None))
    try:
        time.sleep(0.5)
        until(lambda: len(calls) >= 2)
        end()
        assert len(calls) <= 2 * (time.monotonic() - begun) / fifo.LINGER + 4
    finally:  # it would ring on, for ever and as fast as it can
        process.send_signal(signal.SIGKILL)
        process.communicate()


def test_while_rings_keep_coming_they_wake_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To wake a sleeper can take the processor from who rings, and that is a strategy."""
    events: list[object] = []
    ringer, wait = FifoBell(tmp_path / "bell"), fifo._wait

    def waits(*descriptors: int) -> bool:
        events.append("sleeps")
        return wait(*descriptors)

    def pauses(seconds: float) -> None:
        events.append(seconds)
        if len(events) < 50:  # somebody rings in each pause
            ringer.ring()

    monkeypatch.setattr(fifo, "_wait", waits)
    monkeypatch.setattr(fifo, "time", types.SimpleNamespace(sleep=pauses, monotonic=time.monotonic))
    end = FifoBell(tmp_path / "bell").listen(lambda: None)
    ringer.ring()
    until(lambda: len(events) > 50)
    end()
    pauses_ = [fifo.LINGER, 2 * fifo.LINGER, *[fifo.LONGEST_LINGER] * 47]
    assert events == ["sleeps", *pauses_, "sleeps"]


@pytest.mark.skipif(sys.platform == "darwin", reason="its limit of open files is low")
def test_it_is_heard_in_a_program_with_very_many_open_files(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1200:
        pytest.skip(f"this machine allows {hard} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1200), hard))
    many = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        heard = threading.Event()
        bell = FifoBell(tmp_path / "bell")
        end = bell.listen(heard.set)
        bell.ring()
        assert heard.wait(5)
        end()
    finally:
        for each in many:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_it_ends_at_once_also_after_a_fork(tmp_path: Path) -> None:
    """The child holds the other end of what wakes who listens."""
    ended = run_python(
        """
import os, sys, threading, time
from pathlib import Path
from bt_alerts.outbox.fifo import FifoBell
end = FifoBell(Path(sys.argv[1])).listen(lambda: None)
read, write = os.pipe()
child = os.fork()
if child == 0:
    os.close(write)
    os.read(read, 1)
    os._exit(0)
end()
patience = time.monotonic() + 20
while any(thread.name == "bt_alerts bell" for thread in threading.enumerate()) and time.monotonic() < patience:
    time.sleep(0.005)
print(any(thread.name == "bt_alerts bell" for thread in threading.enumerate()))
os.write(write, b"x")
os.waitpid(child, 0)
""",
        tmp_path / "bell",
    )
    assert ended.strip() == "False"
