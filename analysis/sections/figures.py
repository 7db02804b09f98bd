"""Figures of the report over seeds: accuracy, distribution, performance profile, cost, and critical differences."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from markupsafe import Markup

from analysis.drawing.charts import Axis, Dot, Line, chart
from analysis.drawing.rows import MAX_DOTS, Strip, box_plot, critical_difference_diagram, strip_plot
from analysis.drawing.svg import color
from analysis.sections.blocks import Figure, Legend, ReportTable
from analysis.sections.wording import number, p_text, row_dicts
from analysis.statistics.bootstrap import finite
from analysis.statistics.comparison import CriticalDifference
from analysis.statistics.retrained_cells import CellStages
from analysis.statistics.summaries import SettingSummary, rank_searches, summarize

MAX_SETTINGS = 12
"""Settings that a figure shows, best first; the tables list all."""
MAX_POINTS = 300
"""Searches that the cost figure shows as single dots; with more, it shows one dot per setting."""
ONE_SHOT_AXIS = "one-shot validation accuracy, %"


def series_numbers(shown: Sequence[SettingSummary]) -> dict[str, int]:
    """The number of each setting's color, in the order of the settings' values."""
    return {s.setting: number for number, s in enumerate(sorted(shown, key=lambda s: s.place))}


def legend(shown: Sequence[SettingSummary]) -> Legend:
    """The colors of the shown settings."""
    return Legend(entries=tuple((name, color(n)) for name, n in series_numbers(shown).items()))


def shown_settings(summaries: Sequence[SettingSummary]) -> list[SettingSummary]:
    """The settings with a result, best first, at most MAX_SETTINGS."""
    return [summary for summary in summaries if summary.ended][:MAX_SETTINGS]


def accuracy_figure(searches: pd.DataFrame, summaries: Sequence[SettingSummary]) -> Markup:
    """Validation accuracy of each seed, by setting."""
    shown, strips = shown_settings(summaries), []
    series = series_numbers(shown)
    by_setting = dict(list(rank_searches(searches).groupby("setting")))
    for summary in shown:
        rows = by_setting[summary.setting].head(MAX_DOTS + 1)[["seed", "valid_accuracy"]]  # more are not drawn
        values = rows["valid_accuracy"].astype(float)
        points = tuple((f"{summary.setting}, seed {s}", v) for s, v in zip(rows["seed"], values, strict=True))
        strips.append(
            Strip(name=summary.setting, points=points, summary=summary.valid_accuracy, series=series[summary.setting])
        )
    return Markup(strip_plot(strips, "Validation accuracy of every seed by setting", ONE_SHOT_AXIS))


def distribution_figure(summaries: Sequence[SettingSummary]) -> Figure | None:
    """Range, quartiles, median and interval of the mean of each setting; None without a value."""
    shown = shown_settings(summaries)
    series = series_numbers(shown)
    strips = [
        Strip(name=s.setting, summary=s.valid_accuracy, series=series[s.setting]) for s in shown if s.valid_accuracy.n
    ]
    if not strips:
        return None
    caption = (
        "Distribution over seeds. Box: quartiles and median. Whiskers: worst and best seed. Bar below: 95 % confidence "
        "interval of the mean, with a dot at the mean."
    )
    return Figure(
        caption=caption, svg=Markup(box_plot(strips, "Distribution of validation accuracy by setting", ONE_SHOT_AXIS))
    )


def profile_figure(searches: pd.DataFrame, summaries: Sequence[SettingSummary]) -> Figure | None:
    """Share of a setting's runs above each score (Agarwal et al., 2021); None without a value."""
    lines, rows = [], []
    series = series_numbers(shown_settings(summaries))
    values = rank_searches(searches).groupby("setting")["valid_accuracy"].apply(finite).to_dict()
    shown = [s.setting for s in shown_settings(summaries) if s.valid_accuracy.n]
    if not shown:
        return None
    lowest, highest = min(values[name][0] for name in shown), max(values[name][-1] for name in shown)
    margin = (highest - lowest) * 0.03 or 0.1
    scores = np.unique(np.linspace(lowest, highest, 6).round(2))  # as the headings name them, each once
    for name in shown:
        kept = values[name]
        if len(kept) > 100:  # steps too small to be seen
            kept = np.quantile(kept, np.linspace(0, 1, 100), method="inverted_cdf")
        points = [(lowest - margin, 1.0)]
        points += [(float(score), 1 - (i + 1) / len(kept)) for i, score in enumerate(kept)]
        points.append((highest + margin, 0.0))
        label = f"{name}: median {np.median(values[name]):.2f} % of {len(values[name])} runs"
        lines.append(Line(label=label, points=tuple(points), series=series[name], steps=True))
        rows.append((name, *(number(float((values[name] > score).mean())) for score in scores)))
    drawing = chart("Performance profile of the settings", Axis(name=ONE_SHOT_AXIS), "share of runs above", lines=lines)
    table = ReportTable(
        id="profile",
        caption="Share of runs above a one-shot validation accuracy",
        headings=("setting", *(f"above {score:.2f} %" for score in scores)),
        rows=tuple(rows),
    )
    caption = "Performance profile: share of a setting's runs above a score. Curves further to the right are better."
    return Figure(caption=caption, svg=Markup(drawing), table=table, half=True)


def cost_figure(searches: pd.DataFrame, summaries: Sequence[SettingSummary]) -> Figure | None:
    """Accuracy against GPU-days, or seconds without a GPU; None if no search has both."""
    ranked = rank_searches(searches)
    gpu = ranked["gpu_days"].notna().any()
    column, unit, digits = ("gpu_days", "GPU-days", 4) if gpu else ("seconds", "seconds", 1)
    names = [s.setting for s in shown_settings(summaries)]
    kept = ranked[ranked["setting"].isin(names)]
    kept = kept.assign(cost=kept[column].astype(float), accuracy=kept["valid_accuracy"].astype(float))
    kept = kept[np.isfinite(kept["cost"]) & np.isfinite(kept["accuracy"])]
    if not len(kept):
        return None
    series, dots, rows = series_numbers(shown_settings(summaries)), [], []
    single = len(kept) <= MAX_POINTS
    if single:
        for row in row_dicts(kept[["setting", "seed", "cost", "accuracy"]]):
            label = f"{row['setting']}, seed {row['seed']}: {row['cost']:,.{digits}f} {unit}, {row['accuracy']:.2f} %"
            dots.append(Dot(label=label, x=row["cost"], y=row["accuracy"], series=series[row["setting"]]))
    for name, group in sorted(kept.groupby("setting"), key=lambda item: names.index(str(item[0]))):
        cost, accuracy = summarize(group["cost"]), summarize(group["accuracy"])
        interval = (number(accuracy.low), number(accuracy.high))
        rows.append((str(name), str(cost.n), number(cost.mean, digits), number(accuracy.mean), *interval))
        if not single:
            label = f"{name}, {cost.n} searches: {cost.mean:,.{digits}f} {unit}, {accuracy.mean:.2f} %"
            mark = Dot(
                label=label,
                x=cost.mean,
                y=accuracy.mean,
                low=accuracy.low,
                high=accuracy.high,
                series=series[str(name)],
            )
            dots.append(mark)
    table = ReportTable(
        id="cost",
        caption=f"Mean {unit} of a search, and mean one-shot validation accuracy (percent) with its 95 % interval",
        headings=("setting", "n", unit, "accuracy", "low", "high"),
        rows=tuple(rows),
    )
    what = "One dot per search" if single else "One dot per setting: mean with its 95 % confidence interval"
    return Figure(
        caption=f"Accuracy against cost. {what}. Upper left is better.",
        svg=Markup(chart("Accuracy against cost", Axis(name=f"{unit} of a search"), ONE_SHOT_AXIS, dots=dots)),
        table=table,
        half=True,
    )


def critical_difference_figure(found: CriticalDifference) -> Figure:
    """The critical-difference diagram with its mean ranks."""
    p = p_text(found.p_value) if found.p_value < 0.0001 else f"= {p_text(found.p_value)}"
    left_out = f" Left out (fewer than 5 seeds): {', '.join(found.left_out)}." if found.left_out else ""
    caption = (
        f"Mean ranks over the {found.n} seeds common to all {len(found.settings)} settings; rank 1 is best. Settings "
        f"joined by a bar are not significantly different (Nemenyi test, 5 %). Friedman test: p {p}.{left_out}"
    )
    ranks = zip(found.settings, found.mean_ranks, strict=True)
    table = ReportTable(
        id="ranks",
        caption=f"Mean ranks over {found.n} seeds; critical difference {found.difference:.2f}",
        headings=("setting", "mean rank"),
        rows=tuple((name, number(rank)) for name, rank in ranks),
    )
    drawing = critical_difference_diagram(found, "Critical differences of the settings")
    return Figure(caption=caption, svg=Markup(drawing), table=table)


def retrained_figure(cells: Sequence[CellStages]) -> Figure | None:
    """Retrained accuracy against search accuracy; None for fewer than two cells with both."""
    shown = [cell for cell in cells if math.isfinite(cell.search) and math.isfinite(cell.retrained)]
    if len(shown) < 2:
        return None
    dots = [
        Dot(
            label=f"{cell.digest}: search {cell.search:.2f} %, retrained {cell.retrained:.2f} %",
            x=cell.search,
            y=cell.retrained,
            series=0,
        )
        for cell in shown[:MAX_POINTS]
    ]
    drawing = chart(
        "Retrained accuracy against search accuracy",
        Axis(name=ONE_SHOT_AXIS),
        "retrained validation accuracy, %",
        dots=dots,
    )
    return Figure(
        caption="Retrained accuracy against search accuracy. One dot per retrained cell.", svg=Markup(drawing)
    )
