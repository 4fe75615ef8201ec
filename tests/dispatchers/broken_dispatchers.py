"""Dispatchers that break one promise each, to see the contract turn red; test_contract_is_strict.py runs them."""

from __future__ import annotations

import http.client
import itertools
import json
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar
from urllib.parse import urlsplit

import requests
from beacon import LIMIT, Beacon
from test_contract_beacon import TestBeaconContract

from bt_alerts.alert import Alert
from bt_alerts.dispatchers.base import About, Context, Credential, DeliveryFailed, Failure, Receipt, Target
from bt_alerts.dispatchers.http import Answer
from bt_alerts.render.look import as_is


class Escape(Beacon):
    """Takes the alert's text for markup."""

    escape = staticmethod(as_is)


class Whole(Beacon):
    """Sends any length in one message."""

    def pages(self, *args: Any, **kwargs: Any) -> list[str]:
        return ["\n".join(super().pages(*args, **kwargs))]


class Lost(Beacon):
    """Sends the first part only, and does not say so."""

    def pages(self, *args: Any, **kwargs: Any) -> list[str]:
        return super().pages(*args, **kwargs)[:1]


class Sliced(Beacon):
    """Cuts in the middle of what a reader takes for one character."""

    def pages(self, alert: Alert, context: Context, limit: int, *_: Any) -> list[str]:
        view = self.view(alert, context)
        text = f"{view.title}\n{view.message}"
        return [text[start : start + limit] for start in range(0, len(text), limit)]


class Slow(Beacon):
    """Has a time of its own."""

    def post(self, path: str, until: float, **body: str) -> dict[str, Any]:
        return super().post(path, time.monotonic() + 2.5, **body)


class SlowPages(Beacon):
    """Gives each part the whole time."""

    def post(self, path: str, until: float, **body: str) -> dict[str, Any]:
        return super().post(path, time.monotonic() + self.timeout, **body)


class Follows(Beacon):
    """Goes where it is sent."""

    def raise_for_answer(self, answer: Answer) -> None:
        place = answer.headers.get("Location", "")
        if place.startswith("http://127"):
            self.http.request("POST", place, timeout=5, headers={"Authorization": self.token})
        super().raise_for_answer(answer)


class Logs(Beacon):
    def post(self, path: str, until: float, **body: str) -> dict[str, Any]:
        logging.getLogger("beacon").debug("posting with %s", self.token)
        return super().post(path, until, **body)


class Prints(Beacon):
    def post(self, path: str, until: float, **body: str) -> dict[str, Any]:
        print("posting with", self.token)
        return super().post(path, until, **body)


class Shows(Beacon):
    def __repr__(self) -> str:
        return f"<Beacon {self.token}>"


class Cause(Beacon):
    """Hangs an exception with the token to its failures."""

    def raise_for_answer(self, answer: Answer) -> None:
        try:
            super().raise_for_answer(answer)
        except DeliveryFailed as failed:
            raise failed from ValueError(f"{self.token} was refused")


class NoCredential(Beacon):
    """Does not say that its token is secret, so what the service says about it is shown."""

    def __init__(
        self,
        token: Annotated[str, About("the token")] = "",
        rooms: Annotated[Sequence[str], About("names of rooms")] = ("lobby",),
        url: Annotated[str, About("address of the service")] = "",
        timeout: Annotated[float, About("seconds")] = 30.0,
        ca_file: Annotated[str | None, About("PEM file")] = None,
    ) -> None:
        self.token, self.rooms, self.url, self.timeout, self.ca_file = token, list(rooms), url, timeout, ca_file


class Infects(Beacon):
    """One failure ends everything."""

    over = False

    def deliver(self, alert: Alert, target: Target, context: Context) -> Receipt:
        if self.over:
            raise DeliveryFailed(Failure.AUTH, "it did not work before")
        try:
            return super().deliver(alert, target, context)
        except DeliveryFailed:
            self.over = True
            raise


class Swallows(Beacon):
    def deliver(self, alert: Alert, target: Target, context: Context) -> Receipt:
        try:
            return super().deliver(alert, target, context)
        except DeliveryFailed:
            return Receipt()


class Repeats(Beacon):
    """Tries again by itself."""

    def post(self, path: str, until: float, **body: str) -> dict[str, Any]:
        try:
            return super().post(path, until, **body)
        except DeliveryFailed:
            return super().post(path, until, **body)


class Crashes(Beacon):
    """Takes for granted what the service answers."""

    def raise_for_answer(self, answer: Answer) -> None:
        super().raise_for_answer(answer)
        _ = answer.json()["id"]


class Confuses(Beacon):
    """Keeps the work of one thread where another one finds it."""

    def deliver(self, alert: Alert, target: Target, context: Context) -> Receipt:
        self.alert = alert
        time.sleep(0.001)
        return super().deliver(self.alert, target, context)


class Trusts(Beacon):
    """Does not look at certificates."""

    def post(self, path: str, until: float, **body: str) -> dict[str, Any]:
        said: dict[str, Any] = requests.post(f"{self.url}/{path}", json=body, verify=False, timeout=5).json()
        return said


class Stubborn(Beacon):
    """Keeps one connection whatever happens to it."""

    def post(self, path: str, until: float, **body: str) -> dict[str, Any]:
        parts = urlsplit(self.url)
        line = self.__dict__.setdefault("line", http.client.HTTPConnection(parts.hostname or "", parts.port))
        try:
            line.request("POST", f"/{path}", json.dumps(body), {"Content-Type": "application/json"})
            said: dict[str, Any] = json.loads(line.getresponse().read())
            return said
        except (OSError, http.client.HTTPException):
            raise DeliveryFailed(Failure.RETRY, "no answer", answered=False) from None


class InTime(Beacon):
    """Does not say that it is late."""

    def pages(self, alert: Alert, context: Context, limit: int, *_: Any) -> list[str]:
        return super().pages(alert, Context(key=context.key), limit)


class Careless(Beacon):
    """Does not miss its credentials."""

    def missing(self) -> str:
        return ""

    def targets(self) -> Sequence[Target]:
        return [Target(room, f"room {room}") for room in self.rooms]


class Changes(Beacon):
    """Writes into the alert."""

    def deliver(self, alert: Alert, target: Target, context: Context) -> Receipt:
        alert.data["sent"] = True  # type: ignore[index]
        return super().deliver(alert, target, context)


class Keys(Beacon):
    """Another key for each attempt."""

    numbers = itertools.count()

    def deliver(self, alert: Alert, target: Target, context: Context) -> Receipt:
        key = f"{context.key}-{next(self.numbers)}" if context.attempt > 1 else context.key
        return super().deliver(alert, target, Context(key=key[::-1] if context.attempt > 1 else key))


class Previews(Beacon):
    """Sends what it should only show."""

    def preview(self, alert: Alert, target: Target, context: Context) -> list[Any]:
        self.deliver(alert, target, context)
        return super().preview(alert, target, context)


class Paths(Beacon):
    """Sends the paths of this machine."""

    def post(self, path: str, until: float, **body: str) -> dict[str, Any]:
        return super().post(path, until, **body, **self.__dict__.get("files", {}))

    def deliver(self, alert: Alert, target: Target, context: Context) -> Receipt:
        self.files = {"files": ",".join(attachment.path for attachment in alert.attachments)}
        return super().deliver(alert, target, context)


class Impatient(Beacon):
    """Does not hear when to come again."""

    def raise_for_answer(self, answer: Answer) -> None:
        answer.headers = {}
        super().raise_for_answer(answer)


class Doubles(Beacon):
    """Takes an address twice."""

    def targets(self) -> Sequence[Target]:
        return [*super().targets(), *super().targets()][: 3 if len(self.rooms) == 2 else len(self.rooms)]


class Nameless(Beacon):
    """Does not say what an argument is."""

    def __init__(self, token: str = "", rooms: Sequence[str] = (), url: str = "", **more: Any) -> None:
        super().__init__(token, rooms, url, **more)


class Mixes(Beacon):
    """Gives one delivery the receipt of another."""

    said: ClassVar[dict[str, Any]] = {}

    def post(self, path: str, until: float, **body: str) -> dict[str, Any]:
        self.said.update(super().post(path, until, **body))
        time.sleep(0.001)
        return self.said


class Believes(Beacon):
    """Looks at the body and not at the status."""

    def raise_for_answer(self, answer: Answer) -> None:
        if "id" not in answer.json():
            super().raise_for_answer(answer)


class Alone(Beacon):
    """Does not hear which authority to trust."""

    def __init__(
        self,
        token: Annotated[str, Credential(), About("the token")] = "",
        rooms: Annotated[Sequence[str], About("names of rooms")] = ("lobby",),
        url: Annotated[str, About("address of the service")] = "",
        timeout: Annotated[float, About("seconds")] = 30.0,
        ca_file: Annotated[str | None, About("PEM file")] = None,
    ) -> None:
        super().__init__(token, rooms, url, timeout)


class Closes(Beacon):
    """Once closed it is of no more use."""

    def close(self) -> None:
        super().close()
        self.token = ""


#: What is broken, and the test that must see it.
SEEN_BY: Sequence[tuple[type[Beacon], str]] = (
    (Escape, "test_no_text_breaks_it[message]"),
    (Whole, "test_a_long_text_is_split_or_shortened[words]"),
    (Lost, "test_a_long_text_is_split_or_shortened[words]"),
    (Sliced, "test_a_long_text_is_split_or_shortened[clusters]"),
    (Slow, "test_the_whole_delivery_ends_in_time[never_answers]"),
    (SlowPages, "test_a_long_text_ends_in_time_as_well"),
    (Follows, "test_a_redirect_is_not_followed[307]"),
    (Logs, "test_an_alert_arrives"),
    (Prints, "test_no_credential_is_shown"),
    (Shows, "test_targets_have_labels_and_keys_of_their_own"),
    (Cause, "test_no_credential_is_shown"),
    (NoCredential, "test_no_credential_is_shown"),
    (Infects, "test_what_happens_to_one_target_is_nothing_to_the_others"),
    (Swallows, "test_every_status_has_its_class[400]"),
    (Repeats, "test_every_status_has_its_class[500]"),
    (Crashes, "test_a_junk_answer_does_no_harm[200]"),
    (Confuses, "test_several_threads_share_it"),
    (Trusts, "test_a_wrong_certificate_is_refused[authority]"),
    (Stubborn, "test_it_works_in_a_forked_child_and_on_in_the_parent"),
    (InTime, "test_a_late_alert_says_how_late"),
    (Careless, "test_without_credentials_it_says_what_to_set_and_sends_nothing"),
    (Changes, "test_each_attempt_of_a_delivery_is_the_same_and_leaves_the_alert_as_it_was"),
    (Keys, "test_each_attempt_of_a_delivery_is_the_same_and_leaves_the_alert_as_it_was"),
    (Previews, "test_a_preview_shows_the_text_and_sends_nothing"),
    (Paths, "test_a_file_that_cannot_be_sent_does_not_keep_the_text_back"),
    (Impatient, "test_retry_after_is_obeyed[503]"),
    (Doubles, "test_an_address_that_is_given_twice_gets_one_message"),
    (Nameless, "test_its_class_says_what_settings_and_forms_need"),
    (Sliced, "test_no_character_is_cut"),
    (Repeats, "test_a_torn_answer_leaves_the_outcome_unknown[resets_instead_of_an_answer]"),
    (Stubborn, "test_a_connection_that_ended_while_idle_is_replaced"),
    (Mixes, "test_receipts_of_several_threads_are_not_mixed_up"),
    (Believes, "test_the_body_of_a_success_does_not_undo_a_status[500]"),
    (Alone, "test_the_right_certificate_is_accepted"),
    (Closes, "test_it_can_be_closed_twice_and_used_again"),
)


#: Seconds for those that are seen by what they still do, so that no stall of the machine ends that before.
TIMEOUTS: Mapping[type[Beacon], float] = {SlowPages: 2.0}


def _contract(kind: type[Beacon]) -> type[TestBeaconContract]:
    def make(self: Any, url: str, *, addresses: Sequence[str] = ("lobby",), **settings: Any) -> Beacon:
        return kind(self.secret("token"), addresses, url, **settings)

    own = {"make": make, "limit": LIMIT, "timeout": TIMEOUTS.get(kind, TestBeaconContract.timeout)}
    return type(f"Broken{kind.__name__}", (TestBeaconContract,), own)


#: As classes of this module, where pytest finds them; the first one is not broken.
globals().update({f"Broken{kind.__name__}": _contract(kind) for kind in (Beacon, *(kind for kind, _ in SEEN_BY))})
