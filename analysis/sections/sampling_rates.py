"""Norms and entropies of the searches by sampling rate."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd
from markupsafe import Markup

from analysis.drawing.charts import Axis, Dot, Line, chart
from analysis.drawing.svg import color
from analysis.sections.blocks import Block, Figure, Legend, ReportTable, Section, Text
from analysis.sections.study_data import StudyData
from analysis.sections.wording import interval_text
from analysis.statistics.summaries import SETTING_COLUMNS, Summary, rank_searches, summarize


class Measure(NamedTuple):
    """A measure of a search that is compared between sampling rates."""

    column: str
    """Name of the column of `searches`, or weight_norm_growth."""
    name: str
    """Name in the report."""
    digits: int
    """Digits after the decimal point."""


MEASURES = (
    Measure("weight_norm_growth", "growth of the weight norm", 1),
    Measure("alpha_norm", "norm of alpha", 3),
    Measure("alpha_entropy_normal", "alpha entropy (nats), normal cell", 4),
    Measure("alpha_entropy_reduce", "alpha entropy (nats), reduction cell", 4),
    Measure("train_valid_gap", "train-validation gap (points)", 2),
)
"""What is compared."""
MAX_GROUPS = 12
"""Groups of searches that are shown, each with its sampling rates."""


@dataclass(frozen=True, kw_only=True)
class RateSummary:
    """The searches of one sampling rate, other swept fields being equal."""

    others: str
    """The other swept fields, such as space=s2; empty where only k was swept."""
    k: int
    """Partial channel connection: C / k channels are sampled."""
    sampling_rate: float
    """Share of the channels that are sampled."""
    n: int
    """Searches with a result."""
    measures: dict[str, Summary]
    """Column to its summary over the seeds."""


def section(data: StudyData) -> Section:
    """Table and figures, if only k differs between some of the searches."""
    found = rate_summaries(data.searches, data.epochs)
    blocks: list[Block] = [
        Text(text="No two searches with these measures differ in k alone, so they do not compare sampling rates.")
    ]
    if found:
        sampling = set(data.searches["channel_sampling"].dropna().unique())
        blocks = [Text(text=penalty_text(sampling)), rate_table(found), *rate_figures(found)]
    return Section(
        id="rates", title="Norms and entropies by sampling rate", short="Sampling rate", blocks=tuple(blocks)
    )


def penalty_text(sampling: set[str]) -> str:
    """What the theory of partial channels says of these ways to sample them."""
    causes = "A smaller k also mixes more channels, so differences between sampling rates have several causes."
    if "random" not in sampling:
        names = " and ".join(f"`{name}`" for name in sorted(sampling))
        sampled = f"With `channel_sampling` {names}" if names else "Without random sampling"
        return f"{sampled} the sampled channels do not vary, so the penalty of the theory is zero. {causes}"
    return (
        "Channels sampled at random add a penalty to the loss in the linear model of `pcdarts theory`; whether it acts "
        f"in these networks is not shown here. {causes}"
    )


def rate_summaries(searches: pd.DataFrame, epochs: pd.DataFrame) -> list[RateSummary]:
    """Summaries by sampling rate, of the groups in which there are several; methods that do not train are left out."""
    first = epochs[epochs["epoch"] == 0].drop_duplicates("search_id").set_index("search_id")["weight_norm"]
    ranked = rank_searches(searches)
    grown = ranked["weight_norm"].astype(float) - ranked["search_id"].map(first).astype(float)
    ranked = ranked.assign(weight_norm_growth=grown)
    columns = [measure.column for measure in MEASURES]
    known = ranked[ranked["k"].notna() & ranked[columns].notna().any(axis=1)]
    others = [column for column in SETTING_COLUMNS if column != "k"]
    known = known[known.groupby(others, dropna=False)["k"].transform("nunique") > 1]
    varied = [column for column in others if known[column].nunique(dropna=False) > 1]
    groups = [((), known)] if not varied else list(known.groupby(varied, dropna=False))[:MAX_GROUPS]
    found: list[RateSummary] = []
    for values, group in groups:
        name = ", ".join(f"{column}={value}" for column, value in zip(varied, values, strict=True))
        for (k, rate), rows in group.groupby(["k", "sampling_rate"]):
            measures = {column: summarize(rows[column]) for column in columns}
            found.append(RateSummary(others=name, k=int(k), sampling_rate=rate, n=len(rows), measures=measures))
    return found


def rate_table(found: list[RateSummary]) -> ReportTable:
    """Means over the seeds with their 95 % intervals, one row a sampling rate."""
    measures = _measured(found)
    rows = []
    for summary in found:
        values = [interval_text(summary.measures[m.column], m.digits) for m in measures]
        name = f"{summary.others}, k={summary.k}" if summary.others else f"k={summary.k}"
        rows.append((name, _rate(summary.k), str(summary.n), *values))
    return ReportTable(
        id="rates",
        caption="Norms, entropies and gap at the end of the search: mean [95 % interval] over seeds",
        headings=("setting", "sampling rate", "n", *(measure.name for measure in measures)),
        rows=tuple(rows),
        text_columns=frozenset({"sampling rate"}),
        note=(
            "Growth of the weight norm: since the end of the first epoch, because the norm at that point comes mostly "
            "from the initialization and the size of the network. Intervals: Student's t, or a BCa bootstrap for 20 "
            "to 500 seeds; none if all seeds have the same value."
        ),
    )


def rate_figures(found: list[RateSummary]) -> list[Legend | Figure]:
    """One figure a measure: mean and interval against the sampling rate, on a logarithmic axis.

    Before them a legend, where other fields than k were swept too.
    """
    groups = list(dict.fromkeys(summary.others for summary in found))
    rates = sorted({(summary.sampling_rate, _rate(summary.k)) for summary in found})
    margin = 0.35
    marks = [(math.log2(rate), name) for rate, name in rates]
    ends = ((marks[0][0] - margin, ""), *marks, (marks[-1][0] + margin, ""))
    figures: list[Legend | Figure] = []
    if len(groups) > 1:
        entries = tuple((name or "k alone", color(i)) for i, name in enumerate(groups))
        figures.append(Legend(entries=entries))
    for column, name, digits in _measured(found):
        dots, lines = [], []
        for series, others in enumerate(groups):
            shift = 0.04 * (series - (len(groups) - 1) / 2)  # intervals of several groups stay apart
            chosen = [s for s in found if s.others == others and s.measures[column].n]
            chosen.sort(key=lambda s: s.sampling_rate)
            points = [(shift + math.log2(s.sampling_rate), s.measures[column]) for s in chosen]
            for s, (x, summary) in zip(chosen, points, strict=True):
                label = f"{others + ', ' if others else ''}k={s.k}: {interval_text(summary, digits)}, n = {summary.n}"
                dots.append(Dot(label=label, x=x, y=summary.mean, low=summary.low, high=summary.high, series=series))
            path = tuple((x, summary.mean) for x, summary in points)
            lines.append(Line(label=others or name, points=path, series=series))
        drawing = chart(
            f"{name} by sampling rate", Axis(name="sampling rate 1/K", marks=ends), name, lines=lines, dots=dots
        )
        figures.append(
            Figure(
                caption=f"{name[0].upper()}{name[1:]} by sampling rate.",
                svg=Markup(drawing),
                half=True,
            )
        )
    return figures


def _rate(k: int) -> str:
    return "1" if k == 1 else f"1/{k}"


def _measured(found: list[RateSummary]) -> list[Measure]:
    return [measure for measure in MEASURES if any(summary.measures[measure.column].n for summary in found)]
