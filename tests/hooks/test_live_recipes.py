"""The recipes of ``docs/live-stores.md``, run as they stand, with a feed and a broker in place of the store's own."""

from __future__ import annotations

import datetime as dt
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import backtrader as bt
import pytest
from hooks_kit import delivered
from stores_kit import BinanceBroker, CCXTBroker, Remote, Store

from bt_alerts import Notifier
from bt_alerts.demo.feed import ScriptedFeed
from bt_alerts.testing import FakeService

PAGE = (Path(__file__).parents[2] / "docs" / "live-stores.md").read_text("utf-8")


def recipe(title: str) -> str:
    """The Python of a chapter."""
    chapter = PAGE.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]
    found = re.search(r"```python\n(.*?)```", chapter, re.DOTALL)
    assert found is not None
    return found[1]


class Mine(Notifier, bt.Strategy):
    def next(self):
        self.alert("a bar")


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(tzinfo=None)


class Shop:
    """Stands for any store: ten minutes that are old, ten minutes ago, then live."""

    def __init__(self, broker: Any, **settings: Any) -> None:
        self._broker = broker(settings)

    def getdata(self, dataname: str, **params: Any) -> Any:
        known = {key: params[key] for key in ("timeframe", "compression", "name") if key in params}
        times = [now() - dt.timedelta(seconds=1200 - 10 * i) for i in range(60)]
        script: list[Any] = [("status", "DELAYED"), *(("bar", when, 9.0, 10.0, 8.0, 9.0, 1.0) for when in times)]
        script += [("status", "LIVE"), ("bar", now() - dt.timedelta(seconds=60), 9.0, 10.0, 8.0, 9.0, 1.0)]
        return ScriptedFeed(script=[*script, ("bar", None, 9.0, 10.0, 8.0, 9.0, 1.0)], clock=now, qcheck=0.0, **known)

    def getbroker(self) -> Any:
        return self._broker


def ib(settings: Any) -> Any:
    broker = Remote()
    broker.ib = SimpleNamespace(managed_accounts=["DU1234567"])
    return broker


#: Where a recipe finds its store, by the chapter, and what its broker is like.
STORES = {
    "Interactive Brokers": ("", "IBStore", ib, "PAPER"),
    "bt-ccxt-store": ("ccxtbt", "CCXTStore", lambda settings: CCXTBroker(), "REAL"),
    "Oanda": ("", "OandaStore", lambda settings: Remote(store=Store(**settings)), "PAPER"),
    "Alpaca": ("alpaca_backtrader_api", "AlpacaStore", lambda settings: Remote(store=Store(**settings)), "PAPER"),
    "Binance": (
        "backtrader_binance",
        "BinanceStore",
        lambda settings: BinanceBroker(SimpleNamespace(binance=SimpleNamespace(testnet=settings["testnet"]))),
        "PAPER",
    ),
}


@pytest.mark.parametrize("title", STORES)
def test_a_recipe_sends_what_is_live_and_holds_what_is_old(
    title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, name, broker, label = STORES[title]
    place: Any = ModuleType(module) if module else bt.stores
    monkeypatch.setattr(place, name, lambda **settings: Shop(broker, **settings), raising=False)
    if module:
        monkeypatch.setitem(sys.modules, module, place)
    monkeypatch.chdir(tmp_path)
    with FakeService() as service:
        Path("alerts.yaml").write_text(
            f"store: memory\nalerts: {{webhook: {{enabled: true, urls: '{service.url}', rate_limit: 0}}}}\n", "utf-8"
        )
        Path("alerts.yaml").chmod(0o600)
        known: dict[str, Any] = {"Mine": Mine}
        exec(recipe(title), known)
        known["main"]()
        told = delivered(service)
    (started,) = [alert for alert in told if alert["kind"] == "strategy.started"]
    (stopped,) = [alert for alert in told if alert["kind"] == "strategy.stopped"]
    assert f"Account: {label} (" in started["message"]
    assert "Bars held back as history: " in stopped["message"]
    assert [alert["kind"] for alert in told if alert["type"] == "data"] == ["data.live"]
    assert [alert["title"] for alert in told if alert["kind"] == "custom"].count("Mine") in (1, 2), "of 11 or 62 bars"
    (symbol,) = {alert["symbol"] for alert in told if alert["kind"] == "custom"}
    assert symbol in started["message"]
    assert symbol in recipe(title)
