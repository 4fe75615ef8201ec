"""The one HTTP client of all services, and the one table of what a status means.

Promises
--------
*It ends.* A call takes at most ``timeout`` seconds in total: name lookup, connecting, writing, waiting, reading.

*Every failure has a class.* Nothing leaves but an :class:`Answer` or a
:class:`~bt_alerts.dispatchers.base.DeliveryFailed`. What was not written completely can be sent again (``RETRY``); what
was written and not answered may have arrived (``UNKNOWN``).

*No secret leaves.* Redirects are not followed, ``.netrc`` is not read, and no exception of ``requests``, whose text
holds the URL, is attached to ours, neither as its cause nor as its context.

A service's own file inherits :class:`HttpDispatcher` and overrides :meth:`HttpDispatcher.raise_for_answer` where an
answer means something of its own.
"""

from __future__ import annotations

import contextlib
import copy
import datetime as dt
import email.utils
import json
import math
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from http.client import HTTPException, RemoteDisconnected
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

from bt_alerts._version import __version__
from bt_alerts.alert import Alert, utcnow
from bt_alerts.dispatchers.base import Context, DeliveryFailed, Dispatcher, Failure, Request, Target
from bt_alerts.redact import redact

if TYPE_CHECKING:
    from requests import PreparedRequest

    from bt_alerts.dispatchers.deadline import Call, DeadlineAdapter

USER_AGENT = f"bt_alerts/{__version__}"
#: Bytes of an answer that are read; no service says more that matters.
MAX_ANSWER = 64 * 1024
#: Addresses that a client keeps ready.
MAX_ADDRESSES = 64
#: Seconds; a service that says to come back later than this is asked again after it.
MAX_RETRY_AFTER = 24 * 3600.0

_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]+)?")


class Answer:
    """What a service answered.

    Attributes:
        status: HTTP status.
        headers: by name, in any case.
        body: at most :data:`MAX_ANSWER` bytes.
        complete: False where the connection broke, or time ran out, before the body ended.
        host: of the service, for texts.
        now: the time of the request, aware UTC.
    """

    __slots__ = ("body", "complete", "headers", "host", "now", "status")

    def __init__(
        self, status: int, headers: Mapping[str, str], body: bytes, *, complete: bool, host: str, now: dt.datetime
    ) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.complete = complete
        self.host = host
        self.now = now

    def json(self) -> dict[str, Any]:
        """The body as a JSON object; empty where it is none."""
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def excerpt(self, limit: int = 200) -> str:
        """The beginning of a body that a person can read; empty for a web page or a picture."""
        kind = self.headers.get("Content-Type", "").lower()
        if "html" in kind or not ("text" in kind or "json" in kind):
            return ""
        # Masked before it is cut: half of a secret is one that nobody knows for one.
        text = redact(" ".join(self.body.decode("utf-8", "replace").split()))
        return text if len(text) <= limit else text[: limit - 1] + "…"

    def failed(self, failure: Failure, reason: str, **more: Any) -> DeliveryFailed:
        """A failure of this answer, named after the host."""
        return DeliveryFailed(failure, f"{self.host} {reason}", **more)


# ------------------------------------------------------------------------------- what an answer means


def retry_after(headers: Mapping[str, str], now: dt.datetime) -> float | None:
    """Seconds to wait as ``Retry-After`` tells (RFC 9110 §10.2.3), at most :data:`MAX_RETRY_AFTER`.

    Args:
        headers: of the answer.
        now: the time now, aware; a ``Date`` header takes its place, because the server's clock set the date.

    Returns:
        None where no wait is told, or junk. Fractions of a second are understood, dates that have passed give 0.
    """
    told = _header(headers, "retry-after")
    if _SECONDS.fullmatch(told):
        seconds = float(told)
    else:
        until = _http_date(told)
        if until is None:
            return None
        seconds = max(0.0, (until - (_http_date(_header(headers, "date")) or now)).total_seconds())
    return min(seconds, MAX_RETRY_AFTER) if math.isfinite(seconds) else None


def _header(headers: Mapping[str, str], name: str) -> str:
    return next((value.strip() for key, value in headers.items() if key.lower() == name), "")


def _http_date(text: str) -> dt.datetime | None:
    try:
        when = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return when if when.tzinfo is not None else when.replace(tzinfo=dt.UTC)


_MEANING: dict[int, tuple[Failure, str]] = {
    401: (Failure.AUTH, "refused the credentials"),
    403: (Failure.AUTH, "refused the credentials"),
    404: (Failure.PERMANENT, "does not know this address"),
    408: (Failure.RETRY, "waited too long for the request"),
    410: (Failure.PERMANENT, "says that this address is gone for good"),
    413: (Failure.TOO_LARGE, "says that the message is too large"),
    425: (Failure.RETRY, "asks to come again"),
    429: (Failure.RETRY, "says that there were too many messages"),
}


def raise_for_status(answer: Answer) -> None:
    """Raise what a status means to any service that has not said otherwise; 2xx passes."""
    status = answer.status
    if 200 <= status < 300:
        return
    if status in _MEANING:
        failure, words = _MEANING[status]
    elif 300 <= status < 400:
        failure = Failure.PERMANENT
        words = (
            "answered with a redirect, which is not followed because it could carry credentials elsewhere; "
            "set the final address"
        )
    elif 500 <= status < 600:
        failure, words = Failure.RETRY, "is in trouble"
    elif 400 <= status < 500:
        failure, words = Failure.PERMANENT, "refused the message"
    else:
        failure, words = Failure.PERMANENT, "gave an answer that HTTP has no final meaning for"
    said = answer.excerpt()
    reason = f"{words} (HTTP {status})" + (f": {said}" if said else "")
    if failure is Failure.RETRY:
        wait = retry_after(answer.headers, answer.now)
        if wait:  # "Retry-After: 0" is no better than our own backoff
            raise answer.failed(Failure.RETRY_AFTER, reason, retry_after=wait)
    raise answer.failed(failure, reason)


# --------------------------------------------------------------------------------------------- client


class HttpClient:
    """Sends requests over kept-alive connections; safe to use from several threads and after a fork.

    Args:
        ca_file: PEM file of the certificate authorities to trust; default is ``REQUESTS_CA_BUNDLE``,
            ``CURL_CA_BUNDLE``, else the usual ones. Verification cannot be turned off.
        connections: idle connections kept a host.
    """

    def __init__(self, *, ca_file: str | None = None, connections: int = 16) -> None:
        self._ca_file = ca_file or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or None
        self._connections = connections
        self._lock = threading.Lock()
        self._adapter: DeadlineAdapter | None = None
        self._pid = 0
        self._proxies: dict[str, dict[str, str]] = {}
        self._prepared: dict[tuple[str, str], PreparedRequest] = {}

    def request(
        self,
        method: str,
        url: str,
        *,
        timeout: float,
        data: Any = None,
        files: Any = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        most: int = MAX_ANSWER,
    ) -> Answer:
        """Send one request and return its answer, whatever its status.

        Args:
            method: such as ``"POST"``.
            url: http or https; it may hold a secret.
            timeout: seconds for everything together.
            data: body as bytes, or form fields as a mapping.
            files: parts of a multipart body, as ``requests`` takes them.
            params: fields of the query.
            headers: more headers.
            most: bytes of the answer that are read.

        Raises:
            DeliveryFailed: where there is no answer.
        """
        import requests

        from bt_alerts.dispatchers.deadline import Call, current

        host = _host(url)
        call = Call(time.monotonic() + timeout)
        # Raised after the handler, not in it: an exception raised inside would hold that of requests as its context.
        failed: DeliveryFailed | None = None
        current.call = call
        try:
            adapter = self._open()
            own = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **(headers or {})}
            if type(data) is bytes and data and not files and not params:
                prepared = self._prepare(method, url, own, data)
            else:
                prepared = requests.Request(method, url, headers=own, data=data, files=files, params=params).prepare()
            for last in (False, True):
                try:
                    return self._send(adapter, prepared, host, call, most)
                except DeliveryFailed as refused:  # before anything was asked
                    failed = refused
                    break
                except Exception as exc:
                    # A kept-alive connection that the server closed before it could have our request: nothing was
                    # processed, and a new connection will do. Anything else is for the courier to decide.
                    if last or call.sent or call.fresh or call.error is None or call.deadline <= time.monotonic():
                        failed = _no_answer(exc, host, call, timeout)
                        break
                    call.again()
        except Exception as exc:
            failed = _never_sent(exc, host)
        finally:
            current.call = None
            call.error = None
        assert failed is not None
        raise failed

    def close(self) -> None:
        """Close the idle connections. A later request opens new ones."""
        with self._lock:
            adapter, self._adapter = self._adapter, None
        if adapter is not None and self._pid == os.getpid():
            adapter.close()

    def _open(self) -> DeadlineAdapter:
        adapter = self._adapter
        if adapter is not None and self._pid == os.getpid():
            return adapter
        from bt_alerts.dispatchers.deadline import DeadlineAdapter

        with self._lock:
            if (
                self._adapter is None or self._pid != os.getpid()
            ):  # a forked child must not write to the parent's sockets
                self._adapter = DeadlineAdapter(self._ca_file, self._connections)
                self._pid = os.getpid()
            return self._adapter

    def _prepare(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> PreparedRequest:
        """What ``requests.Request(…).prepare()`` makes; the address, half of the work, is read once."""
        import requests

        known = self._prepared.get((method, url))
        if known is None:
            if len(self._prepared) >= MAX_ADDRESSES:  # a service that gives each message an address of its own
                self._prepared.clear()
            known = self._prepared[method, url] = requests.Request(method, url).prepare()
        made = requests.PreparedRequest()
        made.method, made.url, made.hooks = known.method, known.url, known.hooks
        made.prepare_headers(headers)
        if "Authorization" in known.headers:  # the address has a name and password
            made.headers["Authorization"] = known.headers["Authorization"]
        made.headers["Content-Length"] = str(len(body))
        made.body = body
        return made

    def _send(self, adapter: DeadlineAdapter, prepared: Any, host: str, call: Call, most: int) -> Answer:
        now = utcnow()
        response: Any = adapter.send(
            prepared, stream=True, timeout=call.left(), verify=True, proxies=self._proxies_for(prepared.url, host)
        )
        body, complete = b"", True
        # After an interim status a second answer follows, which would be taken for that of the next request; so would
        # the rest of a long body. Such a connection is not kept.
        if response.status >= 200:
            try:
                body = response.read(most + 1, decode_content=True) or b""
            except Exception:
                complete = False
        if complete and response.status >= 200 and len(body) <= most:
            response.release_conn()
        else:
            response.close()
        return Answer(response.status, response.headers, body[:most], complete=complete, host=host, now=now)

    def _proxies_for(self, url: str, host: str) -> dict[str, str]:
        """Proxies from the environment, looked up once a host because that walks the whole environment."""
        key = f"{url[:5]}{host}"
        if key not in self._proxies:
            from requests.utils import get_environ_proxies

            self._proxies[key] = dict(get_environ_proxies(url))
        proxy = self._proxies[key].get(url.partition(":")[0]) or self._proxies[key].get("all") or ""
        if proxy.lower().startswith("socks"):
            raise DeliveryFailed(
                Failure.RETRY,
                f"{host} cannot be reached: the environment (ALL_PROXY, HTTPS_PROXY or HTTP_PROXY) names a SOCKS "
                "proxy, which is not supported: name an http:// proxy, or unset it",
                answered=False,
            )
        return self._proxies[key]


def _host(url: str) -> str:
    """The host of a URL and its port, for texts: never a name and password, never the path."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "the service"
    return f"{parts.hostname}{port}" if parts.hostname else "the service"


# --------------------------------------------------------------------------- what no answer means


def _never_sent(exc: Exception, host: str) -> DeliveryFailed:
    """A request that could not even be built. Its text may quote the URL or a header, so it is not shown."""
    if isinstance(exc, OSError) and not hasattr(exc, "request"):
        return DeliveryFailed(
            Failure.RETRY, f"the certificate authorities to trust cannot be read: {exc.strerror or exc}", answered=False
        )
    return DeliveryFailed(
        Failure.PERMANENT,
        f"no request to {host} can be made of this address and these headers ({type(exc).__name__})",
        answered=False,
    )


def _no_answer(exc: Exception, host: str, call: Call, timeout: float) -> DeliveryFailed:
    links = _chain(exc)
    root = call.error or _root(links)
    late = isinstance(root, TimeoutError) or time.monotonic() >= call.deadline
    if call.sent:
        if any(isinstance(link, HTTPException) and not isinstance(link, OSError) for link in links):
            reason = f"{host} answered with something that is not HTTP: the message may have arrived"
            return DeliveryFailed(Failure.UNKNOWN, reason)
        what = f"within {timeout:.3g} s" if late else f"before the connection ended ({_words(root)})"
        reason = f"{host} was sent the message but did not answer {what}: it may have arrived"
        return DeliveryFailed(Failure.UNKNOWN, reason, answered=False)
    if call.error is None and any(isinstance(link, ValueError) for link in links):
        return _never_sent(exc, host)
    if "ProxyError" in {type(link).__name__ for link in links}:
        reason = f"{host} cannot be reached through the proxy that the environment sets: {_words(root)}"
    elif isinstance(root, ssl.SSLCertVerificationError):
        reason = f"{host} cannot be trusted: its certificate is not valid: {root.verify_message or root.reason}"
    elif isinstance(root, ssl.SSLError):
        reason = f"{host} cannot be reached safely: TLS failed: {root.reason or _words(root)}"
    elif isinstance(root, socket.gaierror):
        reason = f"{host} cannot be found: {_words(root)}; is this machine online?"
    elif call.connected:
        what = f"within {timeout:.3g} s" if late else f"before the connection ended ({_words(root)})"
        reason = f"{host} did not take the whole message {what}"
    elif late:
        reason = f"{host} does not answer: no connection within {timeout:.3g} s"
    else:
        reason = f"{host} does not answer: {_words(root)}"
    return DeliveryFailed(Failure.RETRY, reason, answered=False)


def _chain(exc: BaseException) -> list[BaseException]:
    """An exception and those inside it: urllib3 keeps the first one as a cause, a ``reason`` or an argument."""
    found: list[BaseException] = []
    waiting: list[object] = [exc]
    while waiting and len(found) < 30:
        link = waiting.pop(0)
        if isinstance(link, BaseException) and link not in found:
            found.append(link)
            waiting += [link.__cause__, link.__context__, getattr(link, "reason", None), *link.args]
    return found


def _root(links: list[BaseException]) -> BaseException:
    own = [link for link in links if isinstance(link, OSError) and not hasattr(link, "request")]
    return own[-1] if own else links[0]


def _words(root: BaseException) -> str:
    """What the system said. Only its own errors are quoted: those of the libraries hold the URL."""
    if isinstance(root, ConnectionRefusedError):
        return "connection refused"
    if isinstance(root, RemoteDisconnected):
        return "connection closed"
    if isinstance(root, ConnectionResetError | BrokenPipeError | ConnectionAbortedError):
        return "connection reset"
    if isinstance(root, OSError) and root.strerror:
        return root.strerror
    if isinstance(root, OSError) and "Tunnel connection failed" in str(root):
        return str(root)
    return type(root).__name__


class _Recorder(HttpClient):
    """Writes down what it is asked to send, and sends nothing."""

    def __init__(self, answer: Mapping[str, Any]) -> None:
        super().__init__()
        self._answer = json.dumps(dict(answer)).encode()
        self.requests: list[Request] = []

    def request(
        self,
        method: str,
        url: str,
        *,
        timeout: float,
        data: Any = None,
        files: Any = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        most: int = MAX_ANSWER,
    ) -> Answer:
        import requests

        own = {"User-Agent": USER_AGENT, **(headers or {})}
        try:
            prepared = requests.Request(method, url, headers=own, data=data, params=params).prepare()
        except Exception as exc:
            failed = _never_sent(exc, _host(url))
        else:
            named = {name: value for name, value in prepared.headers.items() if name != "Content-Length"}
            body = _readable(data if files else prepared.body, str(named.get("Content-Type", "")))
            for name, part in _parts(files):
                body += f"\n[file {name}: {part}]"
            self.requests.append(Request(f"{method} {prepared.url}", named, body.strip("\n")))
            return Answer(200, {}, self._answer, complete=True, host=_host(url), now=utcnow())
        raise failed


def _readable(body: Any, kind: str) -> str:
    """A body for a person: JSON indented, a form a field a line, bytes that are no text counted."""
    if isinstance(body, Mapping):
        return "\n".join(f"{name}: {value}" for name, value in body.items())
    raw = body.encode() if isinstance(body, str) else bytes(body or b"")
    try:
        text = raw.decode()
        if "x-www-form-urlencoded" in kind:
            return "\n".join(f"{name}: {value}" for name, value in parse_qsl(text, keep_blank_values=True))
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except UnicodeDecodeError:
        return f"[{len(raw):,} bytes]"
    except ValueError:
        return text


def _parts(files: Any) -> Iterator[tuple[str, str]]:
    for name, part in dict(files or {}).items():
        filename, content, *kind = part if isinstance(part, tuple | list) else (name, part)
        size = f"{len(content):,} bytes" if isinstance(content, bytes) else "a stream"
        yield name, ", ".join([str(filename), *map(str, kind[:1]), size])


# ----------------------------------------------------------------------------------------- dispatcher


class HttpDispatcher(Dispatcher):
    """Base of the dispatchers that speak HTTP: :meth:`request`, and one hook for what an answer means."""

    ca_file: str | None = None

    def raise_for_answer(self, answer: Answer) -> None:
        """Raise :class:`DeliveryFailed` unless ``answer`` says that the service took it."""
        raise_for_status(answer)

    def request(self, method: str, url: str, *, timeout: float | None = None, **what: Any) -> Answer:
        """Send a request within ``self.timeout`` and judge its answer; see :meth:`HttpClient.request`.

        Raises:
            DeliveryFailed: where there is no answer, or one that is no success.
        """
        answer = self.http.request(method, url, timeout=self.timeout if timeout is None else timeout, **what)
        self.raise_for_answer(answer)
        return answer

    #: What a preview answers to each request, so that a delivery in several steps can go on: a JSON object.
    preview_answer: ClassVar[Mapping[str, Any]] = {}

    def preview(self, alert: Alert, target: Target, context: Context) -> list[Request]:
        twin = copy.copy(self)
        recorder = _Recorder(self.preview_answer)
        twin.__dict__["_http"] = recorder
        # What the answer means is not asked here: what would be sent is known by then.
        with contextlib.suppress(DeliveryFailed):
            twin.deliver(alert, target, context)
        return recorder.requests

    @property
    def http(self) -> HttpClient:
        """The client; made on first use, because a subclass need not call ``super().__init__()``."""
        client = self.__dict__.get("_http")
        if client is None:
            client = self.__dict__.setdefault("_http", HttpClient(ca_file=self.ca_file))
        return client  # type: ignore[no-any-return]

    def close(self) -> None:
        """Close idle connections."""
        self.http.close()
