"""The parts of the page as JSON: pure functions of a snapshot and a view.

`panels` makes what a page shows; `orchestrator.watch.streams` sends what changed of it.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from analysis.statistics.summaries import WITH_RESULT, Summary, summarize
from orchestrator.watch import curves, details
from orchestrator.watch.plain import natural, plain
from orchestrator.watch.reading.snapshot import Snapshot
from orchestrator.watch.rows import (
    COLUMNS,
    LABELS,
    ROWS,
    STATES,
    all_columns,
    column_names,
    search_rows,
    selected,
    shown,
    time_text,
    training_rows,
    with_columns,
)
from orchestrator.watch.view import View

MAX_SETTINGS = 100
"""Settings in the table of the overview."""
MAX_CELLS = 6
"""Cells that the overview draws."""
MAX_REQUESTS = 20
"""Requests to the driver that are sent."""
MEASURE = "valid_accuracy"
"""Measure that settings and cells are compared by."""
AT = {
    "result": "at the chosen epoch; of searches that run, the last value",
    "last": "last value",
    "best": "at the epoch with the best validation accuracy",
}
Json = dict[str, Any]


def panels(snapshot: Snapshot, view: View) -> Json:
    """Everything that a view shows.  Raises ValueError for a view that the study cannot show."""
    searches = search_rows(snapshot, view.at)
    trainings = training_rows(snapshot)
    found = {
        "header": header(snapshot, searches),
        "tiles": tiles(snapshot, searches, trainings),
        "choices": choices(searches, view),
        "requests": requests(snapshot),
    }
    if view.tab == "overview":
        kept = selected(searches, view)
        found["settings"] = settings(kept)
        found["curves"] = curves.panel(snapshot, kept, view)
        found["cells"] = cells(kept, trainings)
    if view.tab in ROWS:
        found["table"] = table(snapshot, view)
    if view.tab == "trainings":
        found["levels"] = levels(selected(trainings, view))
    if view.search:
        found["detail"] = details.search(snapshot, searches, view)
    elif view.job:
        found["detail"] = details.job(snapshot, trainings, view)
    return found


def header(snapshot: Snapshot, searches: pd.DataFrame) -> Json:
    """Who works on the study, and how fresh the data are."""
    live = snapshot.live
    lines = []
    if live and live.driver.message:
        lines.append(live.driver.message)
    if live and live.storage.troubles:
        lines += [f"Storage: {trouble}" for trouble in live.storage.troubles[-3:]]
    return {
        "name": snapshot.name,
        "root": snapshot.root.partition("?")[0],
        "driver": snapshot.driver,
        "phase": live.driver.phase if live else "",
        "who": f"process {live.driver.pid} on {live.driver.host}" if live else "",
        "command": live.driver.command if live else "",
        "lease": snapshot.lease.who if snapshot.lease else "",
        "lease_since": time_text(snapshot.lease.since) if snapshot.lease else "",
        "resources": plain(vars(live.resources)) if live and live.resources and snapshot.driver == "running" else None,
        "rows_waiting": live.storage.rows_waiting if live else 0,
        "last_write_at": live.storage.last_write_at if live else None,
        "seconds_left": plain(live.seconds_left) if live and snapshot.driver == "running" else None,
        "written_at": time_text(snapshot.written_at) if snapshot.written_at else None,
        "messages": lines,
        "problems": list(snapshot.problems),
        "empty": snapshot.is_empty,
    }


def tiles(snapshot: Snapshot, searches: pd.DataFrame, trainings: pd.DataFrame) -> Json:
    """Counts by state, the highest one-shot accuracy, and the test accuracy of the cell that is best by validation."""
    trained = _trained_cells(trainings)
    one_shot = searches[searches["state"].isin(WITH_RESULT)].dropna(subset=[MEASURE])
    return {
        "searches": _counts(searches["state"]),
        "trainings": _counts(trainings["state"]),
        "failures": len(snapshot.failures) + int((snapshot.retrains["status"] == "failed").sum()),
        "best_search": _best(one_shot, MEASURE, "setting"),
        "best_cell": plain({"digest": str(trained.index[0]), "test": trained["test"].iloc[0], "n": len(trained)})
        if len(trained)
        else None,
    }


def requests(snapshot: Snapshot) -> list[Json]:
    """What the driver was last asked for, and what it answered; all that waits for an answer, too."""
    recent = snapshot.requests[-MAX_REQUESTS:]
    older = [pair for pair in snapshot.requests[:-MAX_REQUESTS] if pair[1] is None]
    return [
        {
            "id": request.id,
            "kind": request.kind,
            "target": request.target or " ".join(map(str, request.seeds)),
            "asked_at": request.asked_at,
            "asked_by": request.asked_by,
            "verdict": answer.verdict if answer else "",
            "reason": answer.reason if answer else "",
            "answered_at": answer.answered_at if answer else None,
        }
        for request, answer in (*older[-MAX_REQUESTS:], *recent)
    ]


def choices(searches: pd.DataFrame, view: View) -> Json:
    """What can be chosen, and how the choice reads."""
    names = sorted(map(str, searches["setting"].unique()), key=natural)
    seeds = sorted({int(seed) for seed in searches["seed"].dropna()})
    epochs = int(searches["epochs_done"].max()) if len(searches) else 0
    at = AT.get(view.at, f"after epoch {view.at}")
    return {
        "settings": names[:1000],
        "seeds": seeds[:1000],
        "epochs": epochs,
        "at": at,
        "states": STATES.get(view.tab, ()),
    }


def settings(searches: pd.DataFrame, most: int = MAX_SETTINGS) -> Json:
    """The searches by setting: how many, and the median and mean of their accuracies with its interval."""
    names = sorted(map(str, searches["setting"].unique()), key=natural)
    groups = dict(list(searches.groupby("setting")))
    rows = {}
    for name in names[:most]:
        group = groups[name]
        counts = _counts(group["state"])
        ended = group[group["state"].isin(WITH_RESULT)]
        found = _summary(tuple(sorted(ended[MEASURE].dropna())))
        best = ended.sort_values(MEASURE, ascending=False, na_position="last").head(1)
        rows[name] = {
            "n": found.n,
            "counts": counts,
            "median": plain(found.median),
            "mean": plain(found.mean),
            "low": plain(found.low),
            "high": plain(found.high),
            "method": found.method,
            "minimum": plain(found.minimum),
            "maximum": plain(found.maximum),
            "best": str(best.index[0]) if len(best) and found.n else None,
            "cells": int(ended["genotype_digest"].nunique()),
        }
    return {"order": list(rows), "rows": rows, "left_out": len(names) - len(rows), "total": len(names)}


def cells(searches: pd.DataFrame, trainings: pd.DataFrame) -> Json:
    """Distinct cells: those trained in full by their mean validation accuracy, which also orders the race.

    Before any is, they are not ranked: one-shot accuracies of different super-networks do not compare, and need not
    rank cells.  Test accuracies never choose.
    """
    ended = searches[searches["state"].isin(WITH_RESULT)].dropna(subset=["genotype_digest"])
    groups = ended.groupby("genotype_digest")
    found = groups.agg(searches=("setting", "size"), one_shot=(MEASURE, "max"), setting=("setting", "first"))
    trained = found.join(_trained_cells(trainings), how="inner").sort_values("valid", ascending=False, kind="stable")
    shown = trained if len(trained) else found.assign(valid=np.nan, test=np.nan, trainings=0).sort_values("setting")
    best = [
        {
            "digest": str(digest),
            "searches": int(row["searches"]),
            "setting": row["setting"],
            "one_shot": plain(row["one_shot"]),
            "valid": plain(row["valid"]),
            "test": plain(row["test"]),
            "trainings": int(row["trainings"]),
        }
        for digest, row in shown.head(MAX_CELLS).iterrows()
    ]
    return {"best": best, "total": len(found), "trained": len(trained)}


def _trained_cells(trainings: pd.DataFrame) -> pd.DataFrame:
    """Mean validation and test accuracy of the cells trained in full, by the study's own recipe, the best first."""
    final = trainings[trainings["stage"] == "final"].dropna(subset=["genotype_digest", "valid_accuracy"])
    means = final.groupby("genotype_digest").agg(
        valid=("valid_accuracy", "mean"), test=("test_accuracy", "mean"), trainings=("valid_accuracy", "size")
    )
    return means.sort_values("valid", ascending=False, kind="stable")


def levels(trainings: pd.DataFrame) -> list[Json]:
    """The queue by stage and rung: how many jobs are in which state, and their mean accuracies."""
    return [
        {
            "level": str(level),
            "counts": _counts(group["state"]),
            "n": int(group["test_accuracy"].notna().sum()),
            "valid": plain(group["valid_accuracy"].mean()),
            "test": plain(group["test_accuracy"].mean()),
            "seconds_left": plain(group["seconds_left"].max()),
        }
        for level, group in trainings.sort_values(["_place", "rung"], kind="stable").groupby("level", sort=False)
    ]


def table(snapshot: Snapshot, view: View) -> Json:
    """One page of the table of a tab."""
    kept = shown(snapshot, view.tab, view)
    names = column_names(view.tab, view)
    pages = max(1, -(-len(kept) // view.size))
    page = min(view.page, pages)
    part = kept.iloc[(page - 1) * view.size : page * view.size]
    frame = with_columns(part, snapshot, view.tab, names)
    extra = [
        name for name in ("state", "epochs_done", "epochs", "kind", "level") if name in frame and name not in names
    ]
    records = frame[[*names, *extra]].to_dict("records")
    rows = {
        str(key): {name: plain(value) for name, value in row.items()}
        for key, row in zip(frame.index, records, strict=True)
    }
    return {
        "name": view.tab,
        "columns": {
            name: {"label": LABELS.get(name, name.replace("_", " ")), "text": _is_text(frame[name])} for name in names
        },
        "names": names,
        "order": list(rows),
        "rows": rows,
        "total": len(ROWS[view.tab](snapshot, view)),
        "matching": len(kept),
        "page": page,
        "pages": pages,
        "at": AT.get(view.at, f"after epoch {view.at}"),
    }


def column_list(table_name: str) -> list[Json]:
    """What the choice of columns offers."""
    usual = COLUMNS[table_name]
    return [
        {"name": name, "label": LABELS.get(name, name.replace("_", " ")), "text": text, "usual": name in usual}
        for name, text in all_columns(table_name).items()
    ]


@lru_cache(maxsize=4096)
def _summary(values: tuple[float, ...]) -> Summary:
    return summarize(values)


def _counts(states: "pd.Series[str]") -> dict[str, int]:
    return {str(state): int(count) for state, count in sorted(states.value_counts().items())}


def _best(frame: pd.DataFrame, column: str, label: str) -> Json | None:
    if not len(frame):
        return None
    row = frame.sort_values(column, ascending=False).iloc[0]
    return {"key": str(row.name), "value": plain(row[column]), "label": str(row[label]), "n": len(frame)}


def _is_text(values: "pd.Series[Any]") -> bool:
    return not pd.api.types.is_numeric_dtype(values) and bool(pd.to_numeric(values, errors="coerce").isna().any())
