"""``simulate``: every option, every wrong use, and what it writes; no credential in any of it."""

from __future__ import annotations

import csv
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bt_alerts import Alert
from bt_alerts.outbox.sqlite import SqliteOutbox
from bt_alerts.testing.canary import found_in, fresh_canary

TOKEN, USER = fresh_canary("simulate", "token"), fresh_canary("simulate", "user")
BOT = f"123456:{fresh_canary('simulate', 'bot', length=35)}"
DAY = 86_400.0
JUNE = 1_780_315_200.0  # 1 June 2026, 12:00 UTC


@pytest.fixture
def config(settings: Callable[[str], Path]) -> Path:
    return settings(f"""
        store: alerts.db
        alerts:
          phone: {{type: pushover, app_token: {TOKEN}, user_key: {USER}}}
          chat: {{type: telegram, bot_token: "{BOT}", chat_ids: "-100200"}}
        """)


@pytest.fixture
def store(tmp_path: Path, config: Path) -> Path:
    """Two runs: a short one, then one of five days."""
    outbox = SqliteOutbox(tmp_path / "alerts.db")
    old = [Alert.make("text", title="of the first", run="2026-first", time=JUNE - DAY, strategy="Trend")]
    new = [
        Alert.make(
            f"text {n}",
            title=f"title {n}",
            run="2026-second",
            time=JUNE + n * DAY,
            kind=kind,
            strategy="Trend",
            symbol="AAPL",
        )
        for n, kind in enumerate(["custom", "order.submitted", "trade.closed", "custom", "custom"])
    ]
    outbox.record([*old, *new], "history")
    outbox.close()
    return config


@pytest.fixture
def other(tmp_path: Path) -> Path:
    path = tmp_path / "other.yaml"
    path.write_text(f"store: alerts.db\nalerts: {{mail: {{type: telegram, bot_token: '{BOT}', chat_ids: 7}}}}\n")
    path.chmod(0o600)
    return path


BUYS = """
import backtrader as bt

class Buys(bt.Strategy):
    def next(self):
        if not self.position:
            self.buy()
        elif len(self) % 5 == 0:
            self.close()
"""


@pytest.fixture
def strategy(tmp_path: Path) -> Callable[..., Path]:
    def write(text: str = BUYS, name: str = "mine.py") -> Path:
        path = tmp_path / name
        path.write_text(textwrap.dedent(text))
        return path

    return write


ROWS = "\n".join(f"2024-01-{day:02},{day},{day + 1},{day - 0.5},{day + 0.5},100" for day in range(1, 29))


@pytest.fixture
def data(tmp_path: Path) -> Callable[..., Path]:
    def write(rows: str = ROWS, head: str = "date,open,high,low,close,volume", name: str = "ACME.csv") -> Path:
        path = tmp_path / name
        path.write_text(f"{head}\n{rows}\n")
        return path

    return write


# A recorded run ------------------------------------------------------------------------------------------


def test_the_newest_run_is_played(run, store):
    done = run("simulate", "-c", store)
    assert (done.code, done.err) == (0, "")
    assert "would have sent 8 messages on 2 channels" in done.said
    assert "1 its kind of event is set to `record`" in done.said
    assert "of the first" not in done.said
    assert "title 4" in done.said
    assert run("simulate", "-c", store, "--run", "last").out == done.out


def test_a_run_is_played_by_its_id(run, store):
    done = run("simulate", "-c", store, "--run", "2026-first")
    assert done.code == 0
    assert "of the first" in done.said


def test_nothing_of_the_store_changes(run, store, tmp_path):
    before = (tmp_path / "alerts.db").read_bytes()
    assert run("simulate", "-c", store).code == 0
    assert (tmp_path / "alerts.db").read_bytes() == before


def test_the_settings_of_the_environment_are_tried(run, store, monkeypatch):
    monkeypatch.setenv("BT_ALERTS_CONFIG", str(store))
    assert "8 messages" in run("simulate").said


def test_an_unknown_run_is_a_sentence(run, store):
    done = run("simulate", "-c", store, "--run", "2026-third")
    assert (done.code, done.out) == (1, "")
    assert done.said == (
        "There is no run '2026-third' in the store. `bt-alerts history --json` shows the ids of runs; to make one, "
        "use --strategy FILE:CLASS."
    )


def test_without_a_store_it_says_how_to_make_a_run(run, config, settings):
    done = run("simulate", "-c", config)
    assert done.code == 1
    assert "There is no store" in done.said
    assert "To make a run now, use --strategy FILE:CLASS." in done.said
    done = run("simulate", "-c", settings("store: memory\n"), "--run", "last")
    assert done.code == 1
    assert "To make a run now, use --strategy FILE:CLASS." in done.said
    done = run("simulate")
    assert done.code == 1
    assert "There are no settings" in done.said


def test_a_store_without_a_run_says_so(run, config, tmp_path):
    SqliteOutbox(tmp_path / "alerts.db").close()
    done = run("simulate", "-c", config)
    assert done.code == 1
    assert "There is no run in the store yet." in done.said


def test_watches_of_a_recorded_run_are_those_of_then(run, store):
    store.write_text(store.read_text() + "watch: {levels: [{watch: drawdown, above: 5}]}\n")
    done = run("simulate", "-c", store)
    assert done.code == 0
    assert "watches are replayed as they were recorded. To change one, use --strategy FILE:CLASS." in done.said


# A run that is made --------------------------------------------------------------------------------------


def test_a_strategy_is_played_on_the_bundled_prices(run, config, strategy, tmp_path):
    seldom = BUYS.replace("% 5", "% 500")
    done = run("simulate", "-c", config, "--strategy", f"{strategy(seldom)}:Buys")
    assert (done.code, done.err) == (0, "")
    assert "IBM" in done.said
    assert "21:00" in done.said  # the close of New York in winter, in UTC
    assert not (tmp_path / "alerts.db").exists()


def test_the_class_may_be_left_out_where_there_is_one(run, config, strategy, data):
    done = run("simulate", "-c", config, "--strategy", strategy(), "--data", data())
    assert done.code == 0
    assert "ACME" in done.said


def test_settings_are_not_needed(run, strategy, data):
    done = run("simulate", "--strategy", f"{strategy()}:Buys", "--data", data())
    assert done.code == 0
    assert "this strategy would have sent" in done.said


def test_a_strategy_imports_what_lies_beside_it_while_it_runs_too(run, config, strategy, data):
    strategy("LIMIT = 3\n", "beside.py")
    strategy("LATER = 4\n", "later.py")
    file = strategy(f"from beside import LIMIT\n{BUYS}        import later\n", "imports.py")
    before = list(sys.path)
    assert run("simulate", "-c", config, "--strategy", f"{file}:Buys", "--data", data()).code == 0
    assert sys.path == before


def test_what_a_strategy_prints_goes_where_it_goes(run, config, strategy, data):
    noisy = "import sys\nprint('hello of the file')\n" + BUYS.replace(
        "def next(self):", "def next(self):\n        print('next', file=sys.stderr); print('out of next')"
    )
    done = run("simulate", "-c", config, "--strategy", f"{strategy(noisy)}:Buys", "--data", data())
    assert done.code == 0
    assert done.out.startswith("hello of the file\nout of next\n")
    assert "next\n" in done.err
    assert "this strategy would have sent" in done.said


def test_several_data_files_are_several_feeds(run, config, strategy, data):
    two = (
        "import backtrader as bt\nclass Two(bt.Strategy):\n    def next(self):\n        self.buy(data=self.datas[1])\n"
    )
    files = ["--data", data(), "--data", data(name="OTHER.csv")]
    done = run("simulate", "-c", config, "--strategy", f"{strategy(two)}:Two", *files)
    assert done.code == 0
    assert "OTHER" in done.said


def test_two_files_of_one_name_are_not_one_symbol(run, config, strategy, data, tmp_path):
    (tmp_path / "more").mkdir()
    files = ["--data", data(), "--data", data(name="more/ACME.csv")]
    done = run("simulate", "-c", config, "--strategy", strategy(), *files)
    assert (done.code, done.out) == (2, "")
    assert "there is another file ACME, and files are named after their symbols." in done.said


def test_watches_are_watched_anew(run, config, strategy, data):
    config.write_text(config.read_text() + "watch: {levels: [{watch: price, symbol: ACME, crosses: 20}]}\n")
    done = run("simulate", "-c", config, "--strategy", f"{strategy()}:Buys", "--data", data(), "--csv", "x.csv")
    assert done.code == 0
    assert "replayed as they were recorded" not in done.said
    assert "watch.price" in Path("x.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "named", "code", "words"),
    [
        (BUYS, "Sells", 2, "has no strategy 'Sells': there are Buys."),
        (BUYS + BUYS.replace("Buys", "Sells"), "", 2, "has several strategies (Buys, Sells): write --strategy"),
        ("x = 1", "", 2, "has no strategy: write a class that inherits bt.Strategy."),
        (
            "import backtrader as bt\nclass No(bt.Indicator):\n    pass",
            "No",
            2,
            "has no strategy 'No': there are none.",
        ),
        ("def (", "", 1, "cannot be imported: SyntaxError: invalid syntax"),
        ("import nothing_of_this_name", "", 1, "cannot be imported: ModuleNotFoundError: No module named"),
        ("raise ValueError('first\\nsecond')", "", 1, "cannot be imported: ValueError: first second."),
        ("import sys; sys.exit(0)", "", 1, "cannot be imported: SystemExit: 0."),
        (BUYS.replace("self.buy()", "1 / 0"), "Buys", 1, "failed: ZeroDivisionError: division by zero."),
        (BUYS.replace("self.buy()", "raise SystemExit"), "Buys", 1, "failed: SystemExit."),
        (
            BUYS + "STRATEGY = Buys\ndef cerebro():\n    raise OSError('no prices')",
            "",
            1,
            "failed: OSError: no prices.",
        ),
        (
            BUYS + "from bt_alerts import attach\nSTRATEGY = Buys\ndef cerebro():\n    engine = bt.Cerebro()\n"
            "    attach(engine, store='memory')\n    return engine",
            "",
            1,
            "alerts are attached to this Cerebro already: leave attach(...) out",
        ),
    ],
)
def test_a_strategy_that_is_none_is_a_sentence(  # noqa: PLR0917 - fixtures
    run: Any, config: Path, strategy: Any, text: str, named: str, code: int, words: str
) -> None:
    given = f"{strategy(text)}:{named}" if named else strategy(text)
    done = run("simulate", "-c", config, "--strategy", given)
    assert (done.code, done.out) == (code, "")
    assert words in done.said


@pytest.mark.parametrize("given", ["gone.py:Mine", "gone.py", "gone", ":", "", "gone.py:"])
def test_a_file_that_is_not_there_is_a_sentence(run: Any, config: Path, given: str) -> None:
    done = run("simulate", "-c", config, "--strategy", given)
    assert (done.code, done.out) == (2, "")
    assert "There is no file" in done.said
    assert "write --strategy FILE:CLASS" in done.said


def test_a_file_that_is_no_program_is_a_sentence(run, config, strategy):
    done = run("simulate", "-c", config, "--strategy", f"{strategy(BUYS, 'mine.txt')}:Buys")
    assert done.code == 2
    assert "is no Python file" in done.said


def test_a_strategy_without_alerts_has_nothing_to_simulate(run, config, strategy, data, monkeypatch):
    engine = "import backtrader as bt\nclass No(bt.Strategy):\n    pass\nSTRATEGY = No\ndef cerebro():\n"
    done = run("simulate", "-c", config, "--strategy", strategy(engine + "    return bt.Cerebro()\n"))
    assert done.code == 1
    assert "made no alerts: there is nothing to simulate." in done.said


# Prices --------------------------------------------------------------------------------------------------


def simulated(run: Any, config: Path, strategy: Any, path: Path) -> Any:
    return run("simulate", "-c", config, "--strategy", f"{strategy()}:Buys", "--data", path, "--csv", "out.csv")


@pytest.mark.parametrize(
    ("rows", "head", "words"),
    [
        (ROWS, "when,open,high,low,close,volume", "lacks the columns date (or datetime): it needs a time, open, high"),
        (ROWS, "date,open,high,low,price,volume", "lacks the columns close:"),
        ("", "date,open,high,low,close,volume", "has no bars."),
        ("2024-01-01,1,2,x,1,1", "date,open,high,low,close,volume", "has something that is no time or no number"),
        ("someday,1,2,1,1,1", "date,open,high,low,close,volume", "has something that is no time or no number"),
        ("2024-01-01,,,,,", "date,open,high,low,close,volume", "has no bars."),
        (ROWS + "\n2024-01-05,1,2,1,1,1", "date,open,high,low,close,volume", "has two bars of 2024-01-05 00:00:00"),
        (
            "2024-01-01,A,1,2,1,1\n2024-01-01,B,1,2,1,1",
            "date,symbol,open,high,low,close",
            "Give each symbol a file of its own.",
        ),
        ("2024-01-01,1,2,1,1,1\n2024-01-02,1,2,1,1,1,7,8", "date,open,high,low,close,volume", "cannot be read as CSV"),
        (ROWS, "date,open,high,low,close,Close", "has two columns of one name"),
    ],
)
def test_prices_that_are_none_are_a_sentence(  # noqa: PLR0917 - fixtures
    run: Any, config: Path, strategy: Any, data: Any, rows: str, head: str, words: str
) -> None:
    done = simulated(run, config, strategy, data(rows, head))
    assert (done.code, done.out) == (2, "")
    assert "ACME.csv" in done.said
    assert words in done.said
    assert not Path("out.csv").exists()


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00junk\x00", b"\x00" * 50, b"<html>no prices</html>"])
def test_a_file_of_something_else_is_a_sentence(
    run: Any, config: Path, strategy: Any, data: Any, content: bytes
) -> None:
    path = data()
    path.write_bytes(content)
    done = simulated(run, config, strategy, path)
    assert (done.code, done.out) == (2, "")
    assert "ACME.csv" in done.said


def test_prices_that_are_not_there_are_a_sentence(run, config, strategy, tmp_path):
    done = simulated(run, config, strategy, tmp_path / "none.csv")
    assert (done.code, done.out) == (2, "")
    assert "There is no file" in done.said


def rows_of(form: str) -> str:
    import datetime as dt

    lines = []
    for day in range(1, 29):
        when = dt.datetime(2024, 1, day, 14, 30, tzinfo=dt.UTC)
        text = {
            "iso": f"{when:%Y-%m-%d %H:%M}",
            "zone": f"{when.astimezone(dt.timezone(dt.timedelta(hours=-5))).isoformat()}",
            "unix": f"{when.timestamp():.0f}",
            "milli": f"{when.timestamp() * 1000:.0f}",
            "split": f"{when:%Y-%m-%d},{when:%H:%M}",
        }[form]
        lines.append(f"{text},{day},{day + 1},{day - 0.5},{day + 0.5},100")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("form", "head"),
    [
        ("iso", "datetime"),
        ("zone", "Date"),
        ("unix", "timestamp"),
        ("milli", " Timestamp "),
        ("split", "Date,Time"),
    ],
)
def test_times_are_understood_in_many_forms(  # noqa: PLR0917 - fixtures
    run: Any, config: Path, strategy: Any, data: Any, form: str, head: str
) -> None:
    done = simulated(run, config, strategy, data(rows_of(form), f"{head},Open,High,Low,Close,Volume"))
    assert (done.code, done.err) == (0, "")
    times = [row["time"] for row in csv.DictReader(Path("out.csv").read_text(encoding="utf-8").splitlines())]
    assert times[0].startswith("2024-01-0")
    assert {time[11:16] for time in times} == {"14:30"}


def test_days_written_as_numbers_and_prices_out_of_order(run, config, strategy, data):
    rows = "\n".join(reversed(ROWS.replace("2024-01-", "202401").splitlines()))
    done = simulated(run, config, strategy, data(rows))
    assert done.code == 0
    written = Path("out.csv").read_bytes()
    assert simulated(run, config, strategy, data()).code == 0
    times, again = (
        [row["time"] for row in csv.DictReader(text.decode().splitlines())]
        for text in (written, Path("out.csv").read_bytes())
    )
    assert times == again


def test_rows_without_a_price_are_left_out_and_told(run, config, strategy, data):
    done = simulated(run, config, strategy, data(ROWS + "\n2024-02-01,,,,,\n,1,2,1,1,1\n2024-02-02,inf,2,1,1,1"))
    assert done.code == 0
    assert "3 rows without a time or a price are left out." in done.err


def test_prices_without_a_volume_will_do(run, config, strategy, data):
    no_volume = "\n".join(line.rpartition(",")[0] for line in ROWS.splitlines())
    assert simulated(run, config, strategy, data(no_volume, "date,open,high,low,close")).code == 0
    blank = "\n".join(line.rpartition(",")[0] + "," for line in ROWS.splitlines())
    assert simulated(run, config, strategy, data(blank)).code == 0


def test_bars_of_a_day_say_midnight_unless_the_market_closes(run, config, strategy, data):
    done = simulated(run, config, strategy, data())
    assert "Bars of a day say midnight (UTC)" in done.err
    assert "--close '16:00 America/New_York'" in done.err
    file = data()
    how = ["--strategy", f"{strategy()}:Buys", "--data", file, "--close", "17:30 Europe/Berlin"]
    done = run("simulate", "-c", config, *how)
    assert (done.code, done.err) == (0, "")
    assert "16:30" in done.said


# Options -------------------------------------------------------------------------------------------------


def test_latency_outage_acknowledge_and_limits_reach_the_simulation(run, store):
    def rows(*options: str) -> list[dict[str, str]]:
        done = run("simulate", "-c", store, *options, "--csv", "x.csv")
        assert (done.code, done.err) == (0, "")
        return list(csv.DictReader(Path("x.csv").open(encoding="utf-8")))

    usual, slow = rows(), rows("--latency", "phone=3600", "--latency", "telegram=0")
    assert usual != slow
    away = rows("--outage", "phone=2026-06-01T00:00/2026-06-20", "--outage", "telegram=2026-06-01/2026-06-20")
    assert {row["arrived"] for row in away} == {""}
    assert {row["arrived"] for row in usual} != {""}
    assert len(rows("--acknowledge", "60", "--no-limits")) == len(usual)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--latency", "phone"], "--latency phone: write CHANNEL=SECONDS, such as phone=2.5."),
        (["--latency", "phone=fast"], "write CHANNEL=SECONDS"),
        (["--latency", "phone=-1"], "write seconds from 0 to 86,400."),
        (["--latency", "phone=nan"], "write seconds from 0 to 86,400."),
        (["--latency", "phone=inf"], "write seconds from 0 to 86,400."),
        (["--latency", "fone=1"], "There is no channel 'fone' in these settings: there is chat, phone, pushover"),
        (["--latency", "=1"], "There is no channel ''"),
        (["--outage", "fone=2026-01-01/2026-01-02"], "There is no channel 'fone' in these settings"),
        (["--outage", "phone"], "write CHANNEL=SINCE/UNTIL, such as phone=2012-03-01T08:00/2012-03-01T12:00."),
        (["--outage", "phone=2026-01-01"], "write CHANNEL=SINCE/UNTIL"),
        (["--outage", "phone=/"], "write CHANNEL=SINCE/UNTIL"),
        (["--outage", "phone=today/tomorrow"], "write CHANNEL=SINCE/UNTIL"),
        (["--outage", "phone=2026-01-02/2026-01-01"], "it ends before it begins."),
        (["--outage", "phone=2026-01-02/2026-01-02"], "it ends before it begins."),
        (["--acknowledge", "-1"], "--acknowledge -1: write seconds from 0 to"),
        (["--acknowledge", "nan"], "--acknowledge nan: write seconds from 0 to"),
        (["--acknowledge", "inf"], "--acknowledge inf: write seconds from 0 to"),
        (["--acknowledge", "soon"], "Invalid value for '--acknowledge'"),
        (["--close", "noon"], "--close 'noon' is no time of the day: write one such as '16:00 America/New_York'."),
        (["--close", ""], "--close '' is no time of the day"),
        (["--close", "25:00"], "is no time of the day"),
        (["--close", "16:00 Mars/Olympus"], "is no time of the day"),
        (["--data", "ACME.csv"], "--data gives prices for --strategy: name the strategy too."),
        (["--run", "last", "--strategy", "mine.py:Mine"], "give one of the two."),
        (["--html", "report.csv"], "--html report.csv: name a file that ends in .html."),
        (["--html", "none/report.html"], "--html none/report.html: there is no folder none: make it first."),
        (["--csv", "rows.xlsx"], "--csv rows.xlsx: end the file in .csv, or name a folder"),
        (["--csv", "none/rows.csv"], "there is no folder none"),
        (["--compare", "none.yaml"], "none.yaml"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_wrong_use_is_a_sentence_and_writes_nothing(
    run: Any, store: Path, tmp_path: Path, options: list[str], words: str
) -> None:
    before = sorted(path.name for path in tmp_path.iterdir())
    done = run("simulate", "-c", store, *options)
    assert (done.code, done.out) == (2, "")
    assert words in " ".join(done.said.replace("│", " ").split())
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_channels_of_settings_without_any_are_called_phone(run, tmp_path, strategy, data):
    how = ["--strategy", f"{strategy()}:Buys", "--data", data()]
    assert run("simulate", *how, "--latency", "phone=1", "--outage", "phone=2024-01-01/2024-01-09").code == 0
    done = run("simulate", *how, "--latency", "mail=1")
    assert done.code == 2
    assert "There is no channel 'mail' in these settings: there is phone." in done.said


# What is written -----------------------------------------------------------------------------------------


def test_the_report_and_the_rows_are_written(run, store, tmp_path):
    done = run("simulate", "-c", store, "--html", "report.html", "--csv", "rows.csv")
    assert (done.code, done.err) == (0, "")
    assert "Wrote report.html." in done.said
    assert "Wrote rows.csv." in done.said
    page = Path("report.html").read_text(encoding="utf-8")
    assert "alerts.yaml" in page
    assert "run last" in page
    assert len(Path("rows.csv").read_text(encoding="utf-8").splitlines()) == 1 + 8 + 1  # one was not sent
    assert run("simulate", "-c", store, "--csv", "tables").code == 0
    assert len(list(Path("tables").glob("*.csv"))) > 3


def test_files_that_cannot_be_written_are_a_sentence(run, store, tmp_path):
    (tmp_path / "x.csv.part").mkdir()
    (tmp_path / "x.html.part").mkdir()
    for option, name in (("--html", "x.html"), ("--csv", "x.csv")):
        done = run("simulate", "-c", store, option, name)
        assert done.code == 1
        assert f"{name} cannot be written: " in done.err
        assert not (tmp_path / name).exists()
    done = run("simulate", "-c", store, "--html", "good.html", "--csv", "x.csv")
    assert done.code == 1
    assert "x.csv cannot be written" in done.err
    assert "good.html cannot" not in done.err
    assert (tmp_path / "good.html").exists()


def test_two_settings_side_by_side(run, store, other):
    done = run("simulate", "-c", store, "--compare", other, "--html", "both.html", "--csv", "first.csv")
    assert (done.code, done.err) == (0, "")
    assert "alerts.yaml" in done.out
    assert "other.yaml" in done.out
    assert "8 messages" in done.said
    assert "4 messages" in done.said
    page = Path("both.html").read_text(encoding="utf-8")
    assert "alerts.yaml" in page
    assert "other.yaml" in page


def test_options_are_for_the_settings_that_have_the_channel(run, store, other):
    how = ["--latency", "mail=0", "--latency", "phone=9", "--outage", "mail=2026-06-01/2026-06-30"]
    done = run("simulate", "-c", store, "--compare", other, *how)
    assert (done.code, done.err) == (0, "")
    assert "8 messages" in done.said
    assert "sent nothing" in done.said


def test_different_watches_are_told(run, store, other, strategy, data):
    other.write_text(other.read_text() + "watch: {levels: [{watch: drawdown, above: 5}]}\n")
    done = run("simulate", "-c", store, "--compare", other)
    assert done.code == 0
    assert "To change a watch, make the run anew: use --strategy FILE:CLASS." in done.err


def test_broken_settings_are_the_sentences_of_the_settings(run, store, other):
    other.write_text("alerts: {phone: {type: pushoverr}}\nnonsense: 1\n")
    for options in (["-c", other], ["-c", store, "--compare", other]):
        done = run("simulate", *options)
        assert (done.code, done.out) == (2, "")
        assert "pushoverr" in done.said
        assert "nonsense" in done.said


# Secrets -------------------------------------------------------------------------------------------------


def test_no_credential_of_the_settings_is_in_any_output_or_file(  # noqa: PLR0917 - fixtures
    run: Any, store: Path, tmp_path: Path, strategy: Any, data: Any, other: Path
) -> None:
    """Also where the strategy itself put one into an alert, or into what it raises."""
    secrets = [TOKEN, USER, BOT, BOT.partition(":")[2]]
    outbox = SqliteOutbox(tmp_path / "alerts.db")
    outbox.record(
        [Alert.make(f"text {TOKEN}", title=f"title {USER}", run="2026-third", time=JUNE, data={"key": TOKEN})],
        "history",
    )
    outbox.close()
    talks = BUYS.replace("self.buy()", f"raise ValueError('{TOKEN}')")
    said = ""
    for options in (
        ["--html", "a.html", "--csv", "a.csv"],
        ["--html", "b.html", "--csv", "b", "--compare", other],
        ["--strategy", f"{strategy(talks)}:Buys", "--data", data()],
        ["--strategy", strategy(f"raise ValueError('{BOT}')", "raises.py")],
        ["--outage", "phone=2026-06-01/2026-06-30", "--csv", "c.csv"],
        ["--run", TOKEN],
        ["--latency", f"{TOKEN}=1"],
    ):
        done = run("simulate", "-c", store, *options)
        said += done.out + done.err
    files = [path for path in tmp_path.rglob("*") if path.suffix in {".html", ".csv"}]
    assert len(files) > 5
    texts = {"output": said, **{path.name: path.read_text(encoding="utf-8") for path in files}}
    assert {name: found for name, text in texts.items() if (found := found_in(text, secrets))} == {}
