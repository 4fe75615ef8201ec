"""What is lost when a process is killed, and how a service that says no is treated: ours and others, by counting."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from absent import Unavailable
from kit import Child, Row, Service
from measuring import Run

COUNT = 200
SETTLED = 5.0  # seconds without an arrival after which nothing more is expected
WAIT = 3  # seconds of Retry-After


def loss(run: Run) -> Iterator[Row]:
    """Accept 200, ``kill -9``, start again: what arrives? All at the same time, because nothing is timed."""
    senders = ("bt_alerts", "huey", "AlgoTradeKit", "QueueHandler", "Apprise")
    cases = [(False, name) for name in senders] + [(True, name) for name in senders[:2]]
    run.say("killing processes that have accepted alerts")
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda case: _killed(run, case[1], hang=case[0]), cases))
    for (hang, name), result in zip(cases, found, strict=True):
        state = "the service hanging, one message under way" if hang else "the service down"
        what = f"{name}: of {COUNT} accepted, arrived after kill -9 and a start, {state}"
        least = float(COUNT) if name == "bt_alerts" else None
        if isinstance(result, Unavailable):
            yield Row(what, None, "", skipped=str(result))
            continue
        taken, arrived = result
        different = len(set(arrived))
        run.found(f"kill -9, {state}", name, different)
        figures = f"{taken} calls said yes; {len(arrived) - different} arrived twice"
        yield Row(what, different, "", least=least, figures=figures)


def _killed(run: Run, name: str, *, hang: bool) -> tuple[int, list[int]] | Unavailable:
    """How many calls said that they took it, and the numbers that arrived."""
    service = Service(hang=hang)
    port, path = service.port, f"kill/{name}"
    if not hang:
        service.stop()
    store = str(run.folder / f"kill-{hang}-{name}.db")
    options: dict[str, Any] = {"url": f"http://127.0.0.1:{port}/{path}", "store": store}
    child: Child | None = None
    try:
        child = Child(name, **options)
        taken = child.ask("accept", count=COUNT)["taken"]
        if hang:
            time.sleep(0.5)  # something is under way now
        child.kill()
        service.stop()
        service = Service(port)
        child = Child(name, **options)
        found: list[tuple[float, int]] = []
        last = time.monotonic()
        while len({number for _, number in found}) < COUNT and time.monotonic() - last < SETTLED:
            time.sleep(0.1)
            # What has no number is our own word that the process died.
            before, found = len(found), [each for each in service.arrivals(path) if each[1] >= 0]
            if len(found) > before:
                last = time.monotonic()
        return taken, [number for _, number in found]
    except Unavailable as exc:
        return exc
    finally:
        if child is not None:
            child.kill()
        service.stop()


def answers(run: Run) -> Iterator[Row]:
    """A service that refuses the credentials, and one that says when to come again."""
    senders: dict[str, tuple[str, dict[str, Any]]] = {
        "bt_alerts": ("bt_alerts", {}),
        "Apprise": ("Apprise", {}),
        "Apprise, retry=3": ("Apprise", {"more": "?retry=3"}),
        "AlgoTradeKit": ("AlgoTradeKit", {}),
    }
    cases = {"no": "status/401", "later": f"once/429/{WAIT}"}
    wanted = {}
    for case, path in cases.items():
        for number, (name, (role, options)) in enumerate(senders.items()):
            store = str(run.folder / f"answers-{case}-{number}.db")
            wanted[f"{case} {name}"] = (role, {**options, "url": f"{run.service.url}/{path}/{number}", "store": store})
    run.say("a service that says no")
    with run.children(**wanted) as (children, missing):
        for child in children.values():
            child.tell("accept", count=1)
        time.sleep(run.pick(9, 5))  # seconds for which requests are counted
        for number, name in enumerate(senders):
            ours = name == "bt_alerts"
            what = f"{name}: requests to a service that answers 401, for one alert"
            if f"no {name}" in missing:
                yield Row(what, None, "", skipped=missing[f"no {name}"])
                continue
            sent = len(run.service.arrivals(f"{cases['no']}/{number}"))
            run.found("401", name, sent)
            yield Row(what, sent, "", most=1.0 if ours else None)
        for number, name in enumerate(senders):
            ours = name == "bt_alerts"
            what = f"{name}: seconds until it sends again after 429 with Retry-After: {WAIT}"
            if f"later {name}" in missing:
                yield Row(what, None, "s", skipped=missing[f"later {name}"])
                continue
            times = [when for when, _ in run.service.arrivals(f"{cases['later']}/{number}")]
            if len(times) < 2:
                yield Row(what, None, "s", figures="it did not send again: the message is lost")
                continue
            gap = times[1] - times[0]
            run.found("Retry-After", name, gap)
            # Not before, and not much later: as told.
            yield Row(what, gap, "s", least=float(WAIT) if ours else None, figures=f"{len(times)} requests in all")
