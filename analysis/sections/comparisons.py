"""Settings compared by the test error of their retrained cells."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from markupsafe import Markup

from analysis.conclusions.comparisons import DECISION_RULE, SettingComparison
from analysis.drawing.charts import Axis, Dot, Line, chart
from analysis.drawing.rows import MAX_DOTS, Strip, strip_plot
from analysis.sections.blocks import Block, Figure, ReportTable, Section, Text
from analysis.sections.palette import Palette
from analysis.sections.study_data import StudyData
from analysis.sections.wording import estimate, number, p_text, row_dicts
from analysis.statistics.summaries import summarize

TEST_ERROR = "test error after retraining, %"
OUTCOMES = {"none": "no significant difference", "too few": "too few seeds to decide"}


def section(data: StudyData) -> Section:
    """The decision rule, all pairs of compared settings, and the errors behind them."""
    found = data.conclusions
    blocks: list[Block] = []
    if found.level is None:
        blocks.append(Text(text="No cell was retrained, so no two settings can be compared."))
    else:
        blocks.append(Text(text=f"Test errors: {found.level.protocol}"))
    if found.comparisons:
        blocks += [Text(text=DECISION_RULE), comparisons_table(found.comparisons)]
    elif found.level is not None:
        few = (
            "At most one setting has all selected cells trained"
            if len(data.order) > 1
            else f"The study has {'one' if data.order else 'no'} setting"
        )
        blocks.append(Text(text=f"{few}, so there is nothing to compare."))
    if found.level is not None and found.left_out:
        blocks.append(left_out_table(found.left_out))
    if len(data.errors):
        palette = Palette.of(data.errors["setting"].unique(), data.order)
        blocks.append(errors_figure(data.errors, palette))
        if len(palette.settings) > 1:
            profile, cost = profile_figure(data.errors, palette), cost_figure(data.errors, data.searches, palette)
            blocks += [block for block in (palette.legend(), profile, cost) if block]
        if palette.cut:
            blocks.append(Text(text=palette.cut, style="note"))
    return Section(id="comparisons", title="Comparisons between settings", short="Comparisons", blocks=tuple(blocks))


def comparisons_table(comparisons: Sequence[SettingComparison]) -> ReportTable:
    """One row for each pair of settings: decided ones first, otherwise in the order of the settings."""
    order = sorted(comparisons, key=lambda each: each.outcome not in ("first", "second"))
    return ReportTable(
        id="comparisons",
        caption="Pairs of settings by the test error of their retrained cells (percentage points)",
        headings=(
            "first",
            "second",
            "common seeds",
            "test error of the second - first [interval]",
            "level of the interval (%)",
            "conclusion",
            "detectable difference",
            "p (Wilcoxon, Holm)",
        ),
        rows=tuple(
            (
                each.first,
                each.second,
                str(each.pairs),
                estimate(each.difference),
                number(100 * each.level),
                _outcome(each),
                number(each.detectable),
                p_text(each.wilcoxon),
            )
            for each in order
        ),
        text_columns=frozenset({"second", "conclusion"}),
        wide_columns=frozenset({"first", "second", "conclusion"}),
        note=(
            "Positive: the first setting has fewer errors. The interval is about these test images: it counts searches "
            "and trainings, not the choice of images. Common seeds: those that share a cell count once. "
            "Detectable: difference that this many seeds would find with a probability of 80 %, at the deviation "
            "found. Footnote: p is that of a two-sided Wilcoxon signed-rank test; it decides nothing here."
        ),
    )


def left_out_table(left_out: "dict[str, str] | pd.Series[str]") -> ReportTable:
    """Settings with a result that are not compared, with the reason."""
    return ReportTable(
        id="not-compared",
        caption="Settings that are not compared",
        headings=("setting", "reason"),
        rows=tuple((str(name), reason) for name, reason in left_out.items()),
        text_columns=frozenset({"reason"}),
        wide_columns=frozenset({"setting"}),
    )


def errors_figure(errors: pd.DataFrame, palette: Palette) -> Figure:
    """Test error of the cell of each search, by setting; `errors` as in StudyData."""
    strips, rows = [], []
    for name in palette.settings:
        found = errors[errors["setting"] == name].sort_values(["seed", "search_id"])
        values = found["test_error"].astype(float)
        points = tuple((f"{name}, seed {s}", v) for s, v in zip(found["seed"], values, strict=True))
        strips.append(Strip(name=name, points=points, summary=summarize(values), series=palette.series[name]))
    for row in row_dicts(errors.assign(place=errors["setting"].map(palette.places)).sort_values(["place", "seed"])):
        rows.append((row["setting"], str(row["seed"]), row["genotype_digest"], number(row["test_error"])))
    table = ReportTable(
        id="test-errors",
        caption="Test error of the retrained cell of each search (percent, mean over its trainings)",
        headings=("setting", "seed", "cell", "test error"),
        rows=tuple(rows),
        text_columns=frozenset({"cell"}),
    )
    caption = (
        "Test errors by setting: one dot per search whose cell was retrained; fewer errors are on the left. Bars: mean "
        f"± one standard deviation, with a tick at the mean; rows with more than {MAX_DOTS} searches show only the bar."
    )
    svg = Markup(strip_plot(strips, "Test error of the retrained cell of every search, by setting", TEST_ERROR))
    return Figure(caption=caption, svg=svg, table=table)


def profile_figure(errors: pd.DataFrame, palette: Palette) -> Figure | None:
    """Share of a setting's searches with at most each error (Agarwal et al., 2021); None if no setting has two."""
    values = {
        name: np.sort(errors.loc[errors["setting"] == name, "test_error"].to_numpy(dtype=float))
        for name in palette.settings
    }
    if max(map(len, values.values())) < 2:
        return None
    lowest, highest = min(v[0] for v in values.values()), max(v[-1] for v in values.values())
    margin = (highest - lowest) * 0.03 or 0.1
    lines = []
    for name, sorted_values in values.items():
        kept = sorted_values
        if len(kept) > 100:  # steps too small to be seen
            kept = np.quantile(kept, np.linspace(0, 1, 100), method="inverted_cdf")
        points = [(lowest - margin, 0.0)]
        points += [(float(error), (i + 1) / len(kept)) for i, error in enumerate(kept)]
        points.append((highest + margin, 1.0))
        label = f"{name}: median {np.median(sorted_values):.2f} % of {len(sorted_values)} searches"
        lines.append(Line(label=label, points=tuple(points), series=palette.series[name], steps=True))
    svg = Markup(chart("Performance profile of the settings", Axis(name=TEST_ERROR), "share of searches", lines=lines))
    caption = (
        "Performance profile: share of a setting's searches whose cell has at most this test error. Curves further to "
        "the left are better."
    )
    return Figure(caption=caption, svg=svg, half=True)


def cost_figure(errors: pd.DataFrame, searches: pd.DataFrame, palette: Palette) -> Figure | None:
    """Test error of a setting against the cost of its searches; None if no search has a cost."""
    gpu = searches["gpu_days"].notna().any()
    column, unit, digits = ("gpu_days", "GPU-days", 4) if gpu else ("seconds", "seconds", 1)
    known = errors.merge(searches[["search_id", column]], on="search_id")
    known = known.assign(cost=known[column].astype(float))
    known = known[np.isfinite(known["cost"]) & known["setting"].isin(palette.settings)]
    if not len(known):
        return None
    dots, rows = [], []
    for name, group in sorted(known.groupby("setting"), key=lambda item: palette.places[str(item[0])]):
        cost, error = summarize(group["cost"]), summarize(group["test_error"])
        low, high = np.clip((error.low, error.high), 0, 100).tolist()  # NaN stays NaN
        label = f"{name}, {cost.n} searches: {cost.mean:,.{digits}f} {unit}, test error {error.mean:.2f} %"
        dots.append(
            Dot(
                label=label,
                x=cost.mean,
                y=error.mean,
                low=low,
                high=high,
                series=palette.series[str(name)],
            )
        )
        ends = (number(low), number(high))
        rows.append((str(name), str(cost.n), number(cost.mean, digits), number(error.mean), *ends))
    table = ReportTable(
        id="cost",
        caption=f"Mean {unit} of a search, and mean test error (percent) with its 95 % interval over searches",
        headings=("setting", "n", unit, "test error", "low", "high"),
        rows=tuple(rows),
    )
    svg = Markup(
        chart("Test error against the cost of a search", Axis(name=f"{unit} of a search"), TEST_ERROR, dots=dots)
    )
    caption = (
        "Test error against the cost of a search: mean of each setting with its 95 % interval over searches, on these "
        "test images. Lower left is better."
    )
    return Figure(caption=caption, svg=svg, table=table, half=True)


def _outcome(each: SettingComparison) -> str:
    if each.outcome == "too few":
        return f"{OUTCOMES['too few']}: needs {each.pairs_wanted}"
    winner = {"first": each.first, "second": each.second}.get(each.outcome)
    return f"{winner} is better" if winner else OUTCOMES[each.outcome]
