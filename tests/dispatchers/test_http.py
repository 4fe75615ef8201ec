"""The HTTP client against real sockets: what it takes, how long it takes, and what it calls each failure."""

from __future__ import annotations

import datetime as dt
import os
import re
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator

import pytest
from timeouts_kit import handshake_timeouts

from bt_alerts.dispatchers import deadline
from bt_alerts.dispatchers.base import DeliveryFailed, Failure
from bt_alerts.dispatchers.http import (
    MAX_ADDRESSES,
    MAX_ANSWER,
    MAX_RETRY_AFTER,
    USER_AGENT,
    Answer,
    HttpClient,
    raise_for_status,
    retry_after,
)
from bt_alerts.redact import register_secret
from bt_alerts.testing import FakeService, FaultServer, faults

NOW = dt.datetime(2026, 5, 1, 12, 0, 0, tzinfo=dt.UTC)
DEADLINE = 0.3
LARGE = b"x" * 12_000_000  # more than the kernel takes while nobody reads
SLACK = 5.0  # what a busy machine may add to a deadline


@pytest.fixture
def client() -> Iterator[HttpClient]:
    client = HttpClient()
    yield client
    client.close()


def post(client: HttpClient, url: str, timeout: float = DEADLINE, **what: object) -> Answer:
    return client.request("POST", f"{url}/path", data=b"{}", timeout=timeout, **what)  # type: ignore[arg-type]


def refused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


# ---------------------------------------------------------------------------------------- answers


def test_it_returns_status_headers_and_body(client: HttpClient, service: FakeService) -> None:
    service.answer(201, {"id": "7"}, {"X-Thing": "yes"})
    answer = post(client, service.url, 5.0)
    assert (answer.status, answer.json(), answer.headers["x-thing"], answer.complete) == (201, {"id": "7"}, "yes", True)


def test_it_sends_its_name_and_no_credentials_of_netrc(
    client: HttpClient, service: FakeService, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = f"{tmp_path}/netrc"
    with open(netrc, "w", encoding="ascii") as file:
        file.write("machine 127.0.0.1 login somebody password something\n")
    monkeypatch.setenv("NETRC", netrc)
    post(client, service.url, 5.0)
    assert service.requests[0].headers["user-agent"] == USER_AGENT
    assert "authorization" not in service.requests[0].headers


@pytest.mark.parametrize(("size", "at_once"), [(2, True), (60_000, True), (200_000, False)])
def test_head_and_body_go_in_one_piece_unless_the_body_is_large(
    client: HttpClient, size: int, at_once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces: list[bytes] = []
    original = deadline._Socket.sendall
    monkeypatch.setattr(deadline._Socket, "sendall", lambda self, data: (pieces.append(data), original(self, data)))
    with FakeService() as service:
        for _ in range(2):
            client.request("POST", service.url, data=b"x" * size, timeout=5.0)
        assert [request.body for request in service.requests] == [b"x" * size] * 2
    assert (len(pieces) == 2) is at_once
    assert pieces[0].startswith(b"POST ")


def test_addresses_that_are_many_are_not_kept_for_ever(client: HttpClient, service: FakeService) -> None:
    for number in range(3 * MAX_ADDRESSES):
        client.request("POST", f"{service.url}/{number}", data=b"{}", timeout=5.0)
    assert [request.path for request in service.requests] == [f"/{number}" for number in range(3 * MAX_ADDRESSES)]
    assert len(client._prepared) <= MAX_ADDRESSES


def test_it_keeps_connections_alive(client: HttpClient, service: FakeService) -> None:
    for _ in range(5):
        post(client, service.url, 5.0)
    assert {request.connection for request in service.requests} == {1}


def test_it_keeps_tls_connections_alive(tls_service: FakeService, ca_file: str) -> None:
    client = HttpClient(ca_file=ca_file)
    for _ in range(3):
        assert post(client, tls_service.url, 5.0).status == 200
    assert {request.connection for request in tls_service.requests} == {1}
    client.close()


def test_it_takes_the_authorities_from_the_environment(
    tls_service: FakeService, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", ca_file)
    assert post(HttpClient(), tls_service.url, 5.0).status == 200


def test_several_threads_share_one_client(client: HttpClient, service: FakeService) -> None:
    threads = [threading.Thread(target=lambda: [post(client, service.url, 10.0) for _ in range(20)]) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(service.requests) == 120
    assert len({request.connection for request in service.requests}) <= 6


def test_it_reads_a_long_answer_only_in_part_and_stays_in_step(client: HttpClient, service: FakeService) -> None:
    service.answer(200, b"x" * (MAX_ANSWER * 3)).answer(200, {"second": True})
    first = post(client, service.url, 5.0)
    assert len(first.body) == MAX_ANSWER
    assert post(client, service.url, 5.0).json() == {"second": True}


def test_an_answer_without_an_end_is_left_early(client: HttpClient) -> None:
    def never_stops(sock: socket.socket, server: FaultServer) -> None:
        server.read_request(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            sock.sendall(b"x" * 65536)

    with FaultServer(never_stops) as server:
        answer = post(client, server.url, 10.0)
    assert (len(answer.body), answer.complete) == (MAX_ANSWER, True)


def test_an_interim_answer_is_not_mixed_up_with_the_next_one(client: HttpClient) -> None:
    def hints_first(sock: socket.socket, server: FaultServer) -> None:
        server.read_request(sock)
        sock.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n" + faults.OK)
        server.over.wait()

    with FaultServer(hints_first, faults.answers) as server:
        assert post(client, server.url, 5.0).status == 103
        assert post(client, server.url, 5.0).status == 200
        assert server.connections == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_opens_its_own_connection(service: FakeService) -> None:
    code = (
        "import os, sys\n"
        "from bt_alerts.dispatchers.http import HttpClient\n"
        "client = HttpClient()\n"
        "call = lambda: client.request('POST', sys.argv[1], data=b'', timeout=5)\n"
        "call()\n"
        "pid = os.fork()\n"
        "call()\n"
        "if pid: os.waitpid(pid, 0); call()\n"
    )
    subprocess.run([sys.executable, "-c", code, service.url], check=True, timeout=30)
    used = [request.connection for request in service.requests]
    assert sorted(used) == [1, 1, 1, 2]


# ---------------------------------------------------------------------------------------- redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_answer_and_is_not_followed(client: HttpClient, service: FakeService, status: int) -> None:
    with FakeService() as elsewhere:
        service.answer(status, headers={"Location": elsewhere.url})
        answer = post(client, service.url, 5.0)
        assert answer.status == status
        assert elsewhere.requests == []
    with pytest.raises(DeliveryFailed, match="redirect, which is not followed") as caught:
        raise_for_status(answer)
    assert caught.value.failure is Failure.PERMANENT


# ---------------------------------------------------------------------------------------- deadlines


def at_its_deadline(ask: Callable[[float], Answer], words: str = "") -> Answer | DeliveryFailed:
    """How a call ends at its deadline: in time, and with a failure that says ``words``; without them with an answer.

    Where it ends otherwise, because a busy machine got less far in so short a time, it is made again with ten times as
    much.
    """
    for seconds in (DEADLINE, 10 * DEADLINE):
        began = time.monotonic()
        ended: Answer | DeliveryFailed
        try:
            ended = ask(seconds)
        except DeliveryFailed as failed:
            ended = failed
        assert time.monotonic() - began < seconds + SLACK
        said = ended.reason if isinstance(ended, DeliveryFailed) else ""
        if f"{words} {seconds:g} s" in said if words else not said:
            return ended
    raise AssertionError(f"it ended otherwise: {said or ended!r}")


@pytest.mark.parametrize(
    "behaviour", [faults.never_answers, faults.never_reads, faults.dribbles_headers], ids=lambda b: b.__name__
)
def test_the_whole_call_ends_at_its_deadline(client: HttpClient, behaviour: faults.Behaviour) -> None:
    with FaultServer(behaviour) as server:
        failed = at_its_deadline(lambda seconds: post(client, server.url, seconds), "did not answer within")
    assert isinstance(failed, DeliveryFailed)
    assert failed.reason.endswith(" s: it may have arrived")
    assert (failed.failure, failed.answered) == (Failure.UNKNOWN, False)


def test_a_dribbled_body_ends_at_the_deadline_and_keeps_the_status(client: HttpClient) -> None:
    with FaultServer(faults.dribbles_body) as server:
        answer = at_its_deadline(lambda seconds: post(client, server.url, seconds))
    assert isinstance(answer, Answer)
    assert (answer.status, answer.complete) == (200, False)


def test_a_dribbled_tls_handshake_ends_at_the_deadline(client: HttpClient) -> None:
    with FaultServer(faults.dribbles_the_handshake) as server:
        began = time.monotonic()
        with pytest.raises(DeliveryFailed, match="no connection within") as caught:
            post(client, server.url.replace("http", "https"))
        assert time.monotonic() - began < DEADLINE + SLACK
    assert (caught.value.failure, caught.value.answered) == (Failure.RETRY, False)


def test_the_time_that_connecting_took_is_gone_for_the_handshake(
    client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def far_away(sock: socket.socket, address: object) -> None:
        time.sleep(0.5)
        socket.socket.connect(sock, address)  # type: ignore[arg-type]

    monkeypatch.setattr(deadline._Socket, "connect", far_away, raising=False)
    given = handshake_timeouts(monkeypatch)
    with FaultServer(faults.speaks_no_tls) as server, pytest.raises(DeliveryFailed, match="TLS failed"):
        client.request("POST", server.url.replace("http", "https"), timeout=10.0)
    (seconds,) = given
    assert seconds is not None
    assert seconds <= 9.5  # a time of its own would be 10 s


def test_a_request_that_nobody_reads_ends_at_the_deadline_and_was_not_sent(client: HttpClient) -> None:
    with FaultServer(faults.never_reads) as server:
        failed = at_its_deadline(
            lambda seconds: client.request("POST", server.url, data=LARGE, timeout=seconds),
            "did not take the whole message within",
        )
    assert isinstance(failed, DeliveryFailed)
    assert (failed.failure, failed.answered) == (Failure.RETRY, False)


def test_a_name_lookup_that_hangs_ends_at_the_deadline(client: HttpClient, monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(10))
    began = time.monotonic()
    with pytest.raises(DeliveryFailed, match="no connection within") as caught:
        post(client, "http://hangs.example")
    assert time.monotonic() - began < DEADLINE + SLACK
    assert (caught.value.failure, caught.value.answered) == (Failure.RETRY, False)
    over.set()


def test_names_are_still_looked_up_when_no_thread_can_be_started(
    client: HttpClient, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the interpreter shuts down the last alerts are still sent."""
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "bt_alerts-dns":
            raise RuntimeError("can't create new thread at interpreter shutdown")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert post(client, service.url, 5.0).status == 200


# ---------------------------------------------------------------------------------------- no connection


def test_a_refused_connection_is_tried_again_later(client: HttpClient) -> None:
    port = refused_port()
    with pytest.raises(DeliveryFailed) as caught:
        post(client, f"http://127.0.0.1:{port}", 5.0)
    assert (caught.value.failure, caught.value.answered) == (Failure.RETRY, False)
    assert caught.value.reason == f"127.0.0.1:{port} does not answer: connection refused"


def test_an_unknown_host_is_tried_again_later(client: HttpClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(DeliveryFailed, match=r"no-such-host\.example cannot be found: Name or service") as caught:
        post(client, "http://no-such-host.example", 5.0)
    assert (caught.value.failure, caught.value.answered) == (Failure.RETRY, False)


def test_a_certificate_of_an_unknown_authority_is_not_trusted(client: HttpClient, tls_service: FakeService) -> None:
    with pytest.raises(DeliveryFailed, match=r"cannot be trusted: its certificate is not valid: .*issuer") as caught:
        post(client, tls_service.url, 5.0)
    assert (caught.value.failure, caught.value.answered) == (Failure.RETRY, False)
    assert tls_service.requests == []


def test_a_certificate_of_another_host_is_not_trusted(wrong_host_service: FakeService, ca_file: str) -> None:
    with pytest.raises(DeliveryFailed, match=r"[Hh]ostname mismatch") as caught:
        post(HttpClient(ca_file=ca_file), wrong_host_service.url, 5.0)
    assert (caught.value.failure, caught.value.answered) == (Failure.RETRY, False)
    assert wrong_host_service.requests == []


def test_a_server_without_tls_is_said_to_be_one(client: HttpClient) -> None:
    with FaultServer(faults.speaks_no_tls) as server, pytest.raises(DeliveryFailed, match="TLS failed") as caught:
        post(client, server.url.replace("http", "https"), 5.0)
    assert (caught.value.failure, caught.value.answered) == (Failure.RETRY, False)


def test_a_missing_file_of_authorities_is_said_to_be_missing() -> None:
    with pytest.raises(DeliveryFailed, match="certificate authorities to trust cannot be read: No such file"):
        post(HttpClient(ca_file="/no/such/file.pem"), "https://127.0.0.1:1", 5.0)


@pytest.mark.parametrize("url", ["ftp://host/x", "no address", "http://", "http://[::1/x", "http://" + "a" * 300])
def test_what_is_no_address_is_permanent(client: HttpClient, url: str) -> None:
    with pytest.raises(DeliveryFailed) as caught:
        client.request("POST", url, timeout=5.0)
    assert (caught.value.failure, caught.value.answered) == (Failure.PERMANENT, False)


def test_a_header_that_cannot_be_sent_is_permanent_and_not_shown(client: HttpClient, service: FakeService) -> None:
    with pytest.raises(DeliveryFailed) as caught:
        post(client, service.url, 5.0, headers={"X-A": "canary\r\nX-B: 1"})
    assert caught.value.failure is Failure.PERMANENT
    assert "canary" not in caught.value.reason


def test_a_proxy_that_is_down_is_named_as_the_trouble(client: HttpClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:canary@127.0.0.1:{refused_port()}")
    with pytest.raises(DeliveryFailed, match="through the proxy that the environment sets") as caught:
        post(client, "https://service.example", 5.0)
    assert (caught.value.failure, caught.value.answered) == (Failure.RETRY, False)
    assert "canary" not in str(caught.value)


def test_requests_go_through_the_proxy_of_the_environment(
    client: HttpClient, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", service.url)
    assert post(client, "http://service.example", 5.0).status == 200
    assert service.requests[0].headers["host"] == "service.example"


# ---------------------------------------------------------------------------------------- broken connections


def test_a_reset_after_the_request_leaves_the_outcome_unknown(client: HttpClient) -> None:
    with FaultServer(faults.resets_instead_of_an_answer) as server:
        with pytest.raises(DeliveryFailed, match="it may have arrived") as caught:
            post(client, server.url, 5.0)
        assert len(server.requests) == 1
    assert (caught.value.failure, caught.value.answered) == (Failure.UNKNOWN, False)


@pytest.mark.parametrize("behaviour", [faults.resets_in_mid_body, faults.ends_in_mid_body], ids=lambda b: b.__name__)
def test_a_body_that_breaks_off_is_said_to_be_incomplete(client: HttpClient, behaviour: faults.Behaviour) -> None:
    with FaultServer(behaviour) as server:
        answer = post(client, server.url, 5.0)
    assert (answer.status, answer.complete, answer.json()) == (200, False, {})


def test_an_answer_that_is_not_http_leaves_the_outcome_unknown(client: HttpClient) -> None:
    with FaultServer(faults.speaks_no_http) as server, pytest.raises(DeliveryFailed, match="not HTTP") as caught:
        post(client, server.url, 5.0)
    assert (caught.value.failure, caught.value.answered) == (Failure.UNKNOWN, True)


def test_a_connection_closed_while_idle_is_replaced_silently(client: HttpClient) -> None:
    with FaultServer(faults.answers_once_then_closes, faults.answers) as server:
        assert post(client, server.url, 5.0).status == 200
        _until_the_server_closed(client)
        assert post(client, server.url, 5.0).status == 200
        assert (server.connections, len(server.requests)) == (2, 2)


def test_a_kept_alive_connection_that_breaks_before_all_is_written_is_tried_once_more(client: HttpClient) -> None:
    """Nothing can have been processed of a request whose end was never written."""

    def resets_in_mid_request(sock: socket.socket, server: FaultServer) -> None:
        server.read_request(sock)
        sock.sendall(faults.OK)
        sock.recv(1000)
        faults.reset(sock)

    with FaultServer(resets_in_mid_request, faults.answers) as server:
        assert post(client, server.url, 5.0).status == 200
        assert client.request("POST", server.url, data=LARGE, timeout=10.0).status == 200
        assert (server.connections, len(server.requests)) == (2, 2)


def test_a_new_connection_that_breaks_before_all_is_written_is_left_to_the_courier(client: HttpClient) -> None:
    def resets_in_mid_request(sock: socket.socket, server: FaultServer) -> None:
        sock.recv(1000)
        faults.reset(sock)

    with FaultServer(resets_in_mid_request, faults.answers) as server:
        with pytest.raises(DeliveryFailed, match="before the connection ended") as caught:
            client.request("POST", server.url, data=LARGE, timeout=10.0)
        assert server.connections == 1
    assert (caught.value.failure, caught.value.answered) == (Failure.RETRY, False)


def test_a_kept_alive_connection_that_took_the_request_is_never_tried_again(client: HttpClient) -> None:
    with FaultServer(faults.answers_once_then_resets_the_next, faults.answers) as server:
        post(client, server.url, 5.0)
        with pytest.raises(DeliveryFailed) as caught:
            post(client, server.url, 5.0)
        assert (server.connections, len(server.requests)) == (1, 2)
    assert (caught.value.failure, caught.value.answered) == (Failure.UNKNOWN, False)


def test_a_half_open_connection_ends_at_the_deadline_with_the_outcome_unknown(client: HttpClient) -> None:
    def ask(seconds: float) -> Answer:
        post(client, server.url, 5.0)
        return post(client, server.url, seconds)

    with FaultServer(faults.answers_once_then_is_gone) as server:
        failed = at_its_deadline(ask, "did not answer within")
    assert isinstance(failed, DeliveryFailed)
    assert failed.failure is Failure.UNKNOWN


def test_a_connection_that_was_idle_for_long_is_not_trusted(
    client: HttpClient, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bt_alerts.dispatchers import deadline

    post(client, service.url, 5.0)
    monkeypatch.setattr(deadline, "KEEP_IDLE", -1.0)
    post(client, service.url, 5.0)
    assert [request.connection for request in service.requests] == [1, 2]


def _until_the_server_closed(client: HttpClient) -> None:
    """Wait until the FIN has come, so that it is not a matter of luck."""
    import select

    assert client._adapter is not None
    pools = client._adapter.poolmanager.pools
    sock = pools[next(iter(pools.keys()))].pool.queue[-1].sock
    assert select.select([sock], [], [], 5.0)[0]


# ---------------------------------------------------------------------------------------- every status


def expected(status: int) -> Failure | None:
    named = {
        401: Failure.AUTH,
        403: Failure.AUTH,
        408: Failure.RETRY,
        413: Failure.TOO_LARGE,
        425: Failure.RETRY,
        429: Failure.RETRY,
    }
    if 200 <= status < 300:
        return None
    return named.get(status, Failure.RETRY if status >= 500 else Failure.PERMANENT)


def classified(answer: Answer) -> DeliveryFailed | None:
    try:
        raise_for_status(answer)
    except DeliveryFailed as failed:
        return failed
    return None


def test_every_status_has_its_class(client: HttpClient, service: FakeService) -> None:
    for status in range(101, 600):  # 100 is no answer: it asks the client to go on
        service.answer(status)
        answer = post(client, service.url, 5.0)
        assert answer.status == status
        failed = classified(answer)
        assert (failed.failure if failed else None) == expected(status), status
        assert failed is None or (failed.answered and str(status) in failed.reason)


def test_continue_alone_is_no_answer(client: HttpClient, service: FakeService) -> None:
    service.answer(100)
    with pytest.raises(DeliveryFailed) as caught:
        post(client, service.url, 5.0)
    assert caught.value.failure is Failure.UNKNOWN


def test_retry_after_is_obeyed_for_every_status_that_is_tried_again(client: HttpClient, service: FakeService) -> None:
    for status in range(200, 600):
        service.answer(status, headers={"Retry-After": "7"})
        failed = classified(post(client, service.url, 5.0))
        if expected(status) is Failure.RETRY:
            assert failed is not None
            assert (failed.failure, failed.retry_after) == (Failure.RETRY_AFTER, 7.0)
        else:
            assert failed is None or (failed.failure is expected(status) and failed.retry_after is None)


def test_a_wait_of_no_time_is_left_to_backoff() -> None:
    failed = classified(answer_of(429, {"Retry-After": "0"}))
    assert failed is not None
    assert failed.failure is Failure.RETRY


def answer_of(status: int, headers: dict[str, str], body: bytes = b"") -> Answer:
    return Answer(status, headers, body, complete=True, host="service.example", now=NOW)


def test_the_service_s_own_words_are_in_the_reason() -> None:
    failed = classified(answer_of(400, {"Content-Type": "application/json"}, b'{"error": "title is  missing"}'))
    assert failed is not None
    assert failed.reason == 'service.example refused the message (HTTP 400): {"error": "title is missing"}'


def test_a_web_page_is_not_quoted() -> None:
    failed = classified(answer_of(502, {"Content-Type": "text/html"}, b"<html>Bad Gateway</html>"))
    assert failed is not None
    assert failed.reason == "service.example is in trouble (HTTP 502)"


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ("3", 3.0),
        (" 3 ", 3.0),
        ("0", 0.0),
        ("0.25", 0.25),
        ("86399", 86_399.0),
        ("999999999", MAX_RETRY_AFTER),
        ("9" * 400, None),
        ("Fri, 01 May 2026 12:00:30 GMT", 30.0),
        ("Friday, 01-May-26 12:00:30 GMT", 30.0),
        ("Fri, 01 May 2026 11:00:00 GMT", 0.0),
        ("Fri, 01 May 2126 12:00:00 GMT", MAX_RETRY_AFTER),
        ("-3", None),
        ("nan", None),
        ("inf", None),
        ("1e3", None),
        ("1_000", None),
        ("٣", None),
        ("soon", None),
        ("", None),
        ("Fri, 99 May 2026 12:00:30 GMT", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_a_date(told: str, seconds: float | None) -> None:
    assert retry_after({"Retry-After": told}, NOW) == seconds


def test_retry_after_counts_from_the_server_s_clock_where_it_tells() -> None:
    headers = {"retry-after": "Fri, 01 May 2026 15:00:30 GMT", "date": "Fri, 01 May 2026 15:00:00 GMT"}
    assert retry_after(headers, NOW) == 30.0
    assert retry_after({}, NOW) is None


# ---------------------------------------------------------------------------------------- secrets, imports


def test_a_failure_carries_no_exception_of_requests(client: HttpClient) -> None:
    with pytest.raises(DeliveryFailed) as caught:
        client.request("GET", f"http://127.0.0.1:{refused_port()}/canary?token=canary", timeout=5.0)
    failed = caught.value
    assert failed.__cause__ is None
    assert failed.__context__ is None
    assert "canary" not in "".join(traceback.format_exception(failed)).replace('/canary?token=canary"', "")


def test_importing_dispatchers_is_light() -> None:
    code = (
        "import sys\n"
        "import bt_alerts.dispatchers.http, bt_alerts.dispatchers.pushover, bt_alerts.dispatchers.webhook\n"
        "import bt_alerts.dispatchers.console, bt_alerts.testing\n"
        "print(sorted({'requests', 'urllib3', 'rich', 'backtrader', 'pandas'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"\[\]\s*", done.stdout)


def test_a_secret_that_a_long_answer_would_cut_in_half_is_masked(service: FakeService, client: HttpClient) -> None:
    secret = "S3CR3T" * 6
    register_secret(secret)
    for before in range(150, 260, 5):
        service.answer(502, "x" * before + " " + secret)
        said = client.request("POST", service.url, timeout=5.0).excerpt()
        assert "S3CR3TS3" not in said


def test_a_socks_proxy_of_the_environment_is_told(client: HttpClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1080")
    with pytest.raises(DeliveryFailed, match="SOCKS proxy, which is not supported") as caught:
        client.request("POST", "https://service.example/", timeout=5.0)
    assert caught.value.failure is Failure.RETRY
