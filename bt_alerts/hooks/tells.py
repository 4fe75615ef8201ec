"""``self.alert(...)``, the same in a strategy, in a user's own analyzer and in a user's own observer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bt_alerts.alert import Alert, AlertType, Priority
from bt_alerts.hooks.capture import capture_of
from bt_alerts.hooks.guard import log, never_raises
from bt_alerts.hooks.lines import KeepsLines
from bt_alerts.hooks.seam import bt
from bt_alerts.kinds import KINDS


class Tells(KeepsLines):
    """Base of the mixins that gives them :meth:`alert`."""

    def alert(
        self,
        message: object,
        *,
        title: object = "",
        type: AlertType | str | None = None,
        priority: Priority | str | None = None,
        channels: Sequence[str] | str | None = None,
        **data: Any,
    ) -> Alert | None:
        """Tell something.

        Args:
            message: the text.
            title: one line; the name of the class where it is left out.
            type: an :class:`AlertType` or its word; ``custom`` where it is left out.
            priority: a :class:`Priority` or its word; ``medium`` where it is left out.
            channels: names of channels; all where it is left out.
            data: details, kept with the alert. Two have a meaning: ``symbol=`` names another symbol than the first
                feed's, ``data=`` is the feed that the alert is about.

        Returns:
            The alert; None where its kind of event is off. Never raises.
        """
        with never_raises("self.alert() was called"):
            symbol, feed = data.pop("symbol", ""), data.pop("data", None)
            if isinstance(feed, Mapping):  # details, handed over in one piece
                data, feed = {**feed, **data}, None
            made = own_alert(
                message,
                kind="custom",
                title=title or self.__class__.__name__,
                type=type,
                priority=priority,
                channels=channels,
                symbol=symbol,
                data=data,
            )
            return capture_of(_strategy_of(self)).say(made, data=feed)
        return None


def _strategy_of(teller: Any) -> Any:
    if isinstance(teller, bt.Strategy):
        return teller
    return teller.strategy if isinstance(teller, bt.Analyzer) else teller._owner


def own_alert(
    message: object,
    *,
    kind: str,
    title: object,
    type: Any,
    priority: Any,
    channels: Any,
    symbol: object = "",
    data: Mapping[str, Any] | None = None,
) -> Alert:
    """An alert that a user's code asks for. What is wrong with its words is said in the log, not raised."""
    known = KINDS[kind]
    words: dict[str, Any] = {"type": type or known.type, "priority": priority or known.priority}
    rest: dict[str, Any] = {"title": title, "kind": kind, "channels": channels, "symbol": symbol, "data": data}
    try:
        return Alert.make(message, **words, **rest)
    except ValueError as exc:
        log.error("%s; the alert is kept as %s, %s", exc, known.type.value, known.priority.value)
        return Alert.make(message, type=known.type, priority=known.priority, **rest)
