"""Apprise: every service that the Apprise library knows, each by one URL (https://github.com/caronc/apprise).

The library is an extra (``pip install "bt-alerts[apprise]"``) and is loaded when the first URL is looked at. It tells
no more than whether a message went, so every failure is tried again; the reason is what it wrote to its log meanwhile.
It has no time limit for a whole message, so each delivery runs on a thread of its own, and what has not ended in time
may have arrived. Nor does it take an idempotency key: such a message is sent again, as a repeat is better than a loss.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import re
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar
from urllib.parse import unquote, urlsplit

from bt_alerts.alert import Alert, Priority
from bt_alerts.dispatchers.base import (
    About,
    Context,
    Credential,
    DeliveryFailed,
    Dispatcher,
    Env,
    Failure,
    Receipt,
    Request,
    Target,
    register_secrets_in,
)
from bt_alerts.redact import redact
from bt_alerts.render.text import shorten

INSTALL = 'pip install "bt-alerts[apprise]"'
#: Deliveries of one channel at the same time, those that hang included.
MAX_THREADS = 32
MAX_REASON = 300

_TYPES = {Priority.CRITICAL: "failure", Priority.HIGH: "warning", Priority.LOW: "success"}


class AppriseDispatcher(Dispatcher):
    """Sends every alert to each Apprise URL.

    Raises:
        ValueError: where a URL is none that Apprise knows, or Apprise is not installed; the text shows no URL.
    """

    type: ClassVar[str] = "apprise"
    takes_pictures: ClassVar[bool] = True
    takes_files: ClassVar[bool] = True

    def __init__(
        self,
        urls: Annotated[
            str | Sequence[str],
            Credential(),
            Env("APPRISE_URLS"),
            About("Apprise URLs, such as gotify://host/token; each is delivered by itself"),
        ],
        *,
        enabled: Annotated[bool, About("false sends nothing")] = True,
        rate_limit: Annotated[int, About("messages a minute; 0 means no limit")] = 0,
        timeout: Annotated[float, About("seconds for one message in total")] = 30.0,
    ) -> None:
        self.enabled, self.timeout, self.rate_limit = enabled, timeout, rate_limit
        self._urls = _addresses(urls)
        for url in self._urls:
            _register_parts(url)
        self._turns = threading.BoundedSemaphore(MAX_THREADS)
        for number, url in enumerate(self._urls, start=1):
            if _service(url) is None:
                raise ValueError(
                    f"urls number {number} is no URL that Apprise knows: write it as `apprise --details` shows it"
                )

    def missing(self) -> str:
        return "" if self._urls else "set urls (APPRISE_URLS) to send through Apprise"

    def targets(self) -> Sequence[Target]:
        return [Target(url, f"{_schema(url)} #{Target(url).key[:6]}") for url in self._urls]

    def deliver(self, alert: Alert, target: Target, context: Context) -> Receipt:
        until = time.monotonic() + self.timeout
        view = self.view(alert, context)
        try:
            service = _service(target.address)
        except ValueError:
            service = None
        if service is None:  # it was right when it was set
            raise DeliveryFailed(Failure.PERMANENT, "Apprise was removed, or does not take this URL any more")
        files, note = _files(alert, service)
        title, body, cut = self._fitted(view.title, view.message or self.look.discreet(alert).title, service)
        what = {
            "title": title,
            "body": body,
            "notify_type": _TYPES.get(alert.priority, "info"),
            "body_format": "text",  # which it puts into the markup of the service
            "attach": files or None,
        }
        attempt = _Attempt(service, what, self._turns)
        if not self._turns.acquire(timeout=max(until - time.monotonic(), 0.0)):
            raise DeliveryFailed(
                Failure.RETRY, f"{MAX_THREADS} earlier messages to Apprise services hang", answered=False
            )
        attempt.begin()
        attempt.join(max(until - time.monotonic(), 0.0))
        if attempt.is_alive():
            raise DeliveryFailed(
                Failure.UNKNOWN,
                f"{_schema(target.address)} has not taken the message within {self.timeout:g} s: it may have arrived",
                answered=False,
            )
        attempt.raise_for_outcome(_schema(target.address))
        return Receipt(note="; ".join(filter(None, (view.note, note, cut))))

    def _fitted(self, title: str, body: str, service: Any) -> tuple[str, str, str]:
        """Title and body as the service takes them, and what was cut off: Apprise sleeps between parts of a text."""
        (member,) = service
        if member.title_maxlen > 0:
            title = shorten(title, member.title_maxlen)
        elif member.body_maxlen > 0:
            title = shorten(title, max(member.body_maxlen // 4, 1))  # it is put in front of the body
        pause = member.request_rate_per_sec
        if pause <= 0 or str(getattr(member.overflow_mode, "value", member.overflow_mode)) != "split":
            return title, body, ""
        parts = 1 + int(self.timeout / 2 / pause)
        room = max(parts * (member.body_maxlen - len(title) - 20), 1)
        if len(body) <= room:
            return title, body, ""
        why = f"shortened: Apprise waits {pause:g} s between two messages, so there is time for {parts} only"
        return title, shorten(body, room), why

    def check(self, target: Target) -> Receipt:
        """Nothing is asked: of most services Apprise tells whether a URL works only by sending."""
        return Receipt(note="Apprise can read the URL; whether the service takes it shows with the first message only")

    def preview(self, alert: Alert, target: Target, context: Context) -> list[Request]:
        view = self.view(alert, context)
        lines = [view.title, view.message, *(f"[file {file.name}]" for file in alert.attachments)]
        return [Request(f"apprise {_schema(target.address)}://…", body="\n".join(lines))]


class _Attempt(threading.Thread):
    """One message on its way, and what Apprise logs meanwhile."""

    def __init__(self, service: Any, what: dict[str, Any], turns: threading.BoundedSemaphore) -> None:
        super().__init__(name="bt_alerts-apprise", daemon=True)
        self._service, self._what, self._turns = service, what, turns
        self._took: bool | None = None
        self._raised = ""
        self._said: list[str] = []

    def begin(self) -> None:
        """Start, and give the turn back where that is not possible."""
        try:
            self.start()
        except RuntimeError:
            self._turns.release()
            raise DeliveryFailed(Failure.RETRY, "no thread can be started for Apprise", answered=False) from None

    def run(self) -> None:
        try:
            with _listening(self._said):
                self._took = bool(self._service.notify(**self._what))
        except BaseException as exc:  # a service of Apprise can do anything; its text may quote the URL
            self._raised = type(exc).__name__
        finally:
            self._turns.release()

    def raise_for_outcome(self, schema: str) -> None:
        """Raise :class:`DeliveryFailed` unless Apprise says that the message went."""
        if self._raised:
            raise DeliveryFailed(Failure.RETRY, f"the Apprise service {schema} failed with {self._raised}")
        if not self._took:
            said = shorten(redact("; ".join(dict.fromkeys(self._said))), MAX_REASON)
            raise DeliveryFailed(Failure.RETRY, f"Apprise could not send to {schema}" + (f": {said}" if said else ""))


class _Listener(logging.Handler):
    """Keeps the warnings that one thread logs."""

    def __init__(self, said: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._said = said
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            with contextlib.suppress(Exception):
                self._said.append(redact(record.getMessage()))


@contextlib.contextmanager
def _listening(said: list[str]) -> Iterator[None]:
    log = logging.getLogger("apprise")
    listener = _Listener(said)
    log.addHandler(listener)
    try:
        yield
    finally:
        log.removeHandler(listener)


# -------------------------------------------------------------------------------------------- Apprise


def _service(url: str) -> Any:
    """Apprise with this one URL, new for each message because its services are not made for threads; None where it
    does not take the URL.
    """
    apprise = _library()
    asset = _asset(apprise)
    found = apprise.Apprise(asset=asset)
    try:
        if not found.add(url) or len(found) != 1:
            return None
    except Exception:
        return None
    if "overflow=" not in url:
        for service in found:
            service.overflow_mode = apprise.OverflowMode.SPLIT  # a long text is not lost
    return found


def _asset(apprise: Any) -> Any:
    wanted = {"async_mode": False, "http_redirects": False, "app_id": "bt_alerts", "app_desc": "Alerts for Backtrader"}
    # Without a limit of its own Apprise begins no other thread, whose log would not be ours; old versions have none.
    for limit in ({"service_timeout": 0}, {}):
        with contextlib.suppress(AttributeError, TypeError):
            return apprise.AppriseAsset(**wanted, **limit)
    raise ValueError(f"urls cannot be used, because this version of Apprise is too old: {INSTALL}")


def _library() -> Any:
    try:
        return importlib.import_module("apprise")
    except ImportError:
        raise ValueError(f"urls cannot be used, because Apprise is not installed: {INSTALL}") from None


def _files(alert: Alert, service: Any) -> tuple[list[Any], str]:
    """The attachments of an alert for Apprise, and what stays behind and why."""
    if not alert.attachments:
        return [], ""
    if not any(getattr(member, "attachment_support", False) for member in service):
        return [], "sent without its files: the service takes none through Apprise"
    reader = importlib.import_module("apprise.attachment.file").AttachFile
    files, lost = [], []
    for attachment in alert.attachments:
        file = None
        with contextlib.suppress(OSError, ValueError, TypeError):
            if Path(attachment.path).is_file():
                name = re.sub(r"[^\w .()-]", "_", attachment.name).strip(" .") or "file"
                kind = attachment.content_type
                kind = kind if re.fullmatch(r"[\w.+-]+/[\w.+-]+", kind) else "application/octet-stream"
                file = reader(attachment.path, name=name, mimetype=kind)
        if file:
            files.append(file)
        else:
            lost.append(attachment.name)
    return files, "sent without a file: it cannot be read" if lost else ""


# ----------------------------------------------------------------------------------------------- URLs


def _addresses(urls: str | Sequence[str]) -> list[str]:
    # A URL may hold commas itself, so a list in one text is cut only where the next one begins.
    texts = re.split(r"[,\s]+(?=[A-Za-z0-9]+://)", urls.strip()) if isinstance(urls, str) else urls
    return list(dict.fromkeys(text.strip() for text in texts if text.strip()))


def _schema(url: str) -> str:
    found = re.match(r"[A-Za-z0-9]{1,30}(?=:)", url)
    return found[0].lower() if found else "url"


def _register_parts(url: str) -> None:
    """A token can be any part of an Apprise URL, its host as well; ordinary words and host names stay readable."""
    rest = url.partition("://")[2] or url
    before, at, _ = rest.partition("@")
    password = before.partition(":")[2] if at and "/" not in before else ""
    with contextlib.suppress(ValueError):
        password = password or urlsplit(url).password or ""
    # Two ways to cut, because what follows a token can be a letter too.
    pieces = {*re.split(r"[^\w.~%+-]+", rest), *re.findall(r"[A-Za-z0-9_.~%+-]+", rest)}
    found = [*(piece for piece in pieces if _is_token(piece)), password]
    register_secrets_in([url, rest, *found, *map(unquote, found)])


def _is_token(piece: str) -> bool:
    if re.fullmatch(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+\.?", piece):  # a host name or an address
        return False
    return len(piece) >= 20 or (len(piece) >= 8 and bool(re.search(r"\d", piece)))
