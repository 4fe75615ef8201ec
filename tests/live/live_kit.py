"""A page on a loopback server, a Pusher of this machine, and a morning that the emitter tells."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pusher_server import PusherServer

from bt_alerts import PusherEmitter

PAGE = Path(__file__).parents[2] / "docs" / "live"
KEY = "278d425bdf160c739803"
SECRET = "7ad3773142a6692b25b8"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@contextlib.contextmanager
def served(folder: Path = PAGE) -> Iterator[str]:
    """The address of a folder's pages."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=folder))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/index.html"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def address(page: str, server: PusherServer, executor: str = "7", key: str = KEY) -> str:
    """The page's address with what it connects to after its ``#``."""
    return f"{page}#key={key}&executor={executor}&host=127.0.0.1&port={server.port}&tls=0"


@contextlib.contextmanager
def emitting(server: PusherServer, executor: str = "7") -> Iterator[PusherEmitter]:
    """A strategy's emitter; what it was told has been sent at the end."""
    with PusherEmitter() as emitter:
        assert emitter.initialize("3", KEY, SECRET, "eu", executor, api_url=server.api_url)
        yield emitter
        assert emitter.flush(20)
        assert emitter.dropped == 0


def morning(emitter: PusherEmitter) -> None:
    """Two signals and what became of them, three positions, a strategy that starts, an account and an error."""
    emitter.emit_strategy_status("Cross", "started", timestamp="2026-05-20T07:00:00+00:00")
    emitter.emit_strategy_status("Rebound", "stopped", "end of its day", timestamp="2026-05-20T09:00:00+00:00")
    bought = emitter.emit_trading_signal(
        symbol="EURUSD", type="BUY", entry_price=1.0871, stop_loss=1.0820, take_profit=1.0950, strategy_name="Cross",
        timeframe="H1", confidence=80, indicators={"rsi": 31.5, "sma": 1.0868}, reason="fast above slow",
        timestamp="2026-05-20T08:00:00+00:00",
    )  # fmt: skip
    emitter.emit_signal_status_update(bought, "executed", "filled at 1.0872", timestamp="2026-05-20T08:00:02+00:00")
    sold = emitter.emit_trading_signal(
        symbol="GBPUSD", type="SELL", entry_price=1.2704, stop_loss=1.2750, strategy_name="Rebound", timeframe="M15",
        reason="closed above its band", timestamp="2026-05-20T08:30:00+00:00",
    )  # fmt: skip
    emitter.emit_signal_status_update(sold, "rejected", "not enough margin", timestamp="2026-05-20T08:30:01+00:00")
    emitter.emit_trading_signal(
        symbol="USDJPY", type="SELL", entry_price=155.31, stop_loss=155.9, take_profit=154.2, strategy_name="Cross",
        timeframe="H1", confidence=65, reason="fast below slow", timestamp="2026-05-20T09:00:00+00:00",
    )  # fmt: skip
    emitter.emit_position_opened(
        ticket=5, symbol="EURUSD", type="BUY", volume=10_000, entry_price=1.0872, stop_loss=1.0820, take_profit=1.0950,
        strategy="Cross", timestamp="2026-05-20T08:00:02+00:00",
    )  # fmt: skip
    emitter.emit_position_closed(
        ticket=5, symbol="EURUSD", type="BUY", volume=4_000, entry_price=1.0872, exit_price=1.0904, profit=12.8,
        duration_seconds=2_700, close_reason="partial", timestamp="2026-05-20T08:45:02+00:00",
    )  # fmt: skip
    emitter.emit_position_opened(
        ticket=6, symbol="AUDUSD", type="SELL", volume=5_000, entry_price=0.6671, strategy="Rebound",
        timestamp="2026-05-20T07:10:00+00:00",
    )  # fmt: skip
    emitter.emit_position_closed(
        ticket=6, symbol="AUDUSD", type="SELL", volume=5_000, entry_price=0.6671, exit_price=0.6688, profit=-8.5,
        duration_seconds=4_215, close_reason="stop", timestamp="2026-05-20T08:20:15+00:00",
    )  # fmt: skip
    emitter.emit_account_update(
        balance=10_004.3, equity=10_031.9, margin=652.32, margin_level=1537.9, profit=27.6,
        timestamp="2026-05-20T09:00:05+00:00",
    )  # fmt: skip
    emitter.emit_error(
        "Feed", "no bars of GBPUSD for 10 minutes", {"symbol": "GBPUSD", "last bar": "08:50"},
        timestamp="2026-05-20T09:00:00+00:00",
    )  # fmt: skip
