"""The last bars of a feed as plain values: all of an alert's picture that happens on the strategy's thread.

It takes slices and no more: drawing is the work of another process. What a picture cannot show is left out, such as
the ninth figure of a price.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable
from typing import Any

from bt_alerts.alert import Alert, AlertType, Source
from bt_alerts.kinds import Setting, setting_of

_TYPES = frozenset({AlertType.TRADE, AlertType.POSITION, AlertType.SIGNAL})
_KINDS = frozenset({"order.completed", "order.partial"})
_TOLD = frozenset({Setting.ON, Setting.SILENT})
_EPOCH = 719_163 * 86_400  # seconds from Backtrader's beginning of time to that of Unix
_HUGE = 1e300
_FIGURES = 7  # of a price; the picture is a few hundred pixels high


def wants_picture(alert: Alert, events: dict[str, Setting]) -> bool:
    """Whether an alert is one that is sent now and that a picture helps to understand."""
    if alert.source is not Source.LIVE or not alert.symbol or alert.bars is not None:
        return False
    return (alert.type in _TYPES or alert.kind in _KINDS) and setting_of(alert.kind, events) in _TOLD


def last_bars(data: Any, count: int) -> dict[str, list[Any]] | None:
    """The current bar of a feed and those before it, as :attr:`bt_alerts.Alert.bars`; None where there is none.

    Args:
        data: the feed.
        count: how many at most. A run with ``exactbars`` keeps only as many as its strategies look back.

    Returns:
        Times in whole Unix seconds, prices, and volume where the feed has any; what is no number is None.
    """
    lines = data.lines
    when = lines.datetime
    size = min(count, when.idx + 1, len(when.array))
    if size <= 0:
        return None
    closes = _plain(lines.close.get(size=size))
    bars = {
        "time": [int(day * 86_400 - _EPOCH + 0.5) for day in when.get(size=size)],
        "open": _plain(lines.open.get(size=size)),
        "high": _plain(lines.high.get(size=size)),
        "low": _plain(lines.low.get(size=size)),
        "close": closes,
    }
    volume = _plain(lines.volume.get(size=size))
    if any(volume):
        whole = None not in volume and volume[-1] >= 10 ** (_FIGURES - 4)
        bars["volume"] = list(map(int, volume)) if whole else volume  # in JSON they take half as long
    return bars


def _plain(values: Iterable[float]) -> list[Any]:
    found: list[Any] = array("d", values).tolist()  # with exactbars they are whatever the feed put in, such as numpy's
    if not math.isfinite(sum(found)):
        found = [value if -_HUGE < value < _HUGE else None for value in found]
    # Adjusted prices have sixteen figures. Those that are short stay as they are: to cut them all costs as much again.
    last = found[-1]
    if last and len(repr(last)) > _FIGURES + 5:
        scale = 10.0 ** (_FIGURES - 1 - math.floor(math.log10(abs(last))))
        found = [None if value is None else round(value * scale) / scale for value in found]
    return found
