"""Templates: Jinja2. Unknown names are errors, and what is inserted is escaped by the service's rules.

The built-in ones stand in ``kits/<kit>/``; a kit has only the files in which it differs from ``default``. Those of the
user run within the limits of :mod:`bt_alerts.render.sandbox`.
:func:`problems` is what ``bt-alerts check`` tells about a template of the user.
"""

from __future__ import annotations

import difflib
import functools
import importlib.resources
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jinja2
    from jinja2.sandbox import SandboxedEnvironment

#: The parts of a message, in their order.
PARTS = ("title", "message", "footer")

#: Every name that a template can use, and what it is.
FACTS: Mapping[str, str] = {
    "emoji": "of the priority",
    "colour": "of the priority, as #rrggbb",
    "priority": "critical, high, medium, low or info",
    "type": "order, trade, signal, error …",
    "kind": "the finer event, such as order.completed",
    "title": "one line",
    "message": "the text",
    "symbol": "name of the data feed",
    "strategy": "name of the strategy",
    "run": "id of the run",
    "source": "live, direct or history",
    "time": "when it happened, in the reader's zone",
    "late": "how late it is, in words; empty where it is in time",
    "id": "of the alert",
    "data": "the alert's details, such as data.pnl",
}


class Shown(str):
    """A text that is no amount, such as a time: privacy leaves it as it is."""

    __slots__ = ()


class Percent(float):
    """A percentage that privacy leaves as it is."""

    __slots__ = ()

    def __round__(self, digits: int | None = None) -> Percent:  # type: ignore[override]
        return Percent(round(float(self), digits or 0))


def rendered(source: str, escape: Callable[[str], str], facts: Mapping[str, Any]) -> str:
    """The text that a built-in template makes of ``facts``; whatever goes wrong raises."""
    return _compiled(source, escape).render(facts)


@functools.lru_cache(maxsize=64)
def built_in(kit: str, part: str) -> str:
    """The source of a built-in template: the kit's own, else the default one."""
    folder = importlib.resources.files("bt_alerts.render") / "kits"
    for name in (kit, "default"):
        file = folder / name / f"{part}.j2"
        if file.is_file():
            return file.read_text(encoding="utf-8")
    raise LookupError(f"there is no template {part} in {kit} and none in default")


def problems(source: str, known_data: frozenset[str] | None = None) -> list[str]:
    """What is wrong with a template, a sentence each; nothing where it is right.

    Args:
        source: its text.
        known_data: the keys that ``data`` can have; None where it can have any.
    """
    import jinja2
    from jinja2 import meta, nodes

    from bt_alerts.render import sandbox

    try:
        tree = sandbox.parsed(source)
        sandbox.compiled(source, str)
        undeclared = meta.find_undeclared_variables(tree)
    except jinja2.TemplateSyntaxError as exc:
        return [f"line {exc.lineno}: {exc.message}"]
    except (RecursionError, MemoryError, SyntaxError):  # the last is Python's, of what Jinja2 made
        return ["nested too deep; make it simpler"]
    except ValueError:
        return ["a number in it is too long"]
    except Exception as exc:  # whatever a user writes, settings are read to their end
        return [f"not a template that can be understood ({type(exc).__name__}); make it simpler"]
    found = [_unknown(name, FACTS) for name in sorted(undeclared - FACTS.keys())]
    if known_data is not None:
        asked = {
            node.arg.value
            for node in tree.find_all(nodes.Getitem)
            if isinstance(node.node, nodes.Name) and node.node.name == "data"
            if isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str)
        }
        found += [
            _unknown(f"data.{name}", {f"data.{key}" for key in known_data}) for name in sorted(asked - known_data)
        ]
    return found


def _unknown(name: str, known: Mapping[str, Any] | set[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean `{near[0]}`? " if near else ""
    return f"there is no `{name}`; {hint}known: {', '.join(sorted(known)) or 'none'}"


@functools.lru_cache(maxsize=1024)
def _compiled(source: str, escape: Callable[[str], str]) -> jinja2.Template:
    return _environment(escape).from_string(source)


@functools.lru_cache(maxsize=64)
def _environment(escape: Callable[[str], str]) -> SandboxedEnvironment:
    import jinja2
    from jinja2.sandbox import SandboxedEnvironment
    from markupsafe import Markup

    def finalize(value: Any) -> Any:
        if value is None:
            return ""
        if isinstance(value, jinja2.Undefined | Markup):
            return value  # the first raises when it is shown; the second is markup already
        return escape(str(value))

    environment = SandboxedEnvironment(undefined=jinja2.StrictUndefined, finalize=finalize, keep_trailing_newline=True)
    return environment
