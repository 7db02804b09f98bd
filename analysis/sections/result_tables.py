"""Tables of the report: settings, comparisons, seeds, searches and failures."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis.sections.blocks import Number, ReportTable
from analysis.sections.found_cells import SettingCells
from analysis.sections.wording import MISSING, estimate, interval, number, p_text, plain, row_dicts, shortened, spread
from analysis.statistics.agreement import CellAgreement
from analysis.statistics.comparison import Comparison
from analysis.statistics.summaries import WITH_RESULT, SettingSummary, rank_searches, setting_order


def settings_table(summaries: Sequence[SettingSummary], found: Sequence[SettingCells] = ()) -> ReportTable:
    """One row for each setting, best mean first; `found` gives the agreement of its cells."""
    methods = list(dict.fromkeys(s.valid_accuracy.method for s in summaries if s.valid_accuracy.n))
    letters = {method: _letter(place) for place, method in enumerate(methods)}
    agreements = {cells_of.setting: cells_of.agreement for cells_of in found}
    notes = [f"({letter}) {method}" for method, letter in letters.items()]
    return ReportTable(
        id="settings",
        caption="Settings by mean one-shot validation accuracy over seeds (percent)",
        headings=(
            "setting",
            "n",
            "failed",
            "stopped",
            "mean ± std",
            "95 % CI of the mean",
            "CI method",
            "median",
            "quartiles",
            "IQM",
            "worst",
            "worst seed",
            "best",
            "distinct cells",
            "similarity normal / reduction",
            "kappa normal / reduction",
            "seconds per search",
        ),
        rows=tuple(
            _settings_row(s, letters.get(s.valid_accuracy.method, ""), agreements.get(s.setting)) for s in summaries
        ),
        text_columns=frozenset({"CI method"}),
        note=" ".join(
            [
                "n: searches with an accuracy, one per seed, including those stopped by a collapse rule; failed "
                "searches are not counted. std: sample standard deviation. CI: confidence interval. IQM: interquartile "
                "mean. Similarity and kappa are explained under Agreement.",
                *(["CI methods:", "; ".join(notes) + "."] if notes else []),
            ]
        ),
    )


def seeds_needed_table(settings: pd.DataFrame) -> ReportTable:
    """One row for each setting of a study that adds seeds until the interval of the mean is narrow enough."""
    corrected = bool(settings["corrected_interval"].all())
    return ReportTable(
        id="seeds-needed",
        caption="Seeds added until the confidence interval of the mean is narrow enough (percentage points)",
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
        wide_columns=frozenset({"stopped because"}),
        note=(
            "Half-width: of Student's t interval of the mean. "
            + (
                "Intervals are Bonferroni-corrected: together they have 95 % confidence over all looks."
                if corrected
                else "The final interval is optimistic, as seeds stop as soon as it is narrow."
            )
        ),
    )


def comparisons_table(comparisons: Sequence[Comparison]) -> ReportTable:
    """One row for each pair of settings, smallest adjusted p-value first."""
    order = sorted(comparisons, key=lambda c: (math.isnan(c.p_adjusted), c.p_adjusted, -abs(c.effect_size)))
    return ReportTable(
        id="comparisons",
        caption="Pairwise comparisons over common seeds (percentage points of validation accuracy)",
        headings=(
            "first",
            "second",
            "common seeds",
            "first - second [95 %]",
            "P(first better) [95 %]",
            "effect size",
            "p",
            "p (Holm)",
        ),
        rows=tuple(
            (
                c.first,
                c.second,
                str(c.n),
                estimate(c.difference),
                estimate(c.improvement),
                number(c.effect_size),
                p_text(c.p_value),
                p_text(c.p_adjusted),
            )
            for c in order
        ),
        text_columns=frozenset({"second"}),
        note=(
            "p: two-sided Wilcoxon signed-rank test; with fewer than 6 common seeds it cannot be below 0.05, however "
            "large the difference. first - second: mean of the paired differences with Student's t interval (BCa "
            "bootstrap for 20 to 500 seeds). The t interval assumes normal differences: with few seeds it can exclude "
            "0 although the test is not significant. Holm: adjusted for all comparisons in this table. Effect size: "
            "matched-pairs rank-biserial correlation, -1 to 1. P(first better): probability that a search of the "
            "first setting beats one of the second, regardless of seed; no interval for fewer than 5 seeds, or if all "
            "pairs have the same outcome."
        ),
    )


def seeds_table(searches: pd.DataFrame) -> ReportTable:
    """The numbers behind the strip plot."""
    order = setting_order(searches)
    rows = sorted(row_dicts(rank_searches(searches)), key=lambda row: (order[row["setting"]], row["seed"]))
    return ReportTable(
        id="seeds",
        caption="One-shot validation accuracy of every search with a result (percent)",
        headings=("setting", "seed", "validation accuracy"),
        rows=tuple((row["setting"], str(row["seed"]), number(row["valid_accuracy"])) for row in rows),
    )


def searches_table(searches: pd.DataFrame) -> ReportTable:
    """All searches: first those with a result, best first, then failed ones."""
    return ReportTable(
        id="searches",
        caption="All searches (accuracies in percent, one-shot)",
        headings=(
            "search",
            "setting",
            "seed",
            "status",
            "validation accuracy",
            "training accuracy",
            "cell",
            "cell unchanged since epoch",
            "skips normal / reduction",
            "eigenvalue",
            "epochs",
            "seconds",
            "collapse rules",
        ),
        rows=tuple(
            (
                row["search_id"],
                row["setting"],
                str(row["seed"]),
                row["status"],
                number(row["valid_accuracy"]),
                number(row["train_accuracy"]),
                plain(row["genotype_digest"]) or MISSING,
                number(row["last_genotype_change"], 0),
                _counts(row["skip_connections_normal"], row["skip_connections_reduce"]),
                number(row["dominant_eigenvalue"], 3),
                number(row["epochs_trained"], 0),
                number(row["seconds"], 1),
                shortened(plain(row["stop_reason"]) or plain(row["warnings"])),
            )
            for row in [*row_dicts(rank_searches(searches)), *row_dicts(_incomplete(searches))]
        ),
        text_columns=frozenset({"setting", "cell", "status"}),
        wide_columns=frozenset({"collapse rules"}),
    )


def errors_table(searches: pd.DataFrame) -> ReportTable:
    """Searches without a result, with their errors."""
    return ReportTable(
        id="errors",
        caption="Searches without a result",
        headings=("search", "status", "error"),
        rows=tuple(
            (row["search_id"], row["status"], shortened(plain(row["error"])) or MISSING)
            for row in row_dicts(_incomplete(searches))
        ),
        text_columns=frozenset({"status", "error"}),
    )


def failures_table(failures: pd.DataFrame) -> ReportTable:
    """Failures during the study, latest last."""
    return ReportTable(
        id="failures",
        caption="Failures during the study, including those that a retry resolved",
        headings=("time", "kind", "subject", "error"),
        rows=tuple(
            (row["happened_at"], row["kind"], row["subject"], shortened(row["error"]))
            for row in row_dicts(failures.sort_values(["happened_at", "failure_id"]))
        ),
        text_columns=frozenset({"kind", "subject", "error"}),
        wide_columns=frozenset({"error"}),
    )


def _settings_row(s: SettingSummary, letter: str, agreement: CellAgreement | None) -> tuple[str, ...]:
    a, measures = s.valid_accuracy, [math.nan] * 4
    if agreement is not None:
        measures = [
            agreement.similarity_normal,
            agreement.similarity_reduce,
            agreement.kappa_normal,
            agreement.kappa_reduce,
        ]
    return (
        s.setting,
        str(a.n),
        str(s.failed),
        str(s.stopped),
        spread(a.mean, a.std),
        interval(a.low, a.high),
        f"({letter})" if letter else "",
        number(a.median),
        Number(f"{number(a.q1)} to {number(a.q3)}" if a.n else MISSING, a.q1, a.q3),
        number(a.iqm),
        number(a.minimum),
        MISSING if s.worst_seed is None or a.std == 0 else str(s.worst_seed),
        number(a.maximum),
        str(s.distinct_cells),
        _pair(measures[0], measures[1]),
        _pair(measures[2], measures[3]),
        number(s.seconds, 0 if s.seconds >= 100 else 1),
    )


def _pair(first: float, second: float) -> Number:
    text = MISSING if math.isnan(first) and math.isnan(second) else f"{number(first)} / {number(second)}"
    return Number(text, first, second)


def _letter(place: int) -> str:
    return chr(ord("a") + place) if place < 26 else str(place)


def _incomplete(searches: pd.DataFrame) -> pd.DataFrame:
    ended = searches[~searches["status"].isin(WITH_RESULT)]
    return ended.sort_values(["status", "search_id"], ascending=[False, True])


def _counts(first: Any, second: Any) -> Number:
    a, b = number(first, 0), number(second, 0)
    return Number(f"{a} / {b}", *a.values, *b.values)
