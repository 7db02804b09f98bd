"""The mirror of a study in a tracker: what is new in the tables goes there, epochs as steps, parameters once.

Missing values are left out, and so are NaN and infinite ones: trackers store them differently or not at all.
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import pandas as pd

from analysis.storage.storage_retry import StorageError
from analysis.store import ResultStore
from analysis.tables import EPOCHS, RETRAIN_EPOCHS, RETRAINS, SEARCHES, Table
from analysis.tracking.tracker import (
    EpochMetrics,
    Metrics,
    Outcome,
    RunIdentity,
    TrackedRun,
    Tracker,
    TrackerError,
    Value,
)
from pcdarts.config import RetrainConfig, SearchConfig, outcome_fields
from pcdarts.results import EpochRecord, RetrainEpoch, RetrainResult, SearchResult

RESULT = "result/"
"""Prefix of the results of a run, whose names are also those of measures of an epoch."""
NOTES = ("setting", "stage", "genotype", "genotype_digest", "stop_reason", "warnings", "device_name", "git_revision")
"""Columns that a run keeps as texts."""
LONGEST_DELAY = 60.0
"""Seconds between attempts to reach a tracker, at most."""


class Changes(NamedTuple):
    """What an update of a mirror stored."""

    runs: int = 0
    """Runs that were created or continued."""
    epochs: int = 0
    """Epochs."""
    outcomes: int = 0
    """Runs that ended."""


class Mirror:
    """Keeps a tracker up to date with the tables of a study, which it only reads.

    `planned` has the configuration of each search by its id, so that parameters are known before a search ends.
    """

    def __init__(self, store: ResultStore, tracker: Tracker, planned: Mapping[str, SearchConfig] | None = None) -> None:
        self._store, self._tracker, self._planned = store, tracker, planned or {}
        self._runs: dict[tuple[str, str, str], TrackedRun] = {}

    def update(self) -> Changes:
        """Store what is new since the last update, or since an earlier mirror; raises TrackerError."""
        changes = Changes()
        searches = {(row["study"], row["search_id"]): row for row in self._store.rows(SEARCHES)}
        epochs = self._epochs(EPOCHS, "search_id", EpochRecord)
        for study, key in dict.fromkeys((*searches, *epochs)):
            row = searches.get((study, key))
            params = outcome_fields(self._planned[key]) if key in self._planned else _params(SearchConfig, row)
            changes = self._bring(changes, (study, key, "search"), row, params, epochs.get((study, key), []))
        attempts = sorted(self._store.rows(RETRAINS), key=lambda row: row["attempt"])
        retrains = {(row["study"], row["job_id"]): row for row in attempts}
        epochs = self._epochs(RETRAIN_EPOCHS, "job_id", RetrainEpoch)
        for study, key in dict.fromkeys((*retrains, *epochs)):
            row = retrains.get((study, key))
            params = _params(RetrainConfig, row)
            changes = self._bring(changes, (study, key, "retraining"), row, params, epochs.get((study, key), []))
        return changes

    def close(self) -> None:
        """End the mirror; the runs stay."""
        self._tracker.close()

    def _bring(
        self,
        changes: Changes,
        name: tuple[str, str, str],
        row: Mapping[str, Any] | None,
        params: Mapping[str, Any],
        epochs: list[EpochMetrics],
    ) -> Changes:
        """Bring the run of this study, key and kind up to date."""
        study, key, kind = name
        outcome = None if row is None else _outcome(kind, row)
        known = self._runs.get(name)
        if known and len(epochs) <= known.epochs and outcome and outcome.name == known.outcome:
            return changes
        started = None if row is None else _timestamp(row["started_at"])
        run = known or self._tracker.run(RunIdentity(study=study, key=key, kind=kind, started=started))
        self._runs[name] = run
        new = [epoch for epoch in epochs if epoch.epoch >= run.epochs]
        ends = outcome if outcome and outcome.name != run.outcome else None
        if not new and not ends:
            return changes
        run.params(_values(params))
        if new:
            run.metrics(new)
        if ends:
            run.finish(ends)
        return Changes(changes.runs + 1, changes.epochs + len(new), changes.outcomes + bool(ends))

    def _epochs(self, table: Table, name: str, record: type) -> dict[tuple[str, str], list[EpochMetrics]]:
        """The epochs of every search or retraining, by its study and its id in the column `name`, in their order."""
        names = _numeric(table, record)
        frame = self._store.read(table, ["study", name, "epoch", *names])
        found = {}
        for (study, key), rows in frame.sort_values([name, "epoch"]).groupby(["study", name]):
            seconds = rows["seconds"].fillna(0).cumsum()
            found[str(study), str(key)] = [
                EpochMetrics(epoch=int(row["epoch"]), seconds=float(elapsed), metrics=_metrics(row, names))
                for row, elapsed in zip(rows.to_dict("records"), seconds, strict=True)
            ]
        return found


def follow(
    open_mirror: Callable[[], Mirror],
    say: Callable[[str], None],
    *,
    finished: Callable[[], bool] = lambda: False,
    interval: float = 10.0,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Keep a mirror up to date until the study has `finished`.

    A tracker or storage that fails is said once and tried again.
    """
    mirror: Mirror | None = None
    delay = interval
    try:
        while True:
            try:
                mirror = mirror or open_mirror()
                last = finished()  # before the update, which then has everything
                changes = mirror.update()
                if delay != interval:
                    say("the tracker answers again")
                delay = interval
                if any(changes):
                    say(summary(changes))
                if last:
                    say("the study has finished")
                    return
            except (TrackerError, StorageError) as error:
                if delay == interval:
                    say(f"{error}; the study is not affected, trying again")
                mirror = None  # what arrived is not known: look it up again
                delay = min(max(2 * delay, interval), max(LONGEST_DELAY, interval))
            sleep(delay)
    finally:
        if mirror is not None:
            with contextlib.suppress(TrackerError):
                mirror.close()


def summary(changes: Changes) -> str:
    """The changes in one line."""
    parts = zip(changes, ("run", "epoch", "outcome"), strict=True)
    return "mirrored " + ", ".join(f"{count} {what}{'' if count == 1 else 's'}" for count, what in parts)


def _numeric(table: Table, record: type) -> list[str]:
    """Names of the columns of a record that hold one number or a truth value."""
    names = set(record.__dataclass_fields__)  # type: ignore[attr-defined]
    numbers = [column.name for column in table.columns if column.annotation in (int, float, bool)]
    return [name for name in numbers if name in names and name != "epoch"]


def _metrics(row: Mapping[str, Any], names: Iterable[str], prefix: str = "") -> Metrics:
    """The finite numbers of a row."""
    numbers = {name: float(row[name]) for name in names if row[name] is not None and not pd.isna(row[name])}
    return {f"{prefix}{name}": value for name, value in numbers.items() if math.isfinite(value)}


def _outcome(kind: str, row: Mapping[str, Any]) -> Outcome:
    table, result = (SEARCHES, SearchResult) if kind == "search" else (RETRAINS, RetrainResult)
    metrics = {} if row["status"] == "failed" else _metrics(row, _numeric(table, result), RESULT)
    started, finished = _timestamp(row["started_at"]), _timestamp(row["finished_at"])
    return Outcome(
        status=row["status"],
        attempt=row.get("attempt") or 1,
        seconds=(finished - started) if started and finished else 0.0,
        metrics=metrics,
        notes={name: str(row[name]) for name in (*NOTES, "error") if row.get(name)},
    )


def _params(kind: type[SearchConfig] | type[RetrainConfig], row: Mapping[str, Any] | None) -> dict[str, Any]:
    """The fields of a configuration that decide an outcome, from a row; none without one."""
    names = outcome_fields(kind())
    return {} if row is None else {name: row[name] for name in names if name in row}


def _values(fields: Mapping[str, Any]) -> dict[str, Value]:
    """Parameters that a tracker can show: no missing ones."""
    return {name: value for name, value in fields.items() if isinstance(value, bool | int | float | str)}


def _timestamp(text: str | None) -> float | None:
    return datetime.fromisoformat(text).timestamp() if text else None
