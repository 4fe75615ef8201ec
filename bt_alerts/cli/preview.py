"""``bt-alerts preview``: the requests that a channel would send, and nothing sent."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import typer

from bt_alerts.cli.shell import FAILED, WRONG_USE, Config, Stop, known_channels, load_settings, say, shown
from bt_alerts.redact import redact

MOST_SHOWN = 6_000  # characters of one body


def preview(
    channel: Annotated[str, typer.Argument(help="Name of a channel.")],
    *,
    type: Annotated[
        str, typer.Option(help="An alert type or a kind of event, such as trade, signal or order.completed.")
    ] = "trade",
    late: Annotated[float, typer.Option(min=0, metavar="MINUTES", help="As if it came this late.")] = 0.0,
    config: Config = None,
) -> None:
    """Print exactly what a channel would send for an example alert, secrets masked. Sends nothing."""
    from bt_alerts.dispatchers.base import Context, DeliveryFailed, delivery_key
    from bt_alerts.examples import example

    settings = load_settings(config)
    (name,) = known_channels(settings, [channel])
    try:
        alert = example(type)
    except ValueError as exc:
        raise Stop(WRONG_USE, f"{exc}.") from None
    dispatcher = settings.dispatcher(name)
    missing = dispatcher.missing()
    if missing:
        raise Stop(FAILED, f"The channel {name} cannot send: {missing}.")
    delay = dt.timedelta(minutes=late) if late else None
    for number, target in enumerate(dispatcher.targets()):
        context = Context(key=delivery_key(alert.id, name, target.key), late=delay)
        if number:
            say("")
        say(f"To {target.label}", "bold")
        try:
            requests = dispatcher.preview(alert, target, context)
        except DeliveryFailed as failed:
            raise Stop(FAILED, f"It cannot be shown: {failed.reason}.") from None
        if not requests:
            say("Nothing would be sent for this alert: look at the channel's own settings, such as min_priority.")
        for request in requests:
            say(shown(redact(request.line), "cyan"))
            for header, value in request.headers.items():
                say(shown(redact(f"{header}: {value}"), "dim"))
            body = redact(request.body)
            more = len(body) - MOST_SHOWN
            say("\n" + body[:MOST_SHOWN] + (f"\n… {more:,} more characters" if more > 0 else ""))
    dispatcher.close()
