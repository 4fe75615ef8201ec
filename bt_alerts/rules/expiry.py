"""Time to live: after how long an alert that did not arrive is not worth arriving any more."""

from __future__ import annotations

from collections.abc import Mapping

from bt_alerts.alert import AlertType

DAY = 86_400.0
#: The word for every type that is not named.
ALL = "all"


def time_to_live(alert_type: AlertType, settings: Mapping[str, float]) -> float:
    """Seconds for which an alert is tried.

    Args:
        alert_type: its type.
        settings: seconds by alert type, ``all`` for the rest; a day where nothing is said.
    """
    return settings.get(alert_type.value, settings.get(ALL, DAY))
