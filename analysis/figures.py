"""Figures of the report as inline SVG: a strip plot of seeds by setting, and lines over epochs.

Text takes the page's colour and series the CSS variables --series-0 to --series-7, so light and dark pages both work.
"""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.statistics import Summary

COLOURS = ("#2563a8", "#c2570c", "#2a7d4f", "#7a4bb0", "#b3273d", "#0f7c86", "#8a6a00", "#666666")
"""Colours of the series where a page does not define --series-0, ..., used in turn."""

FONT = 'font-family="ui-sans-serif, system-ui, sans-serif" font-size="12"'
GRID = 'style="stroke:var(--grid,#dddddd)"'


@dataclass(frozen=True, kw_only=True)
class Strip:
    """The values of one setting."""

    name: str
    """Name of the setting."""
    points: tuple[tuple[str, float], ...]
    """Label and value of every dot; NaN is not drawn."""
    summary: Summary
    """Their summary, drawn as a bar from mean - std to mean + std with a tick at the mean."""
    series: int
    """Number of its colour."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a chart."""

    label: str
    """What it shows; appears when the mouse rests on it."""
    points: tuple[tuple[float, float], ...]
    """x and y; a NaN interrupts the line."""
    series: int
    """Number of its colour."""
    dashed: bool = False
    """Whether it is dashed."""


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers that cover low to high, steps of 1, 2 or 5 times a power of ten."""
    if not low < high:
        margin = abs(low) * 0.01 or 1.0
        low, high = low - margin, high + margin
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{index * step:.12g}") for index in range(first, last + 1)]


def strip_plot(strips: Sequence[Strip], title: str, axis: str) -> str:
    """One row of dots for every setting, over a common axis of values."""
    width, row, top, right = 640.0, 36.0, 6.0, 20.0
    left = 16.0 + min(220.0, 7.0 * max((len(strip.name) for strip in strips), default=0))
    bottom = top + row * len(strips)
    values = [value for strip in strips for _, value in strip.points if math.isfinite(value)]
    spread = [s.summary.mean + sign * s.summary.std for s in strips for sign in (-1, 1)]
    values += [value for value in spread if math.isfinite(value)]
    marks = ticks(min(values), max(values)) if values else [0.0, 1.0]

    def x(value: float) -> float:
        return left + (value - marks[0]) / (marks[-1] - marks[0]) * (width - right - left)

    described = "; ".join(f"{s.name}: mean {s.summary.mean:.2f}, n = {s.summary.n}" for s in strips if s.summary.n)
    lines = [_start(width, bottom + 44, title, f"Dots are seeds, bars mean and standard deviation. {described}.")]
    for mark in marks:
        lines.append(f'<path d="M{x(mark):.1f} {top}V{bottom:.1f}" {GRID}/>')
        lines.append(_text(x(mark), bottom + 18, f"{mark:g}", "middle"))
    lines.append(_text((left + width - right) / 2, bottom + 38, axis, "middle"))
    for index, strip in enumerate(strips):
        y, colour = top + row * (index + 0.5), _colour(strip.series)
        lines.append(_text(left - 12, y + 4, _shortened(strip.name, 31), "end"))
        mean, std = strip.summary.mean, strip.summary.std
        if math.isfinite(mean):
            spread_bar = f"M{x(mean - std):.1f} {y}H{x(mean + std):.1f}" if math.isfinite(std) else ""
            tick = f"M{x(mean):.1f} {y - 11}V{y + 11}"
            lines.append(f'<path d="{spread_bar}{tick}" fill="none" stroke-width="2" style="stroke:{colour}"/>')
        for (label, value), offset in zip(strip.points, _offsets([x(v) for _, v in strip.points]), strict=True):
            if math.isfinite(value):
                lines.append(
                    f'<circle cx="{x(value):.1f}" cy="{y + offset:.1f}" r="4.5" fill-opacity=".6" '
                    f'style="fill:{colour};stroke:{colour}"><title>{html.escape(label)}: {value:.2f}</title></circle>'
                )
    return "\n".join([*lines, "</svg>"])


def line_chart(lines: Sequence[Line], title: str, axis: str, frozen: int = 0) -> str:
    """Lines over epochs; the first `frozen` epochs, in which alpha is not trained, are shaded."""
    width, height, left, right, top, bottom = 460.0, 260.0, 48.0, 12.0, 10.0, 212.0
    finite = [(x, y) for line in lines for x, y in line.points if math.isfinite(y)]
    rows = ticks(min(y for _, y in finite), max(y for _, y in finite)) if finite else [0.0, 1.0]
    last = max((x for x, _ in finite), default=1.0) or 1.0

    def px(epoch: float) -> float:
        return left + epoch / last * (width - right - left)

    def py(value: float) -> float:
        return bottom - (value - rows[0]) / (rows[-1] - rows[0]) * (bottom - top)

    ends = f"{len(lines)} lines over epochs 0 to {last:g}; values from {rows[0]:g} to {rows[-1]:g}."
    parts = [_start(width, height, title, ends)]
    if frozen:
        edge = px(min(frozen - 0.5, last))
        parts.append(
            f'<rect x="{left}" y="{top}" width="{edge - left:.1f}" height="{bottom - top}" '
            'style="fill:var(--shade,#f2f2f2)"/>'
        )
        if edge - left > 80:
            parts.append(_text((left + edge) / 2, bottom - 8, "alpha frozen", "middle"))
    for value in rows:
        parts.append(f'<path d="M{left} {py(value):.1f}H{width - right}" {GRID}/>')
        parts.append(_text(left - 8, py(value) + 4, f"{value:g}", "end"))
    for epoch in (mark for mark in ticks(0, last) if mark <= last and mark == int(mark)):
        parts.append(_text(px(epoch), bottom + 18, f"{epoch:g}", "middle"))
    parts.append(_text((left + width - right) / 2, bottom + 40, f"{axis}, by epoch", "middle"))
    for line in lines:
        dash = ' stroke-dasharray="4 3"' if line.dashed else ""
        d = _polyline([(px(x), py(y)) for x, y in line.points])
        parts.append(
            f'<path d="{d}" fill="none" stroke-width="1.6" stroke-linejoin="round" stroke-linecap="round"{dash} '
            f'stroke-opacity=".85" style="stroke:{_colour(line.series)}">'
            f"<title>{html.escape(line.label)}</title></path>"
        )
    return "\n".join([*parts, "</svg>"])


def _polyline(points: Sequence[tuple[float, float]]) -> str:
    pieces, pen_down = [], False
    for x, y in points:
        if not math.isfinite(y):
            pen_down = False
            continue
        pieces.append(
            f"{'L' if pen_down else 'M'}{x:.1f} {y:.1f}" + ("" if pen_down else "h0")
        )  # h0: a lone point shows
        pen_down = True
    return "".join(pieces)


def _offsets(places: Sequence[float], distance: float = 9.0) -> list[float]:
    """How far each dot moves up or down so that dots nearer than `distance` stay apart; three levels."""
    levels, taken = (0.0, -8.0, 8.0), [-math.inf] * 3
    offsets = [0.0] * len(places)
    for index in sorted((i for i, place in enumerate(places) if math.isfinite(place)), key=lambda i: places[i]):
        free = [level for level in range(3) if places[index] - taken[level] >= distance]
        level = free[0] if free else min(range(3), key=lambda level: taken[level])
        taken[level] = places[index]
        offsets[index] = levels[level]
    return offsets


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _colour(series: int) -> str:
    number = series % len(COLOURS)
    return f"var(--series-{number},{COLOURS[number]})"


def _start(width: float, height: float, title: str, description: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" {FONT}><title>{html.escape(title)}</title>'
        f"<desc>{html.escape(description)}</desc>"
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="currentColor">{html.escape(text)}</text>'
