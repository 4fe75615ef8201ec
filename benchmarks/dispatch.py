"""How many messages a second a dispatcher sends over one kept-alive connection, as ratios within one run.

    python benchmarks/dispatch.py            # about a minute
    python benchmarks/dispatch.py --quick    # the same with fewer messages
    python benchmarks/dispatch.py --write    # and write the table into docs/performance.md

Each row sends the same alert again and again to a server on this machine, in a process of its own, that reads the
request and answers at once: with our dispatcher, which renders the alert, judges the answer and holds a total
deadline, and with a bare loop of ``requests.Session().post`` whose body of the same size is ready-made. They take
turns, and the median of the ratios of the pairs counts. Where Apprise is installed (extra ``bench``), its
``notify()`` to a JSON address is measured in the same turns.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import sys
import time
from collections.abc import Callable

import requests
from absent import Unavailable
from kit import Row, Service, markdown, shown, write_into_page
from peers import Apprise
from rich.console import Console
from rich.progress import Progress

from bt_alerts.alert import Alert
from bt_alerts.dispatchers.base import Context, Dispatcher
from bt_alerts.dispatchers.discord import DiscordDispatcher
from bt_alerts.dispatchers.pushover import PushoverDispatcher
from bt_alerts.dispatchers.slack import SlackDispatcher
from bt_alerts.dispatchers.telegram import TelegramDispatcher
from bt_alerts.dispatchers.webhook import WebhookDispatcher
from bt_alerts.examples import example

AGAINST_SESSION, AGAINST_APPRISE = 0.8, 1.5  # the lowest ratios that we allow ourselves

console = Console()


def dispatchers(url: str) -> dict[str, Dispatcher]:
    token = "x" * 30
    return {
        "webhook": WebhookDispatcher(f"{url}/hook", secret="whsec_" + "QUJD" * 8),
        "telegram": TelegramDispatcher(f"1234567:{token}", ["42"], api_url=url),
        "discord": DiscordDispatcher([f"{url}/api/webhooks/1234567/{token}"], api_url=url),
        "slack": SlackDispatcher(bot_token=f"xoxb-{token}", channel_ids=["C1"], api_url=url),
        "pushover": PushoverDispatcher(token, token, api_url=url),
    }


def delivering(dispatcher: Dispatcher) -> Callable[[int], None]:
    (target,) = dispatcher.targets()
    alerts = [example("trade.closed") for _ in range(50)]

    def send(count: int) -> None:
        for number in range(count):
            alert: Alert = alerts[number % len(alerts)]
            dispatcher.deliver(alert, target, Context(key=f"msg_{number}"))

    return send


def bare(url: str, size: int) -> Callable[[int], None]:
    session = requests.Session()
    body = b'{"text": "%s"}' % (b"x" * max(0, size - 12))

    def send(count: int) -> None:
        for _ in range(count):
            answer = session.post(f"{url}/x", data=body, headers={"Content-Type": "application/json"}, timeout=30)
            answer.raise_for_status()
            answer.json()

    return send


def apprise(url: str) -> Callable[[int], None] | None:
    try:
        service = Apprise(url=f"{url}/x")
    except Unavailable:
        return None
    alert = example("trade.closed")

    def send(count: int) -> None:
        for _ in range(count):
            assert service.accept(alert)

    return send


def per_second(send: Callable[[int], None], count: int) -> float:
    begun = time.perf_counter()
    send(count)
    return count / (time.perf_counter() - begun)


def size_of(dispatcher: Dispatcher) -> int:
    (target,) = dispatcher.targets()
    (request,) = dispatcher.preview(example("trade.closed"), target, Context(key="msg_0"))
    return len(request.body.encode())


def measured(rounds: int, count: int) -> list[Row]:
    rows = []
    with Service() as service, Progress(console=console, transient=True) as bar:
        url = service.url
        made = dispatchers(url)
        task = bar.add_task("sending", total=len(made) * rounds)
        rival = apprise(url)
        against_rival: list[float] = []
        rival_speed = 0.0
        for name, dispatcher in made.items():
            ours, plain = delivering(dispatcher), bare(url, size_of(dispatcher))
            for send in (ours, plain):
                send(20)  # connected and compiled
            pairs = []
            for _ in range(rounds):
                pairs.append((per_second(ours, count), per_second(plain, count)))
                if rival is not None:
                    rival_speed = per_second(rival, max(20, count // 5))
                    against_rival.append(pairs[-1][0] / rival_speed)
                bar.advance(task)
            ratio = statistics.median(one / other for one, other in pairs)
            speed, other = (statistics.median(column) for column in zip(*pairs, strict=True))
            figures = f"{speed:,.0f} / {other:,.0f} messages a second"
            rows.append(Row(f"{name} ÷ requests.Session", ratio, least=AGAINST_SESSION, figures=figures))
            dispatcher.close()
        if against_rival:
            ratio = statistics.median(against_rival)
            figures = f"Apprise {rival_speed:,.0f} messages a second"
            rows.append(Row("all of them ÷ Apprise", ratio, least=AGAINST_APPRISE, figures=figures))
        else:
            missing = 'it is not installed: pip install "bt-alerts[bench]"'
            rows.append(Row("all of them ÷ Apprise", None, least=AGAINST_APPRISE, skipped=missing))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description="Messages a second, as ratios within one run.")
    parser.add_argument("--quick", action="store_true", help="fewer messages")
    parser.add_argument("--write", action="store_true", help="write the table into docs/performance.md")
    wanted = parser.parse_args()
    socket.setdefaulttimeout(60)
    rows = measured(5, 200) if wanted.quick else measured(15, 600)
    console.print(shown("Messages a second over one connection", rows))
    if wanted.write:
        write_into_page("dispatch", markdown(rows))
    return 1 if any(row.out_of_bounds for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
