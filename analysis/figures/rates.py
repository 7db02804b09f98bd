"""Norms and entropies by sampling rate."""

from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis.figures.marks import HEIGHT, WIDTH, in_panels, intervals, zoom
from analysis.figures.palette import COLORS
from analysis.statistics.sampling_rates import measured, rate_summaries
from analysis.study_data import StudyData

if TYPE_CHECKING:
    from analysis.figures.specs import AnyChart

SHIFT = 0.04
"""Distance of groups at the same sampling rate, in octaves, to keep their intervals apart."""


def sampling_rates_data(study: StudyData) -> pd.DataFrame:
    """Mean of measures over the searches of a sampling rate, with its 95 % interval; one panel a measure.

    `group` names the other swept fields, such as space=s2; it is empty where only k was swept.
    """
    found = rate_summaries(study.searches, study.epochs)
    rows = []
    for measure in measured(found):
        for summary in found:
            value = summary.measures[measure.column]
            if value.n:
                rate = (summary.k, summary.sampling_rate)
                rows.append((measure.name, summary.others, *rate, value.mean, value.low, value.high, value.n))
    return pd.DataFrame(rows, columns=["panel", "group", "k", "sampling_rate", "mean", "low", "high", "n"])


def sampling_rates_chart(frame: pd.DataFrame) -> "AnyChart":
    """Points with intervals, joined by lines, on a logarithmic axis."""
    return in_panels(frame, _chart)


def _chart(frame: pd.DataFrame, name: str) -> Any:
    import altair as alt

    groups = list(dict.fromkeys(frame["group"]))
    measure = frame["panel"].iloc[0] if len(frame) else "mean"
    color: Any = alt.value(COLORS[0])
    if len(groups) > 1:
        scale = alt.Scale(domain=groups, range=[COLORS[i % len(COLORS)] for i in range(len(groups))])
        color = alt.Color("group:N", title=None, scale=scale, legend=alt.Legend(orient="bottom", columns=2))
    middle = (len(groups) - 1) / 2
    moved = frame.assign(
        at=[
            rate * 2 ** (SHIFT * (groups.index(group) - middle))
            for rate, group in zip(frame["sampling_rate"], frame["group"], strict=True)
        ]
    )
    axis = alt.Axis(
        values=sorted(set(frame["sampling_rate"])),
        labelExpr="datum.value == 1 ? '1' : '1/' + format(1 / datum.value, 'd')",
    )
    scale = alt.Scale(type="log", base=2, nice=False, padding=24)
    tooltip = [
        *([alt.Tooltip("group:N")] if len(groups) > 1 else []),
        alt.Tooltip("k:Q"),
        *(alt.Tooltip(f"{each}:Q", format=".5~g") for each in ("mean", "low", "high")),
        alt.Tooltip("n:Q", title="searches"),
    ]
    channels = {
        "x": alt.X("at:Q", title="sampling rate 1/K", scale=scale, axis=axis),
        "y": alt.Y("mean:Q", title=measure, scale=alt.Scale(zero=False)),
        "color": color,
        "tooltip": tooltip,
    }
    lines = alt.Chart(moved).mark_line(strokeWidth=1.6).encode(**channels)
    points = alt.Chart(moved, name=name).mark_circle(size=80, opacity=0.9).encode(**channels).add_params(zoom())
    return alt.layer(*intervals(moved, channels, measure), lines, points).properties(width=WIDTH, height=HEIGHT)
