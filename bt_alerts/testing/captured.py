"""The alerts of a program under test, collected instead of sent."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, overload

if TYPE_CHECKING:
    from bt_alerts.alert import Alert
    from bt_alerts.manager import AlertManager


class CapturedAlerts(Sequence["Alert"]):
    """What :func:`capture_alerts` collected: a sequence that is up to date whenever it is looked at."""

    def __init__(self, managers: list[AlertManager]) -> None:
        self._managers = managers
        self._final: list[Alert] | None = None

    def _alerts(self) -> list[Alert]:
        if self._final is not None:
            return self._final
        return [alert for manager in list(self._managers) for alert in manager.alerts()]

    def _end(self) -> None:
        self._final = self._alerts()

    @overload
    def __getitem__(self, index: int) -> Alert: ...

    @overload
    def __getitem__(self, index: slice) -> list[Alert]: ...

    def __getitem__(self, index: int | slice) -> Alert | list[Alert]:
        return self._alerts()[index]

    def __len__(self) -> int:
        return len(self._alerts())

    def __repr__(self) -> str:
        return f"<CapturedAlerts {[alert.title for alert in self._alerts()]}>"


@contextlib.contextmanager
def capture_alerts() -> Iterator[CapturedAlerts]:
    """Collect the alerts of a program under test; nothing is sent and nothing is written to a disk.

    ::

        with capture_alerts() as alerts:
            cerebro.run()
        assert [alert.kind for alert in alerts] == ["order.completed", "trade.closed"]

    Every manager that is made inside keeps its alerts in memory and has no channels, whatever its settings say; so has
    the process's default manager, which is the one before again afterwards.

    Yields:
        A sequence of the alerts that were accepted, manager by manager, each oldest first.
    """
    from bt_alerts import manager as module

    managers: list[AlertManager] = []
    captured_before, module._captured = module._captured, managers
    with module._default_lock:
        default_before, module._default = module._default, None
    alerts = CapturedAlerts(managers)
    try:
        yield alerts
    finally:
        alerts._end()
        module._captured = captured_before
        with module._default_lock:
            module._default = default_before
        for manager in managers:
            manager.close(timeout=0)
