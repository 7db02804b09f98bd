"""One row of dots for each setting: one-shot accuracies, and test errors of retrained cells."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.figures.marks import chosen, in_panels, seed_choice, setting_choice, setting_color, zoom
from analysis.figures.palette import MAX_SETTINGS, Palette
from analysis.statistics.summaries import rank_searches, summarize
from analysis.study_data import StudyData

if TYPE_CHECKING:
    from analysis.figures.specs import AnyChart

MAX_DOTS = 60
"""Searches of a setting that are drawn as dots; with more, a row shows only its mean and deviation."""
ROW_HEIGHT = 36
"""Height of a row, in pixels."""
LONGEST_NAME = 40
"""Characters of a setting's name that an axis shows."""
TEST_ERROR = "test error after retraining, %"
ONE_SHOT = "one-shot validation accuracy, %"
COLUMNS = ["panel", "setting", "series", "seed", "search_id", "value", "mean", "std", "n", "measure"]


def test_errors_data(study: StudyData) -> pd.DataFrame:
    """The test error (`value`, %) of the retrained cell of each search.

    `mean`, `std` and `n` are those of its setting; a setting with more than MAX_DOTS searches has one row without a
    value.
    """
    errors = study.errors.rename(columns={"test_error": "value"})
    return _rows(errors, Palette.of(errors["setting"].unique(), study.order), "", TEST_ERROR)


def one_shot_data(study: StudyData) -> pd.DataFrame:
    """The one-shot accuracy of each search, with a panel for each group of comparable super-networks.

    Columns as in `test_errors_data`.
    """
    ranked = rank_searches(study.searches).rename(columns={"valid_accuracy": "value"})
    parts = [_rows(ranked.iloc[:0], Palette.of((), study.order), "", ONE_SHOT)]
    for group in study.conclusions.groups[:MAX_SETTINGS]:
        palette = Palette.of(group.settings, study.order)
        parts.append(_rows(ranked, palette, panel_title(group.settings), ONE_SHOT))
    return pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)


def test_errors_chart(frame: pd.DataFrame) -> "AnyChart":
    """A dot for each search, and a bar from mean - std to mean + std with a tick at the mean."""
    return in_panels(frame, _chart)


def one_shot_chart(frame: pd.DataFrame) -> "AnyChart":
    """A dot for each search, and a bar from mean - std to mean + std with a tick at the mean."""
    return in_panels(frame, _chart)


def panel_title(settings: Sequence[str]) -> str:
    """Title of the panel of a group of super-networks."""
    return " and ".join(settings) if len(settings) < 3 else f"{settings[0]} and {len(settings) - 1} other settings"


def _rows(values: pd.DataFrame, palette: Palette, panel: str, measure: str) -> pd.DataFrame:
    parts = []
    for setting in palette.settings:
        rows = values[values["setting"] == setting].sort_values(["seed", "search_id"])
        summary = summarize(rows["value"].astype(float))
        rows = rows[rows["value"].notna()]
        if len(rows) > MAX_DOTS:
            rows = rows.head(1).assign(value=np.nan, seed=None, search_id="")
        parts.append(rows.assign(mean=summary.mean, std=summary.std, n=summary.n))
    empty = values.iloc[:0].assign(mean=0.0, std=0.0, n=0)
    found = pd.concat(parts, ignore_index=True) if parts else empty
    found = palette.numbered(found.assign(panel=panel, measure=measure, value=found["value"].astype(float)))
    return found[COLUMNS].astype({"seed": "Int64"}).reset_index(drop=True)


def _chart(frame: pd.DataFrame, name: str) -> Any:
    import altair as alt

    setting, seed = setting_choice(), seed_choice()
    means = frame.drop_duplicates("setting").drop(columns=["seed", "search_id", "value"])
    names = list(means.sort_values("series")["setting"])
    measure = frame["measure"].iloc[0] if len(frame) else "value"
    y = alt.Y(
        "setting:N", title=None, sort=names, axis=alt.Axis(labelLimit=300, labelExpr=shortened_label(), grid=False)
    )
    color = setting_color(frame, legend=False)
    x = alt.X("value:Q", title=measure, scale=alt.Scale(zero=False, padding=12))
    mean = alt.X("mean:Q", title=measure, scale=alt.Scale(zero=False, padding=12))
    search = [
        alt.Tooltip("setting:N"),
        alt.Tooltip("seed:Q"),
        alt.Tooltip("search_id:N", title="search"),
        alt.Tooltip("value:Q", title=measure, format=".4~f"),
    ]
    told = [alt.Tooltip("setting:N"), *(alt.Tooltip(f"{each}:Q", format=".4~g") for each in ("mean", "std"))]
    told.append(alt.Tooltip("n:Q"))
    bars = means.assign(low=means["mean"] - means["std"], high=means["mean"] + means["std"])
    channels = {"y": y, "color": color, "opacity": chosen(1, setting), "tooltip": told}
    ticks = alt.Chart(bars, name=name).mark_tick(thickness=2, size=22).encode(x=mean, **channels)
    layers = [ticks.add_params(setting, seed, zoom(["x"]))]
    if len(spread := bars.dropna(subset=["std"])):
        layers.append(alt.Chart(spread).mark_rule(strokeWidth=2).encode(x="low:Q", x2="high:Q", **channels))
    if len(dots := frame.dropna(subset=["value"])):
        lanes = dots.assign(lane=dots["seed"].astype(int) % 3 - 1)
        offset = alt.YOffset("lane:Q", scale=alt.Scale(domain=[-2.2, 2.2]))
        layers.append(
            alt.Chart(lanes)
            .mark_circle(size=60)
            .encode(x=x, y=y, yOffset=offset, color=color, opacity=chosen(0.6, setting, seed), tooltip=search)
        )
    return alt.layer(*layers).properties(width=400, height=ROW_HEIGHT * max(1, len(names)))


def shortened_label() -> str:
    """A Vega expression: the label of an axis, cut in its middle, as names of settings also differ at their ends."""
    half = LONGEST_NAME // 2 - 1
    return (
        f"length(datum.label) > {LONGEST_NAME} "
        f"? slice(datum.label, 0, {half}) + '…' + slice(datum.label, -{half}) : datum.label"
    )
