"""Templates, time zone and privacy: what reaches the dispatcher, and what is told before any alert needs it."""

from __future__ import annotations

import pytest
from settings_loading import loaded, problems

from bt_alerts.alert import Alert
from bt_alerts.settings.reference import settings_rows

ALERT = Alert.make("Bought 10", title="BUY", type="order", kind="order.completed", time="2026-03-02T14:30")


def shown(settings, name="pager"):
    view = settings.dispatcher(name).look.view(ALERT)
    return view.title, view.message, view.footer


PAGER = "alerts:\n  pager:\n    token: tttt\n    numbers: [1]\n"


def test_templates_are_found_by_channel_and_by_alert(alerts_yaml):
    text = """
templates:
  timezone: America/New_York
  channels:
    all:
      all: {title: "all: {{ title }}", footer: "{{ time }}"}
    pager:
      order: "{{ kind }}: {{ message }}"
"""
    assert shown(loaded(alerts_yaml(PAGER + text))) == (
        "all: BUY",
        "order.completed: Bought 10",
        "2026-03-02 09:30 EST",
    )


def test_a_channels_own_name_goes_before_its_type_and_that_before_all(alerts_yaml):
    text = """
alerts:
  one: {type: pager, token: tttt, numbers: [1]}
  two: {type: pager, token: tttt, numbers: [1]}
  three: {type: console}
templates:
  channels:
    all: {all: of all}
    pager: {all: of the type}
    one: {all: of its own}
"""
    settings = loaded(alerts_yaml(text))
    assert [shown(settings, name)[1] for name in ("one", "two", "three")] == ["of its own", "of the type", "of all"]


def test_privacy_reaches_the_look(alerts_yaml):
    assert shown(loaded(alerts_yaml(PAGER + "privacy: hide_amounts\n")))[1] == "Bought •••"


@pytest.mark.parametrize(
    ("block", "told"),
    [
        (
            "pager: {order: '{{ titel }}'}",
            "templates.channels.pager.order: there is no `titel`; did you mean `title`? known: colour, data",
        ),
        (
            "pager: {trade.closed: {title: '{{ data.pln }}'}}",
            "templates.channels.pager.trade.closed.title: there is no `data.pln`; did you mean `data.pnl`? known:",
        ),
        ("pager: {order: '{% if late %}'}", "templates.channels.pager.order: line 1: Unexpected end of template."),
        ("pagr: {order: x}", "templates.channels.pagr: there is no channel `pagr`; did you mean `pager`?"),
        (
            "pager: {ordr: x}",
            "templates.channels.pager.ordr: there is no kind of alert `ordr`; did you mean `order`?",
        ),
        ("pager: {order: {titel: x}}", "templates.channels.pager.order.titel: "),
    ],
)
def test_a_template_that_cannot_work_is_told_with_its_line(alerts_yaml, block, told):
    (problem,) = problems(alerts_yaml(f"{PAGER}templates:\n  channels:\n    {block}\n"))
    assert problem.startswith(f"alerts.yaml:7: {told}")


def test_a_zone_that_does_not_exist_is_told(alerts_yaml):
    (problem,) = problems(alerts_yaml("templates:\n  timezone: Europe/Berln\n"))
    assert problem == (
        "alerts.yaml:2: templates.timezone: write the name of a time zone, such as UTC, Europe/Berlin or "
        "America/New_York"
    )


def test_data_of_a_strategys_own_alerts_can_have_any_name(alerts_yaml):
    assert loaded(alerts_yaml(PAGER + "templates:\n  channels:\n    pager: {signal: '{{ data.rsi }}'}\n"))


@pytest.mark.parametrize(
    "block",
    [
        "pager: {order: {message: {{ title }}}}",
        "pager:\n      order: {{ title }}",
        "pager:\n      order: {{ title }} {{ symbol }}",
        "pager:\n      order:\n        message: {{ data.pnl|money }}",
        "pager:\n      order: {% if late %}x{% endif %}",
    ],
)
def test_a_template_without_quotes_is_told_to_stand_in_them(alerts_yaml, block):
    told = problems(alerts_yaml(f"{PAGER}templates:\n  channels:\n    {block}\n"))
    assert "put the template in quotes" in told[0]
    assert len(told) == 1


@pytest.mark.usefixtures("uncollected")
def test_a_template_that_only_python_refuses_is_told(alerts_yaml):
    source = "{% for a in message %}" * 25 + "{% endfor %}" * 25
    (problem,) = problems(alerts_yaml(f"{PAGER}templates:\n  channels:\n    pager: {{order: '{source}'}}\n"))
    assert problem == "alerts.yaml:7: templates.channels.pager.order: nested too deep; make it simpler"


def test_no_default_is_shown_as_a_word_of_the_library():
    assert [row.key for row in settings_rows() if "Undefined" in row.default] == []
