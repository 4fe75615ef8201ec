"""What ``bt_alerts.testing`` gives to other people's tests."""

from __future__ import annotations

import http.client
import json
from typing import Any

import pytest
from alerts_kit import run_python

from bt_alerts.testing import FakeService
from bt_alerts.testing.contract import pieces


def ask(service: FakeService, path: str = "/", method: str = "POST", body: str = "") -> tuple[int, Any]:
    line = http.client.HTTPConnection("127.0.0.1", service.port, timeout=5)
    line.request(method, path, body)
    answer = line.getresponse()
    said = answer.read()
    line.close()
    return answer.status, json.loads(said) if said else None


def ask_again(line: http.client.HTTPConnection) -> None:
    line.request("GET", "/")
    line.getresponse()


# ----------------------------------------------------------------------------------------------- services


def test_answers_come_in_order_and_the_last_one_again_and_again(service: FakeService) -> None:
    assert ask(service) == (200, {})
    service.answer(201, {"n": 1}).answer(429, {"n": 2})
    assert [ask(service) for _ in range(3)] == [(201, {"n": 1}), (429, {"n": 2}), (429, {"n": 2})]


def test_an_answer_can_depend_on_the_request(service: FakeService) -> None:
    service.answer(200, lambda request: {"echo": request.body.decode()})
    assert ask(service, body="hello") == (200, {"echo": "hello"})


def test_some_requests_have_answers_of_their_own(service: FakeService) -> None:
    service.answer(200, {"for": "others"})
    service.on("POST", "/v1/files").answer(201, {"id": "f1"}).answer(409, {})
    service.on("PUT", "/upload/*").answer(202, {})
    assert ask(service, "/v1/files?a=b") == (201, {"id": "f1"})
    assert ask(service, "/v1/files") == (409, {})
    assert ask(service, "/v1/files", "GET") == (200, {"for": "others"})
    assert ask(service, "/upload/a/b", "PUT") == (202, {})
    assert ask(service, "/upload/a/b") == (200, {"for": "others"})
    assert len(service.requests) == 5


def test_of_several_that_fit_the_last_one_answers(service: FakeService) -> None:
    service.on(path="/files").answer(200, {})
    service.on(where=lambda request: b"picture" in request.body).answer(413, {})
    assert [ask(service, "/files", body=body)[0] for body in ("text", "a picture")] == [200, 413]


def test_a_service_that_hangs_up_takes_new_connections(service: FakeService) -> None:
    line = http.client.HTTPConnection("127.0.0.1", service.port, timeout=5)
    line.request("GET", "/")
    line.getresponse().read()
    service.hang_up()
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        ask_again(line)
    assert ask(service) == (200, {})


# ----------------------------------------------------------------------------------------------- imports


def test_only_the_contract_needs_pytest_and_says_so() -> None:
    said = run_python(
        """
        import sys
        sys.modules["pytest"] = sys.modules["trustme"] = None
        from bt_alerts.testing import FakeService, FaultServer, Received, capture_alerts, CapturedAlerts
        import bt_alerts.testing
        try:
            bt_alerts.testing.HttpDispatcherContract
        except ImportError as exc:
            print(exc)
        try:
            from bt_alerts.testing import DispatcherContract
        except ImportError as exc:
            print(exc)
        print(hasattr(bt_alerts.testing, "NoSuchThing"))
        """
    )
    assert said.splitlines() == [
        f'{name} needs pytest, which is not installed: pip install "bt-alerts[test]"'
        for name in ("HttpDispatcherContract", "DispatcherContract")
    ] + ["False"]


# --------------------------------------------------------------------------------------- reading the parts


@pytest.mark.parametrize(
    ("texts", "shown", "cuts"),
    [
        (["Title\none two three"], "one two three", []),
        (["Title\none two ", "three"], "one two three", [8, 8]),
        (["Title\none two", "three\nfooter"], "one two three", [7, 8]),
        (["(1/2) one two", "(2/2) three"], "one two three", [7, 8]),
        (["Title\none tw…"], "one tw", [6]),
        (["nil"], "", []),
    ],
)
def test_the_parts_of_a_text_are_found_in_messages(texts: list[str], shown: str, cuts: list[int]) -> None:
    assert pieces(texts, "one two three") == (shown, cuts)
