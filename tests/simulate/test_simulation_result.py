"""The result of a simulation: its figures, its tables, its files, and what it proposes against noise."""

from __future__ import annotations

import csv
import dataclasses
import datetime as dt
from pathlib import Path

import pandas as pd
import pytest
import yaml
from simulate_kit import DAY, START, a_delivery, a_message, an_alert, decade, phone

from bt_alerts import Alert, Priority
from bt_alerts.redact import MASK, register_secret
from bt_alerts.settings import load
from bt_alerts.simulate import figures, frames
from bt_alerts.simulate.proposals import propose
from bt_alerts.simulate.result import Simulation
from bt_alerts.simulate.rows import SimulatedAlert

MIDNIGHT = dt.datetime(2024, 1, 1, tzinfo=dt.UTC).timestamp()  # a Monday
HOUR = 3600.0


def at(*hours: float, **more: object) -> Simulation:
    """A message at each of these hours after midnight."""
    return phone([an_alert(time=MIDNIGHT + hour * HOUR, **more) for hour in hours])


# -------------------------------------------------------------------------------------------- headline


def test_the_sentence_says_how_many_how_often_and_how_many_at_night() -> None:
    simulation = dataclasses.replace(at(10, 10.2, 10.4, 15, 23), began=MIDNIGHT, ended=MIDNIGHT + 10 * DAY)
    assert figures.sentence(simulation) == (
        "In 10 days this strategy would have sent 5 messages to your phone: 0.5 a day, 3 in the busiest hour, "
        "1 with sound at night."
    )
    assert repr(simulation) == f"<Simulation: {figures.sentence(simulation)}>"
    assert str(simulation) == figures.sentence(simulation), "print() shows it"


@pytest.mark.parametrize(
    ("days", "words"),
    [(3652, "10 years"), (366, "12 months"), (400, "13 months"), (30, "30 days"), (1, "1 day"), (0.3, "7 hours")],
)
def test_the_length_of_a_run_is_said_in_the_unit_that_fits(days: float, words: str) -> None:
    assert figures.span_words(days * DAY) == words


def test_the_sentence_does_not_call_several_channels_a_phone() -> None:
    both = at(10, 12)
    desk = dataclasses.replace(both.messages[0], channel="desk")
    simulation = dataclasses.replace(both, messages=(desk, both.messages[1]))
    assert "have sent 2 messages on 2 channels: " in figures.sentence(simulation)


def test_a_simulation_without_anything_says_so_and_shows_every_table() -> None:
    nothing = phone([])
    assert "This run has no alerts" in repr(nothing)
    assert (len(nothing), bool(nothing), nothing.told, dict(nothing.reasons)) == (0, True, (), {})
    assert nothing.busiest_hour() == figures.BusiestHour(None, 0)
    for name in frames.FILES:
        assert len(frames.FILES[name](nothing)) == 0
    assert "<div" in nothing._repr_html_()


def test_the_busiest_hour_is_any_sixty_minutes_and_not_one_of_the_clock() -> None:
    busiest = at(9.75, 9.9, 10.1, 10.2, 12, 12.5).busiest_hour()
    assert (busiest.messages, f"{busiest.began:%H:%M}") == (4, "09:45")


def test_what_came_exactly_an_hour_later_is_of_the_next_hour() -> None:
    assert at(9, 10).busiest_hour().messages == 1


def test_days_hours_and_nights_are_those_of_the_zone() -> None:
    late = dataclasses.replace(at(1), zone="America/New_York")  # the evening before, at eight
    assert late.per_day()["day"].tolist() == [pd.Timestamp(2023, 12, 31)]
    assert figures.hour_of_week(late)[6][20] == 1
    assert late.headline.at_night == 0
    assert at(1).headline.at_night == 1


def test_what_is_silent_wakes_nobody() -> None:
    simulation = at(1)
    quiet = dataclasses.replace(simulation, messages=(dataclasses.replace(simulation.messages[0], silent=True),))
    assert quiet.headline.at_night == 0


def test_alerts_of_daily_bars_say_nothing_of_nights() -> None:
    daily = at(*(24 * day for day in range(10)))
    assert daily.headline.one_time_of_day
    assert "night" not in figures.sentence(daily)


# ---------------------------------------------------------------------------------------------- tables


def test_the_frame_has_what_it_always_had() -> None:
    told, not_told = an_alert(time=MIDNIGHT), an_alert(time=MIDNIGHT + 60, kind="order.accepted")
    simulation = phone([told])
    kept = SimulatedAlert(not_told, "recorded", "event-record", "events", ("events: record",))
    simulation = dataclasses.replace(simulation, alerts=(*simulation.alerts, kept))
    frame = simulation.frame()
    columns = ["time", "kind", "priority", "symbol", "title", "told", "channels", "silent", "reason"]
    assert set(columns) <= set(frame.columns)
    assert frame["told"].tolist() == [True, False]
    assert frame["channels"].tolist() == ["phone", ""]
    assert frame["reason"].tolist() == ["", "its kind of event is set to `record`"]
    assert frame["time"].dt.year.tolist() == [2024, 2024]
    assert simulation.told == (told,)
    assert simulation.reasons == {"its kind of event is set to `record`": 1}


def test_times_are_aware_in_the_zone_and_none_where_it_never_ended() -> None:
    alert = an_alert(time=MIDNIGHT)
    waiting = a_delivery(alert, MIDNIGHT, None, state="pending", settled=None, reason="quiet-hours")
    simulation = dataclasses.replace(phone([alert], zone="Europe/Berlin"), deliveries=(waiting,), messages=())
    frame = simulation.deliveries_frame()
    assert str(frame["created"][0]) == "2024-01-01 01:00:00+01:00"
    assert frame["settled"].isna().all()
    assert frame["message"].isna().all()


def test_suppressions_are_counted_by_reason_and_rule() -> None:
    rows = [SimulatedAlert(an_alert(), "suppressed", "duplicate", rule, ()) for rule in ("a", "a", "b")]
    simulation = dataclasses.replace(phone([]), alerts=tuple(rows))
    frame = simulation.suppressed()
    assert frame[["rule", "n"]].to_numpy().tolist() == [["a", 2], ["b", 1]]
    assert frame["words"][0] == "the same event was told before"


def test_a_reason_of_a_newer_version_is_shown_as_it_is() -> None:
    row = SimulatedAlert(an_alert(), "suppressed", "full-moon", "", ())
    assert dataclasses.replace(phone([]), alerts=(row,)).reasons == {"full moon": 1}


def test_what_was_held_and_how_long_it_took_from_the_event_to_the_phone() -> None:
    alerts = [an_alert(time=MIDNIGHT + n * HOUR, priority="low") for n in range(3)]
    digest = a_message(MIDNIGHT + 7 * HOUR, alerts, batch="quiet:phone")
    rows = [
        a_delivery(
            alert, alert.time.timestamp(), 0, state="digested", reason="quiet-hours", settled=MIDNIGHT + 7 * HOUR
        )
        for alert in alerts
    ]
    simulation = dataclasses.replace(phone(alerts), deliveries=tuple(rows), messages=(digest,))
    (held,) = simulation.held().to_dict("records")
    assert held == {"channel": "phone", "reason": "quiet-hours", "n": 3, "median": 6 * HOUR, "longest": 7 * HOUR}
    (wait,) = simulation.waits().to_dict("records")
    assert (wait["priority"], wait["median"], wait["p95"], wait["longest"]) == ("low", 6 * HOUR, 7 * HOUR, 7 * HOUR)
    assert simulation.headline.digests == 1


def test_the_tables_of_a_long_run_agree_with_each_other() -> None:
    simulation = decade(600)
    assert simulation.per_day()["messages"].sum() == len(simulation) == len(simulation.messages_frame())
    assert sum(map(sum, figures.hour_of_week(simulation))) == len(simulation)
    assert simulation.suppressed()["n"].sum() == simulation.headline.suppressed + simulation.headline.recorded
    assert simulation.frame()["told"].sum() == len(simulation.told)
    assert len(simulation.noisiest(3)) == 3


# ----------------------------------------------------------------------------------------------- proposals


def proposed(simulation: Simulation) -> dict[str, object]:
    return dict(simulation.noisiest(1).to_dict("records")[0])


def settings_with(rule: object) -> dict[str, object]:
    """The rule, read as a person would paste it, in settings that load."""
    read = yaml.load(str(rule), yaml.BaseLoader)
    load({"alerts": {"phone": {"type": "console"}}, **read}, environ={})
    assert isinstance(read, dict)
    return read


def test_bursts_get_the_shortest_cooldown_that_halves_them() -> None:
    hours = [day * 24 + minute / 60 for day in range(6) for minute in (0, 4, 8, 12)]
    row = proposed(at(*hours, kind="signal", symbol="AAPL"))
    assert settings_with(row["rule"]) == {
        "rules": {"cooldown": [{"when": {"kind": "signal", "symbol": "AAPL"}, "every": "5m"}]}
    }
    assert row["saved"] == 12


def test_many_of_low_priority_become_silent_and_what_is_silent_is_recorded() -> None:
    hours = [day * 30 for day in range(20)]
    loud = at(*hours, kind="order.canceled", priority="low")
    assert settings_with(proposed(loud)["rule"]) == {"events": {"order.canceled": "silent"}}
    silent = dataclasses.replace(loud, messages=tuple(dataclasses.replace(m, silent=True) for m in loud.messages))
    assert settings_with(proposed(silent)["rule"]) == {"events": {"order.canceled": "record"}}


def test_bursts_of_fills_are_gathered_and_never_dropped() -> None:
    hours = [day * 24 + minute / 60 for day in range(6) for minute in (0, 4, 8, 12)]
    rule = settings_with(proposed(at(*hours, kind="order.completed"))["rule"])
    assert rule == {"delivery": {"enable_batching": "true", "batch_timeout": "5m"}}


def test_what_comes_all_day_long_goes_in_a_digest_of_the_evening() -> None:
    hours = [day * 24 + hour for day in range(8) for hour in (0, 5, 10, 15)]
    simulation = dataclasses.replace(at(*hours, kind="signal"), zone="Europe/Berlin")
    rule = settings_with(proposed(simulation)["rule"])
    assert rule == {"digests": [{"when": {"kind": "signal", "symbol": "IBM"}, "at": "18:00 Europe/Berlin"}]}


def test_what_comes_one_by_one_gets_a_least_amount() -> None:
    alerts = [an_alert("trade.closed", MIDNIGHT + n * 50 * HOUR, data={"pnl": (-1) ** n * n * 10.0}) for n in range(20)]
    row = proposed(phone(alerts))
    least = {"when": {"kind": "trade.closed", "symbol": "IBM"}, "field": "pnl", "least": "100"}
    assert settings_with(row["rule"]) == {"rules": {"at_least": [least]}}
    assert row["saved"] == 10


def test_what_is_said_again_on_each_daily_bar_is_said_once_a_week_but_for_fills() -> None:
    row = proposed(at(*(day * 24 for day in range(28)), kind="custom"))
    cooldown = {"when": {"kind": "custom", "symbol": "IBM"}, "every": "7d"}
    assert settings_with(row["rule"]) == {"rules": {"cooldown": [cooldown]}}
    assert row["saved"] == 24
    assert proposed(at(*(day * 24 for day in range(28)), kind="order.completed"))["rule"] == ""


def test_nothing_is_proposed_against_critical_alerts_nor_for_a_few() -> None:
    assert proposed(at(*range(30), kind="error", priority="critical"))["rule"] == ""
    assert proposed(at(1, 1.01))["rule"] == ""


def test_what_comes_seldom_is_no_noise() -> None:
    alerts = [an_alert("trade.closed", MIDNIGHT + n * 30 * DAY, data={"pnl": n * 10.0}) for n in range(20)]
    row = proposed(phone(alerts))
    assert (row["rule"], row["why"]) == ("", "Seldom (1.1 a month): no noise.")


@pytest.mark.parametrize("symbol", ["NO", "a: b", "BRK*", "x]y[z", "#1", "'\"", "BTC,USDT", "é", "007"])
def test_a_rule_names_any_symbol_so_that_it_means_this_symbol_alone(symbol: str) -> None:
    hours = [day * 24 + minute / 60 for day in range(6) for minute in (0, 4, 8, 12)]
    simulation = at(*hours, kind="signal", symbol=symbol)
    read = yaml.load(str(proposed(simulation)["rule"]), yaml.BaseLoader)
    (cooldown,) = load({"alerts": {"phone": {"type": "console"}}, **read}, environ={}).rules.cooldown
    assert cooldown.when is not None
    assert cooldown.when.when().matches(simulation.alerts[0].alert, MIDNIGHT)
    assert not cooldown.when.when().matches(an_alert(kind="signal", symbol=symbol + "X"), MIDNIGHT)


def test_the_rule_names_the_strategy_where_there_are_several() -> None:
    hours = [day * 24 + minute / 60 for day in range(6) for minute in (0, 4, 8, 12)]
    noise = figures.noise(at(*hours, kind="signal"), 1)[0]
    assert "strategy" not in propose(noise, strategies={"Trend"}).rule
    assert "strategy: Trend" in propose(noise, strategies={"Trend", "Other"}).rule


# --------------------------------------------------------------------------------------------------- files


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_csv_file_has_a_row_for_each_alert_and_address_and_for_what_was_not_sent(tmp_path: Path) -> None:
    simulation = phone([an_alert()])
    kept = SimulatedAlert(an_alert(kind="order.accepted"), "recorded", "event-record", "events", ())
    simulation = dataclasses.replace(simulation, alerts=(*simulation.alerts, kept))
    rows = read(simulation.to_csv(tmp_path / "alerts.csv"))
    assert [(row["state"], row["channel"], row["delivery"], row["attempts"]) for row in rows] == [
        ("planned", "phone", "delivered", "1"),
        ("recorded", "", "", ""),
    ]
    assert not list(tmp_path.glob("*.part"))


def test_a_folder_gets_a_file_for_each_table(tmp_path: Path) -> None:
    decade(60).to_csv(tmp_path / "tables")
    assert {path.stem for path in (tmp_path / "tables").iterdir()} == set(frames.FILES)
    assert len(read(tmp_path / "tables" / "messages.csv")) == len(decade(60))


def test_another_ending_is_refused_with_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="end the file in"):
        phone([]).to_csv(tmp_path / "alerts.xlsx")


def test_text_that_a_spreadsheet_would_run_is_text(tmp_path: Path) -> None:
    path = phone([an_alert(title='=HYPERLINK("http://x")')]).to_csv(tmp_path / "a.csv")
    assert read(path)[0]["title"].startswith("'=")


def test_no_table_file_or_display_shows_a_secret(tmp_path: Path) -> None:
    secret = "made-up-secret-8841"
    register_secret(secret)
    alert = an_alert(title=f"title {secret}", message=f"text {secret}", symbol=secret, strategy=secret)
    simulation = phone([alert] * 6, name=secret, config=secret)
    simulation = dataclasses.replace(
        simulation,
        deliveries=tuple(dataclasses.replace(row, detail=secret, target=secret) for row in simulation.deliveries),
        alerts=tuple(dataclasses.replace(row, rule=secret, trail=(secret,)) for row in simulation.alerts),
    )
    simulation.to_csv(tmp_path / "tables")
    simulation.to_csv(tmp_path / "one.csv")
    simulation.to_html(tmp_path / "page.html")
    simulation.compare(simulation).to_html(tmp_path / "compare.html")
    shown = [path.read_text("utf-8") for path in tmp_path.rglob("*.*") if path.is_file()]
    shown += [simulation._repr_html_(), simulation.compare(simulation)._repr_html_(), repr(simulation)]
    assert [text for text in shown if secret in text] == []
    assert MASK in (tmp_path / "page.html").read_text("utf-8")


def test_the_notebook_display_has_no_ids_loads_nothing_and_escapes() -> None:
    html = phone([an_alert(title="<script>alert(1)</script>", message='"><img src=x onerror=y>')])._repr_html_()
    assert "<script" not in html
    assert "<img" not in html
    assert " id=" not in html
    assert "http" not in html


# ------------------------------------------------------------------------------------------------- compare


def two(messages: int = 4) -> tuple[Simulation, list[Alert]]:
    alerts = [an_alert(time=START + n * HOUR, title=f"number {n}") for n in range(messages)]
    return phone(alerts, config="a.yaml"), alerts


def without(simulation: Simulation, n: int) -> Simulation:
    """The same run under settings that keep back one alert."""
    rows = list(simulation.alerts)
    rows[n] = dataclasses.replace(rows[n], state="suppressed", reason="duplicate", rule="repeats 1")
    gone = {row.alert.id for row in rows if row.reason}
    messages = [row for row in simulation.messages if not gone & set(row.alerts)]
    deliveries = [
        dataclasses.replace(row, message=next(i for i, m in enumerate(messages) if row.alert in m.alerts))
        for row in simulation.deliveries
        if row.alert not in gone
    ]
    return dataclasses.replace(
        simulation, alerts=tuple(rows), messages=tuple(messages), deliveries=tuple(deliveries), config="b.yaml"
    )


def test_comparing_tells_the_figures_and_whose_fate_differs() -> None:
    a, alerts = two()
    comparison = a.compare(without(a, 2))
    assert comparison.sentence == (
        "b.yaml sends 3 messages where a.yaml sends 4 (25% fewer); 1 alert of 4 has another fate."
    )
    (row,) = comparison.differences
    assert (row.alert, row.a) == (alerts[2], "phone at 16:30")
    assert row.b == "not sent: the same event was told before (repeats 1)"
    assert comparison.frame().set_index("figure").loc["Messages", "difference"] == "−1"
    assert comparison.per_day()["difference"].tolist() == [-1]
    assert comparison.differences_frame()["title"].tolist() == ["number 2"]
    assert "b.yaml" in comparison._repr_html_()


def test_the_same_twice_has_no_difference() -> None:
    a, _ = two()
    comparison = a.compare(a)
    assert comparison.differences == ()
    assert comparison.labels == ("a.yaml (A)", "a.yaml (B)")
    assert len(comparison.differences_frame()) == 0


@pytest.mark.parametrize(("seconds", "differ"), [(30, 0), (90, 1)])
def test_a_minute_later_is_another_fate(seconds: float, differ: int) -> None:
    a, _ = two(1)
    b = dataclasses.replace(a, messages=(dataclasses.replace(a.messages[0], time=a.messages[0].time + seconds),))
    assert len(a.compare(b).differences) == differ


def test_a_run_that_was_made_twice_is_matched_by_what_and_when() -> None:
    a, alerts = two()
    again = [alert.replace(id=f"other-{n}") for n, alert in enumerate(alerts)]
    assert a.compare(phone(again)).differences == ()


def test_two_runs_that_have_nothing_in_common_are_refused() -> None:
    a, _ = two()
    with pytest.raises(ValueError, match="the same run under both settings"):
        a.compare(phone([an_alert(kind="signal", time=START + DAY)]))


def test_priorities_are_ordered_by_urgency_everywhere() -> None:
    simulation = phone([an_alert(priority=word) for word in ("low", "critical", "medium")])
    assert figures.priorities(simulation) == [Priority.CRITICAL, Priority.MEDIUM, Priority.LOW]
