"""Test errors of the retrained cells: their distribution, and what they cost."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.figures.marks import (
    HEIGHT,
    WIDTH,
    chosen,
    in_panels,
    intervals,
    seed_choice,
    setting_choice,
    setting_color,
    zoom,
)
from analysis.figures.palette import MAX_SETTINGS, Palette
from analysis.figures.strips import ONE_SHOT, TEST_ERROR
from analysis.statistics.correlation import FEWEST_TO_CORRELATE
from analysis.statistics.summaries import summarize
from analysis.study_data import StudyData

if TYPE_CHECKING:
    from analysis.figures.specs import AnyChart

MAX_STEPS = 100
"""Steps of a setting in the performance profile; more would be too small to be seen."""


def performance_profile_data(study: StudyData) -> pd.DataFrame:
    """The `share` of a setting's searches whose cell has at most this `test_error`; `n` searches of each setting.

    Source: Agarwal et al.: Deep Reinforcement Learning at the Edge of the Statistical Precipice, 2021.  No rows if no
    setting has two searches.
    """
    palette = _palette(study)
    errors = study.errors.assign(test_error=study.errors["test_error"].astype(float))
    errors = errors[errors["setting"].isin(palette.settings)]
    lowest, highest = errors["test_error"].min(), errors["test_error"].max()
    margin = (highest - lowest) * 0.03 or 0.1
    parts = []
    for name in palette.settings:
        values = np.sort(errors.loc[errors["setting"] == name, "test_error"].to_numpy())
        steps = values
        if len(values) > MAX_STEPS:
            steps = np.quantile(values, np.linspace(0, 1, MAX_STEPS), method="inverted_cdf")
        shares = np.arange(1, len(steps) + 1) / len(steps)
        parts.append(
            pd.DataFrame(
                {
                    "setting": name,
                    "test_error": [lowest - margin, *steps, highest + margin],
                    "share": [0.0, *shares, 1.0],
                    "n": len(values),
                }
            )
        )
    if not parts or errors["setting"].value_counts().max() < 2:
        return pd.DataFrame({"panel": [], "setting": [], "series": [], "test_error": [], "share": [], "n": []})
    return palette.numbered(pd.concat(parts, ignore_index=True).assign(panel=""))


def performance_profile_chart(frame: pd.DataFrame) -> "AnyChart":
    """Steps: further to the left are fewer errors."""
    import altair as alt

    setting = setting_choice()
    return (
        alt.Chart(frame, name="plot")
        .mark_line(interpolate="step-after", strokeWidth=1.6)
        .encode(
            x=alt.X("test_error:Q", title=TEST_ERROR, scale=alt.Scale(zero=False, nice=False)),
            y=alt.Y("share:Q", title="share of searches"),
            color=setting_color(frame),
            opacity=chosen(0.85, setting),
            tooltip=[alt.Tooltip("setting:N"), alt.Tooltip("n:Q", title="searches")],
        )
        .add_params(setting, zoom())
        .properties(width=WIDTH, height=HEIGHT)
    )


def cost_data(study: StudyData) -> pd.DataFrame:
    """Mean `cost` of a search and mean `test_error` (%) of a setting, with the 95 % interval over its searches.

    `unit` is GPU-days, or seconds if no search has any.
    """
    palette = _palette(study)
    gpu = bool(study.searches["gpu_days"].notna().any())
    column, unit = ("gpu_days", "GPU-days") if gpu else ("seconds", "seconds")
    known = study.errors.merge(study.searches[["search_id", column]], on="search_id")
    known = known.assign(cost=known[column].astype(float))
    known = known[np.isfinite(known["cost"])]
    rows = []
    for name in palette.settings:
        group = known[known["setting"] == name]
        if not len(group):
            continue
        cost, error = summarize(group["cost"]), summarize(group["test_error"])
        low, high = np.clip((error.low, error.high), 0, 100).tolist()  # NaN stays NaN
        rows.append((name, cost.n, cost.mean, error.mean, low, high))
    found = pd.DataFrame(rows, columns=["setting", "n", "cost", "test_error", "low", "high"])
    return palette.numbered(found.assign(panel="", unit=unit))


def cost_chart(frame: pd.DataFrame) -> "AnyChart":
    """A point for each setting, with the interval of its error."""
    import altair as alt

    setting = setting_choice()
    unit = frame["unit"].iloc[0] if len(frame) else "seconds"
    tooltip = [
        alt.Tooltip("setting:N"),
        alt.Tooltip("n:Q", title="searches"),
        alt.Tooltip("cost:Q", title=unit, format=",.4~r"),
        *(alt.Tooltip(f"{each}:Q", format=".4~f") for each in ("test_error", "low", "high")),
    ]
    channels = {
        "x": alt.X("cost:Q", title=f"{unit} of a search", scale=alt.Scale(zero=True)),
        "y": alt.Y("test_error:Q", title=TEST_ERROR, scale=alt.Scale(zero=False)),
        "color": setting_color(frame),
        "opacity": chosen(0.9, setting),
        "tooltip": tooltip,
    }
    points = alt.Chart(frame, name="plot").mark_circle(size=90).encode(**channels).add_params(setting, zoom())
    return alt.layer(*intervals(frame, channels, TEST_ERROR), points).properties(width=WIDTH, height=HEIGHT)


def one_shot_error_data(study: StudyData) -> pd.DataFrame:
    """Test error (%) of the retrained cell of each search and one-shot accuracy (%) of the search.

    One panel for each group of comparable super-networks with at least FEWEST_TO_CORRELATE different cells.
    """
    known = study.errors.merge(study.searches[["search_id", "valid_accuracy"]], on="search_id")
    known = known.assign(one_shot=known["valid_accuracy"].astype(float), test_error=known["test_error"].astype(float))
    known = known.dropna(subset=["one_shot"])
    columns = ["panel", "setting", "series", "seed", "search_id", "one_shot", "test_error"]
    parts = []
    for group in study.conclusions.groups[:MAX_SETTINGS]:
        rows = known[known["setting"].isin(group.settings)]
        if rows["genotype_digest"].nunique() >= FEWEST_TO_CORRELATE:
            rows = rows.assign(panel=" and ".join(group.settings[:3]), series=rows["setting"].map(study.order))
            parts.append(rows[columns])
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({name: [] for name in columns})


def one_shot_error_chart(frame: pd.DataFrame) -> "AnyChart":
    """A point for each search."""
    return in_panels(frame, _one_shot_error_chart)


def _one_shot_error_chart(frame: pd.DataFrame, name: str) -> Any:
    import altair as alt

    setting, seed = setting_choice(), seed_choice()
    return (
        alt.Chart(frame, name=name)
        .mark_circle(size=70)
        .encode(
            x=alt.X("one_shot:Q", title=ONE_SHOT, scale=alt.Scale(zero=False, padding=12)),
            y=alt.Y("test_error:Q", title="test error, %", scale=alt.Scale(zero=False, padding=12)),
            color=setting_color(frame),
            opacity=chosen(0.7, setting, seed),
            tooltip=[
                alt.Tooltip("setting:N"),
                alt.Tooltip("seed:Q"),
                alt.Tooltip("search_id:N", title="search"),
                alt.Tooltip("one_shot:Q", title=ONE_SHOT, format=".4~f"),
                alt.Tooltip("test_error:Q", title="test error, %", format=".4~f"),
            ],
        )
        .add_params(setting, seed, zoom())
        .properties(width=WIDTH, height=HEIGHT)
    )


def _palette(study: StudyData) -> Palette:
    return Palette.of(study.errors["setting"].unique(), study.order)
