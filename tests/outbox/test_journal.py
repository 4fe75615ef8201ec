"""The journal: whole lines or none, one owner, found when the owner is dead."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest
from alerts_kit import python, run_python

from bt_alerts.outbox import journal as module
from bt_alerts.outbox.journal import AnyJournal, Journal, MemoryJournal, dead_journals

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX locks")

KEEPER = """
import sys, time
from pathlib import Path
from bt_alerts.outbox.journal import Journal
journal = Journal(Path(sys.argv[1]))
journal.append(b"one"); journal.append(b"two")
print(journal.path, flush=True)
time.sleep(60)
"""


@pytest.fixture(params=["disk", "memory"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> AnyJournal:
    return Journal(tmp_path / "j") if request.param == "disk" else MemoryJournal()


def read_all(journal: AnyJournal, most: int = 3) -> list[bytes]:
    position, found = 0, []
    while True:
        lines, after = journal.read(position, most)
        if not lines:
            return found
        found += lines
        position = after


# Both kinds ------------------------------------------------------------------------------------------


def test_lines_come_back_in_order_and_the_position_ends_at_the_end(journal: AnyJournal) -> None:
    lines = [f"line {i} ä".encode() for i in range(10)]
    for line in lines:
        journal.append(line)
    position, found = 0, []
    while position < journal.end():
        some, position = journal.read(position, 3)
        assert 0 < len(some) <= 3
        found += some
    assert found == lines
    assert journal.read(position, 3) == ([], position)


def test_a_position_can_be_read_again_until_a_later_one_is_asked_for(journal: AnyJournal) -> None:
    for line in (b"a", b"b", b"c"):
        journal.append(line)
    assert journal.read(0, 2) == journal.read(0, 2)
    _, after = journal.read(0, 2)
    assert journal.read(after, 2)[0] == [b"c"]


def test_lines_appended_while_another_thread_reads_all_arrive(journal: AnyJournal) -> None:
    def write(number: int) -> None:
        for i in range(2_000):
            journal.append(b"%d-%d" % (number, i))

    threads = [threading.Thread(target=write, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    position, found = 0, []
    while any(thread.is_alive() for thread in threads) or position < journal.end():
        lines, position = journal.read(position, 100)
        found += lines
    assert len(set(found)) == len(found) == 6_000


# On disk ---------------------------------------------------------------------------------------------


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "1-dead.1.jsonl").write_bytes(b"whole\nhalf of a li")
    (dead,) = dead_journals(tmp_path)
    assert read_all(dead) == [b"whole"]
    dead.release()


def test_lines_longer_than_a_chunk_are_read_whole(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    lines = [b"x" * 3_000_000, b"short", b"y" * 7_000_001, b"z"]
    for line in lines:
        journal.append(line)
    assert read_all(journal) == lines


def test_only_this_user_may_read_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    assert journal.path.stat().st_mode & 0o777 == 0o600
    assert journal.path.parent.stat().st_mode & 0o777 == 0o700


FULL = """
import resource, sys
from pathlib import Path
from bt_alerts.outbox.journal import Journal
journal = Journal(Path(sys.argv[1]), fsync=sys.argv[2] == "fsync")
journal.append(b"a" * 700)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
for _ in range(2):
    try:
        journal.append(b"b" * 700)
    except OSError as exc:
        print("refused", journal.end(), journal.path.stat().st_size)
journal.append(b"c" * 100)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
journal.append(b"d" * 700)
lines, after = journal.read(0, 10)
print([(line[:1].decode(), len(line)) for line in lines], after == journal.end())
"""


@pytest.mark.parametrize("durability", ["process", "fsync"])
def test_a_line_torn_by_a_full_disk_is_taken_back(tmp_path: Path, durability: str) -> None:
    printed = run_python(FULL, tmp_path, durability).splitlines()
    assert printed == ["refused 701 701", "refused 701 701", "[('a', 700), ('c', 100), ('d', 700)] True"]


def test_a_line_that_cannot_be_forced_to_the_disk_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path, fsync=True)
    journal.append(b"one")

    def fails(_: int) -> None:
        raise OSError(errno.EIO, "the disk is broken")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", fails)
        with pytest.raises(OSError, match="broken"):
            journal.append(b"two")
    journal.append(b"three")
    assert read_all(journal) == [b"one", b"three"]


def test_a_torn_line_that_cannot_be_taken_back_spoils_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path)
    journal.append(b"one")
    write = os.write

    def half(descriptor: int, data: bytes) -> int:
        return write(descriptor, data[: len(data) // 2])

    def fails(*_: object) -> None:
        raise OSError(errno.EIO, "the disk is broken")

    with monkeypatch.context() as broken:
        broken.setattr(os, "write", half)
        broken.setattr(os, "ftruncate", fails)
        with pytest.raises(OSError, match="full"):
            journal.append(b"twotwotwo")
    journal.append(b"three")
    journal.append(b"four")
    assert read_all(journal) == [b"one", b"twotw", b"three", b"four"]


def test_a_large_drained_journal_gives_way_to_a_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROTATE_AT", 100)
    journal = Journal(tmp_path)
    owner, first = journal.owner, journal.path
    journal.append(b"x" * 200)
    assert journal.rotate_if_drained(0) is None
    assert journal.rotate_if_drained(journal.end()) == first
    assert not first.exists()
    assert (journal.end(), journal.owner) == (0, owner)
    assert journal.name != first.name.removesuffix(".jsonl")
    journal.append(b"y")
    assert read_all(journal) == [b"y"]
    assert list(dead_journals(tmp_path)) == []


def test_a_journal_that_cannot_give_way_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROTATE_AT", 1)
    journal = Journal(tmp_path)
    journal.append(b"x")
    name, path = journal.name, journal.path
    monkeypatch.setattr(module, "lock_file", lambda _: False)
    with pytest.raises(OSError, match="no file locks"):
        journal.rotate_if_drained(journal.end())
    assert (journal.name, journal.path) == (name, path)
    assert sorted(tmp_path.iterdir()) == [path]
    journal.append(b"y")
    assert read_all(journal) == [b"x", b"y"]


def test_a_closed_journal_takes_nothing_and_stays_unless_it_is_drained(tmp_path: Path) -> None:
    drained, left = Journal(tmp_path), Journal(tmp_path)
    for journal in (drained, left):
        journal.append(b"x")
    assert drained.close(drained_to=drained.end())
    assert not left.close(drained_to=left.end() - 1)
    assert not left.close(drained_to=left.end())
    assert [path.exists() for path in (drained.path, left.path)] == [False, True]
    with pytest.raises(OSError, match="closed"):
        left.append(b"y")


# Read by others --------------------------------------------------------------------------------------


def as_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process open its own journals a second time, as another one can."""
    monkeypatch.setattr(module, "_own", set())


@pytest.mark.parametrize("drained", [True, False])
def test_a_reader_that_is_slower_than_the_close_reads_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drained: bool
) -> None:
    """A number of a closed file is given to the next one that is opened."""
    journal = Journal(tmp_path)
    journal.append(b"mine")
    foreign = tmp_path / "foreign"
    foreign.write_bytes(b"from\n")
    reading, go_on = threading.Event(), threading.Event()

    def slow(descriptor: int, size: int, position: int, read: Callable[..., bytes] = os.pread) -> bytes:
        reading.set()
        go_on.wait(60)
        return read(descriptor, size, position)

    monkeypatch.setattr(os, "pread", slow)
    with ThreadPoolExecutor(2) as threads:
        found = threads.submit(journal.read, 0, 9)
        assert reading.wait(60)
        closed = threads.submit(journal.close, drained_to=5 if drained else -1)
        wait([closed], 0.2)
        with foreign.open():
            go_on.set()
            assert found.result(60) == ([b"mine"], 5)
        assert closed.result(60) is drained
    assert journal.read(5, 9) == ([], 5), "nothing, and no error, when it is closed"


def test_who_drains_a_journal_is_in_its_name(tmp_path: Path) -> None:
    for flavour in (module.OWN, module.SHARED, module.CHILD, module.WORKER):
        journal = Journal(tmp_path, flavour=flavour)
        assert module.flavour_of(journal.name) == flavour
        assert journal.path.name == f"{journal.name}.jsonl"
        assert journal.read_by_others is (flavour in {module.SHARED, module.CHILD})
        journal.append(b"x")
        journal.close()
    found = list(dead_journals(tmp_path))
    assert sorted(dead.flavour for dead in found) == ["", "child", "shared", "worker"]
    for dead in found:
        assert dead.owner.startswith(f"{os.getpid()}-")
        dead.release()


def test_a_living_journal_is_read_up_to_its_last_whole_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path, flavour=module.SHARED)
    assert module.live_journal(journal.path) is None  # our own: to close it would give up our lock
    as_another_process(monkeypatch)
    live = module.live_journal(journal.path)
    assert live is not None
    journal.append(b"one")
    os.write(journal._fd, b"tw")  # what another process can see of a write
    assert live.read(0, 9) == ([b"one"], 4)
    os.write(journal._fd, b"o\n")
    assert live.read(4, 9) == ([b"two"], 8)
    with pytest.raises(OSError, match="only read"):
        live.append(b"x")
    live.close()
    assert module.live_journal(tmp_path / "gone.1.shared.jsonl") is None


def test_one_that_was_removed_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path, flavour=module.SHARED)
    journal.append(b"one")
    as_another_process(monkeypatch)
    live = module.live_journal(journal.path)
    assert live is not None
    assert live.read(0, 9)[0] == [b"one"]
    assert journal.close(drained_to=journal.end())
    assert live.read(0, 9) == ([], 0)  # the store may know no position of it any more
    live.close()


def test_a_whole_line_that_others_may_have_read_is_never_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path, fsync=True, flavour=module.SHARED)
    journal.append(b"one")

    def fails(_: int) -> None:
        raise OSError(errno.EIO, "the disk is broken")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", fails)
        with pytest.raises(OSError, match="broken"):
            journal.append(b"longer than what comes")
    as_another_process(monkeypatch)
    live = module.live_journal(journal.path)
    assert live is not None
    lines, position = live.read(0, 9)
    assert lines == [b"one", b"longer than what comes"]
    journal.append(b"two")
    assert live.read(position, 9)[0] == [b"two"]  # and no part of another line
    live.close()


def test_a_goodbye_is_said_where_something_is_left(tmp_path: Path) -> None:
    left, drained, died, empty = (Journal(tmp_path) for _ in range(4))
    for journal in (left, drained, died):
        journal.append(b'{"mute": {}, "until": 1}')
    left.close()
    drained.close(drained_to=drained.end())
    died.abandon()
    empty.abandon()
    module._own.clear()
    found = {dead.name: dead for dead in dead_journals(tmp_path)}
    assert {name: dead.died for name, dead in found.items()} == {left.name: False, died.name: True, empty.name: False}
    for dead in found.values():
        dead.release()


# Owners ----------------------------------------------------------------------------------------------


def test_the_journal_of_a_living_process_is_left_alone_and_that_of_a_dead_one_found(tmp_path: Path) -> None:
    process = python(KEEPER, tmp_path)
    assert process.stdout is not None
    path = Path(process.stdout.readline().decode().strip())
    try:
        assert list(dead_journals(tmp_path)) == []
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    (dead,) = dead_journals(tmp_path)
    assert dead.path == path
    assert dead.name.startswith(dead.owner + ".")
    assert read_all(dead) == [b"one", b"two"]
    with pytest.raises(OSError, match="only read"):
        dead.append(b"x")
    dead.remove()
    assert not path.exists()


def test_our_own_journals_are_not_dead_by_whatever_path(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    journal = Journal(real)
    link.symlink_to(real)
    assert list(dead_journals(real)) == []
    assert list(dead_journals(link)) == []
    journal.append(b"still locked")
    printed = run_python(
        "import sys; from pathlib import Path; from bt_alerts.outbox.journal import dead_journals;"
        "print(len(list(dead_journals(Path(sys.argv[1])))))",
        real,
    )
    assert printed.strip() == "0"


def test_a_journal_that_is_being_drained_is_not_found_a_second_time_in_this_process(tmp_path: Path) -> None:
    (tmp_path / "1-dead.1.jsonl").write_bytes(b"whole\n")
    (first,) = dead_journals(tmp_path)
    assert list(dead_journals(tmp_path)) == []
    first.release()
    (again,) = dead_journals(tmp_path)
    again.remove()


ADOPTER = """
import sys
from pathlib import Path
from bt_alerts.outbox.journal import dead_journals
sys.stdin.readline()
found = list(dead_journals(Path(sys.argv[1])))
print(" ".join(j.name for j in found), flush=True)
sys.stdin.readline()
for j in found:
    j.remove()
"""


def test_of_two_processes_exactly_one_adopts_each_dead_journal(tmp_path: Path) -> None:
    import subprocess

    names = {f"{n}-dead.1" for n in range(20)}
    for name in names:
        (tmp_path / f"{name}.jsonl").write_bytes(b"whole\n")
    adopters = [python(ADOPTER, tmp_path, stdin=subprocess.PIPE) for _ in range(2)]
    for adopter in adopters:
        assert adopter.stdin is not None
        adopter.stdin.write(b"go\n")
        adopter.stdin.flush()
    found = []
    for adopter in adopters:
        assert adopter.stdout is not None
        found.append(adopter.stdout.readline().decode().split())
    for adopter in adopters:
        adopter.communicate(b"go\n")
    assert sorted(found[0] + found[1]) == sorted(names)
    assert list(tmp_path.iterdir()) == []


FORKING = """
import os, sys
from pathlib import Path
from bt_alerts.outbox.journal import Journal, dead_journals
folder = Path(sys.argv[1])
journal = Journal(folder)
journal.append(b"parent")
pid = os.fork()
if pid == 0:
    journal.abandon()
    try:
        journal.append(b"child")
    except OSError:
        print("refused", flush=True)
    print(len(list(dead_journals(folder))), flush=True)
    mine = Journal(folder)
    mine.append(b"child")
    print(mine.path != journal.path, flush=True)
    os._exit(0)
os.waitpid(pid, 0)
journal.append(b"parent again")
print(journal.read(0, 9)[0])
print([dead.read(0, 9)[0] for dead in dead_journals(folder)])
"""


def test_a_forked_child_leaves_its_parents_journal_alone(tmp_path: Path) -> None:
    assert run_python(FORKING, tmp_path).splitlines() == [
        "refused",
        "0",
        "True",
        "[b'parent', b'parent again']",
        "[[b'child']]",
    ]


def test_a_folder_that_cannot_be_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        Journal(tmp_path / "file" / "j")
    assert list(dead_journals(tmp_path / "nowhere")) == []
