"""The mixin for a strategy: ``class MyStrategy(Notifier, bt.Strategy)``.

Orders, trades, positions, start, stop and errors become alerts without any code; :meth:`Notifier.alert` and
:meth:`Notifier.signal` tell more. Users name their own things ``self.signal`` and the like, so nothing here is looked
up on the instance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from bt_alerts.alert import Alert, AlertType, safe_text
from bt_alerts.compose import bullets, shown
from bt_alerts.errors import SettingsError
from bt_alerts.hooks.capture import capture_of
from bt_alerts.hooks.guard import log, never_raises
from bt_alerts.hooks.tells import Tells, own_alert

if TYPE_CHECKING:
    from bt_alerts.settings.watches import WatchLevel, WatchName


class Notifier(Tells):
    """Mixin that gives a strategy alerts, in front of ``bt.Strategy`` or behind it."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        # Here and not in __init__: users forget super().__init__(), and nobody overrides __new__.
        strategy = super().__new__(cls)
        if args:  # the feeds; without them it is being unpickled, at the end of an optimisation
            with never_raises("a strategy was made"):
                capture_of(strategy).listen()
        return strategy

    def signal(
        self,
        action: str,
        *,
        conditions: Sequence[str] | Mapping[str, Any] | None = None,
        stop_loss: float | None = None,
        take_profit: float | None = None,
        confidence: float | None = None,
        indicators: Mapping[str, Any] | None = None,
        data: Any = None,
        **more: Any,
    ) -> Alert | None:
        """Tell of a signal. An order that is made on the same bar is then said to be made by it.

        Args:
            action: ``"BUY"``, ``"SELL"``, ``"CLOSE"`` …
            conditions: why, as sentences or as ``{name: value}``.
            stop_loss: price.
            take_profit: price.
            confidence: 0 to 100.
            indicators: ``{name: value}``.
            data: the feed that it is about; the first one where it is left out.
            more: further details, kept with the alert; ``priority=`` and ``channels=`` as in :meth:`alert`.

        Returns:
            The alert; None where its kind of event is off. Never raises.
        """
        with never_raises("self.signal() was called"):
            capture = capture_of(self)
            strategy: Any = self
            feed = data if any(data is known for known in strategy.datas) else strategy.datas[0]
            price = float(feed.close[0]) if len(feed) else None
            word = safe_text(action).upper()
            lines = [] if price is None else [f"Price {shown(price)}"]
            levels = {"Stop": stop_loss, "Target": take_profit}
            lines += [f"{name} {shown(level)}" for name, level in levels.items() if level is not None]
            if confidence is not None:
                lines.append(f"Confidence {shown(confidence)} %")
            text = " · ".join(lines)
            text = "\n".join([text, *bullets(conditions)])
            if isinstance(indicators, Mapping) and indicators:
                text += "\n" + ", ".join(f"{safe_text(k)} {shown(v)}" for k, v in indicators.items())
            elif indicators:
                text += f"\n{shown(indicators)}"
            symbol = capture.join().symbol(feed)
            made = own_alert(
                text,
                kind="signal",
                title=f"{word} signal: {symbol}",
                type=AlertType.SIGNAL,
                priority=more.pop("priority", None),
                channels=more.pop("channels", None),
                symbol=symbol,
                data={
                    "action": word,
                    "price": price,
                    "conditions": conditions or [],
                    "stop_loss": stop_loss,
                    "take_profit": take_profit,
                    "confidence": confidence,
                    "indicators": indicators or {},
                    **more,
                },
            )
            capture.signalled(feed, made.id)
            return capture.say(made, data=feed)
        return None

    def watch(self, level: WatchLevel | WatchName, /, **how: Any) -> None:
        """Watch a level of this strategy from the next bar on; call it in ``__init__`` or ``start``.

        Args:
            level: what :func:`bt_alerts.watch` made, or the name of a watch such as ``"drawdown"``.
            how: with a name, the arguments of :func:`bt_alerts.watch`: ``above=``, ``below=``, ``back=``, ``symbol=`` …

        What is wrong with them is said in the log; never raises.
        """
        with never_raises("self.watch() was called", "this level is not watched"):
            from bt_alerts.settings.watches import WatchLevel, watch

            try:
                made = level if isinstance(level, WatchLevel) else watch(level, **how)
            except (SettingsError, TypeError) as exc:
                log.error("self.watch(...): %s; it is not watched", exc)
            else:
                capture_of(self).watch(made)
