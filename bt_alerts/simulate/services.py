"""Services as a simulation has them: how long they take, what they take at most, what it costs, when they are away.

A channel of ours that speaks HTTP is simulated by its own dispatcher over a client that opens no connection: its
rendering, its splitting of long texts, its spending cap and its reading of answers are the real ones. The others, and
those that somebody else wrote, take every message, unless they are away: their code is not run. Nothing here can reach
a network.

The latencies are what is usual, to be replaced by one's own (``latency=``); the limits are those that the services
document.
"""

from __future__ import annotations

import bisect
import calendar
import collections
import copy
import dataclasses
import datetime as dt
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from bt_alerts.alert import Alert, as_utc
from bt_alerts.dispatchers.base import Context, DeliveryFailed, Dispatcher, Failure, Receipt, Target, late_text
from bt_alerts.dispatchers.http import MAX_ANSWER, Answer, HttpClient, HttpDispatcher
from bt_alerts.dispatchers.registry import BUILT_IN, dispatcher_class
from bt_alerts.dispatchers.sms.aws import AwsSns
from bt_alerts.dispatchers.sms.providers import Provider
from bt_alerts.rules.jitter import share
from bt_alerts.simulate.rows import Bite, SimulatedMessage

DAY, MONTH = "day", "month"
DAY_SECONDS = 86_400.0
MOST_PAID = 1e6  # for one message: what is more is a slip
#: Where requests seem to go. It does not exist, and Pushover's dispatchers count connections by address.
NOWHERE = "https://simulated.invalid"
OK = 200
TOO_MANY = 429


@dataclasses.dataclass(frozen=True, slots=True)
class Limit:
    """What a service takes at most.

    Args:
        most: requests.
        per: seconds of a sliding window; or ``day`` or ``month``, of UTC.
        words: for people.
        each: of each address; else of the whole channel.
        only: of which addresses, by what they begin with; empty for all.
        at: of which server, where many have the same service; empty for all.
    """

    most: int
    per: float | str
    words: str
    each: bool = True
    only: str = ""
    at: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Service:
    """What a service is like.

    Args:
        latency: seconds from the request until it is on the phone.
        limits: what it takes at most.
        answer: what it says when it took a message; None for what the dispatcher's previews are answered.
        price: of one unit, in the currency of whoever pays.
    """

    latency: float = 1.0
    limits: tuple[Limit, ...] = ()
    answer: Mapping[str, Any] | None = None
    price: float = 0.0


#: By channel type. Limits: Pushover's FAQ (10,000 a month and account), Telegram's bot FAQ, the rate limits of Discord
#: and Slack, the defaults of ntfy.sh.
SERVICES: Mapping[str, Service] = {
    "console": Service(0.0),
    "pushover": Service(
        1.5,
        (Limit(10_000, MONTH, "10,000 messages a month (Pushover)", each=False),),
        {"status": 1, "request": "simulated"},
    ),
    "telegram": Service(
        1.0,
        (
            Limit(20, 60.0, "20 messages a minute to a group (Telegram)", only="-"),
            Limit(30, 1.0, "30 messages a second (Telegram)", each=False),
        ),
    ),
    "discord": Service(0.5, (Limit(5, 2.0, "5 messages in 2 seconds (Discord)"),)),
    "slack": Service(0.5, (Limit(60, 60.0, "60 messages a minute (Slack)"),)),
    "teams": Service(1.0, (Limit(60, 30.0, "60 messages in 30 seconds (Teams)"),)),
    "ntfy": Service(
        1.0, (Limit(250, DAY, "250 messages a day (ntfy.sh)", each=False, at="https://ntfy.sh"),), {"id": "1"}
    ),
    "sms": Service(
        5.0,
        answer={
            "sid": f"SM{'0' * 32}",
            "messages": [{"status": "0", "message-id": "0"}],
            "sns": "<MessageId>0</MessageId>",  # it speaks XML, and is asked for nothing but this
        },
        price=0.0083,
    ),
    "voice": Service(10.0, price=0.014),
    "email": Service(
        10.0, (Limit(500, DAY, "500 messages a day (a mailbox at Gmail)", each=False, at="smtp.gmail.com"),)
    ),
    "pusher": Service(0.2, (Limit(200_000, DAY, "200,000 messages a day (Pusher's free plan)", each=False),)),
    "pagerduty": Service(1.0, (Limit(120, 60.0, "120 events a minute (PagerDuty)"),), {"status": "success"}),
    "webhook": Service(0.3),
    "apprise": Service(2.0),
}

#: Types whose own dispatcher is run over a client without connections.
REPLAYED = frozenset({
    "pushover", "telegram", "discord", "slack", "teams", "ntfy", "sms", "voice", "pagerduty", "webhook",
})  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class Outage:
    """A time in which a channel's service does not take messages.

    Args:
        channel: its name; or a type, for all channels of that type.
        since: when it begins: anything that tells a time; Unix seconds, ISO 8601 text, a datetime.
        until: when it ends.
        status: what it answers then, such as 503, 429, 401; 0 where it cannot be reached at all.
        retry_after: seconds that it asks for; 0 for none.

    Raises:
        ValueError: where a time is none, it ends before it begins, or no service would answer so.
    """

    channel: str
    since: dt.datetime | float | str
    until: dt.datetime | float | str
    status: int = 0
    retry_after: float = 0.0

    def __post_init__(self) -> None:
        about = f"the outage of {self.channel}"
        if not unix(self.since) < unix(self.until):
            raise ValueError(f"{about} ends before it begins: write since= and then a later until=")
        if self.status != 0 and not 300 <= self.status <= 599:
            raise ValueError(f"{about} has the status {self.status!r}: write 0 for no answer, or one from 300 to 599")
        if not 0 <= self.retry_after < math.inf:
            raise ValueError(f"{about} has retry_after={self.retry_after!r}: write seconds, or 0 for none")

    def covers(self, now: float) -> bool:
        """Whether it is away at a time."""
        return unix(self.since) <= now < unix(self.until)


def unix(when: dt.datetime | float | str) -> float:
    """Anything that tells a time as Unix seconds. Raises ``ValueError`` where it tells none."""
    moment = as_utc(when) if isinstance(when, dt.datetime | str) else None
    seconds = moment.timestamp() if moment is not None else when
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not math.isfinite(seconds):
        raise ValueError(f"{when!r} is no time: write Unix seconds, a datetime, or text such as 2026-01-31T15:30")
    return float(seconds)


def checked(what: str, given: Mapping[str, float] | None, known: Iterable[str], most: float) -> dict[str, float]:
    """Numbers by channel's name or type, as somebody gave them.

    Args:
        what: the argument, for texts.
        given: them.
        known: names and types that there are; the built-in types are known without being there.
        most: of a number.

    Raises:
        ValueError: for a name that is not there, which would be without effect, or a number that can be none.
    """
    there = list(dict.fromkeys(known))
    for name, value in (given or {}).items():
        if name not in there and name not in BUILT_IN:
            raise ValueError(f"{what}: there is no channel {name!r} in these settings: there is {', '.join(there)}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
            raise ValueError(f"{what} of {name}: write a number from 0 to {most:,.0f}, not {value!r}")
    return {name: float(value) for name, value in (given or {}).items()}


class World:
    """Everything outside: what services took, when they are away, and where their limits bit.

    Args:
        types: the channels' types by name.
        outages: when which channel is away.
        latency: seconds by channel's name or type, in place of the usual ones.
        prices: of a unit, by channel's name or type.
        own_prices: of a unit, by channel's name, as the settings say; what ``prices`` says comes first.
        limits: whether services refuse what is too much for them.

    Raises:
        ValueError: for a channel that is not there, or a number that can be none.
    """

    def __init__(
        self,
        types: Mapping[str, str],
        *,
        outages: Sequence[Outage] = (),
        latency: Mapping[str, float] | None = None,
        prices: Mapping[str, float] | None = None,
        own_prices: Mapping[str, float] | None = None,
        limits: bool = True,
    ) -> None:
        known = [*types, *types.values()]
        self.now = 0.0
        #: Seconds that the delivery which is under way has taken.
        self.took = 0.0
        self.messages: list[SimulatedMessage] = []
        self._outages: dict[str, list[tuple[float, float, Outage]]] = {}
        for outage in outages:
            for name in _meant(outage, types):
                self._outages.setdefault(name, []).append((unix(outage.since), unix(outage.until), outage))
        self._latency = checked("latency", latency, known, DAY_SECONDS)
        self._prices = checked("prices", prices, known, MOST_PAID)
        self._own_prices = dict(own_prices or {})
        self._limits = limits
        self._seen: dict[tuple[str, str, Limit], collections.deque[float]] = {}
        self._calendar: dict[tuple[str, str, Limit], tuple[str, int]] = {}
        #: By channel and limit: refused deliveries by period, and when first.
        self._bitten: dict[tuple[str, Limit], dict[str, set[str]]] = {}
        self._first: dict[tuple[str, Limit], float] = {}
        #: By channel, limit, and address where it is each one's: from when until when no more was taken.
        self._full: dict[str, dict[tuple[Limit, str], list[list[float]]]] = {}
        #: When a delivery was taken, by its key.
        self._taken: dict[str, float] = {}

    def clock(self) -> float:
        """Unix seconds. It goes on while a delivery is under way."""
        return self.now + self.took

    def service(self, type_: str) -> Service:
        """What a type's service is like."""
        return SERVICES.get(type_, Service())

    def latency(self, channel: str, type_: str, key: str) -> float:
        """How long one request takes, in seconds; a little more or less, and the same each time it is simulated."""
        usual = self._latency.get(channel, self._latency.get(type_, self.service(type_).latency))
        return usual * (0.7 + 0.6 * share(key, 1))

    def price(self, channel: str, type_: str) -> float:
        """Of a unit."""
        usual = self._own_prices.get(channel, self.service(type_).price)
        return self._prices.get(channel, self._prices.get(type_, usual))

    def status(self, channel: str, type_: str, target: Target, key: str, server: str = "") -> tuple[int, float]:
        """What the service answers to a request now, and how long it asks to wait.

        Args:
            channel: its name.
            type_: its type.
            target: the address.
            key: of the delivery, the same for each attempt.
            server: where the service is, where that is known.
        """
        for since, until, outage in self._outages.get(channel, ()):
            if since <= self.now < until:
                return outage.status, outage.retry_after
        if not self._limits:
            return OK, 0.0
        limits = [limit for limit in self.service(type_).limits if server.startswith(limit.at)]
        waits = [(self._wait(channel, limit, target), limit) for limit in limits]
        for wait, limit in waits:
            if wait > 0:
                self._refuse(channel, limit, target, key, wait)
                return TOO_MANY, wait
        for _, limit in waits:
            self._count(channel, limit, target)
        self._taken[key] = self.now
        return OK, 0.0

    def _refuse(self, channel: str, limit: Limit, target: Target, key: str, wait: float) -> None:
        self._bite(channel, limit, key, self.now)
        self._first.setdefault((channel, limit), self.now)
        full = self._full.setdefault(channel, {}).setdefault((limit, target.key if limit.each else ""), [])
        if full and self.now <= full[-1][1]:
            full[-1][1] = max(full[-1][1], self.now + wait)
        else:
            full.append([self.now, self.now + wait])

    def _bite(self, channel: str, limit: Limit, key: str, when: float) -> None:
        self._bitten.setdefault((channel, limit), {}).setdefault(_period(limit, when), set()).add(key)

    def waited(self, channel: str, target: str, key: str, came: float) -> None:
        """Count a delivery among those that a limit kept, where it came while nothing more was taken.

        Couriers leave a service alone that told them to wait, so most of these are never refused.

        Args:
            channel: its name.
            target: key of the address.
            key: of the delivery.
            came: when it was to go, in Unix seconds.
        """
        for (limit, whose), full in self._full.get(channel, {}).items():
            place = bisect.bisect_right(full, came, key=lambda times: times[0]) - 1
            if place < 0 or whose not in {"", target}:
                continue
            until = full[place][1]
            if came < until <= self._taken.get(key, math.inf):
                self._bite(channel, limit, key, came)

    def _about(self, channel: str, limit: Limit, target: Target) -> tuple[str, str, Limit] | None:
        if limit.only and not target.address.startswith(limit.only):
            return None
        return channel, target.key if limit.each else "", limit

    def _wait(self, channel: str, limit: Limit, target: Target) -> float:
        """Seconds until the service takes another; 0 where it does now."""
        about = self._about(channel, limit, target)
        if about is None:
            return 0.0
        if isinstance(limit.per, str):
            period, used = self._calendar.get(about, ("", 0))
            full = period == _period(limit, self.now) and used >= limit.most
            return _next_period(limit.per, self.now) - self.now if full else 0.0
        seen = self._seen.setdefault(about, collections.deque())
        while seen and seen[0] <= self.now - limit.per:
            seen.popleft()
        return seen[0] + limit.per - self.now if len(seen) >= limit.most else 0.0

    def _count(self, channel: str, limit: Limit, target: Target) -> None:
        about = self._about(channel, limit, target)
        if about is None:
            return
        if isinstance(limit.per, str):
            period, used = self._calendar.get(about, ("", 0))
            current = _period(limit, self.now)
            self._calendar[about] = current, used + 1 if period == current else 1
        else:
            self._seen.setdefault(about, collections.deque()).append(self.now)

    @property
    def bites(self) -> tuple[Bite, ...]:
        """Where limits bit."""
        found = []
        for (channel, limit), periods in self._bitten.items():
            worst, refused = max(periods.items(), key=lambda pair: len(pair[1]))
            found.append(
                Bite(
                    channel,
                    limit.words,
                    self._first[channel, limit],
                    times=len(periods),
                    over=len(set().union(*periods.values())),
                    worst=f"{worst}: {len(refused):,} more than {limit.most:,}",
                )
            )
        return tuple(found)


def _meant(outage: Outage, types: Mapping[str, str]) -> list[str]:
    """The channels of an outage. A slip in a name would be an outage that never was."""
    if outage.channel in types:
        return [outage.channel]
    found = [name for name, type_ in types.items() if type_ == outage.channel]
    if not found:
        there = ", ".join(dict.fromkeys([*types, *types.values()]))
        raise ValueError(f"outages: there is no channel {outage.channel!r} in these settings: there is {there}")
    return found


def _period(limit: Limit, now: float) -> str:
    """The name of the time in which something is counted."""
    when = dt.datetime.fromtimestamp(now, dt.UTC)
    if limit.per == MONTH:
        return f"{when:%Y-%m}"
    return f"{when:%Y-%m-%d}" if limit.per == DAY or float(limit.per) > 3600 else f"{when:%Y-%m-%d %H:%M}"


def _next_period(per: str, now: float) -> float:
    when = dt.datetime.fromtimestamp(now, dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    days = calendar.monthrange(when.year, when.month)[1] - when.day + 1 if per == MONTH else 1
    return (when + dt.timedelta(days=days)).timestamp()


class _Client(HttpClient):
    """Answers as the service would, and opens no connection.

    Args:
        ask: gives the status, and the seconds to wait.
        answer: what the service says when it takes a message.
        now: Unix seconds.
    """

    def __init__(
        self, ask: Callable[[], tuple[int, float]], answer: Mapping[str, Any], now: Callable[[], float]
    ) -> None:
        super().__init__()
        self._ask = ask
        self._taken = json.dumps(dict(answer)).encode()
        self._now = now

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
        status, wait = self._ask()
        if status == 0:
            raise DeliveryFailed(Failure.RETRY, "the service cannot be reached", answered=False)
        told = {"Retry-After": f"{math.ceil(wait * 1000) / 1000:.3f}"} if wait else {}  # never a little too early
        now = dt.datetime.fromtimestamp(self._now(), dt.UTC)
        body = self._taken if status == OK else b"{}"
        return Answer(status, told, body, complete=True, host="the service", now=now)


class SimulatedDispatcher(Dispatcher):
    """Stands for a channel's dispatcher; what it takes is written down.

    Args:
        name: the channel's name.
        real: the dispatcher; it is not used to send.
        world: everything outside.
    """

    type: ClassVar[str] = "simulated"

    def __init__(self, name: str, real: Dispatcher, world: World) -> None:
        self.name = name
        self._world = world
        self.service_type = real.type
        self.__dict__.update(
            repeat_unknown=real.repeat_unknown,
            repeats_cost=real.repeats_cost,
            concurrent=real.concurrent,
            timeout=real.timeout,
            look=real.look,
            rate=real.rate,
        )
        self._server = str(getattr(real, "api_url", None) or getattr(real, "host", None) or "")
        try:
            self._targets = list(real.targets())
        except Exception:  # somebody else's fault; the manager says so where it delivers
            self._targets = []
        self._targets = self._targets or [Target(name, name)]
        self._about: tuple[Target, str] = self._targets[0], ""
        self._requests = 0
        self._twin: HttpDispatcher | None = None
        if real.type in REPLAYED and isinstance(real, HttpDispatcher) and type(real) is dispatcher_class(real.type):
            told = world.service(real.type).answer
            client = _Client(self._asked, real.preview_answer if told is None else told, lambda: world.now)
            self._twin = _twin(real, client)

    def targets(self) -> Sequence[Target]:
        return self._targets

    def _asked(self) -> tuple[int, float]:
        target, key = self._about
        self._requests += 1
        self._world.took += self._world.latency(self.name, self.service_type, key)
        return self._world.status(self.name, self.service_type, target, key, self._server)

    def deliver(self, alert: Alert, target: Target, context: Context) -> Receipt:
        self._about = target, context.key
        self._requests = 0
        if self._twin is not None:
            receipt = self._twin.deliver(alert, target, context)
        else:
            status, wait = self._asked()
            if status == 0:
                raise DeliveryFailed(Failure.RETRY, "the service cannot be reached", answered=False)
            if status != OK:
                _raise(status, wait)
            receipt = Receipt()
        if not self._requests:  # a call that is not worth one: settled, and on nobody's phone
            return dataclasses.replace(receipt, id="", follow_up=None)
        number = len(self._world.messages)
        units = int(receipt.facts.get("segments") or 1)
        view = self.look.view(alert, late_text(context.late))
        self._world.messages.append(
            SimulatedMessage(
                time=self._world.now + self._world.took,
                channel=self.name,
                type=self.service_type,
                target=target.label,
                title=view.title,
                text=view.message,
                priority=alert.priority,
                alerts=(alert.id,),  # those of a digest are known when it is settled
                silent=context.silent,
                late=0.0 if context.late is None else context.late.total_seconds(),
                batch="",
                units=units,
                cost=units * self._world.price(self.name, self.service_type),
            )
        )
        return dataclasses.replace(receipt, id=str(number), follow_up=None)

    def check(self, target: Target) -> Receipt:
        return Receipt()


def _twin(real: HttpDispatcher, client: HttpClient) -> HttpDispatcher:
    """A dispatcher like another one, over another client. Both are used at the same time, and share nothing of that."""
    twin = copy.copy(real)
    twin.__dict__["_http"] = client
    if isinstance(twin.__dict__.get("api_url"), str):
        twin.__dict__["api_url"] = NOWHERE
    if "_providers" in twin.__dict__:
        twin.__dict__["_providers"] = [_without_network(provider) for provider in twin.__dict__["_providers"]]
    return twin


def _without_network(provider: Provider) -> Provider:
    """AWS's library would look for credentials, on the network as well."""
    if not isinstance(provider, AwsSns):
        return provider
    made = copy.copy(provider)
    made.__dict__["_credentials"] = _Nobody
    return made


class _Nobody:
    """Credentials of nobody, to sign what is not sent."""

    access_key = secret_key = "nobody"
    token = None


def _raise(status: int, wait: float) -> None:
    """What an answer means to a service that does not speak HTTP, said in HTTP's words."""
    if status in {401, 403}:
        raise DeliveryFailed(Failure.AUTH, "the service refused the credentials")
    if status == TOO_MANY or wait:
        raise DeliveryFailed(Failure.RETRY_AFTER, "the service takes no more for now", retry_after=wait or 60.0)
    if status >= 500:
        raise DeliveryFailed(Failure.RETRY, "the service is in trouble")
    raise DeliveryFailed(Failure.PERMANENT, "the service refused the message", dead_target=status == 410)
