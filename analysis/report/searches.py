"""The section of the report that lists all searches, errors and failures."""

from typing import Any

import pandas as pd

from analysis.sections.blocks import Number, ReportTable, Section, Text
from analysis.sections.wording import MISSING, millions, number, plain, row_dicts, shortened
from analysis.statistics.summaries import WITH_RESULT, rank_searches
from analysis.study_data import StudyData


def section(data: StudyData) -> Section:
    """All searches, then errors and failures."""
    table, details = searches_table(data), details_table(data)
    errors, failures = errors_table(data.searches), failures_table(data.failures)
    blocks = tuple(t for t in (table, details, errors, failures) if t.rows)
    none = (Text(text="No search has finished yet."),)
    return Section(id="searches", title="All searches", short="Searches", blocks=blocks or none)


def searches_table(data: StudyData) -> ReportTable:
    """All searches by setting and seed: first those with a result, then failed ones."""
    return ReportTable(
        id="searches",
        caption="All searches (accuracies in percent, one-shot: they do not compare settings)",
        headings=(
            "search",
            "setting",
            "seed",
            "status",
            "validation accuracy",
            "training accuracy",
            "cell",
            "epochs",
            "seconds",
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
                number(row["epochs_trained"], 0),
                number(row["seconds"], 1),
            )
            for row in _listed(data)
        ),
        text_columns=frozenset({"setting", "cell", "status"}),
        wide_columns=frozenset({"search", "setting"}),
    )


def details_table(data: StudyData) -> ReportTable:
    """What else is known of the cells of all searches with a result."""
    return ReportTable(
        id="search-details",
        caption="Cells and collapse rules of all searches",
        headings=(
            "search",
            "cell unchanged since epoch",
            "skips normal / reduction",
            "eigenvalue",
            "parameters (M)",
            "multiply-adds (M)",
            "collapse rules",
        ),
        rows=tuple(
            (
                row["search_id"],
                number(row["last_genotype_change"], 0),
                _counts(row["skip_connections_normal"], row["skip_connections_reduce"]),
                number(row["dominant_eigenvalue"], 3),
                millions(row["network_parameters"]),
                millions(row["network_macs"]),
                shortened(plain(row["stop_reason"]) or plain(row["warnings"])),
            )
            for row in _listed(data)
            if row["status"] in WITH_RESULT
        ),
        text_columns=frozenset({"collapse rules"}),
        wide_columns=frozenset({"search", "collapse rules"}),
        folded=True,
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
        wide_columns=frozenset({"search", "error"}),
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
        wide_columns=frozenset({"subject", "error"}),
    )


def _listed(data: StudyData) -> list[dict[Any, Any]]:
    ranked = rank_searches(data.searches)
    ended = ranked.assign(place=ranked["setting"].map(data.order)).sort_values(["place", "seed", "search_id"])
    return [*row_dicts(ended), *row_dicts(_incomplete(data.searches))]


def _incomplete(searches: pd.DataFrame) -> pd.DataFrame:
    ended = searches[~searches["status"].isin(WITH_RESULT)]
    return ended.sort_values(["status", "search_id"], ascending=[False, True])


def _counts(first: Any, second: Any) -> Number:
    a, b = number(first, 0), number(second, 0)
    return Number(f"{a} / {b}", *a.values, *b.values)
