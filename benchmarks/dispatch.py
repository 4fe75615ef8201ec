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
import contextlib
import dataclasses
import re
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import requests
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bt_alerts.alert import Alert
from bt_alerts.dispatchers.base import Context, Dispatcher
from bt_alerts.dispatchers.discord import DiscordDispatcher
from bt_alerts.dispatchers.pushover import PushoverDispatcher
from bt_alerts.dispatchers.slack import SlackDispatcher
from bt_alerts.dispatchers.telegram import TelegramDispatcher
from bt_alerts.dispatchers.webhook import WebhookDispatcher
from bt_alerts.examples import example

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
MARK = re.compile(r"(<!-- table: dispatch -->\n).*?(<!-- end -->)", re.DOTALL)
AGAINST_SESSION, AGAINST_APPRISE = 0.8, 1.5  # the lowest ratios that we allow ourselves

SERVER = r"""
import socket, sys, threading
BODY = b'{"ok": true, "status": 1, "id": "1", "request": "1", "ts": "1.0", "result": {"message_id": 1}}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
def serve(sock):
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    got = b""
    while True:
        while b"\r\n\r\n" not in got:
            more = sock.recv(65536)
            if not more:
                return
            got += more
        head, _, got = got.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = next((int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length")), 0)
        while len(got) < length:
            got += sock.recv(65536)
        got = got[length:]
        sock.sendall(ANSWER)
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""

console = Console()


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table; ``bound`` is the lowest ratio that we allow ourselves."""

    what: str
    measured: str
    ratio: float
    bound: float

    @property
    def verdict(self) -> str:
        return "within" if self.ratio >= self.bound else "OUT OF BOUNDS"


@contextlib.contextmanager
def server() -> Iterator[str]:
    process = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.kill()
        process.wait()


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
        from apprise import Apprise
    except ImportError:
        return None
    service = Apprise()
    service.add(url.replace("http://", "json://") + "/x")
    alert = example("trade.closed")

    def send(count: int) -> None:
        for _ in range(count):
            assert service.notify(title=alert.title, body=alert.message)

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
    with server() as url, Progress(console=console, transient=True) as bar:
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
            figures = f"{speed:,.0f} / {other:,.0f}"
            rows.append(Row(f"{name}, against requests.Session", figures, ratio, AGAINST_SESSION))
            dispatcher.close()
        if against_rival:
            ratio = statistics.median(against_rival)
            rows.append(Row("all of them, against Apprise", f"Apprise {rival_speed:,.0f}", ratio, AGAINST_APPRISE))
        else:
            console.print('Apprise is not installed and was not measured: pip install "bt-alerts[bench]"')
    return rows


def write(rows: list[Row]) -> None:
    lines = ["| what | messages a second | ratio | bound |", "| --- | --- | --- | --- |"]
    lines += [f"| {row.what} | {row.measured} | {row.ratio:.2f} × | ≥ {row.bound:g} × |" for row in rows]
    text = PAGE.read_text(encoding="utf-8")
    assert MARK.search(text), f"{PAGE.name} has no place for the table"
    table = "\n".join(lines)
    PAGE.write_text(MARK.sub(lambda found: f"{found[1]}{table}\n{found[2]}", text), encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description="Messages a second, as ratios within one run.")
    parser.add_argument("--quick", action="store_true", help="fewer messages")
    parser.add_argument("--write", action="store_true", help="write the table into docs/performance.md")
    wanted = parser.parse_args()
    socket.setdefaulttimeout(60)
    rows = measured(5, 200) if wanted.quick else measured(15, 600)
    table = Table("what", "messages a second", "ratio", "bound", "verdict")
    for row in rows:
        table.add_row(row.what, row.measured, f"{row.ratio:.2f} ×", f"≥ {row.bound:g} ×", row.verdict)
    console.print(table)
    if wanted.write:
        write(rows)
    return 0 if all(row.ratio >= row.bound for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
