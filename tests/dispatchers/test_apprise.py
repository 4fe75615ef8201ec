"""Apprise: what reaches a service through it, and that nothing of its URLs shows."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from alerts_kit import until

from bt_alerts.alert import Alert, Attachment
from bt_alerts.dispatchers import apprise as module
from bt_alerts.dispatchers.apprise import AppriseDispatcher
from bt_alerts.dispatchers.base import Context, DeliveryFailed, Failure, Receipt
from bt_alerts.testing import DispatcherContract, FakeService, FaultServer, Received, faults

NOW = dt.datetime(2026, 5, 20, 12, 0, tzinfo=dt.UTC)
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4


def json_url(service: FakeService | FaultServer, *, user: str = "", more: str = "") -> str:
    return f"json://{user}127.0.0.1:{service.port}/{more}"


def deliver(dispatcher: AppriseDispatcher, alert: Alert | None = None, **context: Any) -> Receipt:
    alert = alert or Alert.make("hello", title="Title")
    return dispatcher.deliver(alert, dispatcher.targets()[0], Context(key="msg_1", **{"now": NOW, **context}))


def failure(dispatcher: AppriseDispatcher) -> DeliveryFailed:
    with pytest.raises(DeliveryFailed) as caught:
        deliver(dispatcher)
    return caught.value


# ---------------------------------------------------------------------------------------- what is sent


def test_title_body_and_type_reach_the_service(service: FakeService) -> None:
    deliver(AppriseDispatcher(json_url(service)), Alert.make("Price: 150\nSize: 10", title="BUY AAPL"), silent=True)
    sent = service.requests[0].json()
    assert (sent["title"], sent["message"], sent["type"]) == ("🟡 BUY AAPL", "Price: 150\nSize: 10", "info")
    assert sent["attachments"] == []


def test_each_priority_has_its_type(service: FakeService) -> None:
    dispatcher = AppriseDispatcher(json_url(service))
    for priority in ("critical", "high", "medium", "low", "info"):
        deliver(dispatcher, Alert.make("x", priority=priority))
    kinds = [request.json()["type"] for request in service.requests]
    assert kinds == ["failure", "warning", "info", "success", "info"]


def test_a_service_of_markup_shows_the_text_as_it_is(service: FakeService) -> None:
    """XML instead of JSON: the library puts the plain text into it."""
    deliver(AppriseDispatcher(f"xml://127.0.0.1:{service.port}/"), Alert.make("a <b> & c", title="<x>"))
    body = service.requests[0].body.decode()
    assert "a &lt;b&gt; &amp; c" in body


TEXT = " ".join(f"word{number}" for number in range(2000))  # 16 kB; ntfy takes 7,800 at a time


def test_a_long_text_is_split_and_not_lost(service: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    dispatcher = AppriseDispatcher(f"ntfy://127.0.0.1:{service.port}/topic1")
    (member,) = module._service(dispatcher.targets()[0].address)
    monkeypatch.setattr(type(member), "request_rate_per_sec", 0.01)
    receipt = deliver(dispatcher, Alert.make(TEXT, title="Long"))
    assert len(service.requests) > 1
    sent = "".join(request.json()["message"] for request in service.requests)
    assert "".join(sent.split()) == "".join(TEXT.split())
    assert receipt.note == ""


def test_a_text_of_more_parts_than_there_is_time_for_is_shortened(service: FakeService) -> None:
    dispatcher = AppriseDispatcher(f"ntfy://127.0.0.1:{service.port}/topic1", timeout=10)
    receipt = deliver(dispatcher, Alert.make(TEXT, title="Long"))
    assert receipt.note == "shortened: Apprise waits 5.5 s between two messages, so there is time for 1 only"
    (request,) = service.requests
    assert request.json()["message"].endswith("…")
    assert len(request.json()["message"]) > 7_700


def test_the_overflow_that_a_url_names_is_left_to_apprise(service: FakeService) -> None:
    deliver(AppriseDispatcher(f"ntfy://127.0.0.1:{service.port}/topic1?overflow=truncate"), Alert.make(TEXT))
    assert len(service.requests) == 1


def test_files_go_with_their_own_names(service: FakeService, tmp_path: Path) -> None:
    stored = tmp_path / "0123abcd"
    stored.write_bytes(PICTURE)
    alert = Alert.make("x", attachments=[Attachment("chart.png", "image/png", "0" * 64, len(PICTURE), str(stored))])
    receipt = deliver(AppriseDispatcher(json_url(service)), alert)
    (file,) = service.requests[0].json()["attachments"]
    assert (file["filename"], file["mimetype"]) == ("chart.png", "image/png")
    assert base64.b64decode(file["base64"]) == PICTURE
    assert receipt.note == ""


def test_a_service_without_files_gets_the_text_and_the_receipt_says_so(tmp_path: Path) -> None:
    file = tmp_path / "chart.png"
    file.write_bytes(PICTURE)
    dispatcher = AppriseDispatcher("gotify://127.0.0.1:9/A1b2C3d4E5f6G7h8")
    service = module._service(dispatcher.targets()[0].address)
    files, note = module._files(Alert.make("x", attachments=[Attachment.from_path(file)]), service)
    assert (files, note) == ([], "sent without its files: the service takes none through Apprise")


def test_a_preview_names_no_address() -> None:
    dispatcher = AppriseDispatcher("json://anna:p4ssw0rd@127.0.0.1:9/secret-path-1")
    (request,) = dispatcher.preview(Alert.make("body", title="Title"), dispatcher.targets()[0], Context(key="k"))
    assert (request.line, request.body) == ("apprise json://…", "🟡 Title\nbody")


# -------------------------------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    "given",
    [
        ["json://127.0.0.1:1/a", "xml://127.0.0.1:2/b"],
        "json://127.0.0.1:1/a, xml://127.0.0.1:2/b",
        "json://127.0.0.1:1/a xml://127.0.0.1:2/b json://127.0.0.1:1/a",
    ],
)
def test_each_url_is_a_target(given: Any) -> None:
    targets = AppriseDispatcher(given).targets()
    assert [target.label.partition(" ")[0] for target in targets] == ["json", "xml"]
    assert [len(target.label.partition("#")[2]) for target in targets] == [6, 6]


def test_a_comma_inside_a_url_does_not_end_it() -> None:
    (target,) = AppriseDispatcher("mailto://anna:p4ssw0rd@example.org/a@example.org,b@example.org").targets()
    assert target.address.endswith("b@example.org")


@pytest.mark.parametrize(
    "url", ["nonsense://s3cr3t-1234", "s3cr3t-1234", "slack://s3cr3t-1234", "json://", "tgram://s3cr3t-1234/\x00"]
)
def test_a_url_that_apprise_does_not_know_is_refused_and_not_shown(url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(1)
    with pytest.raises(ValueError, match="urls number 2 is no URL that Apprise knows") as caught:
        AppriseDispatcher(["json://127.0.0.1:9/", url])
    assert "s3cr3t" not in str(caught.value)
    assert "s3cr3t" not in caplog.text


def test_without_the_library_it_says_what_to_install() -> None:
    program = """
import sys
sys.modules["apprise"] = None
from bt_alerts.dispatchers.apprise import AppriseDispatcher
assert AppriseDispatcher([]).missing() == "set urls (APPRISE_URLS) to send through Apprise"
try:
    AppriseDispatcher("gotify://h0st/t0ken-t0ken")
except ValueError as exc:
    print(exc)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == (
        'urls cannot be used, because Apprise is not installed: pip install "bt-alerts[apprise]"'
    )


def test_the_library_is_loaded_when_a_url_is_looked_at() -> None:
    program = """
import sys
from bt_alerts.dispatchers.apprise import AppriseDispatcher
AppriseDispatcher([])
assert "apprise" not in sys.modules
AppriseDispatcher("json://127.0.0.1:9/")
assert "apprise" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], timeout=60, check=True)


def test_a_check_asks_nothing_and_says_so(service: FakeService) -> None:
    dispatcher = AppriseDispatcher(json_url(service))
    assert "shows with the first message only" in dispatcher.check(dispatcher.targets()[0]).note
    assert service.requests == []


# ---------------------------------------------------------------------------------------------- outcomes


@pytest.mark.parametrize("status", [400, 401, 404, 500, 503])
def test_a_refusal_is_tried_again_with_what_apprise_said(service: FakeService, status: int) -> None:
    service.answer(status, "no")
    failed = failure(AppriseDispatcher(json_url(service)))
    assert (failed.failure, failed.answered) == (Failure.RETRY, True)
    assert failed.reason.startswith("Apprise could not send to json: Failed to send JSON POST notification")
    assert f"error={status}" in failed.reason
    assert len(service.requests) == 1


def test_reasons_of_deliveries_at_the_same_time_are_not_mixed(service: FakeService, other: FakeService) -> None:
    gate = threading.Event()
    service.answer(401, "no", gate=gate)
    other.answer(503, "no", gate=gate)
    dispatcher = AppriseDispatcher([json_url(service), json_url(other)])
    found: dict[int, str] = {}

    def work(number: int) -> None:
        with pytest.raises(DeliveryFailed) as caught:
            dispatcher.deliver(Alert.make("x"), dispatcher.targets()[number], Context(key="k"))
        found[number] = caught.value.reason

    threads = [threading.Thread(target=work, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    service.wait_for(1)
    other.wait_for(1)
    gate.set()
    for thread in threads:
        thread.join()
    assert ["error=401" in found[0], "error=503" in found[0]] == [True, False]
    assert ["error=401" in found[1], "error=503" in found[1]] == [False, True]


def test_what_hangs_ends_in_time_with_an_unknown_outcome() -> None:
    with FaultServer(faults.dribbles_headers) as server:
        began = time.monotonic()
        failed = failure(AppriseDispatcher(json_url(server), timeout=0.3))
        assert time.monotonic() - began < 10
    assert (failed.failure, failed.answered) == (Failure.UNKNOWN, False)
    assert failed.reason == "json has not taken the message within 0.3 s: it may have arrived"


def test_messages_that_hang_do_not_become_threads_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_THREADS", 2)
    with FaultServer(faults.never_answers) as server:
        dispatcher = AppriseDispatcher(f"{json_url(server)}?rto=60", timeout=0.5)  # or Apprise gives up after 4 s
        kinds = [failure(dispatcher).failure for _ in range(4)]
        assert kinds == [Failure.UNKNOWN, Failure.UNKNOWN, Failure.RETRY, Failure.RETRY]
        until(lambda: len(server.requests) == 2)


def test_a_redirect_is_not_followed(service: FakeService, other: FakeService) -> None:
    service.answer(307, headers={"Location": other.url})
    assert failure(AppriseDispatcher(json_url(service))).failure is Failure.RETRY
    assert other.requests == []


def test_a_certificate_is_checked(tls_service: FakeService) -> None:
    failed = failure(AppriseDispatcher(f"jsons://localhost:{tls_service.port}/"))
    assert failed.failure is Failure.RETRY
    assert tls_service.requests == []


@pytest.mark.parametrize(("raised", "said"), [(SystemExit, "failed with SystemExit"), (KeyError, "could not send to")])
def test_a_service_of_apprise_that_raises_is_tried_again(raised: type[BaseException], said: str) -> None:
    from apprise.decorators import notify

    @notify(on=raised.__name__.lower())
    def breaks(*_: object, **__: object) -> bool:
        raise raised("breaks://s3cr3t")

    failed = failure(AppriseDispatcher(f"{raised.__name__.lower()}://localhost"))
    assert failed.failure is Failure.RETRY
    assert said in failed.reason


def test_the_log_of_apprise_keeps_its_other_handlers(service: FakeService) -> None:
    log = logging.getLogger("apprise")
    before = list(log.handlers)
    deliver(AppriseDispatcher(json_url(service)))
    assert log.handlers == before


# ------------------------------------------------------------------------------------------------ secrets


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("gotify://push.example.org/A1b2C3d4E5f6G7h", ["A1b2C3d4E5f6G7h"]),
        ("discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV", ["4174216298", "JHMHI8qBe7bk2ZwO5U711o3dV"]),
        ("mailto://anna:p4%20ss@example.org/?smtp=mail.example.org", ["p4%20ss", "p4 ss"]),
        ("json://anna:short@example.org/a?+X-Key=K3yK3yK3y", ["short", "K3yK3yK3y"]),
    ],
)
def test_every_part_of_a_url_that_can_be_a_token_is_hidden(url: str, parts: list[str]) -> None:
    from bt_alerts.redact import redact

    AppriseDispatcher(url)
    for part in (*parts, url, quote(parts[-1], safe="")):
        assert redact(f"an error with {part}!") == "an error with •••!"
    assert redact("example.org and push.example.org, a title") == "example.org and push.example.org, a title"


# ---------------------------------------------------------------------------------------- the contract


class TestAppriseContract(DispatcherContract):
    many_targets = takes_pictures = True
    behaviours = {
        "resetting": faults.resets_instead_of_an_answer,
        "babbling": faults.speaks_no_http,
        "silent": faults.never_answers,
    }

    @contextlib.contextmanager
    def serve(self) -> Iterator[FakeService]:
        with FakeService() as service:
            yield service

    def make(self, url: str, *, addresses: Sequence[str] = (), **settings: Any) -> AppriseDispatcher:
        host = url.partition("://")[2]
        names = addresses or [self.secret("path")]
        password = self.secret("password")
        return AppriseDispatcher([f"json://anna:{password}@{host}/{name}" for name in names], **settings)

    def texts(self, requests: Sequence[Received]) -> list[str]:
        return [f"{sent['title']}\n{sent['message']}" for sent in (request.json() for request in requests)]

    def shows_picture(self, request: Received, content: bytes) -> bool:
        return any(base64.b64decode(file["base64"]) == content for file in request.json()["attachments"])

    def troubles(self, service: FakeService, address: str) -> Mapping[str, Callable[[], object]]:
        def answer(status: int) -> Callable[[], object]:
            return lambda: service.on(where=lambda request: address in request.path).answer(status)

        return {f"HTTP {status}": answer(status) for status in (307, 401, 500)}

    def unfriendly(self, said: str) -> contextlib.AbstractContextManager[dict[str, str]]:
        """One that quotes what it got as well."""

        @contextlib.contextmanager
        def all_of_them() -> Iterator[dict[str, str]]:
            with FakeService() as refusing, super(TestAppriseContract, self).unfriendly(said) as others:
                refusing.answer(400, f"bad credentials: {said}")
                yield {"refusing": refusing.url, **others}

        return all_of_them()
