"""The promise that matters most: a simulation opens no connection, whatever the channels are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from channels_kit import Listener, every_type, install_third_party

from bt_alerts import Alert
from bt_alerts.dispatchers.base import Context, DeliveryFailed
from bt_alerts.dispatchers.registry import BUILT_IN
from bt_alerts.settings import load
from bt_alerts.simulate import simulate

CHANNELS = [name for name in every_type(1) if name not in {"console", "pigeon"}]

#: Simulates in a process in which whatever leads to a network raises and is told, and says what reached whom.
SIMULATES = """
import json, sys

FORBIDDEN = (
    "socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname",
    "subprocess.Popen", "os.posix_spawn", "smtplib.connect", "urllib.Request",
)
opened = []


def watch(event, arguments):
    if event in FORBIDDEN:
        opened.append(f"{event} {arguments[1:]}")
        raise RuntimeError(f"{event} in a simulation")


from bt_alerts.alert import Alert, Attachment
from bt_alerts.settings import load
from bt_alerts.simulate import Outage, simulate

blocks, port = json.loads(sys.argv[1]), int(sys.argv[2])
settings = load({"store": "memory", "alerts": blocks})
alerts = [
    Alert.make(
        f"text {n} " + "long " * (900 if n == 3 else 1), title=f"title {n}", priority=priority, time=1.7e9 + 120 * n,
        symbol="AAPL", strategy="Trend", run="run", attachments=[Attachment.from_path(sys.argv[3])] if n == 2 else (),
    ).replace(bars={k: [1, 2] for k in ("time", "open", "high", "low", "close")} if n == 1 else None)
    for n, priority in enumerate(["critical", "medium", "high", "low", "critical"])
]
sys.addaudithook(watch)
found = simulate(alerts, settings, acknowledges=lambda alert: 30.0)
away = simulate(alerts, settings, outages=[Outage(name, 1.7e9, 1.7e9 + 300, 503) for name in blocks])
from carrier_pigeon import CarrierPigeon, OwnWebhook
own = {"mine": CarrierPigeon(port), "hook": OwnWebhook(f"http://127.0.0.1:{port}")}
added = simulate(alerts, load({"store": "memory"}), dispatchers=own)
held = list(opened)
try:
    CarrierPigeon(port).deliver(None, None, None)
except RuntimeError:
    pass  # the trap holds
print(json.dumps({
    "opened": held,
    "trap": len(opened) - len(held),
    "told": {name: sum(m.channel == name for m in found.messages) for name in blocks},
    "away": sum(m.channel == "webhook" for m in away.messages),
    "added": {name: sum(m.channel == name for m in added.messages) for name in own},
    "states": sorted({d.state for d in found.deliveries}),
    "dead": sorted({f"{d.channel}: {d.detail}" for d in found.deliveries if d.state not in {"delivered", "digested"}}),
}))
"""


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener() as listener:
        yield listener


def test_every_built_in_type_is_among_them():
    assert set(BUILT_IN) | {"pigeon"} == {block["type"] for block in every_type(1).values()}


def test_a_simulation_of_every_channel_type_opens_no_connection(listener, tmp_path):
    site = install_third_party(tmp_path)
    picture = tmp_path / "chart.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n")
    blocks = every_type(listener.port)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]),
        "HTTP_PROXY": f"http://127.0.0.1:{listener.port}",
    }
    environment = {name: value for name, value in environment.items() if not name.startswith("AWS_")}
    done = subprocess.run(
        [sys.executable, "-c", SIMULATES, json.dumps(blocks), str(listener.port), str(picture)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["opened"] == []
    assert said["trap"] > 0
    assert listener.connections == 0
    assert said["dead"] == []
    assert all(said["told"].values()), said["told"]
    assert said["told"]["pushover"] == 10  # two addresses
    assert said["told"]["webhook"] == 5
    assert said["added"] == {"mine": 5, "hook": 5}
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", CHANNELS)
def test_the_same_channel_connects_when_it_is_not_simulated(
    name: str, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the test above is worth: each of these addresses is one that the real dispatcher connects to."""
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(variable, "testing" + variable)
    settings = load({"store": "memory", "alerts": {name: every_type(listener.port)[name]}})
    alert = Alert.make("text", title="title", priority="critical", time=1.7e9)
    assert simulate([alert], settings).messages
    assert listener.connections == 0
    real: Any = settings.dispatcher(name)
    with pytest.raises(DeliveryFailed):
        real.deliver(alert, real.targets()[0], Context("key"))
    real.close()
    assert listener.connections > 0


@pytest.mark.parametrize("command", ["run", "strategy"])
def test_the_command_opens_none_either(command: str, listener: Listener, tmp_path: Path) -> None:
    """Beside a live channel in the settings: a backtest for `--strategy` has none of them."""
    config = tmp_path / "alerts.yaml"
    config.write_text(
        f"store: alerts.db\nmode: send\nalerts: {{hook: {{type: webhook, urls: 'http://127.0.0.1:{listener.port}'}}}}\n"
    )
    config.chmod(0o600)
    program = tmp_path / "program.py"
    program.write_text(COMMAND)
    if command == "run":
        from bt_alerts.outbox.sqlite import SqliteOutbox

        outbox = SqliteOutbox(tmp_path / "alerts.db")
        outbox.record([Alert.make("text", title="title", run="r", time=1.7e9)], "history")
        outbox.close()
    how = ["--run", "last"] if command == "run" else ["--strategy", str(tmp_path / "program.py") + ":Buys"]
    done = subprocess.run(
        [sys.executable, "program.py", "simulate", "-c", "alerts.yaml", *how, "--html", "x.html", "--csv", "x.csv"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "to your phone" in done.stdout
    assert listener.connections == 0
    assert (tmp_path / "x.html").stat().st_size > 10_000


COMMAND = """
import sys
import backtrader as bt


class Buys(bt.Strategy):
    def next(self):
        if not self.position:
            self.buy()


def watch(event, arguments):
    if event in {"socket.connect", "socket.getaddrinfo", "socket.sendto"}:
        raise RuntimeError(event)


if __name__ == "__main__":
    from bt_alerts.cli import main
    sys.addaudithook(watch)
    main()
"""
