"""The plot of the delivery engine's figures (matplotlib, extra ``charts``)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

OURS, OTHERS, TAIL = "#2f6f9f", "#b9bec4", "#d9822b"


def draw(series: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Three panels: what accepting costs, how many a second arrive, and what survives ``kill -9``."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 10,
                         "axes.titleweight": "bold", "axes.titlelocation": "left"})  # fmt: skip
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(14.5, 4.4), width_ratios=(1.2, 1, 1))
    _accepting(left, series.get("emit", {}))
    _bars(
        middle,
        {_name(name): value for name, value in series.get("sending", {}).items()},
        "Delivered a second, one channel",
        "messages a second, loopback",
    )
    _bars(right, _arrived(series), "Arrived of 200, after kill -9", "alerts")
    figure.tight_layout(w_pad=2.5)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def _accepting(axes: Any, emit: Mapping[str, Any]) -> None:
    """Median as a bar, p99 as a dot: a strategy feels the tail."""
    names = list(emit)[::-1]
    medians = [emit[name][0] * 1e6 for name in names]
    tails = [emit[name][1] * 1e6 for name in names]
    colours = [OURS if name.startswith("bt_alerts") else OTHERS for name in names]
    axes.barh(names, medians, color=colours, height=0.62)
    axes.scatter(tails, names, color=TAIL, s=22, zorder=3)
    axes.set_xscale("log")
    axes.set_xlim(10, max([1000.0, *(2 * tail for tail in tails)]))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_minor_formatter("")
    axes.set_xlabel("µs that one call takes\nbar: median, dot: 99th percentile")
    axes.set_title("Accepting an alert")


def _bars(axes: Any, values: Mapping[str, float], title: str, label: str) -> None:
    names = list(values)[::-1]
    colours = [OURS if name.startswith("bt_alerts") else OTHERS for name in names]
    drawn = axes.barh(names, [values[name] for name in names], color=colours, height=0.62)
    axes.bar_label(drawn, fmt="{:,.0f}", padding=3, fontsize=8)
    axes.margins(x=0.14)
    axes.set_title(title)
    axes.set_xlabel(label)


def _arrived(series: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for plot, values in series.items():
        if plot.startswith("kill -9, "):
            state = "hanging" if "hanging" in plot else "down"
            found |= {f"{name}, service {state}": value for name, value in values.items()}
    return found


def _name(sender: str) -> str:
    return {
        "bt_alerts": "bt_alerts (durable)",
        "huey": "huey (durable)",
        "requests.Session": "requests.Session (keeps nothing)",
        "QueueHandler": "QueueHandler (memory)",
        "Apprise": "Apprise (keeps nothing)",
        "AlgoTradeKit": "AlgoTradeKit (memory, paced)",
    }.get(sender, sender)
