"""The drawer: pictures come from a process of its own, and whatever happens to it costs a picture and no more."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alerts_kit import ROOT, until

from bt_alerts.alert import Alert
from bt_alerts.render import drawer as module
from bt_alerts.render import drawing_process
from bt_alerts.render.alert_chart import alert_chart
from bt_alerts.render.drawer import Drawer

pytest.importorskip("matplotlib")
posix = pytest.mark.skipif(os.name == "nt", reason="signals and /proc")
PATIENCE = 60.0  # seconds for a picture where the deadline is not what a test is about: a machine may be busy
PNG = b"\x89PNG\r\n\x1a\n"


def alert(symbol="AAPL", **more):
    prices = [100.0 + i % 7 for i in range(30)]
    bars = {"time": [60 * i for i in range(30)], **dict.fromkeys(("open", "high", "low", "close"), prices)}
    made = Alert.make("x", title="BUY AAPL filled", type="order", symbol=symbol, data={"side": "buy"}, **more)
    return made.replace(bars=bars)


@pytest.fixture
def make(tmp_path):
    made = []

    def make(folder=tmp_path / "files", deadline=PATIENCE, **how):
        made.append(Drawer(folder, deadline=deadline, **how))
        return made[-1]

    yield make
    for drawer in made:
        drawer.close()


@pytest.fixture
def drawer(make):
    return make()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """For the tests that do its process no harm."""
    drawer = Drawer(tmp_path_factory.mktemp("files"), deadline=PATIENCE)
    yield drawer
    drawer.close()


def pid(drawer):
    return drawer._process._process.pid


def alive(number):
    with contextlib.suppress(OSError, ValueError):
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def told(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "bt_alerts.charts"]


def process(code):
    """A drawing process that behaves as ``code`` says; ``frame(letter, content)`` answers."""
    frame = "import sys, struct, time, os\ndef frame(k, c): os.write(1, struct.pack('>cI', k, len(c)) + c)\n"
    return [sys.executable, "-c", frame + textwrap.dedent(code)]


READY_AND_HANGING = process("frame(b'R', b''); sys.stdin.readline(); time.sleep(60)")
DYING = process("frame(b'R', b''); sys.stdin.readline(); os._exit(3)")


# ------------------------------------------------------------------------------------------------ what it gives


def test_a_picture_is_kept_under_its_hash_and_is_what_would_be_drawn_here(shared):
    picture = shared.draw(alert("BRK/B"), dark=True)
    content = picture.read()
    assert (picture.name, picture.content_type, picture.size) == ("BRK_B.png", "image/png", len(content))
    assert content.startswith(PNG)
    assert picture.sha256 == hashlib.sha256(content).hexdigest()
    assert Path(picture.path) == shared._folder / f"{picture.sha256}.png"


@pytest.mark.parametrize(
    ("symbol", "name"), [("", "chart"), ("../../etc", "etc"), ("贵州茅台", "贵州茅台"), ("A" * 200, "A" * 60)]
)
def test_the_name_of_a_file_is_no_path(symbol, name):
    assert module._file_name(symbol) == f"{name}.png"


def test_the_same_is_drawn_here(shared):
    one = alert()
    assert shared.draw(one, zone="Europe/Berlin").read() == alert_chart(one, zone="Europe/Berlin")


def test_an_alert_is_drawn_once_a_theme_for_all_channels(drawer):
    one = alert()
    pictures = [
        drawer.draw(one),
        drawer.draw(one),
        drawer.draw(one, dark=True),
        drawer.draw(one, privacy="hide_amounts"),
    ]
    assert len({picture.sha256 for picture in pictures[:3]}) == 2
    os.kill(pid(drawer), signal.SIGTERM)
    assert drawer.draw(one) == pictures[0]


def test_a_picture_that_was_tidied_away_is_drawn_again(shared):
    one = alert()
    first = shared.draw(one)
    Path(first.path).unlink()
    assert shared.draw(one).read().startswith(PNG)


def test_only_old_pictures_are_tidied_away(drawer, tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    theirs, old, young = folder / ("a" * 64), folder / ("b" * 64 + ".png"), folder / ("c" * 64 + ".png")
    for file in (theirs, old, young, folder / "mine.png"):
        file.write_bytes(b"x")
    for file in (theirs, old, folder / "mine.png"):
        os.utime(file, (1, 1))
    drawer.draw(alert())
    assert not old.exists()
    assert theirs.exists()
    assert young.exists()
    assert (folder / "mine.png").exists()


def test_without_a_folder_there_is_a_temporary_one_until_the_end(make):
    drawer = make(None)
    picture = drawer.draw(alert())
    assert picture.read().startswith(PNG)
    drawer.close()
    assert not Path(picture.path).parent.exists()
    assert drawer.draw(alert()) is None


def test_several_couriers_at_once(shared):
    with ThreadPoolExecutor(6) as pool:
        pictures = list(pool.map(shared.draw, [alert(f"S{i}", id=None) for i in range(12)]))
    assert all(picture.read().startswith(PNG) for picture in pictures)
    assert len({picture.name for picture in pictures}) == 12


# ------------------------------------------------------------------------------------------- what goes wrong


def test_what_cannot_be_drawn_costs_one_line_and_is_not_tried_again(shared, caplog):
    broken = alert().replace(bars={"time": [1, 2], "open": [1.0]})
    for _ in range(3):
        assert shared.draw(broken) is None
    (line,) = told(caplog)
    assert "no picture of 'BUY AAPL filled': ValueError: the bars have not as many prices" in line
    assert not caplog.records[-1].exc_info
    assert shared.draw(alert()) is not None


def test_an_alert_without_bars_has_no_picture_and_starts_nothing(drawer):
    assert drawer.draw(Alert.make("x")) is None
    assert drawer._process is None


@posix
def test_a_process_that_is_killed_in_the_middle_costs_one_picture(make, caplog):
    drawer = make(command=READY_AND_HANGING)
    killer = threading.Thread(target=lambda: (until(lambda: drawer._process), time.sleep(0.5), os.kill(pid(drawer), 9)))
    killer.start()
    began = time.monotonic()
    assert drawer.draw(alert()) is None
    killer.join()
    assert time.monotonic() - began < 30  # it would have had 60 s
    assert "the drawing process ended" in told(caplog)[0]
    drawer._command = None
    assert drawer.draw(alert()).read().startswith(PNG)


@posix
def test_one_that_was_killed_between_two_pictures_costs_none(drawer):
    assert drawer.draw(alert())
    gone = pid(drawer)
    os.kill(gone, signal.SIGKILL)
    until(lambda: not alive(gone))
    assert drawer.draw(alert())
    assert pid(drawer) != gone


def test_one_that_hangs_is_ended_at_the_deadline(make, caplog):
    drawer = make(deadline=1.0)
    drawer._process = drawing_process.DrawingProcess(READY_AND_HANGING)
    assert drawer._process.ready.wait(PATIENCE)  # it is the picture that takes long, not the start
    began = time.monotonic()
    assert drawer.draw(alert()) is None
    assert 0.9 < time.monotonic() - began < 10
    assert "not drawn within 1 s" in told(caplog)[0]
    assert drawer._process is None


def test_others_wait_no_longer_than_their_own_deadline(make):
    drawer = make(command=READY_AND_HANGING, deadline=2.0)
    began = time.monotonic()
    with ThreadPoolExecutor(5) as pool:
        assert list(pool.map(drawer.draw, [alert(id=None) for _ in range(5)])) == [None] * 5
    assert time.monotonic() - began < 8  # one after the other would take 10 s


def test_after_two_failures_in_a_row_texts_go_at_once_for_a_while(make, caplog):
    drawer = make(command=DYING)
    began = time.monotonic()
    for _ in range(10):
        assert drawer.draw(alert()) is None
    assert len(told(caplog)) == 2
    assert "without pictures for 60 s" in told(caplog)[1]
    assert time.monotonic() - began < 50  # to wait for two of them would take 120 s
    drawer._command, drawer._rest_until = None, 0.0
    assert drawer.draw(alert())


def test_a_first_start_that_takes_long_is_left_to_go_on(make, tmp_path, monkeypatch, caplog):
    code = f"""
        while not os.path.exists({str(tmp_path / "go")!r}):
            time.sleep(0.01)
        frame(b'R', b''); sys.stdin.readline(); frame(b'P', b'picture')
    """
    drawer = make(command=process(code), deadline=1.0)
    one, began = alert(), time.monotonic()
    assert drawer.draw(one) is None
    assert time.monotonic() - began > 0.9
    waited = []
    with monkeypatch.context() as patched:
        patched.setattr(drawer._process.ready, "wait", waited.append)
        assert drawer.draw(one) is None
    assert waited == [0.0]  # the second is not kept waiting as well
    assert len(told(caplog)) == 2
    assert all("still starting" in line for line in told(caplog))
    (tmp_path / "go").touch()
    assert drawer._process.ready.wait(PATIENCE)
    drawer._deadline = PATIENCE
    assert drawer.draw(one).read() == b"picture"


@pytest.mark.parametrize(
    "code", ["os._exit(1)", "print('hello')", "frame(b'R', b''); sys.stdin.readline(); os.write(1, b'x' * 9)"]
)
def test_one_that_says_something_else_costs_a_picture(make, code, caplog):
    assert make(command=process(code)).draw(alert()) is None
    assert "the drawing process ended" in told(caplog)[0]


def test_one_that_cannot_be_started_costs_a_picture(make, caplog):
    assert make(command=["/nowhere/python"]).draw(alert()) is None
    assert "cannot be started" in told(caplog)[0]


def test_one_that_reads_nothing_holds_nobody(make):
    drawer = make(command=process("frame(b'R', b''); time.sleep(60)"), deadline=1.0)
    began = time.monotonic()
    assert drawer.draw(alert().replace(title="x" * 2_000_000)) is None
    assert time.monotonic() - began < 10


def test_a_disk_that_takes_nothing_costs_a_picture(make, tmp_path, caplog):
    (tmp_path / "file").write_text("x")
    assert make(tmp_path / "file" / "folder").draw(alert()) is None
    assert len(told(caplog)) == 1


def test_without_matplotlib_it_says_once_what_to_install(make, caplog):
    hiding = (
        "import sys\nsys.modules['matplotlib'] = None\nfrom bt_alerts.render.drawing_process import serve\nserve()\n"
    )
    drawer = make(command=[sys.executable, "-c", hiding])
    for _ in range(3):
        assert drawer.draw(alert()) is None
    (line,) = told(caplog)
    assert 'pip install "bt-alerts[charts]"' in line
    assert "go without pictures" in line


@pytest.mark.parametrize(("name", "value"), [("frozen", True), ("executable", "/opt/bot/trader"), ("executable", "")])
def test_a_packaged_program_is_not_started_a_second_time(make, monkeypatch, name, value, caplog):
    monkeypatch.setattr(sys, name, value, raising=False)
    drawer = make()
    assert drawer.draw(alert()) is None
    assert drawer.draw(alert()) is None
    assert len(told(caplog)) == 1
    assert "ordinary Python" in told(caplog)[0]


# ------------------------------------------------------------------------------------------ when it ends


@posix
def test_an_idle_process_ends_and_the_next_picture_starts_another(make):
    telling = process("frame(b'R', b'')\nfor line in sys.stdin: frame(b'P', str(os.getpid()).encode())")
    drawer = make(command=telling, idle=0.3)
    gone = int(drawer.draw(alert()).read())  # it may have ended before anybody else could look
    until(lambda: drawer._process is None and not alive(gone))
    assert int(drawer.draw(alert()).read()) != gone


@posix
def test_closing_ends_it_even_in_the_middle_of_a_picture(make):
    drawer = make(command=READY_AND_HANGING)
    with ThreadPoolExecutor(1) as pool:
        drawing = pool.submit(drawer.draw, alert())
        until(lambda: drawer._process is not None and drawer._process.ready.is_set())
        number, began = pid(drawer), time.monotonic()
        drawer.close()
        assert drawing.result() is None
        assert time.monotonic() - began < 30  # to wait for the picture would take 60 s
    until(lambda: not alive(number))


PROGRAM = """
    import sys, time
    from bt_alerts import Alert
    from bt_alerts.render.drawer import Drawer

    row = [1.0, 2.0]
    bars = {"time": [0, 60], "open": row, "high": row, "low": row, "close": row}
    drawer = Drawer(deadline=60.0)
    picture = drawer.draw(Alert.make("x").replace(bars=bars))
    assert picture.read()[1:4] == b"PNG"
"""


def program(more="", *, file=None, **how):
    code = textwrap.dedent(PROGRAM) + textwrap.dedent(more)
    if file is not None:
        file.write_text(code)
    command = [sys.executable, "-c", code] if file is None else [sys.executable, str(file)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PUSHOVER_TOKEN": "a-secret", **how.pop("env", {})}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **how)


@posix
def test_it_ends_when_its_parent_is_killed():
    parent = program("print(drawer._process._process.pid, flush=True); time.sleep(60)")
    number = int(parent.stdout.readline())
    assert alive(number)
    parent.kill()
    parent.communicate()
    until(lambda: not alive(number))


@posix
def test_it_ends_with_its_parent_though_a_fork_of_that_lives_on():
    parent = program(
        """
        import os
        child = os.fork()
        if child:
            print(drawer._process._process.pid, child, flush=True)
        time.sleep(60)
        """
    )
    number, fork = map(int, parent.stdout.readline().split())
    parent.kill()
    try:
        until(lambda: not alive(number))
        assert alive(fork)
    finally:
        os.kill(fork, signal.SIGKILL)
        parent.communicate()


@posix
def test_a_fork_has_a_process_of_its_own_and_leaves_the_parents_alone(tmp_path):
    parent = program(
        """
        import os
        again = Alert.make("x").replace(bars=bars)
        child = os.fork()
        if child:
            assert os.waitpid(child, 0)[1] == 0
            assert picture.read()
        assert drawer.draw(again).read()[1:4] == b"PNG"
        print(drawer._process._process.pid, flush=True)
        """,
        env={"TMPDIR": str(tmp_path), "PYTHONWARNINGS": "ignore::DeprecationWarning"},  # of the fork, from 3.12 on
    )
    out, err = parent.communicate(timeout=60)
    assert (parent.returncode, err) == (0, "")
    assert len(set(out.split())) == 2
    assert not [*tmp_path.iterdir()]


@posix
def test_ctrl_c_in_the_terminal_is_not_for_it():
    parent = program(
        """
        import os, signal
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.killpg(os.getpgid(0), signal.SIGINT)
        time.sleep(0.2)
        first = drawer._process._process.pid
        assert drawer.draw(Alert.make("x").replace(bars=bars))
        assert first == drawer._process._process.pid
        """,
        start_new_session=True,
    )
    assert parent.communicate(timeout=60)[1] == ""
    assert parent.returncode == 0


# --------------------------------------------------------------------------------- how it is started


@pytest.mark.parametrize("file", [True, False], ids=["script", "python -c"])
def test_a_program_needs_no_guard_and_gets_nothing_on_its_terminal(tmp_path, file):
    (tmp_path / "matplotlibrc").write_text("no setting: at all\n")  # matplotlib complains of it
    running = program(
        "print('matplotlib' in sys.modules)",
        file=tmp_path / "strategy.py" if file else None,
        cwd=tmp_path,
        env={"TMPDIR": str(tmp_path)},
    )
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out, err) == (0, "False\n", "")
    assert not [*tmp_path.glob("bt_alerts-*")]


@posix
def test_it_gets_no_secret(tmp_path):
    running = program(
        """
        number = drawer._process._process.pid
        print(open(f"/proc/{number}/environ").read().replace(chr(0), chr(10)), open(f"/proc/{number}/cmdline").read())
        """
    )
    out, err = running.communicate(timeout=60)
    assert running.returncode == 0, err
    assert "PYTHONPATH" in out
    assert "secret" not in out
    assert "PUSHOVER" not in out


def test_a_module_beside_the_program_is_not_taken_for_ours(tmp_path, monkeypatch, make):
    (tmp_path / "matplotlib.py").write_text("raise SystemExit")
    monkeypatch.chdir(tmp_path)
    assert make().draw(alert())


def test_somebodys_settings_of_matplotlib_do_not_count(make, tmp_path, monkeypatch):
    one = alert()
    plain = make().draw(one).sha256
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nfont.size: 40\naxes.facecolor: red\n")
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path))
    assert make().draw(one).sha256 == plain


def test_what_a_library_prints_does_not_get_among_the_answers(make):
    printing = "import sys, bt_alerts.render.alert_chart as m\ndraw = m.alert_chart\n"
    printing += "m.alert_chart = lambda *a, **k: (print('noise' * 999, flush=True), draw(*a, **k))[1]\n"
    printing += "from bt_alerts.render.drawing_process import serve\nserve()\n"
    assert make(command=[sys.executable, "-c", printing]).draw(alert()).read().startswith(PNG)


def test_it_ends_by_itself_in_the_middle_of_a_picture_that_never_ends():
    hanging = "import bt_alerts.render.alert_chart as m, bt_alerts.render.drawing_process as p, time\n"
    hanging += "p.LONGEST = 0.3\nm.alert_chart = lambda *a, **k: time.sleep(60)\np.serve()\n"
    command = [sys.executable, "-c", hanging]
    asked = drawing_process.request(alert(), dark=False, zone="UTC", privacy="off")
    done = subprocess.run(command, input=asked, capture_output=True, timeout=30, check=False)
    assert done.returncode == 1


def test_a_request_has_no_more_than_is_drawn():
    private = alert(id=None).replace(
        message="a private text", data={"side": "buy", "note": "n" * 99, "list": ["secret"]}
    )
    asked = drawing_process.request(private, dark=False, zone="UTC", privacy="off").decode()
    assert "private" not in asked
    assert "secret" not in asked
    assert "nnn" not in asked
    assert asked.count("\n") == 1


def test_log_lines_are_warnings(make, caplog):
    with caplog.at_level(logging.WARNING):
        make(command=DYING).draw(alert())
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert module.log.name == "bt_alerts.charts"
