"""Figures with one row per setting, and heat maps, as inline SVG."""

import dataclasses
import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.drawing.svg import GRID, LETTER, color, finite, left_margin, shortened, start, text, ticks
from analysis.statistics.summaries import Summary

MAX_DOTS = 60
"""Dots that a row shows; a row with more values shows only its summary."""
LONGEST_NAME = 40
"""Characters of a setting's name that a row shows."""


@dataclass(frozen=True, kw_only=True)
class Strip:
    """The values of one setting."""

    name: str
    """Name of the setting."""
    summary: Summary
    """Summary of the values."""
    series: int
    """Number of its color."""
    points: tuple[tuple[str, float], ...] = ()
    """Label and value of each dot; NaN is not drawn."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of a heat map."""

    name: str
    """Label on the left."""
    values: tuple[float, ...]
    """Values; NaN leaves the place empty."""
    shown: str = ""
    """Text on the right, such as the last value."""


def strip_plot(strips: Sequence[Strip], title: str, axis: str, width: float = 700.0) -> str:
    """One row of dots for each setting, with a bar from mean - std to mean + std; crowded rows show only the bar."""
    strips = [strip if len(strip.points) <= MAX_DOTS else dataclasses.replace(strip, points=()) for strip in strips]
    values = [value for strip in strips for _, value in strip.points]
    values += [s.summary.mean + sign * s.summary.std for s in strips for sign in (-1, 1)]
    values += [s.summary.mean for s in strips]
    described = "; ".join(f"{s.name}: mean {s.summary.mean:.2f}, n = {s.summary.n}" for s in strips if s.summary.n)
    description = f"Bars are mean and standard deviation. {described}."
    rows = _Rows([s.name for s in strips], values, title, axis, description=description, width=width)
    lines, x = rows.lines, rows.x
    for index, strip in enumerate(strips):
        y, shade = rows.y(index), color(strip.series)
        mean, std = strip.summary.mean, strip.summary.std
        if math.isfinite(mean):
            spread_bar = f"M{x(mean - std):.1f} {y}H{x(mean + std):.1f}" if math.isfinite(std) else ""
            tick = f"M{x(mean):.1f} {y - 11}V{y + 11}"
            lines.append(
                f'<path d="{spread_bar}{tick}" fill="none" stroke-width="2" style="stroke:{shade}">'
                f"<title>{html.escape(strip.name)}: {mean:.2f} ± {std:.2f}, n = {strip.summary.n}</title></path>"
                if math.isfinite(std)
                else f'<path d="{tick}" fill="none" stroke-width="2" style="stroke:{shade}"/>'
            )
        for (label, value), offset in zip(strip.points, _offsets([x(v) for _, v in strip.points]), strict=True):
            if math.isfinite(value):
                lines.append(
                    f'<circle cx="{x(value):.1f}" cy="{y + offset:.1f}" r="4.5" fill-opacity=".6" '
                    f'style="fill:{shade};stroke:{shade}"><title>{html.escape(label)}: {value:.2f}</title></circle>'
                )
    return rows.end()


def heat_map(
    rows: Sequence[Row],
    columns: Sequence[str],
    title: str,
    axis: str,
    *,
    low: float,
    high: float,
    cell: tuple[float, float] = (24.0, 24.0),
    numbers: bool = False,
) -> str:
    """Values as shades of one color from `low` (blank) to `high` (full), with a scale below.

    `columns` are the column labels, possibly empty; `cell` is the width and height of a place in pixels; `numbers`
    writes the values into the places.
    """
    width, height = cell
    left = left_margin(row.name for row in rows)
    right = 12 + LETTER * max((len(row.shown) for row in rows), default=0)
    top = 20.0
    bottom = top + height * len(rows)
    total = max(left + width * len(columns) + right, left + 220)
    values = finite(value for row in rows for value in row.values)
    ends = f"; values from {min(values):.3g} to {max(values):.3g}" if values else ""
    parts = [start(total, bottom + 62, title, f"{len(rows)} rows of {len(columns)} places{ends}.")]
    parts += [text(left + width * (i + 0.5), top - 7, name) for i, name in enumerate(columns) if name]
    shade = "fill:var(--series-0,#2563a8)"
    for index, row in enumerate(rows):
        y = top + height * index
        parts.append(text(left - 10, y + height / 2 + 4, shortened(row.name, LONGEST_NAME), "end"))
        if row.shown:
            parts.append(text(left + width * len(row.values) + 6, y + height / 2 + 4, row.shown, "start"))
        for place, value in enumerate(row.values):
            if not math.isfinite(value):
                continue
            x = left + width * place
            opacity = min(1.0, max(0.0, (value - low) / (high - low)))
            name = f"{row.name}, {columns[place]}" if columns[place] else f"{row.name}, {place}"
            parts.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:g}" height="{height:g}" fill-opacity="{opacity:.2f}" '
                f'style="{shade}"><title>{html.escape(name)}: {value:.3f}</title></rect>'
            )
            if numbers:
                # The color of the paper on full places and of the ink on blank ones can be read in light and in dark.
                ink = "currentColor" if opacity < 0.55 else "var(--paper,#ffffff)"
                parts.append(
                    f'<text x="{x + width / 2:.1f}" y="{y + height / 2 + 4:.1f}" text-anchor="middle" font-size="11" '
                    f'style="fill:{ink}" pointer-events="none">{value:.2f}</text>'
                )
    parts.append(
        f'<rect x="{left}" y="{top}" width="{width * len(columns):.1f}" height="{bottom - top:.1f}" fill="none" '
        f"{GRID}/>"
    )
    parts.append(text(left + width * len(columns) / 2, bottom + 18, axis))
    parts.append(text(left, bottom + 50, f"{low:.3g}", "start"))
    for step in range(10):
        parts.append(
            f'<rect x="{left + 40 + step * 10:.1f}" y="{bottom + 40:.1f}" width="10" height="12" '
            f'fill-opacity="{(step + 0.5) / 10:.2f}" style="{shade}"/>'
        )
    parts.append(text(left + 148, bottom + 50, f"{high:.3g}", "start"))
    return "\n".join([*parts, "</svg>"])


class _Rows:
    """A figure with one row per setting over a common axis."""

    def __init__(
        self, names: Sequence[str], values: Sequence[float], title: str, axis: str, *, description: str, width: float
    ) -> None:
        self._top, self._height, right = 6.0, 36.0, 20.0
        self._left, bottom = left_margin(names), self._top + self._height * len(names)
        shown = finite(values)
        self._marks = ticks(min(shown), max(shown)) if shown else [0.0, 1.0]
        self._span = width - right - self._left
        self.lines = [start(width, bottom + 44, title, description)]
        for mark in self._marks:
            self.lines.append(f'<path d="M{self.x(mark):.1f} {self._top}V{bottom:.1f}" {GRID}/>')
            self.lines.append(text(self.x(mark), bottom + 18, f"{mark:g}"))
        self.lines.append(text(self._left + self._span / 2, bottom + 38, axis))
        self.lines += [
            text(self._left - 12, self.y(i) + 4, shortened(name, LONGEST_NAME), "end") for i, name in enumerate(names)
        ]

    def x(self, value: float) -> float:
        return self._left + (value - self._marks[0]) / (self._marks[-1] - self._marks[0]) * self._span

    def y(self, index: int) -> float:
        return self._top + self._height * (index + 0.5)

    def end(self) -> str:
        return "\n".join([*self.lines, "</svg>"])


def _offsets(places: Sequence[float]) -> list[float]:
    """Vertical offset of each dot, on three levels, to separate dots closer than 9 pixels."""
    levels, taken = (0.0, -8.0, 8.0), [-math.inf] * 3
    offsets = [0.0] * len(places)
    for index in sorted((i for i, place in enumerate(places) if math.isfinite(place)), key=lambda i: places[i]):
        free = [level for level in range(3) if places[index] - taken[level] >= 9]
        level = free[0] if free else min(range(3), key=lambda level: taken[level])
        taken[level] = places[index]
        offsets[index] = levels[level]
    return offsets
