"""The ``watch:`` block."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from settings_loading import loaded, problems

from bt_alerts.settings.models import Watch


def test_without_the_block_three_bars_may_be_missing_and_nothing_is_pinged():
    assert loaded({}).watch == Watch(silence=3.0, session=[], sessions={}, ping_url=None, ping_every=60.0)


def test_it_is_read_from_a_file(alerts_yaml):
    watch = loaded(
        alerts_yaml("""
        watch:
          silence: 2.5
          session: 09:30-16:00 America/New_York mon-fri, 18:00-20:00 Europe/Berlin mon
          sessions:
            BTC: always
            EURUSD:
              - 17:00-16:59 America/New_York sun-thu
          ping_url: ${PING}
        """),
        environ={"PING": "https://hc.example.org/abc"},
    ).watch
    assert watch.silence == 2.5
    assert watch.session == ["09:30-16:00 America/New_York mon-fri", "18:00-20:00 Europe/Berlin mon"]
    assert watch.sessions == {"BTC": ["always"], "EURUSD": ["17:00-16:59 America/New_York sun-thu"]}
    assert watch.ping_url is not None
    assert watch.ping_url.get_secret_value() == "https://hc.example.org/abc"


def test_every_mistake_is_told_at_its_line(alerts_yaml):
    config = alerts_yaml("""
        watch:
          silence: 0.5
          session:
            - 09:30-16:00 America/New_York mon-fri
            - 9 to 5
          sessions:
            AAPL: 09:30-16:00 Mars/Base
          ping_url: ftp://example.org/secretsecret
          ping_every: 1
          pingurl: x
        """)
    told = problems(config)
    assert [line.split(": ")[0] for line in told] == [f"alerts.yaml:{n}" for n in (2, 5, 7, 8, 9, 10)]
    assert "watch.silence: write 0 to turn it off, or how many bars may be missing" in told[0]
    assert "watch.session[1]: write hours such as 09:30-16:00" in told[1]
    assert "watch.sessions.AAPL: `Mars/Base` is no time zone and no day" in told[2]
    assert told[3].endswith("write the address of the check, which begins with https:// (or http://)")
    assert "watch.ping_every: write a duration (30s, 15m, 12h, 90d) from 10s to 1d" in told[4]
    assert "did you mean `ping_url`?" in told[5]
    assert "secretsecret" not in "".join(told)


@pytest.mark.parametrize("url", ["", "x", "https://", "https://a b/c", "http://example.org:0/x", "http://[/x"])
def test_an_address_that_is_none_is_refused(url):
    told = problems({"watch": {"ping_url": url}})
    assert told == ["config: watch.ping_url: write the address of the check, which begins with https:// (or http://)"]


def test_the_address_is_a_credential(alerts_yaml, caplog):
    config = alerts_yaml("watch:\n  ping_url: https://hc.example.org/0123456789\n")
    if os.name != "nt":
        Path(config).chmod(0o644)
        with caplog.at_level(logging.WARNING):
            settings = loaded(config)
        assert "holds credentials and every user of this machine can read it" in caplog.text
        assert "0123456789" not in repr(settings) + caplog.text
