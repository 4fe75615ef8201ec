"""The report of a day or a week: what was earned, lost and is held, as one alert made of those of the period. Pure.

Promises
--------
*Realised.* Profit is that of closed trades after commission, and the account's value is what it was at the last start
of its strategy with these profits added. What is open counts for nothing, and the words say so.

*Honest.* Where no start is known there is no value to compare with, so there are no percentages. What is left out of
the details because it is too much (:data:`MOST_TRADES`, :data:`MOST_POINTS`) is counted there; every figure is of all.

Strategies of one run share an account; runs count as accounts of their own. Who calls this decides when, of which
alerts, and for whom; the files that go along are made of the details, when it is delivered
(:mod:`bt_alerts.render.report_files`).
"""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import math
import zoneinfo
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from bt_alerts.alert import Alert, AlertType, Priority
from bt_alerts.compose import figure, money, number, signed
from bt_alerts.kinds import KINDS

Period = Literal["daily", "weekly"]

MOST_TRADES = 1_000  # the newest; as many items as a list of an alert's data has
MOST_POINTS = 1_000  # of the equity curve, which has one for each moment at which trades were closed
LARGEST = 1e18  # what is not below is no amount
MOST_LINES = 20  # strategies, and open positions, in the message

_FEED_TROUBLE = frozenset({"data.disconnected", "data.silent", "data.held"})
_REFUSED = frozenset({"order.rejected", "order.margin"})
_FILLS = frozenset({"order.partial", "order.completed", "position.opened", "position.closed", "trade.closed"})
_EPSILON = 1e-9

_Holding = tuple[str, str, str]  # strategy, symbol, and the trade's id at its strategy


@dataclasses.dataclass(slots=True)
class _Strategy:
    """What is known of one strategy."""

    account: str = ""
    since_start: float = 0.0  # profit
    net: float = 0.0  # of the period, as is all below
    trades: int = 0
    won: int = 0
    lost: int = 0
    seen: bool = False
    running: bool = False


@dataclasses.dataclass(slots=True)
class _Seen:
    """What the alerts told, read from the oldest to the newest."""

    values: dict[str, float] = dataclasses.field(default_factory=dict)  # of accounts, at their start
    strategies: dict[str, _Strategy] = dataclasses.field(default_factory=dict)
    positions: dict[_Holding, dict[str, Any]] = dataclasses.field(default_factory=dict)
    trades: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    priorities: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    errors: int = 0
    feed_troubles: int = 0
    refused: int = 0
    told: set[str] = dataclasses.field(default_factory=set)  # actions whose profit was counted

    def read(self, alert: Alert, counts: bool) -> None:
        """Take in an alert; of one from before the period only what it leaves behind."""
        if alert.kind.startswith("report.") or alert.kind == "command":  # what people asked is no news to them
            return
        self._began_or_ended(alert)
        if alert.kind in _FILLS:
            self._holds(alert)
        self._earned(alert, counts)
        if not counts:
            return
        if alert.strategy:
            self._of(alert.strategy).seen = True
        self.priorities[alert.priority.value] += 1
        self.errors += alert.type is AlertType.ERROR
        self.feed_troubles += alert.kind in _FEED_TROUBLE
        self.refused += alert.kind in _REFUSED

    def _of(self, strategy: str) -> _Strategy:
        return self.strategies.setdefault(strategy, _Strategy())

    def _began_or_ended(self, alert: Alert) -> None:
        if alert.kind == "strategy.started":
            strategy, value = self._of(alert.strategy), _finite(alert.data.get("value"))
            strategy.running, strategy.since_start = True, 0.0
            strategy.account = "" if value is None else alert.run or f"of {alert.strategy}"
            if value is not None:
                self.values[strategy.account] = value
        elif alert.kind == "strategy.stopped":
            self._of(alert.strategy).running = False
        elif alert.kind == "process.died":
            for name in _listed(alert.data.get("strategies")):
                self._of(str(name)).running = False
        elif alert.kind == "strategy.restarted":
            for move in _listed(alert.data.get("positions")):
                if isinstance(move, Mapping):
                    self._moved(alert, move)

    def _moved(self, alert: Alert, move: Mapping[str, Any]) -> None:
        """A position changed while its strategy was away."""
        symbol, size = str(move.get("symbol") or ""), _finite(move.get("after")) or 0.0
        for key in [key for key in self.positions if key[:2] == (alert.strategy, symbol)]:
            del self.positions[key]
        if size:
            self._hold((alert.strategy, symbol, ""), size, _finite(move.get("price_after")), alert)

    def _holds(self, alert: Alert) -> None:
        """What a fill left of a position."""
        key = alert.strategy, alert.symbol, _trade_id(alert)
        size = _finite(alert.data.get("position_size"))
        if size is not None and abs(size) > _EPSILON:
            self._hold(key, size, _finite(alert.data.get("position_price")), alert)
        elif (size is not None or "pnlcomm" in alert.data) and self.positions.pop(key, None) is None:
            self.positions.pop((*key[:2], ""), None)  # told by strategy.restarted

    def _hold(self, key: _Holding, size: float, price: float | None, alert: Alert) -> None:
        held = self.positions.get(key, {})
        same = held.get("size", 0.0) * size > 0
        self.positions[key] = {
            "strategy": key[0],
            "symbol": key[1],
            "direction": "long" if size > 0 else "short",
            "size": size,
            "price": price,
            "since": held["since"] if same else alert.time.isoformat(),
        }

    def _earned(self, alert: Alert, counts: bool) -> None:
        """A trade was closed. Brokers that tell of no trades tell of the position that was closed by the same fill."""
        if alert.kind not in ("trade.closed", "position.closed") or (alert.action and alert.action in self.told):
            return
        data = alert.data
        profit = _finite(data.get("pnlcomm", data.get("pnl")))
        if profit is None:
            return
        self.told.add(alert.action)
        strategy = self._of(alert.strategy)
        strategy.since_start += profit
        if not counts:
            return
        strategy.net += profit
        strategy.trades += 1
        strategy.won += profit > 0
        strategy.lost += profit < 0
        self.trades.append({
            "time": alert.time.isoformat(),
            "strategy": alert.strategy,
            "symbol": alert.symbol,
            "direction": data.get("direction") or {"sell": "long", "buy": "short"}.get(str(data.get("side")), ""),
            "result": "won" if profit > 0 else "lost" if profit < 0 else "even",
            "size": _finite(data.get("fill_size")),
            "entry_price": _finite(data.get("entry_price", data.get("trade_price"))),
            "exit_price": _finite(data.get("exit_price")),
            "pnl": _finite(data.get("pnl")),
            "trade_commission": _finite(data.get("trade_commission")),
            "pnlcomm": profit,
            "account_percent": None,
            "duration_seconds": _finite(data.get("duration_seconds")),
            "close_reason": str(data.get("close_reason") or ""),
        })  # fmt: skip

    def value_begin(self) -> float | None:
        """What all accounts were worth when the period began; None where that of one that counts is not known."""
        counting = [each for each in self.strategies.values() if each.seen or each.running or each.trades]
        if not counting or any(not each.account for each in counting if each.trades):
            return None
        accounts = {each.account for each in counting if each.account}
        of = [each for each in self.strategies.values() if each.account in accounts]
        return math.fsum([
            *(self.values[account] for account in accounts),
            *(each.since_start for each in of),
            *(-each.net for each in of),
        ])  # fmt: skip

    def begin_of(self, strategy: _Strategy) -> float | None:
        """The same of the account of one strategy."""
        of = [each for each in self.strategies.values() if each.account == strategy.account]
        value = self.values.get(strategy.account)
        return None if value is None else math.fsum([value, *(each.since_start - each.net for each in of)])


def summary(
    alerts: Iterable[Alert],
    *,
    name: str,
    period: Period,
    since: float,
    until: float,
    zone: str,
    now: float,
    before: Iterable[Alert] = (),
) -> Alert:
    """Make the report of a period.

    Args:
        alerts: those of the period, oldest first.
        name: of the report, such as the settings call it; equal reports are told apart by it.
        period: ``daily`` or ``weekly``.
        since: Unix seconds in which the period begins, as are the next and ``now``.
        until: in which it ends.
        zone: name of the time zone whose dates are told.
        now: when it is made.
        before: earlier alerts, oldest first, as far as they tell of what the period began with: the last start of each
            strategy and the trades closed after it, and what opened and closed positions.

    Returns:
        An alert whose ``data["report"]`` has everything that its files need, as plain JSON.

    Raises:
        ValueError: the period is neither word, or there is no such time zone.
    """
    if period not in ("daily", "weekly"):
        raise ValueError(f"{period!r} is no period of a report: write daily or weekly")
    seen = _Seen()
    for alert in before:
        seen.read(alert, counts=False)
    for alert in alerts:
        seen.read(alert, counts=True)
    report = _report(seen, since, until)
    report = {"name": name, "period": period, "zone": zone, **report}
    kind = KINDS[f"report.{period}"]
    strategies = report["by_strategy"]
    return Alert.make(
        "\n".join(_lines(report, since, until, zone)),
        title=_title(report, until, zone),
        type=kind.type,
        kind=kind.name,
        priority=kind.priority,
        time=now,
        strategy=strategies[0]["strategy"] if len(strategies) == 1 else "",
        data={"report": report},
        dedupe_key=f"report:{name}:{float(until)}",
    )


# ----------------------------------------------------------------------------------------------------- the figures


def _report(seen: _Seen, since: float, until: float) -> dict[str, Any]:
    trades, begin = seen.trades, seen.value_begin()
    equity = [(since, begin or 0.0)]
    for trade in trades:
        (last, before), profit = equity[-1], trade["pnlcomm"]
        when = dt.datetime.fromisoformat(trade["time"]).timestamp()
        if len(equity) > 1 and when == last:  # which of them came first means nothing, so it must be no drawdown
            equity.pop()
        equity.append((when, before + profit))
        trade["account_percent"] = _percent(profit, before if begin is not None else None)
    end = equity[-1][1]
    equity.append((max(until, equity[-1][0]), end))
    fall, fall_percent = drawdown([value for _, value in equity])
    net = math.fsum(trade["pnlcomm"] for trade in trades)
    by_profit = sorted(trades, key=lambda trade: float(trade["pnlcomm"]))
    return {
        "since": dt.datetime.fromtimestamp(since, dt.UTC).isoformat(),
        "until": dt.datetime.fromtimestamp(until, dt.UTC).isoformat(),
        "net": net,
        "return_percent": _percent(net, begin),
        "value_begin": begin,
        "value_end": None if begin is None else end,
        "closed": len(trades),
        "won": sum(trade["pnlcomm"] > 0 for trade in trades),
        "lost": sum(trade["pnlcomm"] < 0 for trade in trades),
        "commission": math.fsum(trade["trade_commission"] or 0.0 for trade in trades),
        "best": by_profit[-1] if trades else None,
        "worst": by_profit[0] if trades else None,
        "drawdown": fall,
        "drawdown_percent": fall_percent if begin is not None else None,
        "by_strategy": [
            {
                "strategy": strategy,
                "net": each.net,
                "return_percent": _percent(each.net, seen.begin_of(each)),
                "closed": each.trades,
                "won": each.won,
                "lost": each.lost,
            }
            for strategy, each in sorted(seen.strategies.items())
            if each.seen or each.trades
        ],
        "positions": sorted(seen.positions.values(), key=lambda held: (held["strategy"], held["symbol"])),
        "alerts": {each.value: n for each in reversed(_RANKS) if (n := seen.priorities[each.value])},
        "errors": seen.errors,
        "feed_troubles": seen.feed_troubles,
        "orders_refused": seen.refused,
        "trades": trades[-MOST_TRADES:],
        "trades_left_out": max(0, len(trades) - MOST_TRADES),
        "equity": [list(point) for point in thinned(equity)],
        "equity_points": len(equity),
    }


_RANKS = sorted(Priority, key=lambda priority: priority.rank)


def drawdown(values: Sequence[float]) -> tuple[float, float | None]:
    """The deepest fall below the highest value before it, as an amount and in percent of that; both at least 0.

    The percentage is None where a value that something fell from is not above zero.
    """
    peak, fall, percent = -math.inf, 0.0, 0.0
    known = True
    for value in values:
        peak = max(peak, value)
        fall = max(fall, peak - value)
        if value < peak:
            known = known and peak > 0
            percent = max(percent, 100 * (peak - value) / peak) if peak > 0 else percent
    return fall, percent if known else None


def thinned(points: Sequence[tuple[float, float]], most: int = MOST_POINTS) -> list[tuple[float, float]]:
    """So many points at most: the first, the last, and of those between the lowest and highest of each stretch."""
    if len(points) <= most:
        return list(points)
    inner = points[1:-1]
    stretches = (most - 2) // 2
    kept = [points[0]]
    for i in range(stretches):
        begin, end = i * len(inner) // stretches, (i + 1) * len(inner) // stretches
        places = range(begin, end)
        extremes = {min(places, key=lambda at: inner[at][1]), max(places, key=lambda at: inner[at][1])}
        kept += [inner[at] for at in sorted(extremes)]
    return [*kept, points[-1]]


def _percent(part: float, whole: float | None) -> float | None:
    return 100 * part / whole if whole is not None and whole > 0 else None


def _finite(value: Any) -> float | None:
    known = None if isinstance(value, bool) else figure(value)
    return known if known is not None and abs(known) < LARGEST else None


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


def _trade_id(alert: Alert) -> str:
    """Backtrader's tradeid, which tells positions of one strategy in one symbol apart; it stands in the thread."""
    begin = f"{alert.strategy}:{alert.symbol}:"
    return alert.thread.removeprefix(begin).partition(":")[0] if alert.thread.startswith(begin) else ""


# ------------------------------------------------------------------------------------------------------- the words


def _title(report: Mapping[str, Any], until: float, zone: str) -> str:
    since = dt.datetime.fromisoformat(report["since"]).timestamp()
    result = signed(report["net"]) + in_percent(report["return_percent"]) if report["closed"] else "no trade closed"
    return f"{heading(report['period'], since, until, zone)}: {result}"


def heading(period: str, since: float, until: float, zone: str) -> str:
    """``"Daily report 2026-03-02"``, ``"Weekly report 2026-03-02 to 2026-03-08"``: without any figure.

    A day is named by the date on which it ends; one that ends at midnight by the one that is over.
    """
    first, last = local(since, zone).date(), local(max(since, until - 1), zone).date()
    return f"{period.capitalize()} report " + (f"{last}" if period == "daily" else f"{first} to {last}")


def local(moment: float, zone: str) -> dt.datetime:
    """A time as a clock in the zone shows it. Raises ``ValueError`` where there is no such zone."""
    try:
        return dt.datetime.fromtimestamp(moment, dt.UTC if zone.upper() == "UTC" else zoneinfo.ZoneInfo(zone))
    except (zoneinfo.ZoneInfoNotFoundError, OSError, ValueError):  # a folder's name, or what no file can be called
        raise ValueError(f"there is no time zone {zone!r}: write one such as Europe/Berlin") from None


def _lines(report: Mapping[str, Any], since: float, until: float, zone: str) -> list[str]:
    lines = _results(report) if report["closed"] else ["No trade was closed."]
    begin, end = local(since, zone), local(until, zone)
    return [
        *lines,
        *_positions(report["positions"]),
        _counts(report),
        f"From {begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} {end.tzname() or zone}",
    ]


def _results(report: Mapping[str, Any]) -> list[str]:
    net = f"Realised {signed(report['net'])}{in_percent(report['return_percent'])}, after commission"
    lines = [net, f"Trades: {trades_in_words(report)}"]
    if report["closed"] > 1:  # the only one would be both
        lines += [f"Best: {_told(report['best'])}", f"Worst: {_told(report['worst'])}"]
    fall = money(report["drawdown"]) + in_percent(report["drawdown_percent"], sign=False)
    lines.append(f"Largest drawdown: {fall if report['drawdown'] else 'none'}")
    strategies = report["by_strategy"]
    if len(strategies) > 1:
        for each in strategies[:MOST_LINES]:
            result = f"{signed(each['net'])}{in_percent(each['return_percent'])}, {trades_in_words(each)}"
            lines.append(f"{each['strategy'] or 'no strategy'}: {result if each['closed'] else 'no trade closed'}")
        if len(strategies) > MOST_LINES:
            lines.append(f"… and {len(strategies) - MOST_LINES} more strategies")
        lines.append(f"Total: {signed(report['net'])}{in_percent(report['return_percent'])}")
    return lines


def trades_in_words(of: Mapping[str, Any]) -> str:
    """``"7 closed, 4 won, 3 lost"``."""
    return f"{of['closed']:,} closed, {of['won']:,} won, {of['lost']:,} lost"


def _told(trade: Mapping[str, Any]) -> str:
    return f"{trade['symbol']} {signed(trade['pnlcomm'])}{in_percent(trade['account_percent'])}".strip()


def _positions(positions: Sequence[Mapping[str, Any]]) -> list[str]:
    if not positions:
        return ["Open positions: none"]
    several = len({held["strategy"] for held in positions}) > 1
    lines = [
        f"Open: {held['symbol']} {held['direction']} {number(abs(held['size']))}"
        + (f" at {number(held['price'])}" if held["price"] else "")
        + (f" ({held['strategy']})" if several else "")
        for held in positions[:MOST_LINES]
    ]
    return lines + ([f"… and {len(positions) - MOST_LINES} more open positions"] if len(positions) > MOST_LINES else [])


def _counts(report: Mapping[str, Any]) -> str:
    alerts = ", ".join(f"{n:,} {priority}" for priority, n in report["alerts"].items()) or "none"
    troubles = [
        f"{n:,} {one if n == 1 else many}"
        for n, one, many in (
            (report["errors"], "error", "errors"),
            (report["feed_troubles"], "feed trouble", "feed troubles"),
            (report["orders_refused"], "order refused", "orders refused"),
        )
        if n
    ]
    return " · ".join([f"Alerts: {alerts}", *(troubles or ["no errors"])])


def in_percent(value: float | None, *, sign: bool = True) -> str:
    """``" (+1.23 %)"``; nothing where it is not known."""
    return "" if value is None else f" ({value:{'+' if sign else ''}.2f} %)".replace("-", "−")
