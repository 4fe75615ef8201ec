"""The report: one file, nothing loaded, everything from alerts shown as text, quick with many messages."""

from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from simulate_kit import DAY, START, a_delivery, a_message, an_alert, decade, phone

from bt_alerts.simulate import periods, svg
from bt_alerts.simulate.compare import compare
from bt_alerts.simulate.phone import embedded, phone_data
from bt_alerts.simulate.report import report
from bt_alerts.simulate.result import Simulation

if TYPE_CHECKING:
    from collections.abc import Callable

    from browser import Tab

    Pages = Callable[..., Tab]

EVIL = (
    "<script>document.title='run'</script>",
    "</script><script>document.title='run'</script>",
    '"><img src=x onerror="document.title=`run`">',
    "<!--<script>",
    "' onclick='x",
    "{{ 7 * 7 }}{% raw %}",
    "\u202eright to left\u202c \u2028 \u2029",
    "a \ud800 surrogate",
)


class Tags(HTMLParser):
    """Every element of a page with its attributes, as a browser reads them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def evil() -> Simulation:
    """Every text that a strategy can choose, with what would be markup."""
    alerts = [
        an_alert("signal", START + 600 * n, title=text, message=text, symbol=text[:90], strategy=text, data={"pnl": n})
        for n, text in enumerate(EVIL * 3)
    ]
    made = phone(alerts, name=EVIL[0], config=EVIL[2])
    digest = a_message(START + 90_000, alerts[:4], title=EVIL[1], text=EVIL[1], batch="quiet:x")
    nul = dataclasses.replace(digest, title="a \0 byte", text="a \0 byte", alerts=(alerts[0].id,))
    rows = [
        dataclasses.replace(row, state="suppressed", reason=EVIL[1], rule=EVIL[2]) if n % 2 else row
        for n, row in enumerate(made.alerts)
    ]
    return dataclasses.replace(made, alerts=tuple(rows), messages=(*made.messages, digest, nul))


def data_of(html: str, name: str = "data-phone") -> dict[str, object]:
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    read = json.loads(found[1])
    assert isinstance(read, dict)
    return read


# ------------------------------------------------------------------------------------------- what it is made of


@pytest.mark.parametrize("kind", ["report", "comparison"])
def test_no_text_of_an_alert_becomes_markup(kind: str) -> None:
    html = report(evil()) if kind == "report" else compare(evil(), evil()).report()
    plain = report(decade(50)) if kind == "report" else compare(decade(50), decade(50)).report()
    html.encode("utf-8")
    assert {tag for tag, _ in Tags(html).found} <= {tag for tag, _ in Tags(plain).found} | {"bdi", "pre"}
    scripts = [attributes for tag, attributes in Tags(html).found if tag == "script"]
    assert len(scripts) == (2 if kind == "report" else 3)
    handlers = [name for _, attributes in Tags(html).found for name in attributes if name.startswith("on")]
    assert handlers == []
    assert "{{ 7 * 7 }}{% raw %}" in html


def test_json_in_a_script_element_can_end_nothing() -> None:
    text = embedded({"x": ["</script>", "<!--", "&amp;", "\u2028"]})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"x": ["</script>", "<!--", "&amp;", "\u2028"]}


def test_the_page_loads_nothing_and_its_policy_allows_nothing_else() -> None:
    tags = Tags(report(decade(80))).found
    policy = next(a["content"] for tag, a in tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    places = [a[name] for _, a in tags for name in ("src", "href", "action") if a.get(name)]
    assert [place for place in places if place and not place.startswith(("#", "data:,"))] == []
    assert not any("style" in a for _, a in tags)  # the policy would not let it count


def test_no_id_is_given_twice() -> None:
    for html in (report(decade(80)), compare(decade(80), decade(80)).report()):
        ids = [a["id"] for _, a in Tags(html).found if a.get("id")]
        assert sorted(ids, key=str) == sorted(set(ids), key=str)


def test_the_phone_is_capped_by_size_and_says_so() -> None:
    simulation = decade(500)
    html = report(simulation, limit=20_000)
    data = data_of(html)
    rows = data["rows"]
    assert isinstance(rows, list)
    assert 0 < len(rows) < len(simulation)
    assert len(embedded(data["rows"])) + len(embedded(data["strings"])) <= 20_500
    assert f"The phone shows the newest {len(rows):,} of {len(simulation):,} messages" in html
    assert "The phone shows the newest" not in report(simulation)


def test_the_newest_message_is_the_first_and_times_are_those_on_the_wall() -> None:
    data = phone_data(phone([an_alert(time=START), an_alert(time=START + 60)], zone="Asia/Tokyo"))
    assert [row[0] for row in data["rows"]] == [START + 60 + 1 + 9 * 3600, START + 1 + 9 * 3600]


def test_a_digest_lists_its_alerts_and_says_how_many_more() -> None:
    alerts = [an_alert(time=START + n, title=f"number {n}") for n in range(60)]
    made = dataclasses.replace(
        phone(alerts),
        messages=(a_message(START + 99, alerts, batch="digest:evening"),),
        deliveries=tuple(a_delivery(alert, START, 0, state="digested", reason="digest") for alert in alerts),
    )
    (row,) = phone_data(made)["rows"]
    assert (len(row[9]), row[10]) == (50, 10)


def test_every_section_says_so_where_there_is_nothing() -> None:
    html = report(phone([]))
    for words in ("There was no message.", "Every alert was sent.", "Nothing was held", "Nothing arrived.", "None was"):
        assert words in html


def test_a_report_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = decade(30).to_html(tmp_path / "report.html")
    assert path.read_text("utf-8").startswith("<!doctype html>")
    with pytest.raises(OSError, match="nowhere"):
        decade(30).to_html(tmp_path / "nowhere" / "report.html")
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


# ---------------------------------------------------------------------------------------------------- charts


@pytest.mark.parametrize(
    ("years", "names"),
    [
        (1 / 365, ["day"]),
        (0.1, ["day", "week", "month"]),
        (2, ["week", "month", "year"]),
        (10, ["month", "year"]),
        (40, ["year"]),
    ],
)
def test_bars_are_days_months_or_years_by_the_length_of_the_run(years: float, names: list[str]) -> None:
    assert [unit.name for unit in periods.units(decade(20, years))] == names


def test_every_message_is_in_a_bar_also_one_after_the_end_of_the_run() -> None:
    simulation = decade(200, 2)
    late = dataclasses.replace(simulation.messages[-1], time=simulation.ended + 40 * 86_400)
    simulation = dataclasses.replace(simulation, messages=(*simulation.messages, late))
    for unit in periods.units(simulation):
        bars = periods.bars(simulation, unit, periods.by_priority)
        assert sum(bar.total for bar in bars) == len(simulation)


def test_two_settings_are_compared_over_the_same_time() -> None:
    run = [an_alert(time=START + n * DAY) for n in range(40)]
    early, late = phone(run), phone(run)
    digest = a_message(START + 75 * DAY, run[:5], batch="digest:weekly")
    both = compare(early, dataclasses.replace(late, messages=(*late.messages, digest)))
    (_, first), (_, second) = both.charts()
    shown = [re.findall(r'text-anchor="(?:start|middle|end)"[^>]*>([^<]*)</text>', svg) for svg in (first, second)]
    assert shown[0] == shown[1]


def test_a_chart_escapes_what_it_is_given() -> None:
    made = svg.bars([svg.Bar(EVIL[0], {EVIL[0]: 1, "b": 1})], svg.channel_series([EVIL[0], "b"]), about=EVIL[2])
    assert "<script" not in made
    assert "<img" not in made


# ----------------------------------------------------------------------------------------------- in a browser


def opened(pages: Pages, tmp_path: Path, html: str, *, width: int = 1440, dark: bool = False) -> Tab:
    path = tmp_path / "report.html"
    path.write_text(html, encoding="utf-8")
    return pages(width, dark=dark, url=path.as_uri())


def loaded_nothing(tab: Tab) -> bool:
    """Whether the page asked for itself alone."""
    return tab.hosts == {""} and len(tab.requests) == 1


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1440])
def test_it_opens_without_complaint_without_a_request_and_without_a_scrollbar_across(
    pages: Pages, tmp_path: Path, width: int, dark: bool
) -> None:
    for html in (report(decade(300)), compare(decade(300), decade(200)).report(), report(phone([]))):
        tab = opened(pages, tmp_path, html, width=width, dark=dark)
        assert not tab.scrolls_across()
        assert tab.complaints == []
        assert loaded_nothing(tab)


def test_no_markup_of_an_alert_comes_alive(pages: Pages, tmp_path: Path) -> None:
    for html in (report(evil()), compare(evil(), evil()).report()):
        tab = opened(pages, tmp_path, html)
        page = tab.page
        tab.wait("document.querySelectorAll('.note').length > 5")
        assert page.evaluate("document.title") != "run"
        assert page.evaluate("document.querySelectorAll('img, [onerror], [onclick], .note script').length") == 0
        assert page.evaluate("[...document.querySelectorAll('.note b')].some(b => b.textContent.includes('<img src'))")
        assert tab.complaints == []
        assert loaded_nothing(tab)


def test_the_phone_is_filtered_by_text_channel_and_priority(pages: Pages, tmp_path: Path) -> None:
    simulation = decade(400)
    tab = opened(pages, tmp_path, report(simulation))
    page = tab.page

    def choose(shown: str, **values: str) -> None:
        """Fill in the filters, and wait until the count says what is shown."""
        for name, value in values.items():
            page.evaluate(
                f"(() => {{ const f = document.querySelector('.filters').elements[{json.dumps(name)}];"
                f"f.value = {json.dumps(value)}; f.dispatchEvent(new Event('input', {{bubbles: true}})); }})()"
            )
        tab.wait(f"document.querySelector('.count').textContent === {json.dumps(shown)}")

    def like(**values: str) -> str:
        n = sum(
            values.get("channel", m.channel) == m.channel and m.priority.rank >= int(values.get("priority", 0))
            for m in simulation.messages
        )
        return f"{n:,} of {len(simulation):,} messages"

    choose(f"{len(simulation):,} messages")
    choose(like(channel="chat"), channel="chat")
    choose(like(priority="3"), channel="", priority="3")
    choose(f"0 of {len(simulation):,} messages", priority="0", text="no such words")
    assert page.evaluate("document.querySelector('.lock .empty').textContent") == "No message is like that."
    crashes = sum("crashed" in message.title for message in simulation.messages)
    choose(f"{crashes} of {len(simulation):,} messages", text="CRASHED")


def test_more_messages_come_as_it_is_scrolled_and_digests_unfold(pages: Pages, tmp_path: Path) -> None:
    simulation = decade(400)
    tab = opened(pages, tmp_path, report(simulation))
    page = tab.page
    shown = page.evaluate("document.querySelectorAll('.note').length")
    assert 0 < shown < 300
    page.evaluate("(() => { const lock = document.querySelector('.lock'); lock.scrollTop = lock.scrollHeight; })()")
    tab.wait(f"document.querySelectorAll('.note').length > {shown}")
    tab.wait(
        "(() => { const lock = document.querySelector('.lock'); lock.scrollTop = lock.scrollHeight;"
        f" return document.querySelectorAll('.note').length === {len(simulation)}; }})()"
    )
    page.evaluate("document.querySelector('.note details').open = true")
    tab.wait("document.querySelectorAll('.note details li').length > 1")


def test_a_rule_can_be_copied_and_the_chart_switched(pages: Pages, tmp_path: Path) -> None:
    tab = opened(pages, tmp_path, report(decade(1200, 1)))
    page = tab.page
    visible = (
        "[...document.querySelectorAll('[data-chart]')].filter(c => !c.hidden).map(c => c.dataset.by + c.dataset.unit)"
    )
    assert page.evaluate(visible) == ["channelweek"]
    page.evaluate("document.querySelector('button[data-value=priority]').click()")
    page.evaluate("document.querySelector('button[data-value=year]').click()")
    assert page.evaluate(visible) == ["priorityyear"]
    page.evaluate("document.querySelector('button[data-copy]').click()")
    tab.wait("document.querySelector('button[data-copy]').textContent === 'Copied'")
    assert tab.complaints == []


def test_it_can_be_printed(pages: Pages, tmp_path: Path) -> None:
    page = opened(pages, tmp_path, report(decade(100))).page
    assert len(page.pdf()) > 10_000
