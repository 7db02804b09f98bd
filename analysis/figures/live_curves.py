"""Measures of the searches of a study that may still run, over epochs: the curves of the live page."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from analysis.figures.marks import zoom

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

MAX_LINES = 60
"""Searches that are shown as single lines; with more, there is one band per setting."""
LABELS = {
    "valid_accuracy": "one-shot validation accuracy, %",
    "train_loss": "training loss",
    "alpha_entropy_normal": "entropy of alpha, normal cell, nats",
    "alpha_entropy_reduce": "entropy of alpha, reduction cell, nats",
    "dominant_eigenvalue": "largest eigenvalue in alpha",
    "skip_connections_normal": "skip connections, normal cell",
}
"""Measures that are drawn, and their axes."""


class Band(NamedTuple):
    """Quantiles over searches, each of shape (epochs,); NaN where nothing was measured."""

    median: np.ndarray
    low: np.ndarray
    """10 % quantile."""
    high: np.ndarray
    """90 % quantile."""
    n: np.ndarray
    """Searches that were measured."""


def curve_band(values: np.ndarray) -> Band:
    """The band of a measure of shape (searches, epochs), NaN where it was not measured."""
    n = np.isfinite(values).sum(axis=0)
    ordered = np.sort(np.where(np.isfinite(values), values, np.inf), axis=0)  # np.nanquantile takes ten times as long
    low, median, high = (_quantile(ordered, n, share) for share in (0.1, 0.5, 0.9))
    return Band(median=median, low=low, high=high, n=n)


def _quantile(ordered: np.ndarray, n: np.ndarray, share: float) -> np.ndarray:
    """A quantile of the first n values of each column, interpolated as np.quantile does; NaN for n = 0."""
    found = np.full(len(n), np.nan)
    columns = np.flatnonzero(n)
    place = share * (n[columns] - 1)
    below = np.floor(place).astype(int)
    low = ordered[below, columns].astype(float)
    high = ordered[np.minimum(below + 1, n[columns] - 1), columns].astype(float)
    found[columns] = low + (high - low) * (place - below)
    return found


def live_curves_chart(data: "pd.DataFrame | alt.NamedData", colors: Mapping[str, str], title: str) -> "alt.LayerChart":
    """Lines of the searches, or medians with bands of the settings; a dot marks where each ends.

    The data have the columns setting, search_id, epoch, value, low, high and chosen; those with a name the page sets
    later.  `colors` are those of the settings.
    """
    import altair as alt

    scale = alt.Scale(domain=list(colors), range=list(colors.values()))
    color = alt.Color("setting:N", title=None, scale=scale, legend=alt.Legend(orient="bottom", columns=2))
    x = alt.X(
        "epoch:Q", title="epoch", axis=alt.Axis(format="d", tickMinStep=1), scale=alt.Scale(nice=False, padding=5)
    )
    y = alt.Y("value:Q", title=title, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=5))
    base: Any = alt.Chart(data).encode(x=x, y=y, color=color)
    thick = alt.condition("datum.chosen", alt.value(3), alt.value(1.6))
    bands: Any = base.transform_filter("isValid(datum.low)").mark_area(opacity=0.13).encode(y="low:Q", y2="high:Q")
    lines: Any = base.mark_line(strokeJoin="round", strokeCap="round").encode(
        detail="search_id:N", strokeWidth=thick, opacity=alt.value(0.9)
    )
    ends: Any = (
        base.transform_joinaggregate(end="max(epoch)", groupby=["setting", "search_id"])
        .transform_filter("datum.epoch == datum.end")
        .mark_circle(size=36, opacity=1)
    )
    chart: Any = alt.layer(bands, lines.add_params(zoom()), ends).properties(width=400, height=190)
    return chart
