"""The public names as a user writes them; type-checked by `make test`, never run."""

from __future__ import annotations

import datetime as dt
from typing import assert_type

import pandas as pd

from bt_alerts import (
    Alert,
    AlertChannel,
    AlertManager,
    AlertPriority,
    AlertType,
    ConfigManager,
    ConsoleDispatcher,
    DeliveryReport,
    Priority,
    PusherEmitter,
    PushoverDispatcher,
    WebhookDispatcher,
    attach,
    configure,
    default_manager,
)


def a_manager(cerebro: object) -> None:
    with attach(
        cerebro, "alerts.yaml", store="alerts.db", mode="record", plot=True, live={"EURUSD": "always"}
    ) as manager:
        assert_type(manager, AlertManager)
        assert_type(manager.send_alert("BUY", "AAPL", 150.5, 10), bool)
        assert_type(manager.send_alert("BUY", "AAPL", 150.5, wait=5.0), bool)
        assert_type(manager.send_strategy_signal("Cross", "BUY", "AAPL", ["fast above slow"]), bool)
        assert_type(manager.send_error_alert("Feed", "no bar", {"symbol": "AAPL"}), bool)
        assert_type(manager.send_market_update("AAPL", 150.5, 1.5, volume=1e6), bool)
        assert_type(manager.send_custom_alert("hello", title="Hi"), bool)
        alert = manager.create_alert(
            alert_type=AlertType.RISK,
            priority=AlertPriority.HIGH,
            title="Drawdown",
            message="12 %",
            channels=[AlertChannel.PUSHOVER],
            symbol="AAPL",
            data={"drawdown": 12.0},
        )
        assert_type(alert, Alert)
        assert_type(manager.trigger_alert(alert.alert_id), bool)
        assert_type(manager.send_notification(alert), DeliveryReport)
        assert_type(manager.schedule_alert(alert, at=dt.datetime.now(dt.UTC)), bool)
        assert_type(manager.test_channel("phone").success, bool)
        assert_type(manager.test_all_connections(), dict[str, bool])
        assert_type(manager.history(type="trade", since="2026-01-01", priority=Priority.HIGH, limit=10), pd.DataFrame)
        manager.acknowledge(alert.id)
        manager.snooze(alert.id, dt.datetime.now(dt.UTC))
        manager.mute(symbol="AAPL", until=dt.datetime.now(dt.UTC))
        manager.add_channel("mine", WebhookDispatcher(["https://example.org/hook"], secret=None))


def settings() -> None:
    assert_type(AlertManager(ConfigManager("alerts.yaml")), AlertManager)
    assert_type(configure({"alerts": {"console": {"enabled": True}}}), AlertManager)
    assert_type(default_manager().emit(Alert.make("hello")), bool)


def a_dispatcher_alone() -> None:
    pushover = PushoverDispatcher(app_token="a", user_key="u", priority=1, sound="bike")
    pushover.set_credentials("a", "u")
    pushover.set_priority(0)
    pushover.set_sound(None)
    assert_type(pushover.send_custom_alert("hello", sound="siren", high_priority=True), bool)
    assert_type(pushover.test_connection(), bool)
    assert_type(pushover.get_alerts_count(), dict[str, int])
    assert_type(ConsoleDispatcher().get_alerts_by_type("BUY"), list[Alert])


def a_page() -> None:
    with PusherEmitter() as emitter:
        assert_type(emitter.initialize("1", "key", "secret", "eu", "7"), bool)
        signal = emitter.emit_trading_signal({"symbol": "EURUSD", "type": "BUY"}, confidence=80)
        assert_type(signal, str)
        assert_type(emitter.emit_signal_status_update(signal, "executed", "filled"), bool)
        assert_type(emitter.emit_position_opened(ticket=5, symbol="EURUSD", volume=1000), bool)
        assert_type(emitter.emit_position_closed({"ticket": 5}, close_reason="SL"), bool)
        assert_type(emitter.emit_strategy_status("Cross", "started"), bool)
        assert_type(emitter.emit_account_update(balance=10_000), bool)
        assert_type(emitter.emit_error("Feed", "no bars", {"symbol": "EURUSD"}), bool)
        assert_type(emitter.flush(1.0), bool)
