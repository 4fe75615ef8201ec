"""The limits of a user's template: what it may do, how much, and what of an alert it may show.

A template runs in the thread that delivers, so one that never ends would hold its channel for good. Everything it does
therefore costs units of work, nothing may grow beyond :data:`MAX_SIZE`, and the text ends at :data:`MAX_OUTPUT`.
What it inserts is hidden as the channel's privacy asks and then escaped, whatever was done to it before: only the
filters ``safe`` and ``escape`` mark a text as ready, and what is made of such a text is not ready any more.
"""

from __future__ import annotations

import contextvars
import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from bt_alerts.compose import money, number
from bt_alerts.render.templates import Percent, Shown

Escape = Callable[[str], str]
Hide = Callable[[Any], Any]

MAX_SOURCE = 20_000  # characters of a template
MAX_OUTPUT = 250_000  # characters; a long message of quotes is 200,000 as HTML
MAX_SIZE = 200_000  # characters, or members of lists, of anything that a template makes
MAX_PRODUCT = 50_000_000  # of the sizes of a text and of what it is filled or joined with
MAX_WORK = 5_000_000  # units, about a character each
MAX_BITS = 1_024  # of a whole number
MAX_WIDTH = 10_000  # whole numbers given to filters and functions: widths, counts, ranges
MAX_INDENT = 100
ITERATION = 1_000  # units of work

_EACH, _JOINED = "each of", "all of"  # filters that no template can name
_WIDE = re.compile(r"%[^%A-Za-z]*(\d{4}|\*)")
_WIDE_BRACES = re.compile(r"[:!][^{}]*(\d{4}|\{)")
_SWELLING = {"expandtabs", "translate"}  # methods that make more of a text than their arguments tell
_DATA_METHODS = {"items", "keys", "values", "get"}

_ALONE = "a template cannot use other ones; write their text here"
_TWICE = "what it makes would be escaped twice; write the text where it is used"
_REFUSED: Mapping[type[nodes.Node], tuple[str, str]] = {
    nodes.Include: ("include", _ALONE),
    nodes.Extends: ("extends", _ALONE),
    nodes.Import: ("import", _ALONE),
    nodes.FromImport: ("from … import", _ALONE),
    nodes.Block: ("block", _ALONE),
    nodes.Macro: ("macro", _TWICE),
    nodes.CallBlock: ("call", _TWICE),
    nodes.AssignBlock: ("set … %}…{% endset", _TWICE),
    nodes.FilterBlock: ("filter", _TWICE),
    nodes.EvalContextModifier: ("autoescape", "the channel escapes by its service's rules; remove it"),
}


class _Ready(str):
    """A text in the service's markup. Whatever is made of it is plain text again."""

    __slots__ = ()


class TooMuch(Exception):
    """A template does more than it may."""


class _Run:
    def __init__(self, hide: Hide | None) -> None:
        self.hide = hide
        self.left = MAX_WORK

    def spend(self, units: int) -> None:
        self.left -= units
        if self.left < 0:
            raise TooMuch("it does more work than a template may; make its loops shorter")

    def hidden(self, value: Any) -> Any:
        return value if self.hide is None else self.hide(value)


_run: contextvars.ContextVar[_Run] = contextvars.ContextVar("run of a template")


def rendered(source: str, escape: Escape, facts: Mapping[str, Any], hide: Hide | None = None) -> str:
    """The text that a user's template makes of ``facts``.

    Args:
        source: the template.
        escape: makes text safe in the service's markup.
        facts: what it can name.
        hide: what privacy makes of a value; None where nothing is private.

    Raises:
        Exception: whatever goes wrong; :class:`TooMuch` where the template does too much.
    """
    template = compiled(source, escape)
    token = _run.set(_Run(hide))
    try:
        parts, size = [], 0
        for part in template.generate(facts):
            size += len(part)
            if size > MAX_OUTPUT:
                raise TooMuch(f"it makes more than {MAX_OUTPUT:,} characters")
            parts.append(part)
        return "".join(parts)
    finally:
        _run.reset(token)


@functools.lru_cache(maxsize=1024)
def compiled(source: str, escape: Escape) -> jinja2.Template:
    """The template. Raises whatever Jinja2 and Python say of it."""
    environment = _environment(escape)
    return environment.from_string(parsed(source, environment))


def parsed(source: str, environment: jinja2.Environment | None = None) -> nodes.Template:
    """The tree of a template. Raises ``TemplateSyntaxError`` where it has what is refused, too."""
    if len(source) > MAX_SOURCE:
        raise jinja2.TemplateSyntaxError(f"longer than {MAX_SOURCE:,} characters", 1)
    tree = (environment or _environment(str)).parse(source)
    for kind, (word, why) in _REFUSED.items():
        for node in tree.find_all(kind):
            raise jinja2.TemplateSyntaxError(f"`{{% {word} %}}` cannot be used here: {why}", node.lineno)
    for loop in tree.find_all(nodes.For):
        if loop.recursive:
            raise jinja2.TemplateSyntaxError("a loop cannot be `recursive` here; remove the word", loop.lineno)
    changed: nodes.Template = _Changed().visit(tree)
    return changed


class _Changed(NodeTransformer):
    """``data.values`` means the key, loops are counted, and ``~`` keeps to the limits."""

    def visit_Getattr(self, node: nodes.Getattr, *_: Any) -> nodes.Node:
        self.generic_visit(node)
        if not _is_data(node.node):
            return node
        return nodes.Getitem(node.node, nodes.Const(node.attr, lineno=node.lineno), "load", lineno=node.lineno)

    def visit_Call(self, node: nodes.Call, *_: Any) -> nodes.Node:
        called = node.node
        self.generic_visit(node)
        if isinstance(called, nodes.Getattr) and _is_data(called.node) and called.attr in _DATA_METHODS:
            node.node = called
        return node

    def visit_For(self, node: nodes.For, *_: Any) -> nodes.Node:
        self.generic_visit(node)
        node.iter = _filter(node.iter, _EACH)
        return node

    def visit_Concat(self, node: nodes.Concat, *_: Any) -> nodes.Node:
        self.generic_visit(node)
        return _filter(nodes.List(node.nodes, lineno=node.lineno), _JOINED)


def _is_data(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Name) and node.name == "data"


def _filter(node: Any, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"+", "-", "*", "**", "%", "/", "//"})

    def getattr(self, obj: Any, attribute: str) -> Any:
        """A key of a mapping goes before its methods."""
        return obj[attribute] if isinstance(obj, Mapping) and attribute in obj else super().getattr(obj, attribute)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        made = super().wrap_str_format(value)
        if made is None:
            return None
        if _WIDE_BRACES.search(str(value.__self__)):
            _refuse_width()

        def filled(*args: Any, **kwargs: Any) -> str:
            _check_given([value.__self__], [*args, *kwargs.values()], widths=False)
            return str(made(*args, **kwargs))  # what is made of a ready text is not ready

        return filled

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return attr not in _SWELLING and super().is_safe_attribute(obj, attr, value)

    def call(self, context: Any, obj: Any, *args: Any, **kwargs: Any) -> Any:
        owner = getattr(obj, "__self__", None)
        given = [*args, *kwargs.values()]
        _check_given([owner] if isinstance(owner, str | list | tuple) else [], given, not isinstance(obj, type))
        return _checked(super().call(context, obj, *args, **kwargs))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        for one, other in ((left, right), (right, left)):
            if operator == "*" and isinstance(one, str | list | tuple) and isinstance(other, int):
                _check_size(_size(one) * max(other, 0))
        if operator == "**" and isinstance(left, int) and isinstance(right, int):
            _check_bits(left.bit_length() * abs(right))
        elif operator == "%" and isinstance(left, str):
            _check_given([left], [right])
            if _WIDE.search(left):
                _refuse_width()
        elif operator == "+" and isinstance(left, str | list | tuple):
            _check_size(_size(left) + _size(right))
        elif operator == "*" and isinstance(left, int) and isinstance(right, int):
            _check_bits(left.bit_length() + right.bit_length())
        return _checked(super().call_binop(context, operator, left, right))


def _check_size(size: int) -> None:
    _run.get().spend(size)
    if size > MAX_SIZE:
        raise TooMuch(f"it makes something larger than {MAX_SIZE:,} characters")


def _check_bits(bits: int) -> None:
    if bits > MAX_BITS:
        raise TooMuch("it computes with a number that is too large")


def _refuse_width() -> NoReturn:
    raise TooMuch(f"a width or a count in it is greater than {MAX_WIDTH:,}")


def _check_given(subject: list[Any], given: list[Any], widths: bool = True) -> None:
    """Before something is called: ``replace`` and ``join`` make of two texts what is as large as their product."""
    if widths and any(isinstance(value, int) and abs(value) > MAX_WIDTH for value in given):
        _refuse_width()
    about, with_what = (
        sum(_size(value) for value in values if isinstance(value, str | list | tuple | Mapping))
        for values in (subject, given)
    )
    if max(about, with_what) > MAX_SIZE or about * with_what > MAX_PRODUCT:
        raise TooMuch("it does too much with long texts")
    _run.get().spend(1 + about + with_what)


def _checked(value: Any) -> Any:
    if isinstance(value, int):
        _check_bits(value.bit_length())
    _check_size(_size(value))
    return value


def _size(value: Any) -> int:
    """About how many characters ``value`` shows; not counted on where it is too many."""
    total, left = 0, [value]
    while left and total <= MAX_SIZE:
        one = left.pop()
        total += 1
        if isinstance(one, str | bytes | range):
            total += len(one)
        elif isinstance(one, Mapping):
            left += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple | set | frozenset):
            left += one
    return total


def _limited(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter within the limits."""
    first = 1 if hasattr(function, "jinja_pass_arg") else 0  # the context goes before the value

    @functools.wraps(function)
    def limited(*args: Any, **kwargs: Any) -> Any:
        subject, given = list(args[first : first + 1]), [*args[first + 1 :], *kwargs.values()]
        _check_given(subject, given, name not in {"default", "d"})
        if name == "indent" and any(isinstance(value, int) and value > MAX_INDENT for value in given):
            raise TooMuch(f"it indents by more than {MAX_INDENT}")
        if name == "format" and _WIDE.search(str(subject[0])):
            _refuse_width()
        return _checked(function(*args, **kwargs))

    return limited


def _each(values: Any) -> Iterator[Any]:
    if values is None:  # what this alert's data lack
        return
    run = _run.get()
    for value in values:
        run.spend(ITERATION)
        yield value


def _all_of(values: list[Any]) -> str:
    return "".join(map(str, values))


def _figure(how: Callable[[Any], str]) -> Callable[[Any], str]:
    def figure(value: Any) -> str:
        return Shown(how(value)) if isinstance(value, Percent) else how(value)

    return figure


@functools.lru_cache(maxsize=64)
def _environment(escape: Escape) -> _Environment:
    def ready(value: Any) -> _Ready:
        return _Ready(_run.get().hidden(value))

    def escaped(value: Any) -> _Ready:
        return value if isinstance(value, _Ready) else _Ready(escape(str(_run.get().hidden(value))))

    # It takes the context only so that no constant is put through it when the template is compiled.
    @jinja2.pass_context
    def finalize(_context: Any, value: Any) -> Any:
        if isinstance(value, jinja2.Undefined | _Ready):
            return value  # the first raises when it is shown
        if value is None:
            return ""
        if callable(value):
            raise TypeError(f"{getattr(value, '__name__', 'this')} is a function: write () after it")
        _check_size(_size(value))
        return escape(str(_run.get().hidden(value)))

    environment = _Environment(
        undefined=jinja2.StrictUndefined, finalize=finalize, keep_trailing_newline=True, optimized=False
    )
    environment.filters |= {
        "number": _figure(number),
        "money": _figure(money),
        "safe": ready,
        **dict.fromkeys(("e", "escape", "forceescape"), escaped),
        "tojson": lambda value: json.dumps(value, ensure_ascii=False, default=str),
        _JOINED: _all_of,
    }
    environment.filters = {name: _limited(name, function) for name, function in environment.filters.items()}
    environment.filters[_EACH] = _each
    del environment.globals["lipsum"]
    return environment
