"""Puts a canary where a credential is, and looks for it wherever a failure shows itself."""

from __future__ import annotations

import hashlib
import logging
import socket
import ssl
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import fault_server as faults
import pytest
from fault_server import FaultServer

from bt_alerts.dispatchers.base import DeliveryFailed, Dispatcher
from bt_alerts.testing import FakeService


def fresh_canary(*names: str) -> str:
    """A credential of 30 letters and digits, another for each test: what is once known to be secret stays hidden."""
    return hashlib.sha256("/".join(names).encode()).hexdigest()[:30]


def shown_by(failed: BaseException) -> str:
    """Everything that a failure says about itself, and that what hangs on it says."""
    seen: list[str] = []
    waiting: list[BaseException | None] = [failed]
    while waiting:
        exc = waiting.pop()
        if exc is not None:
            lines = traceback.TracebackException.from_exception(exc, capture_locals=False).format()
            seen += [str(exc), repr(exc), repr(exc.args), repr(vars(exc)), *lines]
            waiting += [exc.__cause__, exc.__context__]
    return "\n".join(seen)


@contextmanager
def unfriendly_services(certificate: ssl.SSLContext, echo: str) -> Iterator[dict[str, str]]:
    """Addresses of services that fail in every way, some of them quoting ``echo``."""
    with (
        FakeService() as refusing,
        FakeService() as redirecting,
        FakeService(ssl_context=certificate) as untrusted,
        FaultServer(faults.resets_instead_of_an_answer) as resetting,
        FaultServer(faults.speaks_no_http) as babbling,
        FaultServer(faults.never_answers) as silent,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        refusing.answer(400, f"bad credentials: {echo}")
        redirecting.answer(307, headers={"Location": f"https://elsewhere.example/{echo}"})
        port = listener.getsockname()[1]
        listener.close()
        yield {
            "refusing": refusing.url,
            "redirecting": redirecting.url,
            "untrusted": untrusted.url,
            "resetting": resetting.url,
            "babbling": babbling.url,
            "silent": silent.url,
            "refused": f"http://127.0.0.1:{port}",
        }


def assert_canary_stays_in(
    canary: str,
    dispatcher: Dispatcher,
    act: Callable[[], object],
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Do ``act``, which must fail, with the root logger at DEBUG."""
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("urllib3").setLevel(logging.DEBUG)
        with pytest.raises(DeliveryFailed) as caught:
            act()
        dispatcher.send_custom_alert("x")
        dispatcher.test_connection()
    assert any(record.name.startswith("urllib3") for record in caplog.records), "nothing was looked at"
    printed = capsys.readouterr()
    places = {
        "failure": shown_by(caught.value),
        "log": "\n".join(f"{r.getMessage()} {r.msg} {r.args} {r.exc_text}" for r in caplog.records),
        "repr": repr(dispatcher) + repr(dispatcher.targets()) + "".join(t.label for t in dispatcher.targets()),
        "output": printed.out + printed.err,
    }
    assert [name for name, text in places.items() if canary in text] == []
