"""PagerDuty: incidents for whoever is on call, through the Events API v2 (https://developer.pagerduty.com).

An alert triggers an event. One that resolves an earlier one (a feed is live again) resolves what that triggered, and an
alert can ask for that with ``data={"pagerduty": {"event_action": "resolve"}}``. They find each other by the
``dedup_key``, which is made of the alert's ``thread``; orders, trades, positions and signals are each an event of their
own.

The key is the same for every attempt, so PagerDuty drops a repeat, and an unknown outcome is sent again.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from bt_alerts.alert import Alert, AlertType, Priority
from bt_alerts.dispatchers.base import (
    About,
    Context,
    Credential,
    DeliveryFailed,
    Env,
    Failure,
    Receipt,
    Target,
    register_secrets_in,
    several,
)
from bt_alerts.dispatchers.http import Answer, HttpDispatcher, raise_for_status
from bt_alerts.kinds import resolves
from bt_alerts.render.look import View
from bt_alerts.render.text import shorten

ACTIONS = ("trigger", "acknowledge", "resolve")
SEVERITIES: Mapping[Priority, str] = {
    Priority.CRITICAL: "critical",
    Priority.HIGH: "error",
    Priority.MEDIUM: "warning",
    Priority.LOW: "info",
    Priority.INFO: "info",
}
KEY_LENGTH, MAX_SUMMARY, MAX_DEDUP_KEY, MAX_LINKS = 32, 1024, 255, 20
#: Characters of its answer that are quoted.
MAX_QUOTE = 300
#: Bytes of one event; PagerDuty takes 512 KB.
MAX_EVENT = 500_000

#: Alerts of these types are no state that ends, so each is an event of its own.
_EACH = {AlertType.ORDER, AlertType.TRADE, AlertType.POSITION, AlertType.SIGNAL}


class PagerDutyDispatcher(HttpDispatcher):
    """Sends every alert as an event to each integration key.

    An alert can choose for itself with ``data={"pagerduty": {"event_action": ..., "dedup_key": ..., "links": [...],
    "images": [...]}}``.

    Raises:
        ValueError: where an argument cannot be right; the text shows no key.
    """

    type: ClassVar[str] = "pagerduty"
    kit = "pagerduty"

    def __init__(
        self,
        routing_key: Annotated[
            str | Sequence[str] | None,
            Credential(),
            Env("PAGERDUTY_ROUTING_KEY"),
            About("integration key of a service (Events API v2), or several: each is delivered by itself"),
        ] = None,
        *,
        source: Annotated[str | None, About("what is affected; the name of this machine unless given")] = None,
        component: Annotated[str | None, About("part of it; the alert's symbol unless given")] = None,
        client_url: Annotated[str | None, About("https address that the incident links to")] = None,
        enabled: Annotated[bool, About("false sends nothing")] = True,
        rate_limit: Annotated[int, About("messages a minute; 0 means no limit")] = 0,
        api_url: Annotated[
            str, About("address of the service; https://events.eu.pagerduty.com for an account in the EU")
        ] = "https://events.pagerduty.com",
        timeout: Annotated[float, About("seconds for one request in total")] = 30.0,
        ca_file: Annotated[str | None, About("PEM file of certificate authorities to trust instead")] = None,
    ) -> None:
        self.enabled, self.timeout, self.rate_limit, self.ca_file = enabled, timeout, rate_limit, ca_file
        self._keys = several(routing_key)
        register_secrets_in(self._keys)
        for number, key in enumerate(self._keys, start=1):
            if len(key) != KEY_LENGTH or not re.fullmatch(r"[0-9A-Za-z_-]+", key):
                raise ValueError(
                    f"routing_key number {number} must have {KEY_LENGTH} letters and digits, and has {len(key)} "
                    "characters: copy the Integration Key of an Events API v2 integration"
                )
        if client_url and not client_url.lower().startswith("https://"):
            raise ValueError("client_url must begin with https://")
        self.source = source or socket.gethostname() or "bt_alerts"
        self.component, self.client_url = component, client_url
        self.api_url = api_url.rstrip("/")

    def missing(self) -> str:
        return "" if self._keys else "set routing_key (PAGERDUTY_ROUTING_KEY) to send through PagerDuty"

    def targets(self) -> Sequence[Target]:
        return [Target(key, f"integration …{key[-4:]}") for key in self._keys]

    def deliver(self, alert: Alert, target: Target, context: Context) -> Receipt:
        own = alert.data.get("pagerduty")
        own = own if isinstance(own, Mapping) else {}
        event: dict[str, Any] = {"routing_key": target.address, **_action(alert, own, context.key, self.source)}
        notes = []
        if event["event_action"] == "trigger":
            view = self.view(alert, context)
            notes += [view.note] * bool(view.note)  # a template of the user that failed
            event |= self._trigger(alert, own, view)
            if len(json.dumps(event)) > MAX_EVENT:
                event["payload"]["custom_details"]["data"] = {}
                notes.append("sent without its data: PagerDuty takes 512 KB")
            if alert.attachments:
                notes.append("sent without its files: PagerDuty takes none")
        body = json.dumps(event).encode()
        headers = {"Content-Type": "application/json"}
        answer = self.request("POST", f"{self.api_url}/v2/enqueue", data=body, headers=headers)
        key = answer.json().get("dedup_key")
        facts = {"event_action": event["event_action"]}
        return Receipt(key if isinstance(key, str) else event["dedup_key"], "; ".join(notes), facts)

    def check(self, target: Target) -> Receipt:
        """Nothing is asked: PagerDuty tells whether a key is right only by taking an event."""
        return Receipt(note="the key has the right form; whether PagerDuty knows it shows with the first event only")

    def raise_for_answer(self, answer: Answer) -> None:
        said = answer.json()
        told = said.get("errors")
        errors = ", ".join(map(str, told)) if isinstance(told, list) else str(told or said.get("message") or "")
        errors = shorten(errors, MAX_QUOTE)
        if answer.status == 400 and "routing_key" in errors.replace(" ", "_").lower():
            # One wrong key of several must not silence the others, so then only its own target ends.
            if len(self._keys) == 1:
                raise answer.failed(Failure.AUTH, f"does not take routing_key: {errors}")
            raise answer.failed(Failure.PERMANENT, f"does not take this routing_key: {errors}", dead_target=True)
        if answer.status == 400 and errors:
            raise answer.failed(Failure.PERMANENT, f"refused the event: {errors}")
        raise_for_status(answer)

    def _trigger(self, alert: Alert, own: Mapping[str, Any], view: View) -> dict[str, Any]:
        details = {
            "message": view.message,
            **dict(view.fields),
            "Time": view.time,
            "Alert": alert.id,
            "data": dict(view.details) if self.look.privacy != "off" else _data(alert),
        }
        payload = {
            "summary": shorten(" ".join(view.title.split()), MAX_SUMMARY) or alert.type.value,
            "source": self.source,
            "severity": SEVERITIES[alert.priority],
            "timestamp": alert.time.isoformat(),
            "component": self.component or alert.symbol,
            "group": alert.strategy,
            "class": alert.kind,
            "custom_details": details,
        }
        event: dict[str, Any] = {"payload": {name: value for name, value in payload.items() if value}}
        event["client"] = "bt_alerts"
        event["client_url"] = self.client_url
        event["links"] = _secure(own.get("links"), "href")
        event["images"] = _secure(own.get("images"), "src")
        return {name: value for name, value in event.items() if value}


def _action(alert: Alert, own: Mapping[str, Any], key: str, source: str) -> dict[str, str]:
    """What the event does, and the key by which PagerDuty knows what it is about.

    Raises:
        DeliveryFailed: where nothing tells which event is to be acknowledged or resolved.
    """
    thread = alert.thread if alert.type not in _EACH else ""
    given = str(own.get("dedup_key") or "")
    shared = given if len(given) <= MAX_DEDUP_KEY else hashlib.sha256(given.encode()).hexdigest()
    if not shared and thread:
        # With the source, because a feed that is back on one machine must not resolve what is wrong on another.
        shared = "bt_alerts-" + hashlib.sha256(f"{source}\0{thread}".encode()).hexdigest()
    # Where nothing tells which loss of the feed it ends, that it is live goes as an event of its own.
    action = "resolve" if resolves(alert) and shared else "trigger"
    wanted = str(own.get("event_action") or action).lower()
    if wanted not in ACTIONS:
        wanted = action
    if wanted != "trigger" and not shared:
        raise DeliveryFailed(
            Failure.PERMANENT, f"nothing tells which event to {wanted}: give the alert a thread or a dedup_key"
        )
    return {"event_action": wanted, "dedup_key": shared or key}


def _data(alert: Alert) -> dict[str, Any]:
    return {name: value for name, value in alert.data.items() if name != "pagerduty"}


def _secure(given: Any, place: str) -> list[Any]:
    """Those links or pictures whose address begins with https://, as PagerDuty takes no others."""
    members = [member for member in given if isinstance(member, Mapping)] if isinstance(given, list) else []
    return [member for member in members if str(member.get(place, "")).lower().startswith("https://")][:MAX_LINKS]
