"""The page about simulations says what the simulator takes for granted about services."""

from __future__ import annotations

import re
from pathlib import Path

from bt_alerts.simulate.services import SERVICES, Service

PAGE = (Path(__file__).parents[2] / "docs" / "simulate.md").read_text("utf-8")


def row(name: str, service: Service) -> str:
    limits = "; ".join(limit.words for limit in service.limits) or "–"
    price = f"{service.price:g}" if service.price else "–"
    return f"| {name} | {service.latency:g} s | {limits} | {price} |"


def test_the_page_has_every_service_as_it_is_simulated() -> None:
    found = re.search(r"<!-- services -->\n(.*?)<!-- end -->", PAGE, re.DOTALL)
    assert found is not None
    assert found[1].splitlines()[2:] == [row(name, service) for name, service in SERVICES.items()]
