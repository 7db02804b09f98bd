"""One search or one retraining job in full: state, error, attempts, values, cell."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.tables import RETRAINS, SEARCHES
from orchestrator.storage.live_status import RunningTrial
from orchestrator.watch.plain import numbers, plain, whole
from orchestrator.watch.reading.epoch_grid import BEST_BY, EpochGrid, at_each, best_epochs, last
from orchestrator.watch.reading.snapshot import Snapshot
from orchestrator.watch.rows import with_columns
from orchestrator.watch.view import View

Json = dict[str, Any]
FACTS = ("started_at", "finished_at", "device_name", "seconds", "gpu_days", "peak_memory_bytes", "chosen_epoch",
         "stop_reason", "warnings", "network_parameters", "network_macs", "git_revision")  # fmt: skip
"""Columns of the table `searches` that the details begin with."""
JOB_FACTS = ("stage", "rung", "rank", "reason", "submitted_at", "retry_at", "network_parameters", "network_macs")
SEARCH_CURVES = {
    "valid_accuracy": "validation accuracy, %",
    "train_loss": "training loss",
    "alpha_entropy_normal": "entropy, normal cell",
    "dominant_eigenvalue": "largest eigenvalue",
}
JOB_CURVES = {"valid_accuracy": "validation accuracy, %", "train_loss": "training loss"}
RESULT_FACTS = ("attempt", "status", "error", "valid_accuracy", "test_accuracy", "best_epoch", "epochs_trained",
                "seconds", "started_at", "finished_at", "device_name")  # fmt: skip


def search(snapshot: Snapshot, searches: pd.DataFrame, view: View) -> Json:
    """A search."""
    if view.search not in searches.index:
        return {"kind": "search", "key": view.search, "missing": True}
    row = with_columns(searches.loc[[view.search]], snapshot, "searches", [*FACTS, "genotype"]).iloc[0]
    values = _values(snapshot.grid, view.search)
    if len(snapshot.searches) and view.search in set(snapshot.searches["search_id"]):
        stored = snapshot.searches[snapshot.searches["search_id"] == view.search].iloc[-1]
        for name in values:
            values[name]["result"] = plain(stored[name])
    failures = snapshot.failures[snapshot.failures["subject"] == view.search].sort_values("happened_at")
    return {
        "kind": "search",
        "key": view.search,
        "title": f"{row['setting']}, seed {whole(row['seed'])}",
        **_progress(row, snapshot.running.get(view.search)),
        "values": values,
        "curves": _curves(snapshot.grid, view.search, SEARCH_CURVES),
        "facts": _facts(row, FACTS, SEARCHES.columns),
        "attempts": [
            {name: plain(failure[name]) for name in ("happened_at", "error")} for failure in failures.to_dict("records")
        ],
    }


def job(snapshot: Snapshot, trainings: pd.DataFrame, view: View) -> Json:
    """A retraining job."""
    if view.job not in trainings.index:
        return {"kind": "job", "key": view.job, "missing": True}
    row = trainings.loc[view.job]
    attempts = snapshot.retrains[snapshot.retrains["job_id"] == view.job].sort_values("attempt")
    return {
        "kind": "job",
        "key": view.job,
        "title": f"Cell {row['genotype_digest'][:8]}, {row['level']}",
        **_progress(row, snapshot.running.get(view.job)),
        "values": _values(snapshot.training_grid, view.job),
        "curves": _curves(snapshot.training_grid, view.job, JOB_CURVES),
        "facts": _facts(row, JOB_FACTS, SEARCHES.columns)
        | {"searches": {"value": ", ".join(row["origins"]), "text": ""}},
        "attempts": [
            {name: plain(attempt[name]) for name in RESULT_FACTS} | {"happened_at": plain(attempt["finished_at"])}
            for attempt in attempts.to_dict("records")
        ],
    }


def _progress(row: "pd.Series[Any]", trial: RunningTrial | None) -> Json:
    """What both have: setting and seed, how far it is and where it runs, its cell."""
    return {
        "state": row["state"],
        "setting": row["setting"],
        "seed": whole(row["seed"]),
        "epochs_done": int(row["epochs_done"]),
        "epochs": int(row["epochs"]),
        "seconds_left": plain(row["seconds_left"]),
        "node": trial.node if trial else None,
        "attempt": trial.attempt if trial else None,
        "reported_at": trial.reported_at if trial else None,
        "error": plain(row["error"]) or "",
        "genotype": plain(row["genotype"]),
        "digest": plain(row["genotype_digest"]),
    }


def _values(grid: EpochGrid, key: str) -> Json:
    """The last value of each measure, and that of the best epoch."""
    values, place = {}, grid.places([key])
    best = best_epochs(grid.values(BEST_BY, place))
    for name in grid.measures[:-1]:
        epochs = grid.values(name, place)
        if np.isfinite(epochs).any():
            values[name] = {"last": plain(last(epochs)[0]), "best": plain(at_each(epochs, best)[0])}
            values[name]["best_epoch"] = int(best[0]) if best[0] >= 0 else None
    return values


def _curves(grid: EpochGrid, key: str, labels: Mapping[str, str]) -> Json:
    """The measures that were recorded, over the epochs."""
    found, place = {}, grid.places([key])
    for name, label in labels.items():
        (values,) = grid.values(name, place)
        epochs = np.flatnonzero(np.isfinite(values))
        if len(epochs):
            found[name] = {"label": label, "epoch": [int(each) for each in epochs], "value": numbers(values[epochs])}
    return found


def _facts(row: "pd.Series[Any]", names: tuple[str, ...], columns: list[Any]) -> Json:
    """The columns that have a value, with what they mean."""
    texts = {column.name: column.description for column in (*RETRAINS.columns, *columns)}
    return {
        name: {"value": value, "text": texts.get(name, "")}
        for name in names
        if name in row and (value := plain(row[name])) not in (None, "")
    }
