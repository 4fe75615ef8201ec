"""The public names as a user writes them; type-checked by `make test`, never run."""

from __future__ import annotations

import datetime as dt
import logging
from pathlib import Path
from typing import Any, assert_type

import pandas as pd

from bt_alerts import (
    Alert,
    AlertChannel,
    AlertHandler,
    AlertManager,
    AlertPriority,
    AlertType,
    AsyncNotificationManager,
    ConfigManager,
    ConsoleDispatcher,
    DeliveryReport,
    EmailHandler,
    NetworkError,
    NotificationError,
    NotificationPriority,
    NotificationType,
    Priority,
    PusherEmitter,
    PushoverDispatcher,
    RateLimitError,
    SMSHandler,
    TelegramHandler,
    WatchLevel,
    WebhookDispatcher,
    WebhookHandler,
    attach,
    configure,
    default_manager,
    initialize_notification_manager,
    watch,
)
from bt_alerts.simulate import Comparison, Outage, Simulation, compare, simulate


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


def the_log(manager: AlertManager) -> None:
    log = logging.getLogger("mine")
    log.addHandler(AlertHandler())
    log.addHandler(AlertHandler(manager, "WARNING", channels=["phone"], ignore=["noise"]))


def watches(cerebro: object) -> None:
    levels = [
        watch("drawdown", above=10, back=8),
        watch("daily_loss", above=500, unit="money", priority=Priority.CRITICAL),
        watch("price", symbol="AAPL", crosses=200.0),
        watch("move", above=5, within="4h"),
        watch("indicator", condition="rsi > 70", back=60, priority="low"),
        watch("time_in_trade", above="5d"),
    ]
    assert_type(levels, list[WatchLevel])
    assert_type(attach(cerebro, watches=levels), AlertManager)


def a_simulation() -> None:
    with AlertManager("alerts.yaml") as manager:
        outages = [Outage("phone", "2026-01-05T09:00", dt.datetime(2026, 1, 5, 10), status=503, retry_after=60)]
        told = manager.simulate(
            run="last",
            events={"order.submitted": "on"},
            outages=outages,
            latency={"phone": 2},
            prices={"sms": 0.05},
            acknowledges=lambda alert: 60.0 if alert.priority == "critical" else None,
            close="16:00 America/New_York",
        )
        assert_type(told, Simulation)
        assert_type(told.messages[0].cost, float)
        assert_type(told.told, tuple[Alert, ...])
        other = manager.simulate(config={"alerts": {"console": {"enabled": True}}}, limits=False)
        assert_type(compare(told, other), Comparison)
        assert_type(told.compare(other), Comparison)
        assert_type(told.to_html("report.html"), Path)
        assert_type(simulate(manager.alerts(), manager.settings, outages=outages), Simulation)


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


async def on_asyncio() -> None:
    manager = AsyncNotificationManager(1000, 10, 5.0, max_retries=3, retry_delay=1.0, store="notifications.db")
    assert_type(manager.add_handler(TelegramHandler(bot_token="1:a", chat_id=-100, rate_limit=30)), str)
    manager.add_handler(EmailHandler(smtp_config={"host": "smtp.example.com", "to": "me@example.com"}), name="mail")
    manager.add_handler(SMSHandler(provider_config={"provider": "twilio"}))
    manager.add_handler(WebhookHandler(webhook_url="https://example.org/hook"), fallback="mail")
    await manager.start()
    try:
        first = await manager.send_notification(
            channel="telegram", message="hello", priority="normal", attachments=["chart.png"]
        )
        assert_type(first, DeliveryReport)
        await manager.send_notification(
            notification_type=NotificationType.INFO,
            title="Hi",
            message="hello",
            priority=NotificationPriority.NORMAL,
            data={"symbol": "AAPL"},
            source="Cross",
            channels=["telegram", AlertChannel.EMAIL],
            wait=5.0,
        )
        batch = [{"channel": "telegram", "message": "one"}, {"title": "Two", "message": "two"}]
        assert_type(await manager.send_batch_notification(batch), list[DeliveryReport])
    except (RateLimitError, NetworkError) as failed:
        assert_type(failed.report, DeliveryReport | None)
    except NotificationError:
        manager.enable_debug_mode()
    assert_type(manager.get_queue_status(), dict[str, Any])
    assert_type(manager.get_channel_statistics()["telegram"]["sent"], Any)
    assert_type(await manager.stop(timeout=5.0), bool)
    async with await initialize_notification_manager(config="alerts.yaml", handlers=[ConsoleDispatcher()]) as other:
        assert_type(other.manager, AlertManager)
