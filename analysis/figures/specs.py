"""Charts as Vega-Lite specifications: for a page, a notebook or a file."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from analysis.figures.palette import COLORS, GRAY

if TYPE_CHECKING:
    import altair as alt

    AnyChart = alt.Chart | alt.LayerChart | alt.FacetChart | alt.ConcatChart

Spec = dict[str, Any]
INK, SOFT, GRID, SHADE, PAPER = "#1c2127", "#5b6570", "#e3e7ec", "#f1f3f6", "#ffffff"
FONT = "ui-sans-serif, system-ui, sans-serif"
VARIABLES = {
    INK: "--ink",
    SOFT: "--soft",
    GRID: "--grid",
    SHADE: "--shade",
    PAPER: "--paper",
    GRAY: "--cell-line",
    **{color: f"--series-{number}" for number, color in enumerate(COLORS)},
}
"""CSS variables of a page that replace the colors of light paper."""
CONFIG: Spec = {
    "aria": False,
    "font": FONT,
    "view": {"stroke": None},
    "axis": {
        "domain": False,
        "ticks": False,
        "gridColor": GRID,
        "labelColor": INK,
        "titleColor": SOFT,
        "titleFontWeight": "normal",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "labelPadding": 6,
        "labelLimit": 260,
    },
    "axisQuantitative": {"tickCount": 6},
    "legend": {"labelColor": INK, "titleColor": SOFT, "titleFontWeight": "normal", "labelFontSize": 12},
    "title": {"color": INK, "fontSize": 13, "fontWeight": 600, "anchor": "start"},
    "mark": {"color": COLORS[0]},
    "bar": {"color": COLORS[0]},
    "text": {"color": INK, "fontSize": 11},
}
"""The look of all charts, on light paper."""


def chart_spec(chart: "AnyChart") -> Spec:
    """The Vega-Lite specification of a chart, its data inline, on light paper; equal charts give equal ones."""
    import altair as alt

    with alt.data_transformers.enable("default", max_rows=None):
        spec: Spec = chart.to_dict(validate=False)  # the tests validate every figure
    spec.pop("$schema", None)  # an address; the major version is in `pyproject.toml`
    return {**spec, "config": CONFIG, "background": PAPER}


@contextmanager
def unchecked() -> Iterator[None]:
    """Make charts without Altair's checks of every part, which take as long as all the rest."""
    from altair.utils.schemapi import debug_mode

    with debug_mode(False):
        yield


def page_spec(chart: "AnyChart") -> Spec:
    """The specification for a web page: colors as CSS variables, as wide as its container, without legend of settings.

    Such a page needs a legend of its own and the CSS variables in VARIABLES; it may set the parameters `setting` and
    `seed`, see `analysis/report/templates/charts.js`.
    """
    spec = chart_spec(chart)
    spec["background"] = "transparent"
    if "concat" not in spec:
        spec["width"] = "container"
    _drop_setting_legends(spec)
    text = json.dumps(spec, ensure_ascii=False)
    for color, variable in VARIABLES.items():
        text = text.replace(f'"{color}"', f'"var({variable},{color})"')
    return dict(json.loads(text))


def spec_json(spec: Spec) -> str:
    """A specification as JSON that may stand inside a script element."""
    return re.sub(
        "[<>&]", lambda found: f"\\u{ord(found[0]):04x}", json.dumps(spec, ensure_ascii=False, separators=(",", ":"))
    )


def _drop_setting_legends(part: Any) -> None:
    if isinstance(part, list):
        for each in part:
            _drop_setting_legends(each)
    elif isinstance(part, dict):
        color = part.get("color")
        if isinstance(color, dict) and color.get("field") == "setting":
            color["legend"] = None
        if part.get("name") == "setting" and isinstance(part.get("bind"), dict):
            del part["bind"]
        for name, each in part.items():
            if name not in ("datasets", "data"):
                _drop_setting_legends(each)
