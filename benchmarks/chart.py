"""Bars as an SVG picture, so that a page can show figures without a library that draws."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final
from xml.sax.saxutils import escape

WIDTH: Final = 860
LABELS: Final = 210
RIGHT: Final = 70
BAR: Final = 11
GAP: Final = 9
LINE: Final = 18
COLOURS: Final = ("#1f6f8b", "#e08e45", "#6a994e", "#8d5a97")
INK, PALE, PAPER = "#222222", "#d9d9d9", "#ffffff"


@dataclass(frozen=True, slots=True)
class Group:
    """What is compared under one name, a value for each series; None where there is none."""

    name: str
    values: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Bars:
    """A chart: groups below each other, and others apart under a title of their own."""

    title: str
    note: str
    series: Sequence[str]
    groups: Sequence[Group]
    apart: Sequence[Group] = field(default=())
    apart_title: str = ""
    logarithmic: bool = False


def drawn(bars: Bars) -> str:
    """Return the chart as an SVG document.

    Raises:
        ValueError: it has no value, or one that is not above 0.
    """
    scale = _Scale.of(bars)
    body = list(_body(bars, scale))
    height = body.pop()
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            f'width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="12" '
            f'role="img" aria-label="{escape(bars.title, {chr(34): "&quot;"})}">',
            f'<rect width="{WIDTH}" height="{height}" fill="{PAPER}"/>',
            *body,
            "</svg>\n",
        ]
    )


@dataclass(frozen=True, slots=True)
class _Scale:
    """Where a value ends: from `least` at the labels to `most` at the right."""

    least: float
    most: float
    logarithmic: bool
    ticks: tuple[float, ...]

    @classmethod
    def of(cls, bars: Bars) -> _Scale:
        groups = (*bars.groups, *bars.apart)
        values = [value for each in groups for value in each.values if value is not None]
        if not values or min(values) <= 0:
            raise ValueError("a chart needs values above 0")
        if bars.logarithmic:
            low, high = (math.floor(math.log10(min(values))), math.ceil(math.log10(max(values))))
            return cls(10.0**low, 10.0**high, True, tuple(10.0**at for at in range(low, high + 1)))
        step = 10.0 ** math.floor(math.log10(max(values)))
        step = step / 2 if max(values) / step < 3 else step
        count = math.ceil(max(values) / step)
        return cls(0.0, step * count, False, tuple(step * at for at in range(count + 1)))

    def at(self, value: float) -> float:
        least, most = self.least, self.most
        if self.logarithmic:
            least, most, value = math.log10(least), math.log10(most), math.log10(value)
        return LABELS + (value - least) / (most - least) * (WIDTH - LABELS - RIGHT)


def _body(bars: Bars, scale: _Scale) -> Iterator[str]:
    """Yield the elements from top to bottom, and last the height."""
    y = float(LINE)
    yield _text(10, y, bars.title, weight="bold")
    yield _text(10, y + LINE, bars.note, size=10)
    y += 2 * LINE
    for at, name in enumerate(bars.series):
        yield _rect(LABELS + 130 * at, y, 11, 11, COLOURS[at])
        yield _text(LABELS + 130 * at + 16, y + 10, name)
    y += LINE + GAP
    top = y
    marks: list[str] = []
    for groups, title in ((bars.groups, ""), (bars.apart, bars.apart_title)):
        if title and groups:
            marks.append(_text(10, y + 12, title, size=11))
            y += LINE + GAP / 2
        for group in groups:
            marks += _group(group, y, scale)
            y += BAR * len(group.values) + GAP
    for tick in scale.ticks:
        x = scale.at(tick)
        yield f'<path d="M{x:.1f} {top:.1f}V{y:.1f}" stroke="{PALE}"/>'
        yield _text(x, y + 12, f"{tick:g}", size=10, anchor="middle")
    yield from marks
    yield f"{y + 2 * LINE:.0f}"


def _group(group: Group, y: float, scale: _Scale) -> Iterator[str]:
    middle = y + BAR * len(group.values) / 2 + 4
    yield _text(LABELS - 8, middle, group.name, anchor="end")
    for at, value in enumerate(group.values):
        if value is not None:
            end = scale.at(value)
            yield _rect(LABELS, y + BAR * at, end - LABELS, BAR - 1, COLOURS[at])
            yield _text(end + 4, y + BAR * at + 9, _shown(value), size=10)


def _shown(value: float) -> str:
    if value >= 10:
        return f"{value:,.0f}"
    return f"{value:.2g}"


def _rect(x: float, y: float, width: float, height: float, colour: str) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'
    )


def _text(
    x: float, y: float, text: str, *, size: int = 12, anchor: str = "start", weight: str = "normal"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
        f'font-weight="{weight}" fill="{INK}">{escape(text)}</text>'
    )
