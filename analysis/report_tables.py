"""Tables of the report; analysis.page says what a table is."""

import textwrap
from collections.abc import Sequence

import pandas as pd

from analysis.page import Table
from analysis.report_text import MISSING, number, plain, records, spread
from analysis.statistics import WITH_RESULT, SettingSummary, natural_key, rank_searches


def settings_table(summaries: Sequence[SettingSummary]) -> Table:
    """One row a setting, best mean first."""
    return Table(
        id="settings",
        caption="Settings by mean one-shot validation accuracy (percent) over their completed seeds",
        headings=(
            "setting",
            "n",
            "failed",
            "stopped",
            "mean ± std",
            "median",
            "min",
            "max",
            "distinct cells",
            "s / search",
        ),
        rows=tuple(
            (
                s.setting,
                str(s.valid_accuracy.n),
                str(s.failed),
                str(s.stopped),
                spread(s.valid_accuracy.mean, s.valid_accuracy.std),
                *(number(v) for v in (s.valid_accuracy.median, s.valid_accuracy.minimum, s.valid_accuracy.maximum)),
                str(s.distinct_cells),
                number(s.seconds, 0 if s.seconds >= 100 else 1),
            )
            for s in summaries
        ),
    )


def seeds_table(searches: pd.DataFrame) -> Table:
    """The numbers behind the strip plot."""
    rows = sorted(records(rank_searches(searches)), key=lambda row: (natural_key(row["setting"]), row["seed"]))
    return Table(
        id="seeds",
        caption="One-shot validation accuracy of every completed search, percent",
        headings=("setting", "seed", "validation accuracy"),
        rows=tuple((row["setting"], str(row["seed"]), number(row["valid_accuracy"])) for row in rows),
    )


def searches_table(searches: pd.DataFrame) -> Table:
    """All searches: those with a result, best first, then failed ones."""
    return Table(
        id="searches",
        caption="All searches; accuracies in percent, of the super-network with shared weights",
        headings=(
            "search",
            "setting",
            "seed",
            "status",
            "validation accuracy",
            "training accuracy",
            "cell",
            "final since epoch",
            "skips normal / reduction",
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
                number(row["last_genotype_change"], 0),
                f"{number(row['skip_connections_normal'], 0)} / {number(row['skip_connections_reduce'], 0)}",
                number(row["epochs_trained"], 0),
                number(row["seconds"], 1),
            )
            for row in [*records(rank_searches(searches)), *records(_incomplete(searches))]
        ),
        text_columns=frozenset({"setting", "cell", "status"}),
    )


def errors_table(searches: pd.DataFrame) -> Table:
    """Searches that have no result, and why."""
    return Table(
        id="errors",
        caption="Searches that did not complete",
        headings=("search", "status", "error"),
        rows=tuple(
            (row["search_id"], row["status"], _shortened(plain(row["error"])) or MISSING)
            for row in records(_incomplete(searches))
        ),
        text_columns=frozenset({"status", "error"}),
    )


def retrains_table(queue: pd.DataFrame, retrains: pd.DataFrame) -> Table:
    """One row a retraining job, by rank: its last completed attempt, or else its last."""
    order = retrains.assign(completed=retrains["status"] == "completed").sort_values(["completed", "attempt"])
    attempts = {row["job_id"]: row for row in records(order)}  # the last of a job stays
    jobs = records(queue.sort_values(["rank", "job_id"]))
    known = {job["job_id"] for job in jobs}
    jobs += [{**row, "state": row["status"]} for job, row in sorted(attempts.items()) if job not in known]
    rows = []
    for job in jobs:
        result = attempts.get(job["job_id"], {})
        size = result if not pd.isna(result.get("network_macs")) else job
        error = "" if job["state"] == "done" else plain(job.get("error")) or plain(result.get("error"))
        rows.append(
            (
                number(job.get("rank"), 0),
                job["genotype_digest"],
                number(job.get("valid_accuracy") if job["job_id"] in known else None),
                number(result.get("valid_accuracy")),
                number(result.get("test_accuracy")),
                number(size["network_parameters"], 0),
                number(size["network_macs"], 0),
                f"{job['state']}: {_shortened(error)}" if error else job["state"],
            )
        )
    return Table(
        id="retrains",
        caption="Retrained cells; accuracies in percent. Multiply-adds: convolutions + linear layers, one image",
        headings=(
            "rank",
            "cell",
            "search validation",
            "retrained validation",
            "test",
            "parameters",
            "multiply-adds",
            "state",
        ),
        rows=tuple(rows),
        text_columns=frozenset({"cell", "state"}),
    )


def _incomplete(searches: pd.DataFrame) -> pd.DataFrame:
    ended = searches[~searches["status"].isin(WITH_RESULT)]
    return ended.sort_values(["status", "search_id"], ascending=[False, True])


def _shortened(error: str) -> str:
    return textwrap.shorten(error, 400, placeholder=" …")  # the tables hold all of it
