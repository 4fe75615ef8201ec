"""For tests of programs that send alerts, and of dispatchers.

A service on this machine that answers as told and writes down what it got::

    with FakeService() as service:
        service.answer(429, headers={"Retry-After": "3"}).answer(200, {"status": 1})
        dispatcher = WebhookDispatcher(service.url)
        ...
        assert service.requests[0].json()["type"] == "alert.custom"

The alerts of a program, collected instead of sent: :func:`capture_alerts`. A server that misbehaves:
:class:`FaultServer`.

The tests that every dispatcher passes: :class:`DispatcherContract`, and :class:`HttpDispatcherContract` for one that
speaks HTTP. These two need ``pip install "bt-alerts[test]"``; nothing else here does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bt_alerts.testing.captured import CapturedAlerts, capture_alerts
from bt_alerts.testing.faults import FaultServer
from bt_alerts.testing.service import Answers, FakeService, Received

if TYPE_CHECKING:
    from bt_alerts.testing.contract import DispatcherContract
    from bt_alerts.testing.http_contract import HttpDispatcherContract

__all__ = [
    "Answers",
    "CapturedAlerts",
    "DispatcherContract",
    "FakeService",
    "FaultServer",
    "HttpDispatcherContract",
    "Received",
    "capture_alerts",
]

_IN = {"DispatcherContract": "contract", "HttpDispatcherContract": "http_contract"}


def __getattr__(name: str) -> Any:
    """The contracts are imported when they are asked for, because they need pytest."""
    if name not in _IN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib
    import sys

    try:
        import pytest

        # So that a failed assertion of the contract shows its two sides, as one in a test file does.
        modules = [f"{__name__}.{module}" for module in ("contract", "http_contract")]
        pytest.register_assert_rewrite(*(module for module in modules if module not in sys.modules))
        return getattr(importlib.import_module(f"{__name__}.{_IN[name]}"), name)
    except ModuleNotFoundError as exc:
        if exc.name not in {"pytest", "trustme"}:
            raise
        raise ModuleNotFoundError(
            f'{name} needs {exc.name}, which is not installed: pip install "bt-alerts[test]"', name=exc.name
        ) from None
