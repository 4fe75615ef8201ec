"""The tests that every dispatcher passes that speaks HTTP. Needs ``pip install "bt-alerts[test]"``.

::

    class TestNtfyContract(HttpDispatcherContract):
        answer = {"id": "x1"}
        limit = 4096

        def make(self, url, **settings):
            return NtfyDispatcher(url, topic="alerts", token=self.secret("token"), **settings)

        def texts(self, requests):
            return [f"{sent['title']}\\n{sent['message']}" for sent in (request.json() for request in requests)]
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import datetime as dt
import email.utils
import functools
import gc
import inspect
import itertools
import json
import os
import signal
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl, unquote, unquote_plus

import pytest
import trustme

from bt_alerts.alert import Alert, Attachment
from bt_alerts.dispatchers.base import DeliveryFailed, Dispatcher, Failure, Receipt
from bt_alerts.dispatchers.http import MAX_RETRY_AFTER
from bt_alerts.testing import faults
from bt_alerts.testing.contract import PICTURE, DispatcherContract, closed_port
from bt_alerts.testing.faults import FaultServer
from bt_alerts.testing.service import FakeService, Received

#: What a status means to a service that has not said otherwise, besides the ranges.
MEANING: Mapping[int, Failure] = {
    100: Failure.UNKNOWN,  # "go on", and then nothing
    401: Failure.AUTH,
    403: Failure.AUTH,
    408: Failure.RETRY,
    413: Failure.TOO_LARGE,
    425: Failure.RETRY,
    429: Failure.RETRY,
}

#: What ``Retry-After`` can say, and the seconds that it means; 0 is nothing.
TOLD: Mapping[str, float] = {
    "7": 7.0,
    " 7 ": 7.0,
    "0": 0.0,
    "0.25": 0.25,
    "86399": 86_399.0,
    "999999999": MAX_RETRY_AFTER,
    "9" * 400: 0.0,
    "-3": 0.0,
    "+3": 0.0,
    "nan": 0.0,
    "inf": 0.0,
    "1e3": 0.0,
    "1_000": 0.0,
    "0x10": 0.0,
    "7, 8": 0.0,
    "soon": 0.0,
    "": 0.0,
    "Fri, 99 May 2026 12:00:30 GMT": 0.0,
}

#: What stands in a body where seconds should stand.
NO_SECONDS: Sequence[Any] = (-3, None, "soon", "", [], {}, True, float("nan"), float("inf"), 10**400, "9" * 400)

#: What stands in a place of an answer where something else should stand.
ODD: Sequence[Any] = (None, [], {}, "", "🚀\r\n\0", -1, 1e308, True, [None], {"a": []})

#: Bodies that no service means to send.
JUNK: Mapping[str, Any] = {
    "nothing": b"",
    "a web page": "<html><body>Please log in</body></html>",
    "a list": [1, 2],
    "a number": 1,
    "null": None,
    "a text": '"ok"',
    "half a JSON": b'{"ok": tr',
    "deep JSON": b"[" * 60_000,
    "deep objects": b'{"a":' * 20_000,
    "no UTF-8": b'{"ok": "\xff\xfe"}',
    "UTF-16": '{"ok": true}'.encode("utf-16"),
    "a lone surrogate": b'{"id": "\\ud83d", "error": "\\ud83d"}',
    "no JSON number": b'{"ok": NaN, "id": Infinity, "status": -Infinity}',
    "a huge number": b'{"id": ' + b"9" * 5_000 + b', "retry_after": 1e999}',
    "a long text": "x" * 300_000,
    "an empty object": {},
    "long sentences": dict.fromkeys(("error", "errors", "message", "description", "reason", "detail"), "x" * 9_000),
    "many sentences": {"errors": ["x" * 90] * 100, "error": {"message": "y" * 9_000}, "message": ["z" * 90] * 100},
    "objects for texts": {"id": {}, "error": {"a": 1}, "errors": {}, "message": [], "description": None, "status": []},
    "numbers for texts": {"id": 1.5, "error": 0, "errors": 7, "message": 1, "description": False, "code": "x"},
    "texts for objects": {"error": "x", "errors": "x", "parameters": "x", "result": "x", "data": "x", "status": "x"},
}


class HttpDispatcherContract(DispatcherContract):
    """What every dispatcher that speaks HTTP promises. Subclass it as ``Test…``; fill in ``make`` and ``texts``.

    Attributes:
        answer: the body with which the service says that it took a message, as :meth:`FakeService.answer` takes it.
        answer_status: its status.
        failures: what a status means here, where that is not what it means to every service: a :class:`Failure`, or
            None for success. ``{204: Failure.UNKNOWN}`` where a success without a body is none.
        retry_after_in_body: the body of a refusal that says how many seconds to wait, as a function of them; None where
            the service has no such body.
    """

    answer: ClassVar[Any] = {}
    answer_status: ClassVar[int] = 200
    failures: ClassVar[Mapping[int, Failure | None]] = {}
    retry_after_in_body: ClassVar[Callable[..., Any] | None] = None

    def program(self, service: FakeService) -> None:
        """Program a service that takes everything; override where a success needs several different answers."""
        service.answer(self.answer_status, self.answer)

    def respond(self, service: FakeService, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
        """Program what a delivery is answered; override where several requests make one delivery."""
        service.answer(status, body, headers)

    def refusal(self, status: int) -> Any:
        """The body that the service sends with a status that is no success."""
        return {}

    def failure_for(self, status: int) -> Failure | None:
        """What a status means; None is success."""
        if status in self.failures:
            return self.failures[status]
        if 200 <= status < 300:
            return None
        found = MEANING.get(status, Failure.RETRY if status >= 500 else Failure.PERMANENT)
        return Failure.RETRY_AFTER if found is Failure.RETRY and self.wait_for(status, 0.0) else found

    def wait_for(self, status: int, told: float) -> float:
        """Seconds that the dispatcher asks to wait after a status that is tried again; 0 leaves that to the courier.

        Args:
            status: such as 429.
            told: seconds that the service asked for; 0 where it did not.
        """
        return told

    def is_for(self, request: Received, address: str) -> bool:
        """Whether a request goes to one of the ``addresses``."""
        body = request.body.decode("utf-8", "replace")
        places = [request.path, *request.query.values(), *request.headers.values(), body]
        return any(address in form for place in places for form in (place, unquote(place), unquote_plus(place)))

    # What those of DispatcherContract are over HTTP ----------------------------------------------------

    @contextlib.contextmanager
    def serve(self) -> Iterator[FakeService]:
        with FakeService() as service:
            self.program(service)
            yield service

    def assert_valid(self, request: Received) -> None:
        """The body is what its content type says, in UTF-8; no header was smuggled in."""
        kind = request.headers.get("content-type", "")
        if "json" in kind:
            json.loads(request.body.decode("utf-8"), parse_constant=_no_json)
        elif kind.startswith("application/x-www-form-urlencoded"):
            parse_qsl(request.body.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict")
        elif kind.startswith("multipart/"):
            for filename, _, content in request.parts().values():
                assert filename is not None or content.decode("utf-8") is not None
        elif kind.startswith("text/"):
            request.body.decode("utf-8")
        assert {"x-injected", "bcc"} & request.headers.keys() == set(), "a header came out of a text"

    def shows_picture(self, request: Received, content: bytes) -> bool:
        return content in request.body

    def troubles(self, service: FakeService, address: str) -> Mapping[str, Callable[[], object]]:
        def answer(status: int, body: Any) -> Callable[[], object]:
            return lambda: service.on(where=lambda request: self.is_for(request, address)).answer(status, body)

        statuses = [status for status in (302, 400, 401, 404, 410, 413, 429, 500) if self.failure_for(status)]
        return {f"HTTP {status}": answer(status, self.refusal(status)) for status in statuses}

    @contextlib.contextmanager
    def unfriendly(self, said: str) -> Iterator[dict[str, str]]:
        with (
            FakeService() as refusing,
            FakeService() as quoting,
            FakeService() as redirecting,
            FakeService(ssl_context=_tls("localhost")) as untrusted,
            FaultServer(faults.resets_instead_of_an_answer) as resetting,
            FaultServer(faults.speaks_no_http) as babbling,
            FaultServer(faults.never_answers) as silent,
        ):
            refusing.answer(400, f"bad credentials: {said}")
            quoting.answer(500, {**_object(self.refusal(500)), "error": said, "errors": [said], "description": said})
            redirecting.answer(307, headers={"Location": f"https://elsewhere.example/{said.replace(' ', '/')}"})
            yield {
                "refusing": refusing.url,
                "in trouble": quoting.url,
                "redirecting": redirecting.url,
                "untrusted": untrusted.url,
                "resetting": resetting.url,
                "babbling": babbling.url,
                "silent": silent.url,
                "not there": f"http://127.0.0.1:{closed_port()}",
            }

    @pytest.fixture(autouse=True)
    def _one_authority(self, _contract: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """Reading the usual hundred authorities takes 30 ms, which each case would pay again."""
        file = tmp_path / "another authority.pem"
        file.write_bytes(_other_authority())
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(file))

    # ---------------------------------------------------------------------------------------- statuses

    @pytest.mark.parametrize("hundred", [100, 200, 300, 400, 500])
    def test_every_status_has_its_class(self, hundred: int) -> None:
        with FakeService() as service, contextlib.closing(self.make(service.url)) as dispatcher:
            for status in range(hundred, hundred + 100):
                with self.case(f"HTTP {status}"):
                    body = self.answer if 200 <= status < 300 else self.refusal(status)
                    self.respond(service, status, body)
                    before = len(service.requests)
                    outcome = self.outcome(dispatcher)
                    found = outcome.failure if isinstance(outcome, DeliveryFailed) else None
                    assert found == self.failure_for(status), getattr(outcome, "reason", outcome)
                    if found in {Failure.RETRY, Failure.RETRY_AFTER, Failure.AUTH}:
                        assert len(service.requests) - before == 1, "trying again is the courier's work"
                    if isinstance(outcome, DeliveryFailed) and found is not Failure.UNKNOWN:
                        assert outcome.answered, "the service answered"

    @pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
    def test_retry_after_is_obeyed(self, status: int) -> None:
        with FakeService() as service, contextlib.closing(self.make(service.url)) as dispatcher:
            for told, seconds in TOLD.items() if status in {429, 503} else [("7", 7.0)]:
                with self.case(f"HTTP {status}, Retry-After: {told[:30]!r}"):
                    self.respond(service, status, self.refusal(status), {"Retry-After": told})
                    self._assert_wait(dispatcher, status, seconds)
            for away, seconds in ((90, 90.0), (-90, 0.0), (10**9, MAX_RETRY_AFTER)):
                with self.case(f"HTTP {status}, Retry-After: a date {away} seconds away"):
                    began, date = time.monotonic(), dt.datetime.now(dt.UTC) + dt.timedelta(seconds=away)
                    self.respond(
                        service, status, self.refusal(status), {"Retry-After": email.utils.format_datetime(date, True)}
                    )
                    self._assert_wait(dispatcher, status, seconds, began)

    def test_retry_after_in_the_body_is_obeyed(self) -> None:
        body = _as_function(type(self), "retry_after_in_body", self)
        if body is None:
            pytest.skip("no such body")
        with FakeService() as service, contextlib.closing(self.make(service.url)) as dispatcher:
            for told, seconds in [(7, 7.0), (0.25, 0.25), (3600, 3600.0), (0, 0.0)]:
                with self.case(f"{told} in the body"):
                    self.respond(service, 429, body(told))
                    self._assert_wait(dispatcher, 429, seconds)
            for junk in NO_SECONDS:
                with self.case(f"{str(junk)[:30]!r} in the body"):
                    self.respond(service, 429, body(junk))
                    outcome = self.outcome(dispatcher)
                    assert isinstance(outcome, DeliveryFailed)
                    assert outcome.failure in {Failure.RETRY, Failure.RETRY_AFTER}
                    assert (outcome.retry_after or 0.0) <= 366 * 86_400

    def _assert_wait(self, dispatcher: Dispatcher, status: int, told: float, began: float | None = None) -> None:
        """``began``: when it was ``told`` seconds to a date; it is less by the time that the delivery took."""
        outcome = self.outcome(dispatcher)
        passed = 0.01 if began is None else 2 + time.monotonic() - began
        assert isinstance(outcome, DeliveryFailed)
        wanted = self.wait_for(status, told)
        if wanted and self.failure_for(status) in {Failure.RETRY, Failure.RETRY_AFTER}:
            assert outcome.failure is Failure.RETRY_AFTER
            assert outcome.retry_after == pytest.approx(wanted, abs=passed)
        else:
            assert (outcome.failure, outcome.retry_after) == (self.failure_for(status), None)

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_a_redirect_is_not_followed(self, status: int) -> None:
        with FakeService() as service, FakeService() as elsewhere:
            with contextlib.closing(self.make(service.url)) as dispatcher:
                for place in (elsewhere.url, f"//127.0.0.1:{elsewhere.port}/x", "/elsewhere", "", "http://[::1"):
                    with self.case(f"to {place!r}"):
                        self.respond(service, status, self.refusal(status), {"Location": place})
                        before = len(service.requests)
                        outcome = self.outcome(dispatcher)
                        assert isinstance(outcome, DeliveryFailed)
                        assert outcome.failure == self.failure_for(status)
                        assert len(service.requests) == before + 1
            assert elsewhere.requests == [], "the message went where the service sent it, with its credentials"

    @pytest.mark.parametrize("status", [200, 400, 401, 429, 500])
    def test_a_junk_answer_does_no_harm(self, status: int) -> None:
        with FakeService() as service, contextlib.closing(self.make(service.url)) as dispatcher:
            bodies = {**JUNK, **_spoilt("refusal", self.refusal(status))}
            for name, body in {**bodies, **(_spoilt("answer", self.answer) if status == 200 else {})}.items():
                with self.case(f"HTTP {status} with {name}"), uncollected():
                    self.respond(service, status, body)
                    outcome = self.outcome(dispatcher)
                    assert status == 200 or isinstance(outcome, DeliveryFailed)
            for headers in ({"Content-Type": "application/json; charset=no-such"}, {"Content-Type": ""}, {"Date": "x"}):
                with self.case(f"HTTP {status} with {headers}"):
                    self.respond(service, status, self.refusal(status), headers)
                    self.outcome(dispatcher)

    @pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 408, 422, 429, 500, 502, 503, 599])
    def test_the_body_of_a_success_does_not_undo_a_status(self, status: int) -> None:
        if self.failure_for(status) is None:
            pytest.skip("it is a success here")
        with FakeService() as service, contextlib.closing(self.make(service.url)) as dispatcher:
            self.respond(service, status, self.answer)
            assert isinstance(self.outcome(dispatcher), DeliveryFailed)

    # ------------------------------------------------------------------------------------- connections

    @pytest.mark.parametrize(
        "behave",
        [faults.never_answers, faults.never_reads, faults.dribbles_headers, faults.dribbles_body],
        ids=lambda behave: str(behave.__name__),
    )
    def test_the_whole_delivery_ends_in_time(self, behave: faults.Behaviour) -> None:
        for timeout in (self.timeout, 5 * self.timeout):
            with FaultServer(behave) as server:
                with contextlib.closing(self.make(server.url, timeout=timeout)) as dispatcher, self.in_time(timeout):
                    outcome = self.outcome(dispatcher)
                assert len(server.requests) <= 1, "what may have arrived is not sent again here"
            if getattr(outcome, "failure", None) is not Failure.RETRY:
                break  # else the machine was too busy to send anything in so short a time
        self._assert_unknown(outcome, took=behave is faults.dribbles_body)

    @pytest.mark.parametrize(
        "behave",
        [
            faults.resets_instead_of_an_answer,
            faults.resets_in_mid_body,
            faults.ends_in_mid_body,
            faults.speaks_no_http,
        ],
        ids=lambda behave: str(behave.__name__),
    )
    def test_a_torn_answer_leaves_the_outcome_unknown(self, behave: faults.Behaviour) -> None:
        with FaultServer(behave) as server:
            with contextlib.closing(self.make(server.url)) as dispatcher:
                outcome = self.outcome(dispatcher)
            self._assert_unknown(outcome, took=behave in {faults.resets_in_mid_body, faults.ends_in_mid_body})
            assert len(server.requests) == 1, "what may have arrived is not sent again here"

    @staticmethod
    def _assert_unknown(outcome: Receipt | DeliveryFailed, *, took: bool) -> None:
        """``took``: the status was a success, and only the body is not whole; either can be said of that."""
        if took and isinstance(outcome, Receipt):
            return
        assert isinstance(outcome, DeliveryFailed)
        assert outcome.failure is Failure.UNKNOWN, outcome.reason

    def test_a_long_text_ends_in_time_as_well(self) -> None:
        """The time is for all messages of one delivery together, not for each."""
        timeout = 4 * self.timeout
        begun: list[Received] = []

        def slow(request: Received) -> Any:
            begun.append(request)
            if len(begun) < 3:  # two take longer than all may
                time.sleep(0.55 * timeout)
            return self.answer(request) if callable(self.answer) else self.answer

        with FakeService() as service:
            self.respond(service, self.answer_status, slow)
            with contextlib.closing(self.make(service.url, timeout=timeout)) as dispatcher:
                alert = Alert.make("words " * (min(10 * (self.limit or 1), 30_000) // 6))
                with self.in_time(timeout, slack=5 * self.slack):
                    self.outcome(dispatcher, alert)
            # Counted, because no machine is too slow for that: parts with a time of their own begin a third one.
            assert len(begun) <= 2, f"{len(begun)} messages were begun where there was time for two"

    def test_a_silent_target_does_not_hold_up_the_others(self) -> None:
        if not self.many_targets:
            pytest.skip("one target each")
        names = [self.address(number) for number in range(3)]
        asked, gate = threading.Event(), threading.Event()

        def silent(_: Received) -> Any:
            asked.set()
            gate.wait(100 * self.timeout)
            return self.refusal(500)

        # Nothing here is to run out of time: that the others arrive meanwhile is seen without a clock.
        with self.ready(addresses=names, timeout=100 * self.timeout) as (dispatcher, service):
            assert dispatcher.send_custom_alert("so that there are connections") is True
            service.on(where=lambda request: self.is_for(request, names[1])).answer(500, silent)
            targets = dispatcher.targets()
            with concurrent.futures.ThreadPoolExecutor(3) as pool:
                waiting = pool.submit(self.outcome, dispatcher, "hello", targets[1])
                try:
                    assert asked.wait(100 * self.timeout), "the silent one was not asked"
                    found = list(pool.map(lambda target: self.outcome(dispatcher, "hello", target), targets[::2]))
                    assert not waiting.done(), "the others waited until the silent one was over"
                finally:
                    gate.set()
            assert [isinstance(each, DeliveryFailed) for each in found] == [False, False], found
            assert isinstance(waiting.result(), DeliveryFailed), waiting.result()

    def test_what_cannot_be_reached_is_tried_again(self) -> None:
        with contextlib.closing(self.make(f"http://127.0.0.1:{closed_port()}")) as dispatcher:
            outcome = self.outcome(dispatcher)
        assert isinstance(outcome, DeliveryFailed)
        assert (outcome.failure, outcome.answered) == (Failure.RETRY, False)

    def test_a_connection_that_ended_while_idle_is_replaced(self) -> None:
        with self.ready() as (dispatcher, service):
            self.deliver(dispatcher, "first")
            each = len(service.requests)
            service.hang_up()
            alert = Alert.make("second", title="Title")
            self.deliver(dispatcher, alert)
            assert len(service.requests) == 2 * each, "delivered once"
            assert service.requests[-1].connection > service.requests[0].connection
            self.assert_shows(service.requests[each:], alert)

    # --------------------------------------------------------------------------------------------- TLS

    @pytest.mark.parametrize("wrong", ["authority", "host", "date"])
    def test_a_wrong_certificate_is_refused(self, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("REQUESTS_CA_BUNDLE")
        context = {"authority": _tls("localhost"), "host": _tls("elsewhere.example"), "date": _tls("localhost", True)}
        settings = {} if wrong == "authority" else {"ca_file": _ca_file(tmp_path)}
        with FakeService(ssl_context=context[wrong]) as service:
            self.program(service)
            with contextlib.closing(self.make(service.url, **settings)) as dispatcher:
                outcome = self.outcome(dispatcher)
            assert service.requests == [], "the message went to somebody else"
        assert isinstance(outcome, DeliveryFailed)
        assert (outcome.failure, outcome.answered) == (Failure.RETRY, False)
        assert "certificate" in outcome.reason

    def test_the_right_certificate_is_accepted(self, tmp_path: Path) -> None:
        with FakeService(ssl_context=_tls("localhost")) as service:
            self.program(service)
            alert = Alert.make("hello", title="Title")
            with contextlib.closing(self.make(service.url, ca_file=_ca_file(tmp_path))) as dispatcher:
                self.deliver(dispatcher, alert)
            self.assert_shows(service.requests, alert)

    @pytest.mark.parametrize(
        "behave", [faults.speaks_no_tls, faults.dribbles_the_handshake], ids=lambda behave: str(behave.__name__)
    )
    def test_what_speaks_no_tls_gets_nothing(self, behave: faults.Behaviour) -> None:
        with FaultServer(behave) as server:
            url = server.url.replace("http:", "https:")
            with contextlib.closing(self.make(url, timeout=self.timeout)) as dispatcher, self.in_time(self.timeout):
                outcome = self.outcome(dispatcher)
        assert isinstance(outcome, DeliveryFailed)
        assert (outcome.failure, outcome.answered) == (Failure.RETRY, False)

    # ------------------------------------------------------------------------------ pictures, threads, fork

    def test_a_picture_that_is_refused_stays_and_the_text_goes(self, tmp_path: Path) -> None:
        self._needs_pictures()
        file = tmp_path / "chart.png"
        file.write_bytes(PICTURE)
        with self.ready() as (dispatcher, service):
            service.on(where=lambda request: self.shows_picture(request, PICTURE)).answer(413, self.refusal(413))
            alert = Alert.make("with a picture", title="Title", attachments=[Attachment.from_path(file)])
            receipt = self.deliver(dispatcher, alert)
            assert receipt.note, "the receipt must say that the picture is missing"
            taken = [request for request in service.requests if not self.shows_picture(request, PICTURE)]
            self.assert_shows(taken, alert)

    def test_receipts_of_several_threads_are_not_mixed_up(self) -> None:
        with self.ready() as (dispatcher, service):
            first = self.deliver(dispatcher, "first", key="msg_first")
            if first.id == "msg_first":
                found = self._from_threads(dispatcher)
                assert [receipt.id for receipt in found.values()] == [_key_of(name) for name in found]
                return
            path = _path_to(self.answer, first.id)
            if path is None:
                pytest.skip("the receipt's id is not in the answer")
            numbers = itertools.count(1)
            given: dict[str, str] = {}

            def answer(request: Received) -> Any:
                number = next(numbers)
                body = _changed(self.answer, path, number)
                given[str(_at(body, path))] = "\n".join(self.texts([request]))
                return body

            self.respond(service, self.answer_status, answer)
            found = self._from_threads(dispatcher)
            for name, receipt in found.items():
                with self.case(name):
                    assert f"[{name}]" in given[receipt.id]

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
    @pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
    def test_it_works_in_a_forked_child_and_on_in_the_parent(self) -> None:
        with self.ready() as (dispatcher, service):
            self.deliver(dispatcher, "[before]")
            child = os.fork()
            if child == 0:
                status = 1
                with contextlib.suppress(BaseException):
                    self.deliver(dispatcher, "[child]")
                    status = 0
                os._exit(status)
            assert _exit_status(child) == 0, "the child could not deliver"
            self.deliver(dispatcher, "[parent]")
            sent = [(request.connection, "\n".join(self.texts([request]))) for request in service.requests]
            over = {
                words: {number for number, text in sent if words in text}
                for words in ("[before]", "[child]", "[parent]")
            }
            assert [len(numbers) for numbers in over.values()] == [1, 1, 1], sent
            assert over["[child]"].isdisjoint(over["[before]"] | over["[parent]"]), "two processes on one connection"


# ----------------------------------------------------------------------------------------- certificates


@functools.cache
def _authority() -> trustme.CA:
    return trustme.CA()


@functools.cache
def _tls(host: str, expired: bool = False) -> ssl.SSLContext:
    """For a server whose certificate only those trust that have our ``ca_file``."""
    until = dt.datetime.now(dt.UTC) - dt.timedelta(days=1) if expired else None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _authority().issue_cert(host, not_after=until).configure_cert(context)
    return context


@functools.cache
def _other_authority() -> bytes:
    return trustme.CA().cert_pem.bytes()


def _ca_file(folder: Path) -> str:
    path = folder / "ca.pem"
    _authority().cert_pem.write_to_path(str(path))
    return str(path)


# ---------------------------------------------------------------------------------------------- answers


def _no_json(name: str) -> Any:
    raise AssertionError(f"{name} is no JSON")


def _object(body: Any) -> dict[str, Any]:
    return dict(body) if isinstance(body, Mapping) else {}


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Nothing is collected meanwhile: at the bottom of a nested text what other tests left cannot be finalised."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _spoilt(what: str, body: Any) -> dict[str, Any]:
    """A good answer with something else in each place, by what it is."""
    if not isinstance(body, Mapping):
        return {}
    found = {}
    for name in body:
        found[f"{what} without {name}"] = {key: value for key, value in body.items() if key != name}
        for odd in ODD:
            found[f"{what} with {odd!r} for {name}"] = {**body, name: odd}
        if isinstance(body[name], Mapping):
            for inner, value in _spoilt(f"{what}.{name}", body[name]).items():
                found[inner] = {**body, name: value}
    return found


def _path_to(body: Any, id: str, *before: Any) -> tuple[Any, ...] | None:
    """Where in an answer the id of a message stands."""
    if isinstance(body, Mapping | list):
        for key, value in body.items() if isinstance(body, Mapping) else enumerate(body):
            found = _path_to(value, id, *before, key)
            if found is not None:
                return found
        return None
    return before if id and body is not True and str(body) == id else None


def _at(body: Any, path: Sequence[Any]) -> Any:
    for key in path:
        body = body[key]
    return body


def _changed(body: Any, path: Sequence[Any], number: int) -> Any:
    """A copy of an answer with another id: a number where it was one, else a text of its length."""
    if not path:
        return number if isinstance(body, int) else str(number).rjust(len(body), "0")
    copy: Any = list(body) if isinstance(body, list) else dict(body)
    copy[path[0]] = _changed(body[path[0]], path[1:], number)
    return copy


def _as_function(cls: type, name: str, owner: object) -> Callable[[Any], Any] | None:
    """A function that is an attribute of a class, written with or without ``self``."""
    found = inspect.getattr_static(cls, name)
    if found is None:
        return None
    function = getattr(found, "__func__", found)
    if isinstance(found, staticmethod) or len(inspect.signature(function).parameters) == 1:
        return function  # type: ignore[no-any-return]
    return lambda value: function(owner, value)


def _key_of(name: str) -> str:
    from bt_alerts.testing.contract import _key

    return _key(name)


def _exit_status(child: int) -> int:
    """Wait for a process of ours, but not for ever."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -1
