"""Settings compared by the test error of their retrained cells."""

from collections.abc import Sequence

import pandas as pd

from analysis.conclusions.comparisons import DECISION_RULE, SettingComparison
from analysis.figures.palette import Palette
from analysis.figures.strips import MAX_DOTS
from analysis.sections.blocks import Block, Chart, ReportTable, Section, Text
from analysis.sections.charts import charts, choice
from analysis.sections.wording import estimate, number, p_text, row_dicts
from analysis.study_data import StudyData

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
        errors, *others = figures(data)
        blocks += [errors, choice(data, palette), *others] if others else [errors]
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


def errors_table(data: StudyData) -> ReportTable:
    """The test error of the cell of each search, of all settings."""
    errors = data.errors.assign(place=data.errors["setting"].map(data.order)).sort_values(["place", "seed"])
    return ReportTable(
        id="test-errors",
        caption="Test error of the retrained cell of each search (percent, mean over its trainings)",
        headings=("setting", "seed", "cell", "test error"),
        rows=tuple(
            (row["setting"], str(row["seed"]), row["genotype_digest"], number(row["test_error"]))
            for row in row_dicts(errors)
        ),
        text_columns=frozenset({"cell"}),
    )


def figures(data: StudyData) -> list[Chart]:
    """Errors by setting; if there are several, their performance profile and their cost."""
    errors = (
        "Test errors by setting: one dot per search whose cell was retrained; fewer errors are on the left. Bars: mean "
        f"± one standard deviation, with a tick at the mean; rows with more than {MAX_DOTS} searches show only the bar."
    )
    profile = (
        "Performance profile: share of a setting's searches whose cell has at most this test error. Further to the "
        "left: fewer errors in these searches; whether a setting is better is decided above."
    )
    cost = (
        "Test error against the cost of a search, without race and trainings: mean of each setting, and the 95 % "
        "interval of its error over searches, on these test images. Times depend on the machine and its load."
    )
    found = charts("test-errors", data, lambda *_: errors, table=lambda *_: errors_table(data), half=False)
    if data.errors["setting"].nunique() > 1:
        found += charts("performance-profile", data, lambda *_: profile)
        found += charts("cost", data, lambda *_: cost, table=cost_table)
    return found


def cost_table(id: str, frame: pd.DataFrame) -> ReportTable:
    """Mean cost and error of each setting; `frame` as in `analysis.figures.cost_data`."""
    unit = frame["unit"].iloc[0]
    digits = 4 if unit == "GPU-days" else 1
    return ReportTable(
        id=id,
        caption=f"Mean {unit} of a search, and mean test error (percent) with its 95 % interval over searches",
        headings=("setting", "n", unit, "test error", "low", "high"),
        rows=tuple(
            (
                row["setting"],
                str(row["n"]),
                number(row["cost"], digits),
                *(number(row[name]) for name in ("test_error", "low", "high")),
            )
            for row in row_dicts(frame)
        ),
    )


def _outcome(each: SettingComparison) -> str:
    if each.outcome == "too few":
        return f"{OUTCOMES['too few']}: needs {each.pairs_wanted}"
    winner = {"first": each.first, "second": each.second}.get(each.outcome)
    return f"{winner} is better" if winner else OUTCOMES[each.outcome]
