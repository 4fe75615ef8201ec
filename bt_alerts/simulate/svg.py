"""Small charts as inline SVG: stacked bars, a heat map, one bar. No ids, no styles, no scripts: several fit on a page.

Places across are percentages and those down are pixels, so a chart fills its column from a phone to a wide screen and
its letters stay the size they are. What is only ink takes the colour of the text around it, light and dark.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from html import escape

from bt_alerts.alert import Priority

#: Colours of channels, told apart on white and on black, also by those who see no red or no green.
PALETTE = ("#3b7dd8", "#e07b39", "#2f9e77", "#b4538a", "#8a6fd1", "#c9a227", "#4aa3b8", "#8c8c8c")
_LABELS = 4  # below the bars; more do not fit on a phone


@dataclasses.dataclass(frozen=True, slots=True)
class Series:
    """One colour of a chart, and its name."""

    name: str
    colour: str


def channel_series(names: Sequence[str]) -> list[Series]:
    """A colour for each channel."""
    return [Series(name, PALETTE[n % len(PALETTE)]) for n, name in enumerate(names)]


def priority_series(priorities: Sequence[Priority]) -> list[Series]:
    """The colour of each priority."""
    return [Series(priority.value, priority.style.colour) for priority in priorities]


@dataclasses.dataclass(frozen=True, slots=True)
class Bar:
    """One period: what stands below it, and its messages by the names of the series."""

    label: str
    parts: Mapping[str, int]

    @property
    def total(self) -> int:
        """All parts."""
        return sum(self.parts.values())

    def said(self) -> str:
        """As one sentence."""
        parts = ", ".join(f"{name} {n:,}" for name, n in self.parts.items() if n)
        return f"{self.label}: {self.total:,}" + (f" ({parts})" if len(self.parts) > 1 and parts else "")


def bars(periods: Sequence[Bar], series: Sequence[Series], *, about: str, height: int = 190, most: int = 0) -> str:
    """Stacked bars.

    Args:
        periods: from left to right.
        series: from the bottom to the top.
        about: what it shows, for those who do not see it.
        height: of the plot in pixels.
        most: the top of the scale; the highest bar's where 0.
    """
    step, top = _scale(max([most, *(bar.total for bar in periods)], default=0))
    below, above = 22, 14
    left = 1.0 + 2.2 * len(f"{top:,}")  # percent: room for the figures on a phone, where they are widest
    made = [_svg_head(height + above + below, about)]
    for tick in range(0, top + 1, step):
        y = above + height - height * tick / top
        made.append(
            f'<line x1="{left:.1f}%" x2="100%" y1="{y:.1f}" y2="{y:.1f}" stroke="currentColor" '
            f'stroke-opacity="{0.35 if tick == 0 else 0.12}"/>'
        )
        if tick:
            made.append(_text("0", y + 4, f"{tick:,}", "start"))
    wide = (100 - left) / max(1, len(periods))
    for n, bar in enumerate(periods):
        if bar.total:
            made.append(_stack(bar, series, left + n * wide + wide * 0.11, wide * 0.78, (above + height, height / top)))
    made += _below(periods, left, wide, above + height + 16)
    return "".join(made) + "</svg>"


def _stack(bar: Bar, series: Sequence[Series], x: float, width: float, down: tuple[float, float]) -> str:
    base, each = down
    made, y = [f"<g><title>{escape(bar.said())}</title>"], base
    for one in series:
        n = bar.parts.get(one.name, 0)
        if n:
            tall = max(n * each, 0.75)
            y -= tall
            made.append(
                f'<rect x="{x:.3f}%" width="{width:.3f}%" y="{y:.2f}" height="{tall:.2f}" fill="{escape(one.colour)}"/>'
            )
    # The whole column answers to the pointer: a bar of one message is hard to meet.
    made.append(f'<rect x="{x:.3f}%" width="{width:.3f}%" y="0" height="{base:.1f}" fill="transparent"/></g>')
    return "".join(made)


def _below(periods: Sequence[Bar], left: float, wide: float, y: float) -> list[str]:
    if not periods:
        return []
    shown = min(_LABELS, len(periods))
    places = sorted({round(n * (len(periods) - 1) / max(1, shown - 1)) for n in range(shown)})
    made = []
    for place in places:
        first, last = place == 0 and len(periods) > 2, place == len(periods) - 1 and len(periods) > 2
        x = left if first else 100.0 if last else left + (place + 0.5) * wide
        anchor = "start" if first else "end" if last else "middle"
        made.append(_text(f"{x:.2f}%", y, periods[place].label, anchor))
    return made


def _scale(most: int) -> tuple[int, int]:
    """Distance of the lines and top of a scale that reaches ``most``, in round numbers."""
    most = max(1, most)
    rough = most / 4
    power = 10 ** math.floor(math.log10(max(rough, 1)))
    step = next(int(power * factor) for factor in (1, 2, 5, 10) if power * factor >= rough)
    step = max(1, step)
    return step, step * math.ceil(most / step)


DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def heat_map(counts: Sequence[Sequence[int]], *, about: str, colour: str = PALETTE[0]) -> str:
    """Hours of the week: 7 rows of 24; the more, the stronger.

    Args:
        counts: by weekday and hour.
        about: what it shows, for those who do not see it.
        colour: of the most.
    """
    most = max((n for row in counts for n in row), default=0)
    tall, above, left = 24, 18, 9.0
    wide = (100 - left) / 24
    made = [_svg_head(above + 7 * tall, about)]
    made += [_text(f"{left + hour * wide:.2f}%", 12, f"{hour:02d}", "start") for hour in range(0, 24, 3)]
    for day, row in enumerate(counts):
        y = above + day * tall
        made.append(_text("0", y + tall / 2 + 4, DAYS[day], "start"))
        for hour, n in enumerate(row):
            # The root, because few hours have many and the others would all look empty.
            ink = f'fill="{escape(colour)}" fill-opacity="{0.12 + 0.88 * math.sqrt(n / most):.2f}"' if n else _FAINT
            made.append(
                f'<rect x="{left + hour * wide:.3f}%" width="{wide * 0.9:.3f}%" y="{y + 1}" height="{tall - 3}" '
                f'rx="3" {ink}><title>{DAYS[day]} {hour:02d}:00: {n:,}</title></rect>'
            )
    return "".join(made) + "</svg>"


def one_bar(part: float, colour: str, *, height: int = 8) -> str:
    """A bar that is filled to ``part`` (0 to 1); it says nothing that does not stand beside it."""
    inside = max(0.0, min(1.0, part)) * 100
    return (
        f'<svg width="100%" height="{height}" aria-hidden="true"><rect width="100%" height="100%" rx="4" {_FAINT}/>'
        f'<rect width="{inside:.1f}%" height="100%" rx="4" fill="{escape(colour)}"/></svg>'
    )


_FAINT = 'fill="currentColor" fill-opacity="0.07"'


def _svg_head(height: float, about: str) -> str:
    return f'<svg width="100%" height="{height:g}" role="img" aria-label="{escape(about)}" overflow="visible">'


def _text(x: str, y: float, text: str, anchor: str) -> str:
    return (
        f'<text x="{x}" y="{y:.1f}" text-anchor="{anchor}" font-size="11" fill="currentColor" fill-opacity="0.65">'
        f"{escape(text)}</text>"
    )
