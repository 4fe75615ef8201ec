"""The settings as immutable models. A channel's model is made from its dispatcher's constructor.

Each type therefore has its keys declared once, in the signature, ours and a third party's alike. No ``repr``, ``str``,
dump or error of these models shows a credential. :func:`bt_alerts.settings.load` makes them; made by hand they work
too, but then it is pydantic that complains about a wrong value, in its own words.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import typing
import zoneinfo
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    SecretStr,
    SerializeAsAny,
    create_model,
)

from bt_alerts.alert import AlertType
from bt_alerts.calendars import read_session
from bt_alerts.dispatchers import base, registry
from bt_alerts.dispatchers.base import Argument, Dispatcher
from bt_alerts.errors import SettingsError
from bt_alerts.hours import EXAMPLE
from bt_alerts.kinds import Setting
from bt_alerts.outbox import postgres_address
from bt_alerts.redact import redact
from bt_alerts.render.look import PRIVACY, Look
from bt_alerts.rules.batching import BatchSettings
from bt_alerts.rules.expiry import ALL, DAY
from bt_alerts.rules.pipeline import RuleSettings
from bt_alerts.settings.block import Block
from bt_alerts.settings.fields import Also, Seconds, as_list, by_word, readable
from bt_alerts.settings.rules import DigestBlock, EscalationBlock, QuietBlock, RouteBlock, Rules, namer
from bt_alerts.settings.stamps import Stamp
from bt_alerts.settings.watches import WatchLevel


def _event_setting(value: Any) -> Any:
    if isinstance(value, bool):  # a mapping from somebody's own YAML reader, where `on` became True
        return Setting.ON if value else Setting.OFF
    return by_word(list(Setting))(value)


Mode = Annotated[Literal["auto", "send", "record"], BeforeValidator(by_word(["auto", "send", "record"]))]
Privacy = Annotated[Literal["off", "hide_amounts", "percent_only"], BeforeValidator(by_word(PRIVACY))]
Durability = Annotated[Literal["process", "fsync"], BeforeValidator(by_word(["process", "fsync"]))]
EventSetting = Annotated[Setting, BeforeValidator(_event_setting)]


def _charts(value: Any) -> Any:
    switch = {"true": "light", "yes": "light", "on": "light", "false": "off", "no": "off"}
    word = str(value).strip().lower()
    return switch.get(word, by_word(["off", "light", "dark"])(value))


Charts = Annotated[Literal["off", "light", "dark"], BeforeValidator(_charts), Also(bool)]


_WORKERS = ["thread", "process", "external"]
Worker = Annotated[Literal["thread", "process", "external"], BeforeValidator(by_word(_WORKERS))]


def _env(name: str) -> dict[str, Any]:
    return {"env": name}


def _timezone(value: str) -> str:
    try:
        zoneinfo.ZoneInfo(value)
    except (ValueError, OSError, LookupError):
        raise ValueError("write the name of a time zone, such as UTC, Europe/Berlin or America/New_York") from None
    return value


Lifetime = Annotated[Seconds, Field(gt=0, le=31_536_000)]


def _by_type(value: Any) -> Any:
    return {ALL: DAY, **value} if isinstance(value, Mapping) else {ALL: value}


def _known_types(value: dict[str, float]) -> dict[str, float]:
    known = [ALL, *AlertType]
    for word in value:
        if word not in known:
            raise ValueError(f"{word!r} is no alert type: write one of {', '.join(known)}")
    return value


class Delivery(Block):
    """How alerts are delivered. Times are in seconds."""

    max_retries: int = Field(
        default=3,
        ge=0,
        le=1000,
        description="failed answers after which a delivery is given up",
        json_schema_extra=_env("NOTIFICATION_MAX_RETRIES"),
    )
    retry_delay: float = Field(
        default=1.0,
        ge=0,
        le=86_400,
        description="seconds before the first retry",
        json_schema_extra=_env("NOTIFICATION_RETRY_DELAY"),
    )
    retry_backoff: float = Field(default=2.0, ge=1, le=100, description="factor by which each further wait is longer")
    parallel: bool = Field(
        default=True,
        description="channels are served at the same time",
        json_schema_extra=_env("NOTIFICATION_PARALLEL_DELIVERY"),
    )
    fail_fast: bool = Field(
        default=False,
        description="the first failure of an alert cancels its other channels",
        json_schema_extra=_env("NOTIFICATION_FAIL_FAST"),
    )
    durability: Durability = Field(
        default="process", description="an alert survives the death of the process, or (fsync) of the machine"
    )
    flush_timeout: float = Field(default=10.0, ge=0, le=3600, description="seconds that an exit waits for deliveries")
    time_to_live: Annotated[
        dict[str, Lifetime], BeforeValidator(_by_type), AfterValidator(_known_types), Also(Lifetime)
    ] = Field(
        default_factory=lambda: {ALL: DAY},
        description="after how long an undelivered alert expires: seconds or 12h, 7d …, for all or by alert type "
        "({all: 1d, market: 15m})",
    )
    enable_batching: bool = Field(
        default=False,
        description="alerts that are alike and come close together go in one message; never critical ones",
    )
    batch_size: int = Field(default=10, ge=2, le=500, description="so many go as soon as they are together")
    batch_timeout: Annotated[Seconds, Field(gt=0, le=86_400)] = Field(
        default=5.0, description="seconds that the first alert of a batch waits for others"
    )
    enable_rate_limiting: bool = Field(default=True, description="obey each channel's `rate_limit`")
    max_queue_size: int = Field(
        default=1000, ge=1, le=1_000_000, description="how many alerts may wait in an AsyncNotificationManager"
    )
    worker: Worker = Field(
        default="thread",
        description="who delivers: a thread of the strategy's process, a process of its own beside it, or `bt-alerts "
        "worker` (external)",
    )
    concurrency: int = Field(
        default=4, ge=1, le=64, description="how many addresses of one channel are served at the same time"
    )


def _session(value: str) -> str:
    read_session(value)
    return value


def _bars(value: float) -> float:
    if 0 < value < 1:
        raise ValueError("write 0 to turn it off, or how many bars may be missing, 1 or more")
    return value


def _check_url(value: SecretStr) -> SecretStr:
    text = value.get_secret_value().strip()
    try:
        parts = urlsplit(text)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or not text.isprintable() or " " in text:
        raise ValueError("write the address of the check, which begins with https:// (or http://)")
    return SecretStr(text)


Session = Annotated[list[Annotated[str, AfterValidator(_session)]], BeforeValidator(as_list)]


class Watch(Block):
    """What is watched: levels in every run, feeds and this machine while a live run goes on."""

    silence: Annotated[float, AfterValidator(_bars)] = Field(
        default=3.0,
        ge=0,
        le=1000,
        description="bars that a live feed may miss in session hours before an alert; a minute at least; 0: no alert",
    )
    session: Session = Field(
        default_factory=list,
        description=f"when feeds yield bars, such as {EXAMPLE}, or an exchange such as XNYS (extra `calendars`), or "
        "several; where it is left out, at any time (bars of a day and longer on weekdays)",
    )
    sessions: dict[str, Session] = Field(
        default_factory=dict, description="the same for single feeds, by symbol; `always` is at any time"
    )
    ping_url: Annotated[SecretStr, AfterValidator(_check_url)] | None = Field(
        default=None, description="address of a check that tells you when this machine falls silent"
    )
    ping_every: Annotated[Seconds, Field(ge=10, le=86_400)] = Field(
        default=60.0, description="seconds between two pings of `ping_url`"
    )
    levels: list[WatchLevel] = Field(
        default_factory=list, description="drawdown, price, indicators and more, each with a level: see watches.md"
    )


class History(Block):
    """How long the history is kept."""

    keep: Seconds | None = Field(
        default=None,
        ge=3600,
        le=3_153_600_000,
        description="how long alerts are kept of which nothing is pending, such as 90d; for ever unless given",
    )


class TemplateParts(Block):
    """Templates of one kind of alert, in the markup of the channel's service."""

    title: str | None = Field(default=None, description="one line")
    message: str | None = Field(default=None, description="the text")
    footer: str | None = Field(default=None, description="below the text")


def _parts(value: Any) -> Any:
    return {"message": value} if isinstance(value, str) else value


class Templates(Block):
    """How alerts are put into words."""

    timezone: Annotated[str, AfterValidator(_timezone)] = Field(
        default="UTC", description="time zone in which times are shown, such as Europe/Berlin"
    )
    channels: dict[str, dict[str, Annotated[TemplateParts, BeforeValidator(_parts), Also(str)]]] = Field(
        default_factory=dict,
        description="templates by channel (its name or type, or all) and then by alert (type, kind, or all)",
    )

    def of(self, name: str, channel_type: str) -> dict[str, dict[str, str]]:
        """The templates of one channel: those of its name before those of its type before those of all."""
        merged: dict[str, dict[str, str]] = {}
        for key in ("all", channel_type, name):
            for alert, parts in self.channels.get(key, {}).items():
                merged.setdefault(alert, {}).update(parts.model_dump(exclude_none=True))
        return merged


DispatcherClass = type[Dispatcher]  # in a class with a field `type`, the word means that field


class ChannelSettings(Block):
    """One configured channel. The model of each type adds the constructor arguments of its dispatcher."""

    dispatcher_class: ClassVar[DispatcherClass]
    #: ``{constructor argument: attribute}``
    taken: ClassVar[Mapping[str, str]] = {}
    #: The constructor's arguments as declared.
    arguments: ClassVar[tuple[Argument, ...]] = ()

    name: str = Field(description="the block's name")
    type: str = Field(description="the channel's type; the block's name unless given")
    enabled: bool = Field(default=True, description="whether alerts go there")
    rate_limit: int = Field(default=0, ge=0, le=1_000_000, description="messages a minute; 0 means no limit")
    fallback: str | None = Field(default=None, description="the channel to use when this one fails")
    timeout: float = Field(default=30.0, gt=0, le=3600, description="seconds for one request")
    charts: Charts = Field(
        default="off", description="a picture of the bars with fills, trades and signals, where the service takes one"
    )
    enable_batching: bool | None = Field(default=None, description="as in `delivery`, for this channel")
    batch_size: int | None = Field(default=None, ge=2, le=500, description="as in `delivery`, for this channel")
    batch_timeout: Annotated[Seconds, Field(gt=0, le=86_400)] | None = Field(
        default=None, description="as in `delivery`, for this channel"
    )

    def batches(self, delivery: Delivery) -> BatchSettings:
        """What the channel gathers: what it says itself before what is said for all."""
        return BatchSettings(
            delivery.enable_batching if self.enable_batching is None else self.enable_batching,
            delivery.batch_size if self.batch_size is None else self.batch_size,
            delivery.batch_timeout if self.batch_timeout is None else self.batch_timeout,
        )

    def build(self) -> Dispatcher:
        """Make the dispatcher that these settings describe.

        Returns:
            A new dispatcher; arguments that were not given have the constructor's defaults.

        Raises:
            SettingsError: where the constructor refuses a value.
        """
        dispatcher, problem = self.attempt()
        if dispatcher is None:
            raise SettingsError([f"alerts.{self.name}: {problem}"])
        return dispatcher

    def attempt(self) -> tuple[Dispatcher | None, str]:
        """The dispatcher, or None and what its constructor objects to."""
        given = {
            argument: reveal(getattr(self, attribute))
            for argument, attribute in self.taken.items()
            if attribute in self.model_fields_set
        }
        lacking = [a.name for a in self.arguments if a.required and a.name not in given]
        if lacking:
            return None, f"{' and '.join(f'`{name}`' for name in lacking)} must be given"
        try:
            dispatcher = self.dispatcher_class(**given)
        except ValueError as exc:
            problem = redact(exc)
        except Exception as exc:
            problem = f"{self.dispatcher_class.__name__} cannot be made: {type(exc).__name__}: {redact(exc)}"
        else:
            if not self.enabled and "enabled" not in self.taken:
                dispatcher.enabled = False
            if "timeout" in self.model_fields_set and "timeout" not in self.taken:
                dispatcher.timeout = self.timeout
            return dispatcher, ""
        return None, problem

    def __reduce__(self) -> tuple[Any, ...]:
        # The class is made at run time, so a pickle names the dispatcher it is made from.
        return _restored, (self.dispatcher_class, self.__getstate__())


def _restored(dispatcher: DispatcherClass, state: dict[Any, Any]) -> ChannelSettings:
    model = _model_of(dispatcher)
    channel = model.__new__(model)
    channel.__setstate__(state)
    return channel


class Settings(Block):
    """Everything that can be set. Made by :func:`bt_alerts.settings.load`."""

    store: str = Field(
        default="memory",
        description="path of the SQLite file, `postgresql://user@host/database`, or `memory`; without it and with a "
        "channel: `<settings file>.db` beside the file, else `bt_alerts/alerts.db` in the user's state folder",
    )
    mode: Mode = Field(
        default="auto",
        description="auto: live bars send, old bars are recorded; send: every bar sends; record: nothing is sent",
    )
    alerts: dict[str, SerializeAsAny[ChannelSettings]] = Field(
        default_factory=dict, description="one block a channel, under the channel's name"
    )
    events: dict[str, EventSetting] = Field(
        default_factory=dict, description="what happens to each kind of event: on, silent, record or off"
    )
    routes: list[RouteBlock] = Field(
        default_factory=list, description="which alerts go where, read top-down; what none takes goes to all channels"
    )
    rules: Rules = Field(default_factory=Rules, description="what is not told at all")
    quiet_hours: list[QuietBlock] = Field(default_factory=list, description="when which channel is quiet")
    digests: list[DigestBlock] = Field(default_factory=list, description="what goes in one message, and reports")
    escalation: list[EscalationBlock] = Field(
        default_factory=list, description="what goes further unless somebody acknowledges it"
    )
    delivery: Delivery = Field(default_factory=Delivery, description="retries, waits and limits")
    watch: Watch = Field(default_factory=Watch, description="levels, feeds and this machine")
    history: History = Field(default_factory=History, description="how long it is kept")
    templates: Templates = Field(default_factory=Templates, description="how alerts are put into words")
    privacy: Privacy = Field(
        default="off",
        description="what messages leave out for others to see: hide_amounts (every number), percent_only (every "
        "number but percentages)",
    )
    env_file: str | None = Field(
        default=None, description="a `.env` file read beneath the real environment; relative to the settings file"
    )

    _sources: Any = PrivateAttr(None)
    _warnings: tuple[str, ...] = PrivateAttr(())
    _store_secrets: dict[str, SecretStr] = PrivateAttr(default_factory=dict)

    def model_post_init(self, context: Any, /) -> None:
        """Keep what is secret in the store's address apart from it: ``store`` is shown, logged and hashed."""
        if not postgres_address.is_postgres(self.store):
            return
        try:
            address = postgres_address.taken_apart(self.store)
        except ValueError:  # told by assemble(), or where it is opened
            self.__dict__["store"] = "postgresql://"
            return
        self.__dict__["store"] = address.url
        self._store_secrets = {name: SecretStr(secret) for name, secret in address.secrets.items()}

    @property
    def store_secrets(self) -> dict[str, str]:
        """What was secret in the store's address, by the names of PostgreSQL's library."""
        return {name: secret.get_secret_value() for name, secret in self._store_secrets.items()}

    @property
    def channels(self) -> dict[str, ChannelSettings]:
        """The enabled channels by name."""
        return {name: channel for name, channel in self.alerts.items() if channel.enabled}

    def rule_settings(self) -> RuleSettings:
        """What the rules need of it."""
        types = {name: channel.type for name, channel in self.channels.items()}
        channels = namer(types)
        numbered = list(enumerate(self.digests, 1))
        return RuleSettings(
            mode=self.mode,
            events=self.events,
            channels=tuple(types),
            types=types,
            batches={name: channel.batches(self.delivery) for name, channel in self.channels.items()},
            routes=tuple(block.rule(number) for number, block in enumerate(self.routes, 1)),
            maintenance=tuple(block.rule(number) for number, block in enumerate(self.rules.maintenance, 1)),
            inhibit=tuple(block.rule(number) for number, block in enumerate(self.rules.inhibit, 1)),
            noise=self.rules.noise(),
            quiet=tuple(block.rule(number, channels) for number, block in enumerate(self.quiet_hours, 1)),
            digests=tuple(block.rule(number, channels) for number, block in numbered if block.report is None),
            reports=tuple(each for number, block in numbered if block.report for each in block.reports(number)),
            escalation=tuple(block.rule(number, channels) for number, block in enumerate(self.escalation, 1)),
        )

    def dispatcher(self, name: str) -> Dispatcher:
        """Make the dispatcher of a channel, with the look that the settings give it.

        Raises:
            SettingsError: where its constructor refuses a value.
        """
        return self.dress(name, self.alerts[name].build())

    def dress(self, name: str, dispatcher: Dispatcher) -> Dispatcher:
        """Give a channel's dispatcher its templates, the reader's time zone and what is private."""
        own = self.templates.of(name, self.alerts[name].type)
        dispatcher.look = Look(own, self.templates.timezone, self.privacy)
        return dispatcher

    @property
    def warnings(self) -> tuple[str, ...]:
        """What works and may not be what was meant, each with its place: overlapping windows, changes of clocks …"""
        return self._warnings

    @property
    def file(self) -> Path | None:
        """The YAML file these settings came from, if any."""
        return self._sources.file if self._sources is not None else None

    @property
    def files(self) -> Mapping[Path, Stamp]:
        """Every file that these settings were read from (the YAML file, a ``.env`` file, those of ``NAME_FILE``).

        With each stands what it was like just before it was read.
        """
        return self._sources.files if self._sources is not None else {}

    @property
    def hash(self) -> str:
        """SHA-256 (hex) of the whole configuration, the same in every process; credentials only as their hashes."""
        dumped = _hashable(self.model_dump(by_alias=True, warnings=False))
        text = json.dumps(dumped, sort_keys=True, ensure_ascii=True, default=repr)
        return hashlib.sha256(text.encode()).hexdigest()


def reveal(value: Any) -> Any:
    """``value`` with each ``SecretStr`` in it as plain text."""
    return _mapped(value, lambda secret: secret.get_secret_value())


def masked(value: Any, mask: str) -> Any:
    """``value`` with ``mask`` in place of each ``SecretStr``."""
    return _mapped(value, lambda _: mask)


def _hashable(value: Any) -> Any:
    return _mapped(value, lambda secret: "sha256:" + hashlib.sha256(secret.get_secret_value().encode()).hexdigest())


def _mapped(value: Any, change: typing.Callable[[SecretStr], str]) -> Any:
    if isinstance(value, SecretStr):
        return change(value)
    if isinstance(value, dict):
        return {key: _mapped(member, change) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_mapped(member, change) for member in value]
    return value


# ---------------------------------------------------------------------------- a model for each channel type


def channel_model(channel_type: str) -> type[ChannelSettings]:
    """The settings model of a channel type.

    Raises:
        UnknownChannelType: where there is no such type, or its dispatcher cannot be loaded or described.
    """
    try:
        return _model_of(registry.dispatcher_class(channel_type))
    except registry.UnknownChannelType:
        raise
    except Exception as exc:
        reason = f"channel type {channel_type!r} cannot be used: {type(exc).__name__}: {redact(exc)}"
    raise registry.UnknownChannelType(reason)


def settable(dispatcher: type[Dispatcher]) -> list[Argument]:
    """The constructor arguments that settings can give: no ``*args``, no ``**kwargs``, none that is private."""
    parameters = inspect.signature(inspect.unwrap(dispatcher.__init__)).parameters
    loose = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    return [
        argument
        for argument in base.arguments(dispatcher)
        if parameters[argument.name].kind not in loose and not argument.name.startswith("_")
    ]


@functools.lru_cache(maxsize=256)
def _model_of(dispatcher: type[Dispatcher]) -> type[ChannelSettings]:
    fields: dict[str, Any] = {}
    taken: dict[str, str] = {}
    arguments = settable(dispatcher)
    common = ChannelSettings.model_fields
    defaults: dict[str, Any] = {"rate_limit": dispatcher.rate, "timeout": dispatcher.timeout}
    for argument in arguments:
        if argument.name in common:
            taken[argument.name] = argument.name
            if argument.name in defaults and isinstance(argument.default, int | float):
                defaults[argument.name] = argument.default
        else:
            attribute = argument.name + "_" if hasattr(ChannelSettings, argument.name) else argument.name
            taken[argument.name] = attribute
            fields[attribute] = _field(argument, attribute)
    fields["rate_limit"] = (int, _changed(common["rate_limit"], int(defaults["rate_limit"])))
    fields["timeout"] = (float, _changed(common["timeout"], float(defaults["timeout"])))
    model: type[ChannelSettings] = create_model(
        f"{dispatcher.__name__}Settings", __base__=ChannelSettings, __module__=__name__, **fields
    )
    model.dispatcher_class = dispatcher
    model.taken = taken
    model.arguments = tuple(arguments)
    return model


def _changed(field: Any, default: Any) -> Any:
    limits = {name: getattr(m, name) for m in field.metadata for name in ("ge", "gt", "le") if hasattr(m, name)}
    return Field(default, description=field.description, **limits)


def _field(argument: Argument, attribute: str) -> tuple[Any, Any]:
    default = None if argument.required else argument.default
    default = list(default) if isinstance(default, tuple | set | frozenset) else default
    field = Field(
        default,
        alias=None if attribute == argument.name else argument.name,
        description=argument.about or None,
        json_schema_extra=_env(argument.env) if argument.env else None,
    )
    return readable(argument.annotation, argument.credential) | None, field
