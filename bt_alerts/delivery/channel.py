"""A channel: a configured, named dispatcher, with what delivery needs to know of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from bt_alerts.alert import Alert, Priority, Source
from bt_alerts.dispatchers.base import Dispatcher, delivery_key
from bt_alerts.outbox.base import NewDelivery
from bt_alerts.rules.batching import NO_BATCHES, BatchSettings


@dataclasses.dataclass(frozen=True, slots=True)
class Channel:
    """One channel.

    Args:
        name: as in settings.
        dispatcher: knows the service.
        rate: messages a minute to each target; 0 for no limit.
        fallback: the channel that takes over what could not be delivered; empty for none.
        fingerprint: changes with the configuration, so that what was held goes on with new credentials.
        batches: what it gathers into one message.
        charts: ``light`` or ``dark`` where alerts bring a picture of their bars along; empty where they do not.
    """

    name: str
    dispatcher: Dispatcher
    rate: float = 0.0
    fallback: str = ""
    fingerprint: str = ""
    charts: str = ""
    batches: BatchSettings = NO_BATCHES

    @property
    def shows_charts(self) -> bool:
        """Whether pictures are drawn for it."""
        return bool(self.charts) and self.dispatcher.takes_pictures

    def at_once(self, most: int) -> int:
        """How many of its addresses are served at the same time, of ``most`` that may be."""
        try:
            addresses = len(self.dispatcher.targets())
        except Exception:  # a dispatcher's own fault; whoever delivers says so
            addresses = 1
        return max(1, min(addresses, most, self.dispatcher.concurrent or most))

    def fallback_for(self, alert: Alert) -> str:
        """The channel that takes over this alert: the fallback is for critical and high ones."""
        return self.fallback if alert.priority >= Priority.HIGH else ""

    def deliveries(
        self,
        alert: Alert,
        *,
        now: float,
        time_to_live: float,
        due: float = 0.0,
        silent: bool = False,
        anew: bool = False,
        batch: str = "",
        reason: str = "",
    ) -> Iterable[NewDelivery]:
        """One delivery for each target.

        Args:
            alert: what to deliver.
            now: Unix seconds.
            time_to_live: seconds, from when the alert should have arrived; with ``anew`` from now.
            due: not before.
            silent: without sound.
            anew: it takes another channel's place, which may have used up the time to live.
            batch: goes in one message with others of this name.
            reason: why it waits, or goes there.
        """
        # An alert of an old bar can only be sent on purpose; it is not late by the years since its bar.
        happened = now if alert.source is Source.HISTORY else min(now, alert.time.timestamp())
        promised = max(due, happened)
        for target in self.dispatcher.targets():
            yield NewDelivery(
                key=delivery_key(alert.id, self.name, target.key),
                channel=self.name,
                target=target.key,
                label=target.label,
                due=due,  # not "now": a clock that goes back must not make it wait
                promised=promised,
                expires=(max(now, due) if anew else promised) + time_to_live,
                silent=silent,
                thread=alert.thread,
                batch=batch,
                reason=reason,
            )
