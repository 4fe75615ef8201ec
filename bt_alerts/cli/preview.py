"""``bt-alerts preview``: the requests that a channel would send, and nothing sent."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import typer

from bt_alerts.cli.shell import FAILED, WRONG_USE, Config, Stop, known_channels, load_settings, say, shown


def preview(
    channel: Annotated[str, typer.Argument(help="Name of a channel, enabled or not.")],
    *,
    type: Annotated[
        str, typer.Option(help="An alert type or a kind of event, such as trade, signal or order.completed.")
    ] = "trade",
    late: Annotated[float, typer.Option(min=0, metavar="MINUTES", help="As if it came this late.")] = 0.0,
    config: Config = None,
) -> None:
    """Print exactly what a channel would send for an example alert, secrets masked. Sends nothing."""
    from bt_alerts.delivery.preview import NOTHING, CannotPreview, previews
    from bt_alerts.examples import example

    settings = load_settings(config)
    if channel not in settings.alerts:
        known_channels(settings, [channel])
    try:
        alert = example(type)
    except ValueError as exc:
        raise Stop(WRONG_USE, f"{exc}.") from None
    try:
        found = previews(settings, channel, alert, dt.timedelta(minutes=late) if late else None)
    except CannotPreview as exc:
        raise Stop(FAILED, str(exc)) from None
    for number, each in enumerate(found):
        if number:
            say("")
        say(f"To {each.to}", "bold")
        if not each.requests:
            say(NOTHING)
        for request in each.requests:
            say(shown(request.line, "cyan"))
            for header in request.headers:
                say(shown(header, "dim"))
            say(f"\n{request.body}")
