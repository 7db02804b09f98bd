"""Charts with two axes of numbers: lines, bands and dots with intervals, as inline SVG."""

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from analysis.drawing.svg import GRID, LETTER, color, finite, polyline, start, text, ticks, turned_text

Scale = Callable[[float], float]


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a chart."""

    label: str
    """Tooltip."""
    points: tuple[tuple[float, float], ...]
    """x and y; NaN interrupts the line."""
    series: int
    """Number of its color."""
    dashed: bool = False
    """Whether it is dashed."""
    steps: bool = False
    """Whether to draw steps: each y holds up to the next x."""


@dataclass(frozen=True, kw_only=True)
class Band:
    """An area between two lines."""

    label: str
    """Tooltip."""
    points: tuple[tuple[float, float, float], ...]
    """x, lower and upper end; points with a NaN are left out."""
    series: int
    """Number of its color."""


@dataclass(frozen=True, kw_only=True)
class Dot:
    """A point, with an interval if it has one."""

    label: str
    """Tooltip."""
    x: float
    """Horizontal position."""
    y: float
    """Vertical position; NaN is not drawn."""
    series: int
    """Number of its color."""
    low: float = math.nan
    """Lower end of the interval of y; NaN for none."""
    high: float = math.nan
    """Upper end of the interval of y; NaN for none."""
    hollow: bool = False
    """Whether only the outline is drawn."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """The horizontal axis."""

    name: str
    """Label with the unit."""
    marks: tuple[tuple[float, str], ...] = ()
    """Positions and labels of the ticks, which set the range; default: round numbers."""
    whole: bool = False
    """Whether its values are counts from 0, such as epochs."""


def chart(
    title: str,
    x_axis: Axis,
    y_axis: str,
    *,
    lines: Sequence[Line] = (),
    bands: Sequence[Band] = (),
    dots: Sequence[Dot] = (),
    frozen: int = 0,
) -> str:
    """A chart of lines, bands and dots, 460 x 280 pixels; empty axes without data.

    The first `frozen` units of x are shaded: alpha is not trained there.
    """
    width, height, right, top, bottom = 460.0, 280.0, 22.0, 22.0, 232.0
    everything = [(x, y) for line in lines for x, y in line.points]
    everything += [(x, y) for band in bands for x, low, high in band.points for y in (low, high)]
    everything += [(dot.x, y) for dot in dots for y in (dot.y, dot.low, dot.high)]
    shown = [(x, y) for x, y in everything if math.isfinite(x) and math.isfinite(y)]
    rows = ticks(min(y for _, y in shown), max(y for _, y in shown)) if shown else [0.0, 1.0]
    left = 36.0 + LETTER * max(len(f"{value:g}") for value in rows)
    columns = _columns(x_axis, [x for x, _ in shown])
    first, last = columns[0][0], columns[-1][0]
    if x_axis.whole:
        last = max((x for x, _ in shown), default=1.0) or 1.0

    def px(x: float) -> float:
        return left + (x - first) / (last - first) * (width - right - left)

    def py(y: float) -> float:
        return bottom - (y - rows[0]) / (rows[-1] - rows[0]) * (bottom - top)

    parts = [start(width, height, title, _description(lines, bands, dots, shown, x_axis.name))]
    if frozen:
        edge = px(min(frozen - 0.5, last))
        parts.append(
            f'<rect x="{left}" y="{top}" width="{edge - left:.1f}" height="{bottom - top}" '
            'style="fill:var(--shade,#f2f2f2)"/>'
        )
        if edge - left > 80:
            parts.append(text((left + edge) / 2, top - 8, "alpha frozen"))
    for value in rows:
        parts.append(f'<path d="M{left} {py(value):.1f}H{width - right}" {GRID}/>')
        parts.append(text(left - 8, py(value) + 4, f"{value:g}", "end"))
    for value, name in columns:
        parts.append(text(px(value), bottom + 18, name))
    parts.append(text((left + width - right) / 2, bottom + 40, x_axis.name))
    parts.append(turned_text(14, (top + bottom) / 2, y_axis))
    parts += [_band(band, px, py) for band in bands]
    parts += [_line(line, px, py) for line in lines]
    parts += [_dot(dot, px(dot.x), py) for dot in dots if math.isfinite(dot.x) and math.isfinite(dot.y)]
    return "\n".join([*parts, "</svg>"])


def _columns(axis: Axis, values: list[float]) -> list[tuple[float, str]]:
    if axis.marks:
        return list(axis.marks)
    if not values:
        return [(0.0, "0"), (1.0, "1")]
    if not axis.whole:
        return [(mark, f"{mark:,g}") for mark in ticks(min(values), max(values))]
    last = max(values)
    return [(mark, f"{mark:g}") for mark in ticks(0, last or 1) if mark <= (last or 1) and mark == int(mark)]


def _description(
    lines: Sequence[Line],
    bands: Sequence[Band],
    dots: Sequence[Dot],
    shown: list[tuple[float, float]],
    name: str,
) -> str:
    if not shown:
        return "Nothing to show."
    counts = ((len(lines), "line"), (len(bands), "band"), (len(dots), "point"))
    what = ", ".join(f"{n} {noun if n == 1 else noun + 's'}" for n, noun in counts if n)
    low, high = min(y for _, y in shown), max(y for _, y in shown)
    return f"{what} over {name}; values from {low:.4g} to {high:.4g}."


def _line(line: Line, px: Scale, py: Scale) -> str:
    points = [(px(x), py(y) if math.isfinite(y) else math.nan) for x, y in line.points]
    if len(line.points) == 1 and finite([points[0][1]]):  # measured once: nothing to draw a line through
        x, y = line.points[0]
        return _dot(Dot(label=line.label, x=x, y=y, series=line.series, hollow=line.dashed), points[0][0], py)
    if line.steps:
        path = "".join(f"{'H' if i else 'M'}{x:.1f}{'V' if i else ' '}{y:.1f}" for i, (x, y) in enumerate(points))
    else:
        path = polyline(points)
    dash = ' stroke-dasharray="4 3"' if line.dashed else ""
    return (
        f'<path d="{path}" fill="none" stroke-width="1.6" stroke-linejoin="round" stroke-linecap="round"{dash} '
        f'stroke-opacity=".85" style="stroke:{color(line.series)}">'
        f"<title>{html.escape(line.label)}</title></path>"
    )


def _band(band: Band, px: Scale, py: Scale) -> str:
    kept = [point for point in band.points if len(finite(point)) == 3]
    if not kept:
        return ""
    corners = [(px(x), py(high)) for x, _, high in kept] + [(px(x), py(low)) for x, low, _ in reversed(kept)]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in corners) + "Z"
    return (
        f'<path d="{path}" fill-opacity=".1" stroke="none" style="fill:{color(band.series)}">'
        f"<title>{html.escape(band.label)}</title></path>"
    )


def _dot(dot: Dot, x: float, py: Scale) -> str:
    shade, parts = color(dot.series), []
    if math.isfinite(dot.low) and math.isfinite(dot.high):
        low, high = py(dot.low), py(dot.high)
        path = f"M{x:.1f} {high:.1f}V{low:.1f}M{x - 5:.1f} {high:.1f}h10M{x - 5:.1f} {low:.1f}h10"
        parts.append(f'<path d="{path}" fill="none" stroke-width="1.8" style="stroke:{shade}"/>')
    fill = "none" if dot.hollow else shade
    parts.append(
        f'<circle cx="{x:.1f}" cy="{py(dot.y):.1f}" r="{3.5 if dot.hollow else 4.5}" fill-opacity=".6" '
        f'pointer-events="all" style="fill:{fill};stroke:{shade}"><title>{html.escape(dot.label)}</title></circle>'
    )
    return "".join(parts)
