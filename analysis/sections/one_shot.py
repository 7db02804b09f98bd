"""One-shot accuracies of the searches: a panel for each group of super-networks that differ in nothing but the seed."""

from collections.abc import Sequence

import pandas as pd

from analysis.conclusions.super_networks import SuperNetworkGroup
from analysis.figures.palette import MAX_SETTINGS
from analysis.figures.strips import MAX_DOTS, panel_title
from analysis.sections.blocks import Block, Number, ReportTable, Section, Text
from analysis.sections.charts import charts
from analysis.sections.wording import MISSING, interval, number, row_dicts, spread
from analysis.statistics.summaries import SettingSummary, rank_searches
from analysis.study_data import StudyData

ONE_SHOT = (
    "One-shot accuracies are measured with the shared weights of the super-network. They are not the test accuracy of "
    "a retrained cell, and they do not compare settings."
)


def section(data: StudyData) -> Section:
    """Panels, statistics over seeds, and the accuracy of every search."""
    blocks: list[Block] = [Text(text=ONE_SHOT)]
    groups = data.conclusions.groups
    if not groups:
        blocks = [Text(text="No search has a one-shot accuracy.")]
    else:
        if data.conclusions.why_separate:
            blocks.append(Text(text=data.conclusions.why_separate))
        text = (
            f"One dot per search. Bars: mean ± one standard deviation; rows with more than {MAX_DOTS} seeds show only "
        )
        blocks.append(Text(text=f"{text}the bar.", style="note"))
        blocks += charts("one-shot", data, lambda title, _: caption(title, groups))
        if len(groups) > MAX_SETTINGS:
            text = f"Panels show the first {MAX_SETTINGS} of {len(groups)} super-networks; the tables list all."
            blocks.append(Text(text=text, style="note"))
        blocks += [statistics_table(data.summaries), seeds_table(data)]
    if len(data.settings):
        blocks.append(seeds_needed_table(data.settings))
    return Section(id="one-shot", title="One-shot accuracy of the searches", short="One-shot", blocks=tuple(blocks))


def caption(title: str, groups: Sequence[SuperNetworkGroup]) -> str:
    """The settings of a panel, and what is particular about them."""
    group = next((each for each in groups if panel_title(each.settings) == title), None)
    values = ", ".join(group.values) if group else ""
    return f"{title} ({values})." if values and values.replace(" ", "") != title.replace(" ", "") else f"{title}."


def statistics_table(summaries: Sequence[SettingSummary]) -> ReportTable:
    """Statistics over the seeds, one row for each setting."""
    scored = [s for s in summaries if s.valid_accuracy.n]
    methods = list(dict.fromkeys(s.valid_accuracy.method for s in scored))
    letters = {method: chr(ord("a") + place) for place, method in enumerate(methods)}
    return ReportTable(
        id="one-shot",
        caption="One-shot validation accuracy over the seeds of each setting (percent)",
        headings=("setting", "n", "mean ± std", "95 % CI of the mean", "median", "quartiles", "IQM", "worst", "best"),
        rows=tuple(_statistics(s, letters[s.valid_accuracy.method]) for s in scored),
        wide_columns=frozenset({"setting"}),
        note=(
            "Rows do not compare settings. n: searches with an accuracy, including those stopped early. "
            "std: sample standard deviation. IQM: interquartile mean. CI: confidence interval; "
            + "; ".join(f"({letter}) {method}" for method, letter in letters.items())
            + "."
        ),
    )


def seeds_table(data: StudyData) -> ReportTable:
    """The one-shot accuracy of every search with a result."""
    ranked = rank_searches(data.searches)
    rows = sorted(row_dicts(ranked), key=lambda row: (data.order[row["setting"]], row["seed"]))
    return ReportTable(
        id="seeds",
        caption="One-shot validation accuracy of every search with a result (percent)",
        headings=("setting", "seed", "validation accuracy"),
        rows=tuple((row["setting"], str(row["seed"]), number(row["valid_accuracy"])) for row in rows),
        wide_columns=frozenset({"setting"}),
        folded=True,
    )


def seeds_needed_table(settings: pd.DataFrame) -> ReportTable:
    """One row for each setting of a study that adds seeds until the interval of the mean is narrow enough."""
    corrected = bool(settings["corrected_interval"].all())
    return ReportTable(
        id="seeds-needed",
        caption="Seeds added until the interval of the mean one-shot accuracy is narrow enough (percentage points)",
        headings=("setting", "seeds", "half-width", "target", "max seeds", "stopped because"),
        rows=tuple(
            (
                row["setting"],
                str(row["seeds_run"]),
                number(row["halfwidth"]),
                number(row["target_halfwidth"]),
                str(row["max_seeds"]),
                row["reason"],
            )
            for row in row_dicts(settings)
        ),
        text_columns=frozenset({"stopped because"}),
        wide_columns=frozenset({"setting", "stopped because"}),
        note=(
            "Half-width: of Student's t interval of the mean. "
            + (
                "Intervals are Bonferroni-corrected: together they have 95 % confidence over all looks."
                if corrected
                else "The final interval is optimistic, as seeds stop as soon as it is narrow."
            )
        ),
    )


def _statistics(s: SettingSummary, letter: str) -> tuple[str, ...]:
    a = s.valid_accuracy
    ends = interval(a.low, a.high)
    seed = "" if s.worst_seed is None or a.std == 0 or a.n < 2 else f" (seed {s.worst_seed})"
    return (
        s.setting,
        str(a.n),
        spread(a.mean, a.std),
        Number(f"{ends} ({letter})", a.low, a.high),
        number(a.median),
        Number(f"{number(a.q1)} to {number(a.q3)}" if a.n else MISSING, a.q1, a.q3),
        number(a.iqm),
        Number(f"{number(a.minimum)}{seed}", a.minimum),
        number(a.maximum),
    )
