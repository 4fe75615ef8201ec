"""Which times steps of a delivery are given: what is looked at is the time, and not how long it takes."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from bt_alerts.dispatchers.http import Answer, HttpClient


def handshake_timeouts(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """The timeouts of all TLS handshakes from now on, in seconds."""
    given: list[float | None] = []
    handshake = ssl.SSLSocket.do_handshake

    def watched(sock: ssl.SSLSocket, block: bool = False) -> None:
        given.append(sock.gettimeout())
        handshake(sock, block)

    monkeypatch.setattr(ssl.SSLSocket, "do_handshake", watched)
    return given


def request_timeouts(monkeypatch: pytest.MonkeyPatch, client: HttpClient) -> list[float]:
    """The timeouts of a client's requests from now on, in seconds."""
    given: list[float] = []
    request = client.request

    def watched(*args: Any, timeout: float, **what: Any) -> Answer:
        given.append(timeout)
        return request(*args, timeout=timeout, **what)

    monkeypatch.setattr(client, "request", watched)
    return given
