"""Elements of inline SVG for the figures of the report.

Text uses the page's color, series use the CSS variables --series-0, --series-1, ..., for light and dark pages.
"""

import html
import math
from collections.abc import Iterable, Sequence

COLORS = (
    *("#2563a8", "#c2570c", "#2a7d4f", "#7a4bb0", "#b3273d", "#0f7c86", "#8a6a00", "#666666"),
    *("#c94fa0", "#6d9a1a", "#9c6b4e", "#6f7fb8"),  # to be read on light and on dark paper
)
"""Default colors of the series, if a page does not define --series-0, ...; used cyclically."""
FONT = 'font-family="ui-sans-serif, system-ui, sans-serif" font-size="12"'
GRID = 'style="stroke:var(--grid,#dddddd)"'
LETTER = 7.3
"""Width of a letter of the font, in wide fonts; pixels."""


def start(width: float, height: float, title: str, description: str) -> str:
    """Opening tag of a figure of this size in pixels, with title and description."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" {FONT}><title>{html.escape(title)}</title>'
        f"<desc>{html.escape(description)}</desc>"
    )


def text(x: float, y: float, content: str, anchor: str = "middle", size: int = 12) -> str:
    """A line of text; `anchor` is start, middle or end."""
    small = "" if size == 12 else f' font-size="{size}"'
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{small} fill="currentColor">{html.escape(content)}</text>'
    )


def turned_text(x: float, y: float, content: str) -> str:
    """A line of text that runs upwards, centered at (x, y): the label of a vertical axis."""
    return (
        f'<text transform="translate({x:.1f} {y:.1f}) rotate(-90)" text-anchor="middle" fill="currentColor">'
        f"{html.escape(content)}</text>"
    )


def color(series: int) -> str:
    """CSS color of a series."""
    number = series % len(COLORS)
    return f"var(--series-{number},{COLORS[number]})"


def shortened(content: str, length: int) -> str:
    """The text, cut to `length` characters in its middle, as names of settings also differ at their ends."""
    if len(content) <= length:
        return content
    head = (length - 1) // 2
    return f"{content[:head]}…{content[len(content) - (length - 1 - head) :]}"


def left_margin(names: Iterable[str], most: float = 300.0) -> float:
    """Width for right-aligned row names, at most `most` plus a gap; pixels."""
    return 18.0 + min(most, LETTER * max((len(name) for name in names), default=0))


def ticks(low: float, high: float) -> list[float]:
    """About five round numbers that cover low to high, with steps of 1, 2 or 5 times a power of ten."""
    if not low < high:
        margin = abs(low) * 0.01 or 1.0
        low, high = low - margin, high + margin
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{index * step:.12g}") for index in range(first, last + 1)]


def polyline(points: Sequence[tuple[float, float]]) -> str:
    """Path data of a line; NaN interrupts it."""
    pieces, pen_down = [], False
    for x, y in points:
        if not math.isfinite(y):
            pen_down = False
            continue
        pieces.append(f"L{x:.1f} {y:.1f}" if pen_down else f"M{x:.1f} {y:.1f}h0")  # h0: makes a single point visible
        pen_down = True
    return "".join(pieces)


def finite(values: Iterable[float]) -> list[float]:
    """The finite values."""
    return [value for value in values if math.isfinite(value)]
