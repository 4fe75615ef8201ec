"""What a user's template may not do: never end, fill the memory, get around the escaping, or stop the settings."""

from __future__ import annotations

import html
import time

import pytest

from bt_alerts.alert import Alert
from bt_alerts.render.look import Look
from bt_alerts.render.templates import problems

ALERT = Alert.make(
    "a & b <x>\n" * 300,
    title="T&C",
    data={"base": 7, "exp": 6_000_000, "values": 3, "rows": [1, 2, 3], "deep": {"items": 5}},
)


def shown(source: str, escape=html.escape):
    view = Look({"all": {"message": source}}).view(ALERT, escape=escape)
    return view.message, view.note


@pytest.mark.parametrize(
    "source",
    [
        "{{ data.base ** data.exp }}",
        "{% for i in range(9999) %}" * 3 + "{% endfor %}" * 3,
        "{% for a in message %}{% for b in message %}{% endfor %}{% endfor %}",
        "{% for i in range(3000) %}{{ message }}{% endfor %}",
        "{% for i in range(4000) %}" + "x" * 100 + "{% endfor %}",
        "{{ range(10**8)|list|length }}",
        "{{ 'a' * 10**9 }}",
        "{{ [0] * 10**9 }}",
        "{{ [message] * 99999 }}",
        "{{ '%999999999d' % 1 }}",
        "{{ '%*d' % (999999999, 1) }}",
        "{{ '%999999999d'|format(1) }}",
        "{{ '{:999999999}'.format(1) }}",
        "{{ '{:{}}'.format(1, 999999999) }}",
        "{{ 'x'.ljust(999999999) }}",
        "{{ 'x'|center(999999999) }}",
        "{{ ('\n' * 99999)|indent(9999, true) }}",
        "{{ ('{0}' * 60000).format(message) }}",
        "{{ ('%(a)s' * 30000) % {'a': message} }}",
        "{{ ('%(a)s' * 30000)|format(a=message) }}",
        "{{ 'x'|indent(999999999, true) }}",
        "{{ message.replace('a', message * 50) }}",
        "{{ message|replace('a', message * 50) }}",
        "{{ ([message] * 60)|join(message * 50) }}",
        "{% set n = namespace(x='aa') %}{% for i in range(100) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x|length }}",
        "{% set n = namespace(x='aa') %}{% for i in range(100) %}{% set n.x = n.x + n.x %}{% endfor %}{{ n.x|length }}",
        "{% set n = namespace(x=9) %}{% for i in range(100) %}{% set n.x = n.x * n.x %}{% endfor %}{{ n.x > 1 }}",
        "{% set n = namespace(x=[1]) %}{% for i in range(100) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x }}",
        "{{ range(9999)|map('center', 9999)|join }}",
    ],
)
def test_a_template_that_would_do_too_much_is_stopped_soon_and_the_built_in_one_is_used(source: str) -> None:
    begin = time.perf_counter()
    message, note = shown(source)
    assert time.perf_counter() - begin < 20
    assert message.startswith("a &amp; b")
    assert "the built-in message was used, because the template of the settings failed: TooMuch: it " in note or (
        "TooMuch: a width or a count in it is greater than 10,000" in note
    )


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{% for row in data.rows %}{{ loop.index }}/{{ loop.length }}:{{ row }} {% endfor %}", "1/3:1 2/3:2 3/3:3 "),
        ("{% for row in data.nothing %}x{% else %}none{% endfor %}", "none"),
        ("{{ message|replace('\n', '; ')|truncate(12, true, '…', 0) }}", "a &amp; b &lt;x&gt;; …"),
        ("{{ '%.2f' % data.base }} {{ '{:,.1f}'.format(1234.5) }} {{ '%05d'|format(7) }}", "7.00 1,234.5 00007"),
        ("{{ data.base ** 3 }} {{ data.base * 2 + 1 }} {{ 'ab' * 3 }}", "343 15 ababab"),
        ("{{ data.rows|sum }} {{ data.rows|map('string')|join('+') }} {{ 'x' ~ 1 ~ title }}", "6 1+2+3 x1T&amp;C"),
        (
            "{{ '%s, %s, %s'|format(title, title, title) }} {{ '{}{}'.format(message, message)|length }}",
            "T&amp;C, T&amp;C, T&amp;C 6000",
        ),
        ("{{ data.nope|default(1000000) }}", ""),
    ],
)
def test_what_templates_are_for_still_works(source: str, message: str) -> None:
    assert shown(source) == (message, "")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ data.values }}", "3"),
        ("{{ data.items }}{{ data.keys }}{{ data.get }}x", "x"),
        ("{{ data.deep.items }}", "5"),
        ("{% for k, v in data.deep|items %}{{ k }}={{ v }}{% endfor %}", "items=5"),
        ("{% for k in data.keys() %}{{ k }} {% endfor %}{{ data.get('base') }}", "base exp values rows deep 7"),
    ],
)
def test_data_are_keys_before_they_are_methods(source: str, message: str) -> None:
    assert shown(source) == (message, "")


@pytest.mark.parametrize(
    "source", ["{{ ('\t' * 99999).expandtabs(9999) }}", "{{ message.translate({32: title * 99}) }}"]
)
def test_methods_that_swell_a_text_are_not_there(source: str) -> None:
    assert "SecurityError" in shown(source)[1]


def test_a_function_that_is_not_called_is_a_fault() -> None:
    assert "TypeError: upper is a function: write () after it" in shown("{{ title.upper }}")[1]


def stars(text: str) -> str:
    return text.replace("&", "\\&").replace("<", "\\<")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ title|e }} {{ title|escape }} {{ title|forceescape }}", "T\\&C T\\&C T\\&C"),
        ("{{ {'a': title}|tojson }}", '{"a": "T\\&C"}'),
        ("{{ '<b>'|safe }}{{ title }}", "<b>T\\&C"),
        ("{{ '<b>'|safe + title }}", "\\<b>T\\&C"),
        ("{{ ('<b>%s'|safe) % title }}", "\\<b>T\\&C"),
        ("{{ ('<b>{}'|safe).format(title) }}", "\\<b>T\\&C"),
        ("{{ title|urlize }} {{ {'a': title}|xmlattr }}", 'T\\&amp;C  a="T\\&amp;C"'),
    ],
)
def test_no_filter_gets_around_the_services_escaping(source: str, message: str) -> None:
    assert shown(source, stars) == (message, "")


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}", "nested too deep; make it simpler"),
        ("{{ " + "9" * 5000 + " }}", "a number in it is too long"),
        ("{% for a in message %}" * 25 + "{% endfor %}" * 25, "nested too deep; make it simpler"),
        ("x" * 20_001, "line 1: longer than 20,000 characters"),
        ("\n{% include 'x' %}", "line 2: `{% include %}` cannot be used here: a template cannot use other ones"),
        ("{% extends 'x' %}", "line 1: `{% extends %}` cannot be used here"),
        ("{% import 'x' as x %}", "line 1: `{% import %}` cannot be used here"),
        ("{% from 'x' import y %}", "line 1: `{% from … import %}` cannot be used here"),
        ("{% block x %}{{ self.x() }}{% endblock %}", "line 1: `{% block %}` cannot be used here"),
        (
            "{% macro r(v) %}{{ v }}{% endmacro %}",
            "line 1: `{% macro %}` cannot be used here: what it makes would be esca",
        ),
        ("{% set x %}{{ title }}{% endset %}", "line 1: `{% set … %}…{% endset %}` cannot be used here"),
        ("{% filter upper %}x{% endfilter %}", "line 1: `{% filter %}` cannot be used here"),
        ("{% autoescape true %}x{% endautoescape %}", "line 1: `{% autoescape %}` cannot be used here"),
        ("{% for a in data.rows recursive %}{% endfor %}", "line 1: a loop cannot be `recursive` here"),
    ],
)
@pytest.mark.usefixtures("uncollected")
def test_a_check_tells_what_a_template_cannot_be(source: str, told: str) -> None:
    (problem,) = problems(source)
    assert problem.startswith(told)
    message, note = shown(source)
    assert message.startswith("a &amp; b")
    assert note


def test_a_check_does_no_work() -> None:
    begin = time.perf_counter()
    assert problems("{{ 'a' * 10**9 }}{{ 'x'|center(10**9) }}{{ 9 ** 9 ** 9 }}") == []
    assert time.perf_counter() - begin < 10


def test_a_check_knows_the_names_that_dicts_have_too() -> None:
    known = frozenset({"pnl"})
    assert problems("{% for k, v in data.items() %}{{ k }}{% endfor %}{{ data.get('pnl') }}", known) == []
    assert problems("{{ data.values }}", known)[0].startswith("there is no `data.values`")
