"""A canary in every credential field: whatever services answer, it sings nowhere."""

from __future__ import annotations

import base64
import logging
import sqlite3
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from alerts_kit import Clock, ahead, alert, rest

from bt_alerts import AlertManager
from bt_alerts.dispatchers import registry
from bt_alerts.dispatchers.base import Dispatcher, arguments
from bt_alerts.testing import FakeService

CANARY = "canary7f3a9c21b8"
SIGNING = base64.b64encode(f"{CANARY}-signs-the-body".encode()).decode()
#: Secrets by channel type, each with the canary in it: what a service might quote when it complains.
SECRETS: dict[str, list[str]] = {
    "webhook": [f"{CANARY}-in-the-path", f"{CANARY}-in-the-query", f"{CANARY}-bearer", f"{CANARY}-key", SIGNING],
    "pushover": [f"{CANARY}app".ljust(30, "a"), f"{CANARY}user".ljust(30, "u")],
}
SIGNS = [CANARY, SIGNING]


def credentials(kind: str, url: str) -> dict[str, Any]:
    secrets = SECRETS[kind]
    if kind == "pushover":
        return {"app_token": secrets[0], "user_key": secrets[1]}
    return {
        "urls": [f"{url}/hooks/{secrets[0]}/x?token={secrets[1]}"],
        "headers": {"Authorization": f"Bearer {secrets[2]}", "X-Key": secrets[3]},
        "secret": f"whsec_{secrets[4]}",
    }


def answers(kind: str) -> list[tuple[int, Any, dict[str, str]]]:
    quoted = " ".join(SECRETS[kind])
    return [
        (200, {"status": 1, "request": "r"}, {}),
        (400, {"status": 0, "errors": [f"invalid: {quoted}", quoted]}, {}),
        *((status, f"refused: {quoted}", {}) for status in (401, 404, 410, 413, 500)),
        (403, {"error": quoted}, {}),
        (429, f"slow down, {quoted}", {"Retry-After": "3"}),
        (503, quoted, {"Retry-After": quoted}),
        (302, "", {"Location": f"https://elsewhere.example/{quoted}"}),
        (200, f"not json {quoted}", {}),
    ]


class Everything(logging.Handler):
    """Keeps every record as text, with what it was made of and what it carries."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        carried = "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else ""
        self.texts.append(f"{record.getMessage()} {record.msg} {record.args!r} {carried} {record.stack_info}")


@pytest.fixture
def logged() -> Iterator[Everything]:
    handler, root = Everything(), logging.getLogger()
    before, names = root.level, ("urllib3", "urllib3.connectionpool", "requests", "bt_alerts")
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    for name in names:
        logging.getLogger(name).setLevel(logging.DEBUG)
    yield handler
    root.removeHandler(handler)
    root.setLevel(before)
    for name in names:
        logging.getLogger(name).setLevel(logging.NOTSET)


def test_every_credential_of_both_channels_is_filled() -> None:
    for name in SECRETS:
        kind: type[Dispatcher] = registry.dispatcher_class(name)
        assert {argument.name for argument in arguments(kind) if argument.credential} == set(credentials(name, "")), (
            name
        )


@pytest.mark.parametrize("kind", SECRETS)
def test_the_canary_sings_nowhere(kind: str, tmp_path: Path, logged: Everything) -> None:
    shown: list[str] = []
    clock = Clock()
    with ExitStack() as stack:
        config: dict[str, Any] = {}
        for number, (status, body, headers) in enumerate(answers(kind)):
            service = stack.enter_context(FakeService())
            service.answer(status, body, headers=headers)
            config[f"c{number}"] = block(kind, service.url)
        config["away"] = block(kind, "http://127.0.0.1:9")
        manager = AlertManager(
            {"alerts": config, "delivery": {"max_retries": 1}}, store=str(tmp_path / "store.db"), clock=clock
        )
        stack.callback(manager.close, 0)
        manager.emit(alert("one", priority="critical"))
        manager.emit(alert("two"))
        rest(manager)
        for seconds in (5, 60):
            ahead(manager, clock, seconds)
        for name in config:
            result = manager.test_channel(name)
            shown += [repr(result), str(result)]
        shown.append(repr(manager.test_all_connections()))
        report = manager.send_notification(alert("three"), timeout=2)
        shown += [report.to_json(), repr(report)]
        shown += [repr(manager), manager._repr_html_(), repr(manager.settings), str(manager.settings)]
        shown += [repr(channel) + repr(channel.dispatcher.targets()) for channel in manager.channels.values()]
        shown += [repr(manager.get_channel_health()), repr(manager.get_statistics())]
        shown += [repr(manager.get_recent_deliveries(500)), manager.history().to_csv()]
        shown += [manager.export(tmp_path / f"export{e}").read_bytes().decode("latin-1") for e in (".json", ".csv")]
        manager.export(tmp_path / "export.parquet")
        manager.outbox.backup(tmp_path / "backup.db")
        for wrong in ({"store": "memory", "alerts": {"x": config["c0"] | {"nope": SECRETS[kind][0]}}},):
            with pytest.raises(ValueError, match="nope") as caught:
                AlertManager(wrong)
            shown += ["".join(traceback.format_exception(caught.value)), repr(caught.value)]
        files = {str(f.relative_to(tmp_path)): f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()}
        with closing(sqlite3.connect(tmp_path / "store.db")) as db:
            outcomes = {row[0] for row in db.execute("SELECT DISTINCT outcome FROM attempts")}

    assert {name for name in files if name.startswith("store.db")} >= {"store.db", "store.db-wal"}
    assert any(name.endswith(".jsonl") for name in files)
    assert {"sent", "permanent", "auth", "retry"} <= outcomes  # the services did answer with all kinds of errors
    assert any("urllib3" in text or "POST" in text for text in logged.texts)
    for sign in SIGNS:
        assert [name for name, content in files.items() if sign.encode() in content] == []
        assert [text[:300] for text in logged.texts if sign in text] == []
        assert [text[:300] for text in shown if sign in text] == []


def block(kind: str, url: str) -> dict[str, Any]:
    more = {"api_url": url} if kind == "pushover" else {}
    return {"type": kind, "timeout": 5, "rate_limit": 0, **more, **credentials(kind, url)}
