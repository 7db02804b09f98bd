"""The curves of the overview: a median and a band for each setting, or a line for each of a few searches."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.figures.live_curves import LABELS, MAX_LINES, curve_band, live_curves_chart
from analysis.figures.palette import COLORS
from analysis.figures.specs import VARIABLES, page_spec
from orchestrator.watch.plain import natural, numbers
from orchestrator.watch.reading.snapshot import Snapshot
from orchestrator.watch.view import View

if TYPE_CHECKING:
    import altair as alt

MAX_BANDS = 12
"""Settings with a band of their own."""
FEW = 12
"""Searches that are shown as single lines without being asked for."""
MAX_POINTS = 400
"""Epochs of a curve that are sent; of longer ones evenly spaced epochs, the last included."""
Json = dict[str, Any]


def panel(snapshot: Snapshot, searches: pd.DataFrame, view: View) -> Json:
    """The series of each measure, by setting or search."""
    found = searches[searches["epochs_done"] > 0]
    settings = sorted(dict.fromkeys(found["setting"]), key=natural)
    shown = settings[:MAX_BANDS]
    kept = found[found["setting"].isin(shown)]
    lines = view.lines == "yes" or (
        view.lines == "" and (len(kept) <= FEW or (view.setting != "" and len(kept) <= MAX_LINES))
    )
    drawn = kept.head(MAX_LINES) if lines else kept
    if lines and view.search in kept.index and view.search not in drawn.index:
        drawn = pd.concat([drawn, kept.loc[[view.search]]])
    grid, ids = snapshot.grid, list(drawn.index)
    places, names = grid.places(ids), drawn["setting"].to_numpy(object)
    measures = {}
    for measure in LABELS:
        values = grid.values(measure, places)
        series = _lines(values, ids, list(names)) if lines else _bands(values, names)
        if not lines and view.search in kept.index:
            chosen = grid.values(measure, grid.places([view.search]))
            series |= _lines(chosen, [view.search], [kept.loc[view.search, "setting"]])
        measures[measure] = series
    notes = []
    if len(shown) < len(settings):
        notes.append(f"The first {len(shown)} of {len(settings)} settings are drawn; choose one to see it.")
    if len(drawn) < len(kept):
        notes.append(f"The first {MAX_LINES} of {len(kept)} searches are drawn.")
    return {
        "lines": lines,
        "measures": measures,
        "chosen": view.search,
        "searches": len(kept),
        "notes": notes,
        "settings": shown,
    }


def specs(settings: list[str]) -> Json:
    """The charts of some settings as Vega-Lite specifications, whose data the page sets."""
    import altair as alt

    colors = _colors(settings)
    charts = {
        measure: page_spec(live_curves_chart(alt.NamedData(name="curves"), colors, title))
        for measure, title in LABELS.items()
    }
    for spec in charts.values():
        spec["height"] = 190
    return {"charts": charts, "colors": {name: f"var({VARIABLES[color]},{color})" for name, color in colors.items()}}


def chart(panel: Json, measure: str) -> "alt.LayerChart":
    """The chart of a measure with its data, in the colors of the page, for a file.

    Raises ValueError if nothing was measured.
    """
    series = panel["measures"][measure].values()
    if not series:
        raise ValueError(f"there are no values of {measure!r} yet; choose another measure or other settings")
    frame = pd.concat([pd.DataFrame({"low": None, "high": None, **each}) for each in series], ignore_index=True)
    frame = frame.rename(columns={"search": "search_id"})
    frame["chosen"] = (frame["search_id"] != "") & (frame["search_id"] == panel["chosen"])
    return live_curves_chart(frame, _colors(panel["settings"]), LABELS[measure])


def _colors(settings: list[str]) -> dict[str, str]:
    return {name: COLORS[number % len(COLORS)] for number, name in enumerate(settings)}


def _bands(values: "np.ndarray[Any, Any]", settings: "np.ndarray[Any, Any]") -> Json:
    series = {}
    for setting in dict.fromkeys(settings):
        band = curve_band(values[settings == setting])
        epochs = _thinned(np.flatnonzero(band.n > 0))
        if len(epochs):
            series[f"{setting}"] = {
                "setting": setting,
                "search": "",
                "epoch": [int(epoch) for epoch in epochs],
                "value": numbers(band.median[epochs]),
                "low": numbers(band.low[epochs]),
                "high": numbers(band.high[epochs]),
                "n": [int(n) for n in band.n[epochs]],
            }
    return series


def _lines(values: "np.ndarray[Any, Any]", ids: list[str], settings: list[str]) -> Json:
    series = {}
    for row, search, setting in zip(values, ids, settings, strict=True):
        epochs = _thinned(np.flatnonzero(np.isfinite(row)))
        if len(epochs):
            series[f"search {search}"] = {
                "setting": setting,
                "search": search,
                "epoch": [int(epoch) for epoch in epochs],
                "value": numbers(row[epochs]),
            }
    return series


def _thinned(epochs: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    if len(epochs) <= MAX_POINTS:
        return epochs
    return epochs[np.unique(np.linspace(0, len(epochs) - 1, MAX_POINTS).round().astype(int))]
