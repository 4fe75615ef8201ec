"""The address of a store on PostgreSQL, ``postgresql://user:password@host:port/database?option=value``.

It is taken apart as libpq does it, and without psycopg. What is secret in it is kept apart from what may be shown.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from urllib.parse import quote, unquote

from bt_alerts.redact import register_secret

_SCHEME = re.compile(r"postgres(?:ql)?://", re.IGNORECASE)
_SECRET_OPTIONS = ("password", "sslpassword")

ENCODE = (
    "write `postgresql://user:password@host:port/database`, and what is special in the user's name and the password "
    "percent-encoded (@ as %40, / as %2F, : as %3A, % as %25)"
)


def is_postgres(store: str) -> bool:
    """Whether a ``store:`` setting is on PostgreSQL; for ``postgresql+driver://`` too."""
    return re.match(r"\s*postgres(ql)?(\+\w+)?://", store, re.IGNORECASE) is not None


def problem(store: str) -> str:
    """What is wrong with an address, without showing it; empty where nothing is."""
    found = _SCHEME.match(store)
    if found is None:
        return "write `postgresql://`, without the name of a driver"
    host, path, _ = _parts(store[found.end() :])[1:]
    if "@" in host or "@" in path or "/" in path or re.search(r"%(?![0-9a-fA-F]{2})|[\s\0]", store):
        return ENCODE
    if not all(re.search(r"(^|\])[^:\]]*(:\d*)?$", each) for each in host.split(",")):
        return ENCODE
    if not path:
        return "name the database: `postgresql://user@host:port/database`"
    return ""


@dataclasses.dataclass(frozen=True, slots=True)
class Address:
    """An address taken apart.

    Args:
        url: without anything secret.
        secrets: what was secret in it, by libpq's names.
    """

    url: str
    secrets: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """What to call the store in a sentence: user, host, port and database."""
        return self.url.partition("?")[0]

    @property
    def full(self) -> str:
        """With the secrets, to connect elsewhere."""
        options = "&".join(f"{name}={quote(secret, safe='')}" for name, secret in self.secrets.items())
        return self.url + (("&" if "?" in self.url else "?") + options if options else "")

    def key(self, host: str, port: str, schema: str) -> str:
        """A name for a folder on this machine: the same for each user and password of one store.

        Args:
            host: the server's where the address names none.
            port: the same.
            schema: in which the tables are; empty for our own.
        """
        _, where, database, _ = _parts(self.url[self.url.index("://") + 3 :])
        place = f"{where or host}{'' if re.search(r':[0-9]+$', where) else ':' + port}"
        told = f"{place.lower()}/{unquote(database)}" + (f"?{schema}" if schema else "")
        readable = re.sub(r"[^A-Za-z0-9_-]", "_", unquote(database))[:40]
        return f"{readable}-{hashlib.sha256(told.encode()).hexdigest()[:12]}"


def taken_apart(store: str) -> Address:
    """Take the secrets out of an address, and register them. Raises ``ValueError`` where it is none."""
    store = store.strip()
    told = problem(store)
    if told:
        raise ValueError(told)
    scheme = store[: store.index("://")].lower()
    user, where, path, query = _parts(store[store.index("://") + 3 :])
    written: dict[str, str] = {}
    name, colon, password = user.partition(":")
    if colon:
        written["password"] = password
    options = [option for option in query.split("&") if option]
    for option in options:
        key, _, value = option.partition("=")
        if unquote(key) in _SECRET_OPTIONS:
            written[unquote(key)] = value
    options = [option for option in options if unquote(option.partition("=")[0]) not in _SECRET_OPTIONS]
    for secret in written.values():
        register_secret(secret)
        register_secret(unquote(secret))
    url = f"{scheme}://{f'{name}@' if name else ''}{where}/{path}{'?' if options else ''}{'&'.join(options)}"
    return Address(url, {key: unquote(value) for key, value in written.items() if value})


def _parts(rest: str) -> tuple[str, str, str, str]:
    """User with password, hosts with ports, database, options: as libpq looks for them."""
    user = ""
    end = re.search(r"[@/]", rest)
    if end is not None and end[0] == "@":
        user, rest = rest[: end.start()], rest[end.end() :]
    before, _, query = rest.partition("?")
    host, _, path = before.partition("/")
    return user, host, path, query
