"""The live page: what a strategy emits appears in a browser, as text, and comes back after the connection died."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import backtrader as bt
import pytest
from live_kit import KEY, PAGE, SECRET, address, emitting, morning, served
from pusher_server import PusherServer

from bt_alerts import Notifier, attach, live_page
from bt_alerts.demo import prices
from bt_alerts.dispatchers.pusher import PusherDispatcher
from bt_alerts.dispatchers.pusher.events import FIELDS
from bt_alerts.redact import register_secret

if TYPE_CHECKING:
    from browser import Tab

    Pages = Callable[..., Tab]

EVIL = (
    "<script>document.title='run'</script>",
    '"><img src=x onerror="document.title=`run`">',
    "</script><script>document.title='run'</script>",
    "javascript:document.title='run'",
    "<!--<script>",
    "' onclick='document.title=`run`",
    "\u202eright to left \u2028 \u2029",
)
TABLES = ("open", "signals", "closed", "strategies", "errors", "alerts")


@pytest.fixture(scope="module")
def page() -> Iterator[str]:
    with served() as url:
        yield url


@pytest.fixture
def pusher() -> Iterator[PusherServer]:
    with PusherServer(KEY) as server:
        yield server


def live(tab: Tab, words: str = "Live on") -> str:
    """Wait until the page says that it is connected; what it says."""
    tab.wait(f"document.querySelector('#state').textContent.startsWith({json.dumps(words)})")
    return tab.page.inner_text("#state")


def rows(tab: Tab, table: str) -> list[list[str]]:
    """The cells of a table, as they are read."""
    read = "rows => rows.map(row => [...row.cells].map(cell => cell.innerText.replace(/\\s+/g, ' ').trim()))"
    found: list[list[str]] = tab.page.eval_on_selector_all(f"#{table} tbody tr", read)
    return found


def wait_for_rows(tab: Tab, **wanted: int) -> None:
    for table, count in wanted.items():
        tab.wait(f"document.querySelectorAll('#{table} tbody tr').length === {count}")


# ------------------------------------------------------------------------------------------------- through Pusher


def test_every_event_of_the_emitter_appears(pages: Pages, page: str, pusher: PusherServer) -> None:
    tab = pages(url=address(page, pusher))
    assert live(tab) == f"Live on executor-7 at 127.0.0.1:{pusher.port}"
    with emitting(pusher) as emitter:
        morning(emitter)
    wait_for_rows(tab, signals=3, open=1, closed=2, strategies=2, errors=1)
    tab.page.wait_for_selector("#account div")
    assert set(pusher.passed) == set(FIELDS) - {"alert"}

    assert [row[1:7] for row in rows(tab, "signals")] == [
        ["USDJPY", "SELL", "155.31", "155.9", "154.2", "Cross H1 · 65 % sure"],
        ["GBPUSD", "SELL", "1.2704", "1.275", "", "Rebound M15"],
        ["EURUSD", "BUY", "1.0871", "1.082", "1.095", "Cross H1 · 80 % sure"],
    ]
    steps = "lists => lists.map(list => [...list.children].map(step => step.firstElementChild.textContent))"
    lives = tab.page.eval_on_selector_all("#signals .life", steps)
    assert lives == [["pending"], ["pending", "rejected"], ["pending", "executed"]]
    assert "not enough margin" in rows(tab, "signals")[1][7]
    tab.page.click("#signals details summary")
    assert "rsi" in rows(tab, "signals")[2][8]
    (held,) = rows(tab, "open")
    assert held[1:] == ["EURUSD", "BUY", "6,000", "1.0872", "1.082", "1.095", "Cross", "5"]  # a part was closed
    assert [row[1:] for row in rows(tab, "closed")] == [
        ["EURUSD", "BUY", "4,000", "1.0872", "1.0904", "+12.80", "45 min", "PartialExit"],
        ["AUDUSD", "SELL", "5,000", "0.6671", "0.6688", "-8.50", "1 h 10 min", "SL"],
    ]
    assert [row[:2] for row in rows(tab, "strategies")] == [["Rebound", "stopped end of its day"], ["Cross", "started"]]
    assert rows(tab, "errors")[0][1].startswith("Feed no bars of GBPUSD for 10 minutes")
    account = tab.page.inner_text("#account").split("\n")
    assert [account[n] for n in (1, 3, 5, 9)] == ["10,004.30", "10,031.90", "+27.60", "1,537.90 %"]
    assert tab.complaints == []


def test_what_a_channel_sends_appears_too(pages: Pages, page: str, pusher: PusherServer) -> None:
    tab = pages(url=address(page, pusher, executor="default"))
    live(tab)
    channel = PusherDispatcher("3", KEY, SECRET, "eu", api_url=pusher.api_url)
    assert channel.send_strategy_signal("Cross", "BUY", "EURUSD", ["rsi below 30"])
    assert channel.send_error_alert("Feed", "no bars for 10 minutes")
    assert channel.send_custom_alert("lunch at noon", title="Told")
    wait_for_rows(tab, signals=1, errors=1, alerts=1)
    assert rows(tab, "signals")[0][8] == "rsi below 30"
    assert "lunch at noon" in rows(tab, "alerts")[0][2]


def test_only_the_chosen_executor_is_shown(pages: Pages, page: str, pusher: PusherServer) -> None:
    tab = pages(url=address(page, pusher))
    live(tab)
    for executor in ("8", "7"):
        with emitting(pusher, executor) as emitter:
            emitter.emit_error("Feed", f"of {executor}")
    wait_for_rows(tab, errors=1)
    assert "of 7" in rows(tab, "errors")[0][1]


def test_no_text_of_an_event_becomes_markup(pages: Pages, page: str, pusher: PusherServer) -> None:
    tab = pages(url=address(page, pusher))
    live(tab)
    for number, text in enumerate(EVIL):
        for name, fields in FIELDS.items():
            data: dict[str, Any] = dict.fromkeys(fields, text) | {"timestamp": f"2026-05-20T08:00:{number:02}+00:00"}
            pusher.say("executor-7", name, data | {"indicators": {text: text}, "context": {text: [text]}})
    pusher.say("executor-7", "trading-signal", {"id": "__proto__", "symbol": "PROTO", "type": {"a": [1]}})
    pusher.say("executor-7", "error", "no mapping")
    pusher.say("executor-7", "error", {"type": 5, "message": "last", "timestamp": "2027-05-20T08:00:00+00:00"})
    wait_for_rows(tab, errors=len(EVIL) + 1, alerts=len(EVIL), signals=len(EVIL) + 1, strategies=len(EVIL))
    assert tab.page.title() == "Live · bt_alerts"
    assert (
        tab.page.evaluate("document.querySelectorAll('main img, main script, [onerror], [onclick], main a').length")
        == 0
    )
    shown = tab.page.eval_on_selector_all("#errors b", "all => all.map(b => b.textContent)")
    assert sorted(shown) == sorted([*EVIL, "5"])
    assert tab.hosts == {page.split("/")[2], f"127.0.0.1:{pusher.port}"}
    assert tab.complaints == []


def test_the_policy_forbids_markup_inline_scripts_and_other_servers(pages: Pages, page: str) -> None:
    tab = pages(url=page)
    tried = """async () => {
        const forbidden = [];
        document.addEventListener('securitypolicyviolation', (event) => forbidden.push(event.effectiveDirective));
        try { document.body.innerHTML = '<b>markup</b>' } catch { forbidden.push('thrown') }
        document.body.append(Object.assign(document.createElement('img'), { src: 'https://example.com/x.png' }));
        await fetch('https://example.com/').catch(() => null);
        try { new WebSocket('ws://192.0.2.1/') } catch { }
        window.forbidden = forbidden;
    }"""
    tab.page.evaluate(tried)
    tab.wait("window.forbidden.length >= 5")
    forbidden = tab.page.evaluate("window.forbidden")
    assert sorted(forbidden) == ["connect-src", "connect-src", "img-src", "require-trusted-types-for", "thrown"]
    assert tab.page.locator("b").first.inner_text() != "markup"


def test_it_comes_back_after_the_socket_died_and_says_what_it_missed(
    pages: Pages, page: str, pusher: PusherServer
) -> None:
    tab = pages(url=address(page, pusher))
    live(tab)
    with emitting(pusher) as emitter:
        emitter.emit_error("Feed", "before")
        wait_for_rows(tab, errors=1)
        pusher.hang_up()
        pusher.wait_for_pages()
        emitter.emit_error("Feed", "after")
        wait_for_rows(tab, errors=2)
    assert "is not here" in live(tab)


def test_a_key_that_pusher_does_not_know_is_said(pages: Pages, page: str, pusher: PusherServer) -> None:
    tab = pages(url=address(page, pusher, key="another"))
    assert "compare key and cluster" in live(tab, "Pusher does not know this key")


# ------------------------------------------------------------------------------------------------------- the form


def test_it_is_set_with_the_keyboard_alone_kept_and_forgotten(pages: Pages, page: str, pusher: PusherServer) -> None:
    tab = pages(390, url=page)
    assert live(tab, "Not connected").endswith("give the key of your Pusher app")
    keys = tab.page.keyboard
    for _ in range(2):  # the link that skips, the fold
        keys.press("Tab")
    for text in (KEY, "eu", "7"):
        keys.press("Tab")
        keys.type(text)
    keys.press("Tab")
    keys.press("Enter")  # unfolds the server of one's own
    for text in ("127.0.0.1", str(pusher.port)):
        keys.press("Tab")
        keys.type(text)
    keys.press("Tab")
    keys.press("Space")
    keys.press("Tab")
    keys.press("Enter")
    live(tab)
    kept = json.loads(tab.page.evaluate("localStorage.getItem('bt_alerts.live')"))
    assert kept == {
        "key": KEY,
        "cluster": "eu",
        "executor": "7",
        "host": "127.0.0.1",
        "port": str(pusher.port),
        "tls": "0",
    }

    tab.page.reload()
    live(tab)
    tab.page.click("#connect > summary")
    tab.page.click("#forget")
    live(tab, "Not connected")
    assert tab.page.evaluate("localStorage.getItem('bt_alerts.live')") is None


def test_a_secret_in_the_address_is_not_taken(pages: Pages, page: str, pusher: PusherServer) -> None:
    tab = pages(url=address(page, pusher) + f"&secret={SECRET}")
    live(tab)
    tab.page.click("#connect > summary")
    tab.page.click("button[type=submit]")
    live(tab)
    assert SECRET not in tab.page.evaluate("JSON.stringify({...localStorage}) + location.href")
    assert not any(SECRET in request for request in tab.requests[1:])


# ----------------------------------------------------------------------------------------------- how it looks


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1440])
def test_it_fits_and_asks_nobody_else(pages: Pages, page: str, pusher: PusherServer, width: int, dark: bool) -> None:
    tab = pages(width, dark=dark, url=page)
    assert not tab.scrolls_across()  # nothing there yet, and the form open
    assert tab.page.inner_text("[data-none=signals]").startswith("No signal yet")
    tab.page.goto(address(page, pusher))
    tab.page.reload()
    live(tab)
    with emitting(pusher) as emitter:
        morning(emitter)
        emitter.emit_error("x" * 300, "y" * 3000, {"z" * 200: "w" * 200})
        emitter.emit_position_opened(ticket=2**52, symbol="A" * 60, type="BUY", volume=1e15 / 3, entry_price=1e-7)
    wait_for_rows(tab, errors=2, signals=3, open=2)
    for fold in tab.page.query_selector_all("main summary"):
        fold.click()
    assert not tab.scrolls_across()
    ground = tab.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(14, 16, 20)" if dark else "rgb(244, 245, 247)")
    assert tab.hosts == {page.split("/")[2], f"127.0.0.1:{pusher.port}"}
    assert tab.complaints == []


def test_a_row_that_did_not_change_keeps_its_fold_and_the_focus(pages: Pages, page: str, pusher: PusherServer) -> None:
    tab = pages(url=address(page, pusher))
    live(tab)
    with emitting(pusher) as emitter:
        morning(emitter)
        wait_for_rows(tab, errors=1)
        tab.page.focus("#errors summary")
        tab.page.keyboard.press("Enter")
        emitter.emit_error("Feed", "another")
        wait_for_rows(tab, errors=2)
    assert tab.page.evaluate(
        "document.activeElement.closest('details').open && document.activeElement.matches('#errors *')"
    )


# ------------------------------------------------------------------------------------- events become state


@pytest.fixture
def reduced(pages: Pages) -> Callable[[list[dict[str, Any]]], dict[str, Any]]:
    """The page's own reducer over some events, its maps as lists of rows."""
    tab = pages()
    tab.page.set_content(live_page.embedded([]))

    def reduced(events: list[dict[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = tab.page.evaluate(
            "events => { const { initial, reduce } = btAlertsLive;"
            "const state = events.reduce(reduce, initial);"
            "if (initial.signals.size + initial.open.size + initial.closed.size) throw 'changed';"
            "const listed = (value) => (value instanceof Map ? [...value.values()] : value);"
            "return Object.fromEntries(Object.entries(state).map(([name, value]) => [name, listed(value)])) }",
            events,
        )
        return found

    return reduced


Reduced = Callable[[list[dict[str, Any]]], dict[str, Any]]


def said(name: str, second: int, **data: Any) -> dict[str, Any]:
    return {"event": name, "data": {**data, "timestamp": f"2026-05-20T08:00:{second:02}+00:00"}}


def test_an_event_that_comes_twice_counts_once(reduced: Reduced) -> None:
    events = [
        said("trading-signal", 1, id="a", status="pending"),
        said("signal-status-update", 2, id="a", status="executed"),
        said("position-opened", 2, ticket=1, volume=10),
        said("position-closed", 3, ticket=1, volume=4, close_reason="PartialExit"),
        said("error", 4, type="Feed", message="gone"),
    ]
    once, twice = reduced(events), reduced([event for event in events for _ in range(2)])
    assert once == twice
    assert once["open"][0]["volume"] == 6


def test_an_order_filled_in_parts_is_one_position(reduced: Reduced) -> None:
    state = reduced([said("position-opened", n, ticket=1, volume=10 * n) for n in (1, 2, 3)])
    assert [row["volume"] for row in state["open"]] == [30]


def test_what_comes_late_changes_nothing_that_is_newer(reduced: Reduced) -> None:
    state = reduced([
        said("signal-status-update", 2, id="a", status="executed"),
        said("trading-signal", 1, id="a", symbol="EURUSD", status="pending"),
        said("position-closed", 9, ticket=1, close_reason="TP"),
        said("position-opened", 1, ticket=1, volume=10),
        said("account-update", 5, equity=2),
        said("account-update", 4, equity=1),
        said("strategy-status", 5, strategyId="s", status="stopped"),
        said("strategy-status", 1, strategyId="s", status="started"),
    ])  # fmt: skip
    (signal,) = state["signals"]
    assert signal["symbol"] == "EURUSD"
    assert [step["status"] for step in signal["life"]] == ["pending", "executed"]
    assert state["open"] == []
    assert state["account"]["equity"] == 2
    assert [row["status"] for row in state["strategies"]] == ["stopped"]


def test_the_order_and_the_trade_that_end_a_position_are_one_end(reduced: Reduced) -> None:
    state = reduced([
        said("position-opened", 1, ticket=1, volume=10),
        said("position-closed", 9, ticket=1, volume=10, profit=None, close_reason="TP"),
        said("position-closed", 10, ticket=1, volume=None, profit=5, close_reason="TP"),
        said("position-opened", 20, ticket=1, volume=3),
        said("position-closed", 30, ticket=1, volume=3, profit=-1, close_reason="SL"),
    ])  # fmt: skip
    assert [(row["volume"], row["profit"]) for row in state["closed"]] == [(10, 5), (3, -1)]


def test_what_is_no_event_of_ours_is_counted_and_left(reduced: Reduced) -> None:
    wrong: list[Any] = [
        {"event": "toString", "data": {}},
        {"event": "error", "data": [1]},
        {"event": "alert", "data": None},
    ]
    assert reduced([*wrong, said("trading-signal", 1)])["ignored"] == 4


def test_the_newest_rows_are_kept(reduced: Reduced) -> None:
    times = [f"2026-05-20T08:{n // 60:02}:{n % 60:02}Z" for n in range(1000)]
    many = [{"event": "alert", "data": {"id": str(n)}, "time": time} for n, time in enumerate(times)]
    assert [row["id"] for row in reduced(many)["alerts"]] == [str(n) for n in range(800, 1000)]


# ------------------------------------------------------------------------------------------ without Pusher


def test_the_embedded_page_shows_what_it_was_given_and_asks_nobody(pages: Pages) -> None:
    events = [said(name, n, **dict.fromkeys(FIELDS[name], text)) for n, text in enumerate(EVIL) for name in FIELDS]
    tab = pages()
    tab.page.set_content(live_page.embedded(events))
    wait_for_rows(tab, alerts=len(EVIL), errors=len(EVIL), signals=len(EVIL))
    assert tab.page.title() != "run"
    assert tab.page.is_hidden("#connect")
    assert tab.page.is_hidden("#state")
    assert tab.requests == []
    assert tab.complaints == []


class Rebound(Notifier, bt.Strategy):  # type: ignore[misc]  # backtrader has no types
    """Buys a share that closed lower than two days before, with a stop and a target, or closes after a week."""

    def next(self) -> None:
        price = self.data.close[0]
        if not self.position and price < self.data.close[-2]:
            self.signal("BUY", conditions=["two days down"])
            self.bought = len(self)
            self.buy_bracket(size=100, exectype=bt.Order.Market, stopprice=price * 0.98, limitprice=price * 1.02)


@pytest.mark.parametrize("all_of_them", [True, False])
def test_a_run_in_the_store_becomes_the_same_page(pages: Pages, all_of_them: bool) -> None:
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.adddata(prices.feed("IBM", start="2008-01-01", end="2008-06-30"), name="IBM")
    cerebro.addstrategy(Rebound)
    cerebro.broker.set_cash(100_000)
    cerebro.addanalyzer(bt.analyzers.TradeAnalyzer, _name="trades")
    manager = attach(cerebro, store="memory")
    (strategy,) = cerebro.run()
    trades = strategy.analyzers.trades.get_analysis()
    alerts = manager.alerts() if all_of_them else manager.simulate().told
    tab = pages()
    tab.page.set_content(live_page.embedded(list(live_page.events(alerts))))
    wait_for_rows(tab, closed=trades.total.closed, open=trades.total.open, strategies=1)
    assert trades.total.closed > 5
    shown = sum(float(row[6].replace(",", "")) for row in rows(tab, "closed"))
    assert shown == pytest.approx(trades.pnl.net.total, abs=0.01 * trades.total.closed)
    assert {row[8] for row in rows(tab, "closed")} == {"SL", "TP"}
    if all_of_them:  # what became of a signal is told by its order
        assert all("executed" in row[7] for row in rows(tab, "signals")[1:])


def test_a_secret_of_this_process_is_masked() -> None:
    register_secret(SECRET)
    assert SECRET not in live_page.embedded([said("error", 1, type="Feed", message=f"refused {SECRET}")])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_embedded_page_can_be_told_the_scheme(pages: Pages, scheme: str) -> None:
    tab = pages(390, dark=scheme == "light")
    tab.page.set_content(live_page.embedded([], scheme=scheme))
    ground = tab.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(14, 16, 20)" if scheme == "dark" else "rgb(244, 245, 247)")
    assert not tab.scrolls_across()


def test_another_scheme_is_refused() -> None:
    with pytest.raises(ValueError, match="light, dark"):
        live_page.embedded([], scheme="sepia")


def test_the_embedded_page_has_one_policy_and_no_file_of_its_own() -> None:
    html = live_page.embedded(
        [said("alert", 1, title="script src=\"live.js\" <link rel='stylesheet' href='live.css'>")]
    )
    assert html.count("Content-Security-Policy") == 1
    assert "script-src 'sha256-" in html
    assert "connect-src 'none'" in html
    assert html.count("<script") == 2
    assert html.count("</script>") == 2
    assert "'self'" not in html.split("</head>")[0].split("<style>")[0]
    assert 'pusher.min.js"' not in html


# ----------------------------------------------------------------------------------------- what is published


@pytest.mark.parametrize("name", ["index.html", "live.js", "live.css"])
def test_the_published_page_is_the_packaged_one(name: str) -> None:
    packaged = PAGE.parents[1] / "bt_alerts" / "live_page" / name
    told = f"cp bt_alerts/live_page/{name} docs/live/{name}"
    assert (PAGE / name).read_bytes() == packaged.read_bytes(), told


def test_pushers_own_script_has_its_licence_beside_it() -> None:
    assert "pusher.min.js.LICENSE.txt" in (PAGE / "pusher.min.js").read_text("utf-8")[:100]
    assert "Permission is hereby granted, free of charge" in (PAGE / "pusher.min.js.LICENSE.txt").read_text("utf-8")
