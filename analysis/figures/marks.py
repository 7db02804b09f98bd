"""What the charts share: panels, the choice of a setting and a seed, colors of settings, zoom."""

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis.figures.palette import colors_of

if TYPE_CHECKING:
    import altair as alt

WIDTH, HEIGHT = 400, 220
"""Size of a panel, in pixels."""
FAINT = 0.2
"""Opacity of what is not chosen."""


def panels(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of each panel, by its title, in their order; an empty frame is one panel without a title."""
    if not len(frame):
        return {"": frame}
    return {str(title): rows for title, rows in frame.groupby("panel", sort=False)}


def in_panels(frame: pd.DataFrame, draw: Callable[[pd.DataFrame, str], Any]) -> Any:
    """One chart, or one next to the other for each panel; `draw` takes the rows and a name that is its own."""
    import altair as alt

    found = panels(frame)
    if len(found) == 1:
        return draw(frame, "plot")
    drawn = [draw(rows, f"plot{i}").properties(title=title) for i, (title, rows) in enumerate(found.items())]
    with warnings.catch_warnings():  # one choice for all panels is what is wanted
        warnings.filterwarnings("ignore", message="Automatically deduplicated")
        return alt.concat(*drawn, columns=2).resolve_scale(color="independent")


def intervals(frame: pd.DataFrame, channels: dict[str, Any], title: str) -> "list[alt.Chart]":
    """A layer of bars from `low` to `high`, with the channels of the points on them; none if no row has an interval."""
    import altair as alt

    rows = frame.dropna(subset=["low", "high"])
    if not len(rows):
        return []
    low = alt.Y("low:Q", title=title, scale=alt.Scale(zero=False))
    return [alt.Chart(rows).mark_rule(strokeWidth=2).encode(**{**channels, "y": low}, y2="high:Q")]


def setting_choice() -> "alt.Parameter":
    """Chosen settings, by a click on a mark or in the legend; none chosen shows all."""
    import altair as alt

    legend: Any = {"legend": "click"}
    return alt.selection_point(name="setting", fields=["setting"], bind=legend, on=_click_on("setting"))


def seed_choice() -> "alt.Parameter":
    """Chosen seeds, by a click on a mark; none chosen shows all."""
    import altair as alt

    return alt.selection_point(name="seed", fields=["seed"], on=_click_on("seed"))


def zoom(encodings: "list[Any] | None" = None) -> "alt.Parameter":
    """Drag to move, Ctrl or Cmd and wheel to zoom, double click to reset; the wheel alone scrolls the page."""
    import altair as alt

    return alt.selection_interval(
        name="zoom", bind="scales", encodings=encodings or alt.Undefined, zoom="wheel![event.ctrlKey || event.metaKey]"
    )


def setting_color(frame: pd.DataFrame, *, legend: bool = True) -> "alt.Color":
    """Colors of the settings, the same in all figures of a study."""
    import altair as alt

    colors = colors_of(frame)
    if not colors:
        return alt.Color()
    scale = alt.Scale(domain=list(colors), range=list(colors.values()))
    shown = alt.Legend(orient="bottom", columns=2, labelLimit=300) if legend else None
    return alt.Color("setting:N", title=None, scale=scale, legend=shown)


def chosen(opacity: float, *choices: "alt.Parameter") -> Any:
    """The opacity of what is chosen; the rest is faint."""
    import altair as alt

    test: Any = choices[0]
    for choice in choices[1:]:
        test &= choice
    return alt.when(test).then(alt.value(opacity)).otherwise(alt.value(FAINT * opacity))


def _click_on(field: str) -> str:
    """A click on a mark that has this field, or next to all marks, which chooses none."""
    return f"click[!item() || item().mark.marktype === 'group' || isValid(item().datum.{field})]"
