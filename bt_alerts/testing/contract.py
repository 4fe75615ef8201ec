"""The tests that every dispatcher passes, whatever it speaks. Needs ``pip install "bt-alerts[test]"``.

::

    class TestPrinterContract(DispatcherContract):
        limit = 80

        @contextlib.contextmanager
        def serve(self):
            with FakePrinter() as printer:
                yield printer

        def make(self, url, **settings):
            return PrinterDispatcher(url, pin=self.secret("pin"), **settings)

        def texts(self, requests):
            return [page.text for page in requests]

For one that speaks HTTP, see :mod:`bt_alerts.testing.http_contract`: it brings the service.

Nothing is mocked: each case delivers to a service on this machine and looks at what arrived there.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import datetime as dt
import functools
import inspect
import json
import logging
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import pytest

from bt_alerts import redact
from bt_alerts.alert import Alert, Attachment, Priority
from bt_alerts.dispatchers.base import (
    Context,
    DeliveryFailed,
    Dispatcher,
    Failure,
    News,
    Receipt,
    Request,
    Target,
    arguments,
    delivery_key,
)
from bt_alerts.testing import poison
from bt_alerts.testing.canary import LETTERS_AND_DIGITS, found_in, fresh_canary, logged, shown_by
from bt_alerts.testing.faults import Behaviour, FaultServer

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4
THREADS, EACH = 8, 25

_types: dict[type, str] = {}


class Service(Protocol):
    """What :meth:`DispatcherContract.serve` gives: a service that writes down what it got."""

    @property
    def url(self) -> str:
        """What :meth:`DispatcherContract.make` is given to reach it."""

    @property
    def requests(self) -> Sequence[Any]:
        """Everything that came so far, in order."""


class DispatcherContract:
    """What every dispatcher promises. Subclass it as ``Test…`` and fill in :meth:`serve`, :meth:`make`, :meth:`texts`.

    Attributes:
        limit: the greatest :meth:`length` of one item of :meth:`texts`; None where the service has no limit.
        markup_survives: a reader sees the alert's text unchanged, whatever markup it looks like. False only where a
            service cannot show some of it and :meth:`as_read` cannot say what becomes of it.
        many_targets: one dispatcher can have several addresses; :meth:`make` takes them as ``addresses``.
        takes_pictures: a picture of an alert is sent.
        picture_limit: bytes of the largest picture that is sent; None where it cannot be too large.
        behaviours: servers that fail in the service's own protocol, by name, as :class:`FaultServer` takes them.
        timeout: seconds, given to :meth:`make` in the cases about time.
        slack: seconds that a busy machine may add to it.
    """

    limit: ClassVar[int | None] = None
    markup_survives: ClassVar[bool] = True
    many_targets: ClassVar[bool] = False
    takes_pictures: ClassVar[bool] = False
    picture_limit: ClassVar[int | None] = None
    behaviours: ClassVar[Mapping[str, Behaviour]] = {}
    timeout: ClassVar[float] = 0.3
    slack: ClassVar[float] = 1.5

    # What a dispatcher's own test fills in -----------------------------------------------------------

    def serve(self) -> contextlib.AbstractContextManager[Service]:
        """A service that takes everything."""
        raise NotImplementedError("serve() gives the service that the dispatcher delivers to")

    def make(self, url: str, **settings: Any) -> Dispatcher:
        """One dispatcher for the service at ``url``, with every credential from :meth:`secret`.

        Args:
            url: of the service.
            settings: some of ``timeout``, ``ca_file`` and, with ``many_targets``, ``addresses``; to be passed on.
        """
        raise NotImplementedError("make() builds the dispatcher")

    def texts(self, requests: Sequence[Any]) -> list[str]:
        """What a reader sees of some requests: title and message, an item a message, the markup undone."""
        raise NotImplementedError("texts() reads what the service got")

    # What it can fill in as well ---------------------------------------------------------------------

    def unconfigured(self) -> Dispatcher | None:
        """The dispatcher without its credentials; None where it needs none."""
        known = arguments(type(self.make("http://127.0.0.1:9")))
        if not any(argument.credential for argument in known):
            return None
        return type(self.make("http://127.0.0.1:9"))(**{each.name: "" for each in known if each.required})

    def address(self, number: int) -> str:
        """An address for ``many_targets``, another for each number: a user key, a chat, a phone number."""
        return self.secret(f"address {number}")

    def as_read(self, text: str) -> str:
        """``text`` as the service shows it, where it drops or replaces characters."""
        return text

    def title_as_read(self, title: str) -> str:
        """The same for a title, where the service treats that otherwise."""
        return self.as_read(title)

    def length(self, text: str) -> int:
        """``text`` as the service counts it against its limit."""
        return len(text)

    def assert_markup(self, request: Any) -> None:
        """Raise ``AssertionError`` where the service would refuse a request: broken markup, a field too long."""

    def assert_valid(self, request: Any) -> None:
        """Raise ``AssertionError`` where a request is no good message of its protocol."""

    def shows_picture(self, request: Any, content: bytes) -> bool:
        """Whether a request carries a picture."""
        raise NotImplementedError("shows_picture() looks for a picture in a request")

    def troubles(self, service: Any, address: str) -> Mapping[str, Callable[[], object]]:
        """Ways to make ``service`` fail at once for one address alone: what each does, and what begins it."""
        return {}

    def calls(self, dispatcher: Any) -> Mapping[str, Callable[[], object]]:
        """More methods of the dispatcher that speak to the service, by name; each may raise ``DeliveryFailed``."""
        return {}

    @contextlib.contextmanager
    def unfriendly(self, said: str) -> Iterator[dict[str, str]]:
        """Addresses of services that fail, by how they do; those that can speak say ``said``."""
        with contextlib.ExitStack() as stack:
            found = {name: stack.enter_context(FaultServer(behave)).url for name, behave in self.behaviours.items()}
            yield {**found, "closed port": f"http://127.0.0.1:{closed_port()}"} if found else {}

    # What the cases use, and a dispatcher's own tests can ---------------------------------------------

    def secret(self, name: str, *, length: int = 30, alphabet: str = LETTERS_AND_DIGITS) -> str:
        """A credential for :meth:`make`. The contract looks for it in everything that is shown.

        Args:
            name: what it is for; equal in one test for equal names.
            length: characters.
            alphabet: of which characters.
        """
        made = fresh_canary(self._test, name, length=length, alphabet=alphabet)
        self._secrets.add(made)
        return made

    def deliver(
        self, dispatcher: Dispatcher, alert: Alert | str = "hello", target: Target | None = None, **context: Any
    ) -> Receipt:
        """Deliver to the first target, or to ``target``; ``context`` is more of :class:`Context`."""
        alert = Alert.make(alert, title="Title") if isinstance(alert, str) else alert
        target = target or dispatcher.targets()[0]
        key = context.pop("key", None) or delivery_key(alert.id, dispatcher.type, target.key)
        receipt = dispatcher.deliver(alert, target, Context(key=key, **context))
        assert isinstance(receipt, Receipt), f"deliver() returned {receipt!r}"
        _assert_plain(receipt)
        return receipt

    def outcome(
        self, dispatcher: Dispatcher, alert: Alert | str = "hello", target: Target | None = None, **context: Any
    ) -> Receipt | DeliveryFailed:
        """As :meth:`deliver`; a failure is returned. Any other exception is none of the two and is raised."""
        try:
            return self.deliver(dispatcher, alert, target, **context)
        except DeliveryFailed as failed:
            self._assert_good_failure(failed)
            return failed

    @contextlib.contextmanager
    def ready(self, **settings: Any) -> Iterator[tuple[Dispatcher, Any]]:
        """A dispatcher and the service that it delivers to."""
        with self.serve() as service, contextlib.closing(self.make(service.url, **settings)) as dispatcher:
            yield dispatcher, service

    @contextlib.contextmanager
    def case(self, name: str) -> Iterator[None]:
        """One of several cases of a test: counted, and named where it fails."""
        self._count[1] += 1
        try:
            yield
        except BaseException as exc:
            exc.add_note(f"case: {name}")
            raise

    @contextlib.contextmanager
    def in_time(self, seconds: float, slack: float | None = None) -> Iterator[None]:
        """What is done inside ends within ``seconds``, and ``slack`` instead of the usual one."""
        began = time.monotonic()
        yield
        took = time.monotonic() - began
        assert took < seconds + (self.slack if slack is None else slack), (
            f"it took {took:.2f} s instead of {seconds:g} s at most"
        )

    def assert_shows(self, requests: Sequence[Any], alert: Alert) -> None:
        """A reader of ``requests`` sees the alert: all of it, or its beginning and that something was cut off."""
        texts = [_lines(text) for text in self.texts(requests)]
        assert texts, "nothing was sent"
        for request in requests:
            self.assert_valid(request)
            self.assert_markup(request)
        if self.limit is not None:
            assert [self.length(text) for text in texts if self.length(text) > self.limit] == []
        if self.markup_survives:
            message = _lines(self.as_read(alert.message)).strip()
            shown, _ = pieces(texts, message)
            assert shown == message or _ends_shortened(texts, shown), (
                f"a reader sees {shown[-60:]!r} instead of {message[len(shown) - 60 : len(shown) + 60]!r}"
                if shown
                else f"a reader sees {texts[0][:200]!r} and not {message[:200]!r}"
            )
            self._assert_title(texts, alert)

    def _assert_title(self, texts: Sequence[str], alert: Alert) -> None:
        title = " ".join(_lines(self.title_as_read(alert.title)).split())
        shown, _ = pieces([" ".join("\n".join(texts).split())], title)
        assert shown == title or _ends_shortened(texts, shown), f"{title[:100]!r} is not in {texts[0][:200]!r}"

    def _assert_good_failure(self, failed: DeliveryFailed) -> None:
        assert isinstance(failed.failure, Failure)
        assert failed.reason.strip(), "a failure without a reason"
        assert len(failed.reason) < 2_000, f"a reason of {len(failed.reason)} characters is no sentence"
        if failed.failure is Failure.RETRY_AFTER:
            assert failed.retry_after is not None
            assert math.isfinite(failed.retry_after)
            assert failed.retry_after > 0
        else:
            assert failed.retry_after is None, "retry_after is for RETRY_AFTER alone"
        assert found_in(shown_by(failed), self._secrets) == []

    def _type(self) -> str:
        """The channel type that this contract is about."""
        if type(self) not in _types:
            _types[type(self)] = self.make("http://127.0.0.1:9").type
            self._secrets.clear()
        return _types[type(self)]

    @pytest.fixture(autouse=True)
    def _contract(
        self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> Iterator[None]:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.lower(), raising=False)
        # What another test made known as a secret must not hide what this dispatcher forgot to.
        monkeypatch.setattr(redact, "_secrets", set())
        monkeypatch.setattr(redact, "_pattern", None)
        self._test: str = request.node.nodeid
        self._secrets: set[str] = set()
        # A list that grows while the test runs: the report of a test is made when it is over.
        self._count: list[Any] = [self._type(), 0]
        request.node.user_properties.append(("contract", self._count))
        caplog.set_level(logging.DEBUG)
        caplog.set_level(logging.DEBUG, logger="urllib3")
        yield
        assert found_in(logged(caplog.get_records("call")), self._secrets) == [], "a credential is in the log"

    # ---------------------------------------------------------------------------------- the class itself

    def test_its_class_says_what_settings_and_forms_need(self) -> None:
        kind = type(self.make("http://127.0.0.1:9"))
        assert re.fullmatch(r"[a-z][a-z0-9_]*", kind.type), f"type is {kind.type!r}: the name of the channel type"
        assert kind.rate >= 0
        assert inspect.getdoc(kind), "a class without a docstring"
        for argument in arguments(kind):
            with self.case(argument.name):
                assert argument.about.strip(), "annotate it with About(...)"
                assert argument.annotation is not Any, "say of which type it is"
                if argument.credential and not argument.required:
                    assert not argument.default, "a credential cannot have a default"

    def test_without_credentials_it_says_what_to_set_and_sends_nothing(self) -> None:
        dispatcher = self.unconfigured()
        if dispatcher is None:
            assert self.make("http://127.0.0.1:9").missing() == ""
            return
        said = dispatcher.missing()
        names = [name for each in arguments(type(dispatcher)) for name in (each.name, each.env) if name]
        assert any(name in said for name in names), f"missing() must name what to set, and says {said!r}"
        assert list(dispatcher.targets()) == []
        assert dispatcher.send_custom_alert("x") is False
        assert dispatcher.test_connection() is False
        assert "not configured" in repr(dispatcher)
        dispatcher.close()

    def test_a_credential_that_cannot_be_right_is_not_shown(self) -> None:
        known = arguments(type(self.make("http://127.0.0.1:9")))
        for odd in ("", " ", "\r\nX-A: 1", "\0", "é", "🚀", "/../", "?", ":", "\ud800"):
            with self.case(repr(odd)):
                secret = self.secret(f"odd {odd!r}")
                given = {each.name: f"{secret}{odd}" for each in known if each.credential}
                try:
                    shown = repr(type(self.make("http://127.0.0.1:9"))(**given))
                except (ValueError, TypeError) as exc:  # the latter where more than credentials is required
                    shown = str(exc)
                assert found_in(shown, [secret]) == []

    def test_targets_have_labels_and_keys_of_their_own(self) -> None:
        with self.ready() as (dispatcher, _):
            assert dispatcher.missing() == ""
            targets = dispatcher.targets()
            assert len(targets) == 1, "make() without addresses has one target"
            assert targets[0].label.strip()
            shown = repr(dispatcher) + repr(targets) + targets[0].label
            assert found_in(shown, self._secrets) == []
            assert [each.key for each in dispatcher.targets()] == [each.key for each in targets]

    # ------------------------------------------------------------------------------------ what is sent

    def test_an_alert_arrives(self) -> None:
        with self.ready() as (dispatcher, service):
            alert = Alert.make("Price: 150.5\nSize: 10", title="BUY AAPL")
            self.deliver(dispatcher, alert)
            self.assert_shows(service.requests, alert)
            assert self.markup_survives is False or len(pieces(self.texts(service.requests), alert.title)[0]) > 0

    @pytest.mark.parametrize("place", ["message", "title"])
    def test_no_text_breaks_it(self, place: str) -> None:
        with self.ready() as (dispatcher, service):
            for name, text in poison.TEXTS.items():
                with self.case(f"{name} as {place}"):
                    alert = Alert.make(text, title="Title") if place == "message" else Alert.make("body", title=text)
                    before = len(service.requests)
                    outcome = self.outcome(dispatcher, alert)
                    if isinstance(outcome, Receipt):
                        self.assert_shows(service.requests[before:], alert)
                    else:
                        assert outcome.failure in {Failure.PERMANENT, Failure.TOO_LARGE}, outcome.reason

    def test_no_text_in_its_data_breaks_it(self) -> None:
        with self.ready() as (dispatcher, service):
            for name, text in poison.TEXTS.items():
                with self.case(name):
                    data = {"note": text, text[:50]: 1, dispatcher.type: text, "pnl": 1.5, "list": [text, None, 1e300]}
                    alert = Alert.make("body", title="Title", symbol=text, strategy=text, data=data, thread=text[:400])
                    before = len(service.requests)
                    assert isinstance(self.outcome(dispatcher, alert), Receipt)
                    self.assert_shows(service.requests[before:], alert)

    @pytest.mark.parametrize("filler", ["words", "lines", "no spaces", "clusters", "markup", "escapes"])
    def test_a_long_text_is_split_or_shortened(self, filler: str) -> None:
        most = self.limit or 8_000
        with self.ready() as (dispatcher, service):
            for size in (most // 2, most - 1, most, most + 1, 2 * most, 3 * most + 7):
                with self.case(f"{size} characters"):
                    message, boundaries = _long_text(filler, min(size, 30_000))
                    alert = Alert.make(message, title="Long")
                    before = len(service.requests)
                    self.deliver(dispatcher, alert)
                    requests = service.requests[before:]
                    self.assert_shows(requests, alert)
                    if not self.markup_survives or self.as_read(message) != message:
                        continue
                    shown, cuts = pieces([_lines(text) for text in self.texts(requests)], message)
                    assert len(shown) >= min(len(message), most // 4), f"only {len(shown)} of {most} are used"
                    assert [cut for cut in cuts if cut not in boundaries] == [], "cut inside a character"

    def test_no_character_is_cut(self) -> None:
        most = self.limit or 8_000
        with self.ready() as (dispatcher, service):
            for cluster in poison.CLUSTERS:
                # Wherever a text is cut, one of these has a cluster across that place.
                for before in range(min(len(cluster), 4) if len(cluster) > 1 else 0):
                    with self.case(f"{before} characters before many of {cluster!a}"):
                        message = "x" * before + cluster * (min(most * 5 // 4, 20_000) // len(cluster))
                        if self.as_read(message) != message or not self.markup_survives:
                            continue
                        start = len(service.requests)
                        self.deliver(dispatcher, Alert.make(message, title="Long"))
                        texts = [_lines(text) for text in self.texts(service.requests[start:])]
                        _, cuts = pieces(texts, message)
                        assert [cut for cut in cuts if cut >= before and (cut - before) % len(cluster)] == []

    def test_a_long_title_keeps_its_beginning(self) -> None:
        with self.ready() as (dispatcher, service):
            for size in (100, 250, 256, 500):
                with self.case(f"{size} characters"):
                    title, _ = _long_text("clusters", size)
                    alert = Alert.make("body", title=title)
                    before = len(service.requests)
                    self.deliver(dispatcher, alert)
                    self.assert_shows(service.requests[before:], alert)

    def test_every_priority_silent_or_not_arrives(self) -> None:
        with self.ready() as (dispatcher, service):
            for priority in Priority:
                for silent in (False, True):
                    with self.case(f"{priority.value}, silent {silent}"):
                        alert = Alert.make("body", title="Title", priority=priority)
                        before = len(service.requests)
                        self.deliver(dispatcher, alert, silent=silent)
                        self.assert_shows(service.requests[before:], alert)

    def test_a_late_alert_says_how_late(self) -> None:
        with self.ready() as (dispatcher, service):
            for late, words in (
                (dt.timedelta(minutes=11), "⏱ 11 min late"),
                (dt.timedelta(seconds=3), "⏱ 3 s late"),
                (dt.timedelta(hours=2), "⏱ 2 h late"),
                (dt.timedelta(days=3), "⏱ 3 d late"),
            ):
                for message in ("body", "", "x" * 30_000):
                    with self.case(f"{words}, {len(message)} characters"):
                        alert = Alert.make(message, title="Title")
                        before = len(service.requests)
                        self.deliver(dispatcher, alert, late=late, silent=True)
                        shown = "\n".join(self.texts(service.requests[before:]))
                        assert self.as_read(words) in shown
                        self.assert_shows(service.requests[before:], alert)

    def test_each_attempt_of_a_delivery_is_the_same_and_leaves_the_alert_as_it_was(self) -> None:
        with self.ready() as (dispatcher, service):
            alert = Alert.make("body", title="Title", data={"price": 1.5, "nested": {"list": [1, 2]}}, thread="t")
            before = alert.to_json()
            for attempt, key in ((1, "msg_same"), (2, "msg_same"), (1, "msg_other")):
                self.deliver(dispatcher, alert, key=key, attempt=attempt)
            assert alert.to_json() == before
            size = len(service.requests) // 3
            sent = [service.requests[start : start + size] for start in range(0, 3 * size, size)]
            assert len({tuple(self.texts(requests)) for requests in sent}) == 1
            named = ["msg_same" in repr(requests) for requests in sent]
            assert named[0] == named[1], "an idempotency key is the same for every attempt"
            assert not named[2], "and another for another delivery"

    def test_what_is_known_of_earlier_messages_does_no_harm(self) -> None:
        with self.ready() as (dispatcher, service):
            first = self.deliver(dispatcher, Alert.make("first", thread="t"))
            key = dispatcher.targets()[0].key
            remembered = {key: first.remember} if first.remember is not None else {}
            contexts: dict[str, dict[str, Any]] = {
                "a reply": {"replies_to": (first.id, first.id)},
                "a reply to nobody": {"replies_to": ("", "")},
                "a reply to what is no id": {"replies_to": ("no such id\n", "🚀")},
                "memory": {"memory": remembered},
                "foreign memory": {"memory": {key: {"unknown": [1]}, "other": {}}},
                "buttons": {"buttons": True},
            }
            for name, context in contexts.items():
                with self.case(name):
                    alert = Alert.make(f"body: {name}", title="Title", thread="t")
                    before = len(service.requests)
                    self.deliver(dispatcher, alert, **context)
                    self.assert_shows(service.requests[before:], alert)

    def test_a_preview_shows_the_text_and_sends_nothing(self) -> None:
        with self.ready() as (dispatcher, service):
            target = dispatcher.targets()[0]
            alert = Alert.make("body of a preview", title="Title")
            preview = dispatcher.preview(alert, target, Context(key="k"))
            assert preview
            assert all(isinstance(request, Request) for request in preview)
            assert service.requests == []
            self.deliver(dispatcher, alert)
            self.assert_shows(service.requests, alert)

    def test_a_follow_up_tells_news_or_nothing(self) -> None:
        with self.ready() as (dispatcher, _):
            receipt = self.deliver(dispatcher, Alert.make("x", priority=Priority.CRITICAL))
            if receipt.follow_up is None:
                return  # it is asked for only where the receipt says so
            try:
                news = dispatcher.follow_up(receipt)
            except DeliveryFailed as failed:
                self._assert_good_failure(failed)
            else:
                assert news is None or isinstance(news, News)

    # -------------------------------------------------------------------------------------- used alone

    def test_its_own_methods_send_at_once(self, tmp_path: Path) -> None:
        with self.ready() as (dispatcher, service):
            sends: dict[str, tuple[Callable[[], bool], list[str]]] = {
                "send_alert": (lambda: dispatcher.send_alert("BUY", "AAPL", 150.5, 10), ["AAPL", "150.5"]),
                "send_strategy_signal": (
                    lambda: dispatcher.send_strategy_signal("Momentum", "BUY", "MSFT", ["RSI below 30"]),
                    ["Momentum", "MSFT", "RSI below 30"],
                ),
                "send_error_alert": (
                    lambda: dispatcher.send_error_alert("Feed", "it is gone", {"feed": "GOOG"}),
                    ["Feed", "it is gone", "GOOG"],
                ),
                "send_market_update": (lambda: dispatcher.send_market_update("TSLA", 150.5, 2.5), ["TSLA"]),
                "send_custom_alert": (lambda: dispatcher.send_custom_alert("any text", "Any title"), ["any text"]),
                "high_priority": (lambda: dispatcher.send_custom_alert("urgent", high_priority=True), ["urgent"]),
            }
            for name, (send, wanted) in sends.items():
                with self.case(name):
                    before = len(service.requests)
                    assert send() is True
                    shown = "\n".join(self.texts(service.requests[before:]))
                    missing = [words for words in wanted if self.as_read(words) not in shown]
                    assert missing == [] or "…" in shown or "..." in shown, f"{missing} not in {shown!r}"
            with pytest.raises(TypeError, match="does not know the argument no_such"):
                dispatcher.send_custom_alert("x", no_such=1)
            assert dispatcher.get_alerts_count() == {"BUY": 1, "signal": 1, "error": 1, "market": 1, "custom": 2}
            assert [alert.message for alert in dispatcher.get_alerts_by_type("custom")] == ["any text", "urgent"]
            exported = dispatcher.export_alerts(str(tmp_path / "alerts.json"))
            rows = json.loads(exported.read_text(encoding="utf-8"))
            assert [Alert.from_dict(row) for row in rows] == dispatcher.get_alerts_history()
            dispatcher.clear_history()
            assert dispatcher.get_alerts_history() == []

    def test_switched_off_it_keeps_alerts_and_sends_nothing(self) -> None:
        with self.ready() as (dispatcher, service):
            dispatcher.disable()
            assert dispatcher.send_custom_alert("x") is False
            assert len(dispatcher.get_alerts_history()) == 1
            assert service.requests == []
            dispatcher.enable()
            assert dispatcher.send_custom_alert("x") is True
            assert service.requests != []

    def test_a_check_works(self) -> None:
        with self.ready() as (dispatcher, _):
            receipt = dispatcher.check(dispatcher.targets()[0])
            assert isinstance(receipt, Receipt)
            _assert_plain(receipt)
            assert dispatcher.test_connection() is True

    def test_it_can_be_closed_twice_and_used_again(self) -> None:
        with self.ready() as (dispatcher, service):
            dispatcher.close()
            self.deliver(dispatcher)
            dispatcher.close()
            dispatcher.close()
            self.deliver(dispatcher)
            assert len(self.texts(service.requests)) == 2

    # ---------------------------------------------------------------------------------------- pictures

    def test_a_file_that_cannot_be_sent_does_not_keep_the_text_back(self, tmp_path: Path) -> None:
        file = tmp_path / "chart.png"
        file.write_bytes(PICTURE)
        good = Attachment.from_path(file)
        odd = {
            "gone": _with(good, path=str(tmp_path / "gone.png")),
            "a folder": _with(good, path=str(tmp_path)),
            "no path": _with(good, path=""),
            "a path with NUL": _with(good, path="a\0b"),
            "another size than it says": _with(good, size=3),
            "no content": _with(good, size=0),
            "an odd name": _with(good, name='a"\r\nX-Injected: yes\r\n\r\n/../🚀.png'),
            "no name": _with(good, name=""),
            "an odd type": _with(good, content_type="image/png\r\nX-Injected: yes"),
            "no picture": _with(good, name="notes.txt", content_type="text/plain"),
        }
        with self.ready() as (dispatcher, service):
            for name, attachment in odd.items():
                with self.case(name):
                    alert = Alert.make("with a file", title="Title", attachments=[attachment])
                    before = len(service.requests)
                    receipt = self.deliver(dispatcher, alert)
                    self.assert_shows(service.requests[before:], alert)
                    if self.takes_pictures and name in {"gone", "a folder", "no path", "a path with NUL"}:
                        assert receipt.note, "the receipt must say that the picture is missing"
                    assert str(tmp_path) not in repr(service.requests[before:]), "a path of this machine was sent"

    def test_a_picture_arrives_with_its_text(self, tmp_path: Path) -> None:
        self._needs_pictures()
        file = tmp_path / "chart.png"
        file.write_bytes(PICTURE)
        with self.ready() as (dispatcher, service):
            alert = Alert.make("with a picture", title="Title", attachments=[Attachment.from_path(file)])
            receipt = self.deliver(dispatcher, alert)
            assert any(self.shows_picture(request, PICTURE) for request in service.requests)
            self.assert_shows(service.requests, alert)
            assert receipt.note == ""

    def test_a_picture_that_is_too_large_stays_and_the_text_goes(self, tmp_path: Path) -> None:
        self._needs_pictures()
        if self.picture_limit is None:
            pytest.skip("no picture is too large")
        file = tmp_path / "chart.png"
        file.write_bytes(PICTURE)
        small = Attachment.from_path(file)
        with file.open("r+b") as opened:
            opened.truncate(self.picture_limit + 1)
        with self.ready() as (dispatcher, service):
            for name, size in (("and says so", self.picture_limit + 1), ("and says otherwise", len(PICTURE))):
                with self.case(name):
                    alert = Alert.make("with a picture", title="Title", attachments=[_with(small, size=size)])
                    before = len(service.requests)
                    receipt = self.deliver(dispatcher, alert)
                    assert not any(self.shows_picture(request, PICTURE) for request in service.requests[before:])
                    self.assert_shows(service.requests[before:], alert)
                    assert receipt.note, "the receipt must say that the picture is missing"

    def _needs_pictures(self) -> None:
        if not self.takes_pictures:
            pytest.skip("it sends no pictures")
        assert type(self.make("http://127.0.0.1:9")).takes_pictures, "without takes_pictures no chart is drawn for it"

    # -------------------------------------------------------------------------------- targets and threads

    def test_what_happens_to_one_target_is_nothing_to_the_others(self) -> None:
        if not self.many_targets:
            pytest.skip("one target each")
        names = [self.address(number) for number in range(3)]
        with self.ready(addresses=names) as (dispatcher, service):
            targets = dispatcher.targets()
            assert len({each.key for each in targets}) == len({each.label for each in targets}) == 3
            troubles = self.troubles(service, names[1])
            assert troubles, "troubles() gives ways to make one address fail"
            for kind, begin in troubles.items():
                with self.case(kind):
                    begin()
                    found = self._at_once(dispatcher)
                    assert [isinstance(each, DeliveryFailed) for each in found] == [False, True, False], found
                    before = len(service.requests)
                    assert dispatcher.send_custom_alert("all of them") is False
                    assert len(service.requests) - before >= 3

    def _at_once(self, dispatcher: Dispatcher) -> list[Receipt | DeliveryFailed]:
        """What becomes of an alert to each target, all at the same time."""
        targets = dispatcher.targets()
        with concurrent.futures.ThreadPoolExecutor(len(targets)) as pool:
            return list(pool.map(lambda target: self.outcome(dispatcher, "hello", target), targets))

    def test_an_address_that_is_given_twice_gets_one_message(self) -> None:
        if not self.many_targets:
            pytest.skip("one target each")
        one, two = self.address(1), self.address(2)
        with self.ready(addresses=[one, two, one]) as (dispatcher, _):
            assert len(dispatcher.targets()) == 2

    def test_several_threads_share_it(self) -> None:
        with self.ready() as (dispatcher, service):
            found = self._from_threads(dispatcher)
            assert len(found) == THREADS * EACH
            texts = "\n".join(self.texts(service.requests))
            for words in found:
                with self.case(words):
                    assert texts.count(self.as_read(f"[{words}]")) == 1

    def _from_threads(self, dispatcher: Dispatcher) -> dict[str, Receipt]:
        """Deliver from many threads: what each receipt is of."""

        def work(thread: int) -> dict[str, Receipt]:
            names = [f"thread {thread} number {number} ." for number in range(EACH)]
            return {name: self.deliver(dispatcher, f"[{name}]", key=_key(name)) for name in names}

        with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
            return {name: receipt for part in pool.map(work, range(THREADS)) for name, receipt in part.items()}

    # ------------------------------------------------------------------------------------------- secrets

    def test_no_credential_is_shown(self, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
        self.make("http://127.0.0.1:9").close()
        with self.unfriendly(" ".join(sorted(self._secrets))) as urls:
            for kind, url in urls.items():
                with self.case(kind), contextlib.closing(self.make(url, timeout=self.timeout / 3)) as dispatcher:
                    failed = self.outcome(dispatcher)
                    assert isinstance(failed, DeliveryFailed), f"delivered to a service that is {kind}"
                    acts: dict[str, Callable[[], object]] = {
                        "check": functools.partial(dispatcher.check, dispatcher.targets()[0]),
                        "send": functools.partial(dispatcher.send_custom_alert, "x"),
                        **self.calls(dispatcher),
                    }
                    for name, act in acts.items():
                        with self.case(f"{name} to a service that is {kind}"):
                            try:
                                act()
                            except DeliveryFailed as exc:
                                self._assert_good_failure(exc)
                    self._assert_hidden(dispatcher, caplog, capsys)
        with self.ready() as (dispatcher, _), self.case("success"):
            self.deliver(dispatcher)
            dispatcher.test_connection()
            self._assert_hidden(dispatcher, caplog, capsys)

    def _assert_hidden(
        self, dispatcher: Dispatcher, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
    ) -> None:
        printed = capsys.readouterr()
        places = {
            "log": logged(caplog.records),
            "repr": repr(dispatcher) + repr(dispatcher.targets()),
            "labels": "".join(target.label for target in dispatcher.targets()),
            "missing": dispatcher.missing(),
            "output": printed.out + printed.err,
        }
        assert [name for name, text in places.items() if found_in(text, self._secrets)] == []


# ---------------------------------------------------------------------------------------------- reading


def pieces(texts: Sequence[str], message: str) -> tuple[str, list[int]]:
    """How much of ``message`` some texts show in their order, and the places in it where they cut it.

    Each text goes on where the one before ended, and may have more around it: a title, a footer, "(2/3)". White space
    at a cut may be gone.
    """
    at, cuts = 0, []
    for text in texts:
        start = at
        while start < len(message) and message[start].isspace():
            start += 1
        length = max((_common(text[place:], message[start:]) for place in _places(text, message[start:])), default=0)
        if length:
            cuts += [start] if start != at or at else []
            at = start + length
            if at < len(message):
                cuts.append(at)
    while at < len(message) and message[at].isspace():
        at += 1
    return message[:at], cuts


def _places(text: str, wanted: str) -> Iterator[int]:
    """Where ``wanted`` may begin in ``text``, until a place is found that nothing can be better than."""
    best = 0
    place = text.find(wanted[0]) if wanted else -1
    while place >= 0 and len(text) - place > best:
        yield place
        best = max(best, _common(text[place:], wanted))
        if best == len(wanted):
            return
        place = text.find(wanted[0], place + 1)


def _common(one: str, other: str) -> int:
    """How many characters two texts have in common at their beginning."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[:middle] == other[:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _ends_shortened(texts: Sequence[str], shown: str) -> bool:
    """Whether an ellipsis follows what is shown."""
    end = shown[-20:].rstrip()
    return any(re.search(re.escape(end) + r"\s*(…|\.\.\.)", text) for text in texts)


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _long_text(filler: str, size: int) -> tuple[str, set[int]]:
    """A text of ``size`` characters, or a few fewer, and the places where it may be cut."""
    if filler == "clusters":
        parts, total = [], 0
        for number in range(size):
            # Each in front of each other one, because what joins them is what they meet.
            cluster = poison.CLUSTERS[(number * number + number // len(poison.CLUSTERS)) % len(poison.CLUSTERS)]
            if total + len(cluster) > size:
                break
            parts.append(cluster)
            total += len(cluster)
        ends = [0]
        for part in parts:
            ends.append(ends[-1] + len(part))
        return "".join(parts), set(ends)
    text = {
        "words": " ".join(f"word{number}" for number in range(size // 4)),
        "lines": "\n".join(f"line number {number}" for number in range(size // 8)),
        "no spaces": "".join(f"{number:06}" for number in range(size // 6 + 1)),
        "markup": "".join(f"<b>{number}</b> *_[x](y)_* &amp; {{{{ {number} }}}} " for number in range(size // 20)),
        "escapes": "".join(f"{number}<>&\"'_*[]()~`>#+-=|{{}}.!\\" for number in range(size // 20)),
    }[filler][:size].strip()
    return text, set(range(len(text) + 1))


def _with(attachment: Attachment, **changes: Any) -> Attachment:
    fields = {name: getattr(attachment, name) for name in Attachment.__dataclass_fields__}
    return Attachment(**{**fields, **changes})


def _key(name: str) -> str:
    return "msg_" + re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _assert_plain(receipt: Receipt) -> None:
    """A receipt is written to a store."""
    assert isinstance(receipt.id, str)
    assert isinstance(receipt.note, str)
    assert json.loads(json.dumps(dict(receipt.facts), allow_nan=False)) == dict(receipt.facts)
    if receipt.remember is not None:
        assert json.loads(json.dumps(dict(receipt.remember), allow_nan=False)) == dict(receipt.remember)
    for number in (receipt.hold_until, receipt.hold_target_until, receipt.follow_up):
        assert number is None or math.isfinite(number)


def closed_port() -> int:
    """A port of this machine where nobody listens."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
