"""Measures of the searches over epochs."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from analysis.conclusions.super_networks import SuperNetworkGroup
from analysis.figures.marks import HEIGHT, WIDTH, chosen, in_panels, seed_choice, setting_choice, setting_color, zoom
from analysis.figures.palette import UNFINISHED, Palette
from analysis.statistics.agreement import CellType
from analysis.study_data import StudyData

if TYPE_CHECKING:
    from analysis.figures.specs import AnyChart

MAX_LINES = 60
"""Searches that a figure shows as single lines; with more, it shows one band per setting."""
MAX_POINTS = 100
"""Epochs of a line that are drawn; of a longer one, evenly spaced ones and the last."""
MAX_TOOLTIPS = 2500
"""Points of a chart that show their value; with more, lines show only their name."""
DISCRETIZED, RANDOM = "discretized_accuracy_recalibrated", "random_cells_accuracy_recalibrated"
CELL_NAMES: dict[CellType, str] = {"normal": "normal cell", "reduce": "reduction cell"}


class Curve(NamedTuple):
    """A measure that is drawn over epochs."""

    column: str
    """Column of `epochs`, without the suffix of the cell type."""
    name: str
    """Name in captions."""
    axis: str
    """Label of the vertical axis."""
    digits: int
    """Digits after the decimal point, in the table."""
    cells: tuple[CellType, ...] = ()
    """Cell types it is measured for; empty: for the network."""
    separate: bool = False
    """Whether it depends on the size of the super-network, so that different ones do not share an axis."""

    @property
    def columns(self) -> dict[str, str]:
        """Names of the columns, with what they are measured for."""
        if not self.cells:
            return {self.column: ""}
        return {f"{self.column}_{cell}": CELL_NAMES[cell] for cell in self.cells}


CURVES = (
    Curve("valid_accuracy", "Validation accuracy", "one-shot validation accuracy, %", 2, separate=True),
    Curve("alpha_entropy", "Entropy of softmax(alpha)", "mean entropy, nats", 3, ("normal", "reduce")),
    Curve("dominant_eigenvalue", "Dominant eigenvalue", "largest eigenvalue in alpha", 4, separate=True),
    Curve(
        "found_minus_random",
        "Found cell minus random cells in the super-network",
        "percentage points",
        2,
        separate=True,
    ),
    Curve("skip_connections", "Skip connections", "skip connections in a cell", 2, ("normal", "reduce")),
    Curve("train_loss", "Training loss", "training loss", 3, separate=True),
)
"""What is drawn."""


def epoch_curves_data(study: StudyData, measure: str = "valid_accuracy") -> pd.DataFrame:
    """A measure, the column of one of CURVES, over the epochs of each search.

    One row for each search, cell and epoch; for more than MAX_LINES searches, one for each setting, cell and epoch with
    the median (`value`), the 10 and 90 % quantiles (`low`, `high`) and the number of searches `n`.  `panel` is the
    group of super-networks that may share an axis, `rule` whether the eigenvalue rule would return this epoch.
    """
    curve = next((each for each in CURVES if each.column == measure), None)
    if curve is None:
        known = ", ".join(each.column for each in CURVES)
        raise ValueError(f"measure is {measure!r}, but must be one of {known}")
    epochs = shown_epochs(study)
    searches = epochs["search_id"].nunique()
    names = _panel_names(epochs, study.conclusions.groups) if curve.separate else {}
    measured = [epochs.assign(cell=cell, value=epochs[column].astype(float)) for column, cell in curve.columns.items()]
    rows = pd.concat(measured, ignore_index=True)
    rows = rows[np.isfinite(rows["value"])]
    rows = rows.assign(panel=rows["setting"].map(names) if names else "")
    frozen = {panel: _frozen(group) for panel, group in rows.groupby("panel")}
    rows = rows.assign(frozen_epochs=rows["panel"].map(frozen).astype(int), measure=curve.axis)
    rows = _lines(rows, curve, study.searches) if searches <= MAX_LINES else _bands(rows)
    places = {name: place for place, name in enumerate(dict.fromkeys(names.values()))}
    rows = palette(study).numbered(rows)
    rows = rows.assign(place=rows["panel"].map(places).fillna(0)).sort_values(
        ["place", "series", "search_id", "cell", "epoch"], kind="stable"
    )
    columns = ["panel", "setting", "series", "search_id", "seed", "cell", "epoch", "value", "low", "high", "n", "rule"]
    return rows[[*columns, "frozen_epochs", "measure"]].reset_index(drop=True)


def epoch_curves_chart(frame: pd.DataFrame) -> "AnyChart":
    """Lines of the searches, or medians with bands of the settings; the reduction cell is dashed."""
    return in_panels(frame, _chart)


def palette(study: StudyData) -> Palette:
    """The settings of the searches with epochs."""
    drawn = study.searches[study.searches["search_id"].isin(study.epochs["search_id"])]
    return Palette.of(drawn["setting"].unique(), study.order)


def shown_epochs(study: StudyData) -> pd.DataFrame:
    """The epochs of the settings that figures show, and of searches that have not finished, with derived measures."""
    epochs = study.epochs
    names = dict(zip(study.searches["search_id"], study.searches["setting"], strict=True))
    seeds = dict(zip(study.searches["search_id"], study.searches["seed"], strict=True))
    found, random = (epochs[name].astype(float) for name in (DISCRETIZED, RANDOM))
    epochs = epochs.assign(
        setting=epochs["search_id"].map(names).astype(object).fillna(UNFINISHED),
        seed=epochs["search_id"].map(seeds).astype("Int64"),
        found_minus_random=found - random,
    )
    return epochs[epochs["setting"].isin([*palette(study).settings, UNFINISHED])]


def _panel_names(epochs: pd.DataFrame, groups: Sequence[SuperNetworkGroup]) -> dict[str, str]:
    """Setting to title of its panel: groups of super-networks, then searches that have not finished."""
    present = set(epochs["setting"])
    found = [group for group in groups if present & set(group.settings)]
    names = {setting: " and ".join(group.settings[:3]) for group in found for setting in group.settings}
    if UNFINISHED in present:
        names[UNFINISHED] = "searches without a result"
    return names if len(set(names.values())) > 1 else {}


def _lines(rows: pd.DataFrame, curve: Curve, searches: pd.DataFrame) -> pd.DataFrame:
    named = searches[searches["early_stop_epoch"].notna()]
    rules = dict(zip(named["search_id"], named["early_stop_epoch"].astype(float), strict=True))
    rule = rows["epoch"] == rows["search_id"].map(rules).astype(float)
    rows = rows.assign(low=math.nan, high=math.nan, n=1, rule=rule & (curve.column == "dominant_eigenvalue"))
    rows = rows.sort_values(["search_id", "cell", "epoch"])
    lines = rows.groupby(["search_id", "cell"])
    place, count = lines.cumcount(), lines["epoch"].transform("size")
    step = np.ceil(count / MAX_POINTS)
    return rows[(place % step == 0) | (place == count - 1) | rows["rule"]]


def _bands(rows: pd.DataFrame) -> pd.DataFrame:
    rows = rows[rows["setting"] != UNFINISHED]
    by = ["panel", "setting", "cell", "epoch", "frozen_epochs", "measure"]
    groups = rows.groupby(by)["value"]
    ends = {"low": groups.quantile(0.1), "high": groups.quantile(0.9)}
    found = pd.DataFrame({"value": groups.median(), **ends, "n": groups.size()})
    return found.assign(seed=pd.NA, search_id="", rule=False).astype({"seed": "Int64"}).reset_index()


def _frozen(epochs: pd.DataFrame) -> int:
    """Epochs before alpha is trained, if equal for all searches that reached it; else 0."""
    epochs = epochs.drop_duplicates(["search_id", "epoch"])
    trained = epochs["alpha_trained"].astype(bool)
    first = epochs[trained].groupby("search_id")["epoch"].min().unique()
    return int(first[0]) if len(first) == 1 else 0


def _chart(frame: pd.DataFrame, name: str) -> Any:
    import altair as alt

    setting, seed = setting_choice(), seed_choice()
    title = frame["measure"].iloc[0] if len(frame) else "value"
    frozen = int(frame["frozen_epochs"].iloc[0]) if len(frame) else 0
    x = alt.X("epoch:Q", title="epoch", axis=alt.Axis(format="d", tickMinStep=1), scale=alt.Scale(nice=False))
    y = alt.Y("value:Q", title=title, scale=alt.Scale(zero=False))
    color, single = setting_color(frame), bool(len(frame)) and bool(frame["search_id"].iloc[0])
    dash: Any = alt.value([1, 0])
    if frame["cell"].nunique() > 1:
        scale = alt.Scale(domain=list(CELL_NAMES.values()), range=[[1, 0], [4, 3]])
        dash = alt.StrokeDash("cell:N", title=None, scale=scale, legend=alt.Legend(orient="bottom"))
    tooltip = [
        alt.Tooltip("setting:N"),
        *([alt.Tooltip("seed:Q"), alt.Tooltip("search_id:N", title="search")] * single),
    ]
    tooltip += [alt.Tooltip("cell:N")] if frame["cell"].any() else []
    values = [alt.Tooltip("epoch:Q"), alt.Tooltip("value:Q", title=title, format=".5~g")]
    if not single:
        values += [alt.Tooltip(f"{each}:Q", format=".5~g") for each in ("low", "high")] + [alt.Tooltip("n:Q")]
    base = alt.Chart(frame)
    layers: list[Any] = []
    if frozen:
        edge = pd.DataFrame({"start": [0.0], "end": [frozen - 0.5], "text": ["alpha frozen"]})
        shade = alt.Chart(edge).encode(x="start:Q", x2="end:Q")
        layers.append(shade.mark_rect(color="#f1f3f6"))
        layers.append(
            alt.Chart(edge)
            .mark_text(align="left", dx=4, dy=8, baseline="top", color="#5b6570")
            .encode(x="start:Q", y=alt.value(0), text="text:N")
        )
    if not single:
        layers.append(
            base.mark_area(opacity=0.12).encode(
                x=x, y="low:Q", y2="high:Q", color=color, detail="cell:N", opacity=chosen(0.12, setting)
            )
        )
    lines = base.mark_line(strokeWidth=1.6, strokeJoin="round", strokeCap="round").encode(
        x=x,
        y=y,
        color=color,
        strokeDash=dash,
        detail=["search_id:N", "cell:N"],
        opacity=chosen(0.85, setting, seed),
        tooltip=tooltip,
    )
    layers.append(lines.properties(name=name).add_params(setting, seed, zoom()))
    counts = frame.groupby(["search_id", "setting", "cell"])["epoch"].transform("size")
    alone = bool((counts == 1).any())
    if len(frame) <= MAX_TOOLTIPS or alone:
        dots = base if len(frame) <= MAX_TOOLTIPS else alt.Chart(frame[counts == 1])
        layers.append(dots.mark_circle(size=45, opacity=0).encode(x=x, y=y, color=color, tooltip=[*tooltip, *values]))
    if alone:
        layers.append(
            alt.Chart(frame[counts == 1])
            .mark_circle(size=60)
            .encode(x=x, y=y, color=color, opacity=chosen(0.85, setting, seed), tooltip=[*tooltip, *values])
        )
    if frame["rule"].any():
        layers.append(
            alt.Chart(frame[frame["rule"]])
            .mark_circle(size=80)
            .encode(x=x, y=y, color=color, opacity=chosen(0.9, setting, seed), tooltip=[*tooltip, *values])
        )
    return alt.layer(*layers).properties(width=WIDTH, height=HEIGHT)
