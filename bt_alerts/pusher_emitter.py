"""``PusherEmitter``: the state of a strategy on a live page, through Pusher Channels, without a manager.

It shows what is, and is no way to be told: what cannot be delivered after a few attempts is dropped with a line in the
log, and what is in memory is gone when the process is killed. For alerts, configure a channel of type ``pusher``.

*Never in the way.* ``emit_*`` puts an event into a bounded queue and returns; one daemon thread sends. Nothing raises
into a strategy.

*A backtest sends nothing.* Inside a strategy, or made inside one, it is gated as the hooks are.

*Account updates are state.* At most one a second is sent, always the newest.
"""

from __future__ import annotations

import os
import sys
import time
import uuid
import weakref
from collections.abc import Callable, Mapping
from typing import Any, Self

from bt_alerts.alert import safe_text
from bt_alerts.dispatchers.pusher import PusherDispatcher
from bt_alerts.dispatchers.pusher.api import Event
from bt_alerts.dispatchers.pusher.events import shaped, side
from bt_alerts.dispatchers.pusher.queue import LiveQueue


class PusherEmitter:
    """Emits the promised events on the channel ``executor-{executor_id}``.

    Each ``emit_*`` takes the fields of its event as a mapping, as keywords, or both, in snake_case; fields that are not
    given are null, others are left out. It returns whether the event was accepted. Missing credentials disable the
    emitter, with one warning.

    Args:
        clock: seconds that never go back; for tests.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._queue = LiveQueue(clock)
        self._sender: PusherDispatcher | None = None
        self._asked = False  # for credentials
        self._warned = False
        self._closed = False
        try:
            strategy = _strategy_here()
        except Exception as exc:
            strategy = None
            self._queue.complain("the strategy that the emitter is made in cannot be looked for", exc)
        self._made_in = None if strategy is None else weakref.ref(strategy)

    def initialize(
        self,
        app_id: str | None = None,
        key: str | None = None,
        secret: str | None = None,
        cluster: str | None = None,
        executor_id: str | None = None,
        *,
        channel: str | None = None,
        api_url: str | None = None,
        ca_file: str | None = None,
        timeout: float = 10.0,
    ) -> bool:
        """Set the credentials; without a call the first event takes them from the environment.

        Args:
            app_id: number of the app; where it is None, ``WE_V2_PUSHER_APP_ID`` is asked.
            key: else ``WE_V2_PUSHER_KEY``.
            secret: else ``WE_V2_PUSHER_SECRET``.
            cluster: else ``WE_V2_PUSHER_CLUSTER``.
            executor_id: else ``WE_V2_EXECUTOR_ID``, else ``"default"``.
            channel: another name for the channel.
            api_url: address of the service, for proxies and tests.
            ca_file: PEM file of certificate authorities to trust instead.
            timeout: seconds for one request.

        Returns:
            Whether events will be sent. Never raises.
        """
        self._asked = True
        try:
            given = _environment()
            sender = PusherDispatcher(
                app_id or given("WE_V2_PUSHER_APP_ID"),
                key or given("WE_V2_PUSHER_KEY"),
                secret or given("WE_V2_PUSHER_SECRET"),
                cluster or given("WE_V2_PUSHER_CLUSTER"),
                executor_id or given("WE_V2_EXECUTOR_ID") or "default",
                channel=channel,
                api_url=api_url,
                ca_file=ca_file,
                timeout=timeout,
            )
            problem = sender.missing()
        except ValueError as exc:
            problem = str(exc)
        except Exception as exc:
            problem = f"its credentials cannot be read ({type(exc).__name__})"
        if problem:
            self._queue.send = self._sender = None
            if not self._warned:
                self._warned = True
                self._queue.complain(f"PusherEmitter is disabled, so no page is updated: {problem}")
        else:
            self._sender = sender
            self._queue.send = lambda events: sender.trigger(events, time.time())
        return self.enabled

    @property
    def enabled(self) -> bool:
        """Whether events are sent; False before there are credentials and after Pusher refused them."""
        return self._queue.send is not None and not self._closed

    @property
    def dropped(self) -> int:
        """How many events were dropped, because too many waited or they could not be delivered."""
        return self._queue.dropped

    # The events --------------------------------------------------------------------------------------

    def emit_trading_signal(self, signal: Mapping[str, Any] | None = None, /, **fields: Any) -> str:
        """Emit a signal: symbol, type (BUY or SELL), entry_price, stop_loss, take_profit, confidence (0 to 100),
        strategy_name, timeframe, indicators, reason.

        Returns:
            Its id, for :meth:`emit_signal_status_update`; in a backtest too.
        """
        given = self._given(signal, fields)
        given["id"] = signal_id = _first(given, "id") or str(uuid.uuid4())
        word = _first(given, "type", "side", "action")
        if side(word) in {"BUY", "SELL"}:
            self._emit("trading-signal", given)
        else:
            self._queue.complain(f"a trading signal must be BUY or SELL, not {word!r}: it does not go to the page")
        return signal_id

    def emit_signal_status_update(
        self, signal_id: str | Mapping[str, Any] | None = None, status: str = "", reason: str = "", **fields: Any
    ) -> bool:
        """Emit that a signal was executed, rejected, expired or cancelled."""
        given = self._given(signal_id, {"status": status, "reason": reason, **fields}, "id")
        return self._emit("signal-status-update", given)

    def emit_position_opened(self, position: Mapping[str, Any] | None = None, /, **fields: Any) -> bool:
        """Emit a position: ticket, symbol, type, volume, entry_price, stop_loss, take_profit, strategy."""
        return self._emit("position-opened", self._given(position, fields), order=True)

    def emit_position_closed(self, position: Mapping[str, Any] | None = None, /, **fields: Any) -> bool:
        """Emit the end of a position or of a part: ticket, symbol, type, volume, entry_price, exit_price, profit,
        duration_seconds, close_reason (TP, SL, Manual or PartialExit).
        """
        return self._emit("position-closed", self._given(position, fields), order=True)

    def emit_strategy_status(
        self, strategy_name: str | Mapping[str, Any] | None = None, status: str = "", reason: str = "", **fields: Any
    ) -> bool:
        """Emit that a strategy started or stopped. Its strategy_id is made of its name where none is given."""
        given = self._given(strategy_name, {"status": status, "reason": reason, **fields}, "strategy_name")
        return self._emit("strategy-status", given, run=True)

    def emit_account_update(self, account: Mapping[str, Any] | None = None, /, **fields: Any) -> bool:
        """Emit the account: balance, equity, margin, margin_level, profit. One a second goes, always the newest."""
        return self._emit("account-update", self._given(account, fields), order=True)

    def emit_error(
        self,
        error_type: str | Mapping[str, Any] | None = None,
        message: object = "",
        context: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> bool:
        """Emit that something went wrong."""
        text = "" if isinstance(message, str) and not message else safe_text(message)
        given = self._given(error_type, {"message": text, "context": context, **fields}, "type")
        return self._emit("error", given, run=True)

    # Waiting and ending ------------------------------------------------------------------------------

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until everything is sent, or ``timeout`` seconds; whether nothing is left."""
        return self._queue.flush(timeout)

    def close(self, timeout: float = 5.0) -> None:
        """Send what is left, for ``timeout`` seconds at most; later events are not accepted."""
        self._closed = True
        self._queue.close(timeout)
        if self._sender is not None:
            self._sender.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        # An optimisation pickles what strategies are given. Credentials stay here, and the copy sends nothing.
        return {"_asked": True}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()  # type: ignore[misc]  # nothing of this object exists yet
        self.__dict__.update(state)

    # A strategy's thread -----------------------------------------------------------------------------

    def _given(self, first: object, more: Mapping[str, Any], name: str = "") -> dict[str, Any]:
        """The fields of an event: of a mapping, else ``first`` is the field called ``name``; and those of ``more``."""
        try:
            if isinstance(first, Mapping):
                return {**first, **{k: v for k, v in more.items() if not (v is None or (isinstance(v, str) and not v))}}
        except Exception as exc:
            self._queue.complain("the fields of an event cannot be read", exc)
        if first is not None and not name:
            self._queue.complain(f"an event takes a mapping or keywords, not {type(first).__name__}")
        return {**({name: first} if name and first is not None else {}), **more}

    def _emit(self, name: str, given: Mapping[str, Any], *, order: bool = False, run: bool = False) -> bool:
        try:
            if not self._asked:
                self.initialize()
            if not self.enabled or not self._goes_out(_first(given, "symbol"), order, run):
                return False
            self._queue.put(Event(name, shaped(name, given)))
        except Exception as exc:
            self._queue.complain(f"an event {name} cannot be made", exc)
            return False
        return True

    def _goes_out(self, symbol: str, order: bool, run: bool) -> bool:
        strategy = _strategy_here()
        if strategy is None and self._made_in is not None:  # not "or": a strategy has a truth of its own, its line's
            strategy = self._made_in()
        if strategy is None:
            return self._made_in is None  # what was made in a strategy ends with it
        from bt_alerts.hooks.here import goes_out

        return goes_out(strategy, symbol=symbol, order=order, run=run)


def _first(given: Mapping[str, Any], *names: str) -> str:
    """The first of some fields that is given, as text; nothing where none is."""
    return next((safe_text(given[name], 100) for name in names if given.get(name) is not None), "")


def _environment() -> Callable[[str], str | None]:
    """Reads a variable, or the file that ``NAME_FILE`` names; raises ``ValueError`` where that cannot be read."""
    from bt_alerts.settings.environment import Environment

    environment = Environment(os.environ)

    def get(name: str) -> str | None:
        found = environment.get(name)
        if name in environment.problems:
            raise ValueError(environment.problems[name])
        return None if found is None else found.value

    return get


def _strategy_here() -> Any:
    """The Backtrader strategy in whose method we were called, if Backtrader is in use at all."""
    if "backtrader" not in sys.modules and "backtrader_next" not in sys.modules:
        return None
    from bt_alerts.hooks.session import strategy_here

    return strategy_here()
