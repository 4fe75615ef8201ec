"""What kind of account a run trades on: PAPER or REAL. A heuristic over what the known stores tell of themselves."""

from __future__ import annotations

from typing import Any

from bt_alerts.hooks.seam import bt

_PAPER_FLAGS = ("paper", "practice", "sandbox", "demo", "testnet", "_sandbox", "_testnet", "isSandboxModeEnabled")
_STORES = ("store", "_store", "o", "ib")  # where a broker keeps its store
_CLIENTS = ("exchange", "binance")  # and where a store keeps what speaks to the exchange


def label(cerebro: Any, live_run: bool) -> str:
    """``"backtest"``, ``"PAPER (…)"`` or ``"REAL"``; unknown brokers are called real, which is the careful mistake."""
    broker = cerebro.broker
    if isinstance(broker, bt.brokers.BackBroker):
        return "PAPER (Backtrader's simulated broker)" if live_run else "backtest"
    name = type(broker).__name__
    stores = [store for at in _STORES if (store := getattr(broker, at, None)) is not None]
    clients = [client for store in stores for at in _CLIENTS if (client := getattr(store, at, None)) is not None]
    for owner in (broker, *stores, *clients):
        for place in (owner, getattr(owner, "p", None)):
            if place is not None and any(_true(place, flag) for flag in _PAPER_FLAGS):
                return f"PAPER ({name})"
        accounts = getattr(owner, "managed_accounts", None)  # Interactive Brokers: DU… is a paper account
        if accounts and all(str(number).startswith("D") for number in accounts):
            return f"PAPER ({name})"
    return f"REAL ({name})"


def _true(owner: Any, flag: str) -> bool:
    return getattr(owner, flag, None) is True
