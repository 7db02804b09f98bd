"""The rows behind the tables of the page: pure functions of a snapshot."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from analysis.statistics.retrained_cells import chosen
from analysis.tables import FAILURES, QUEUE, RETRAINS, SEARCHES
from orchestrator.storage.live_status import RunningTrial
from orchestrator.watch.reading.epoch_grid import BEST_BY, MEASURES, at, at_each, best_epochs, last, medians
from orchestrator.watch.reading.snapshot import SILENT_SECONDS, Snapshot
from orchestrator.watch.view import View

COLUMNS = {
    "searches": ("search_id", "setting", "seed", "state", "progress", "seconds_left", "valid_accuracy", "train_loss",
                 "alpha_entropy_normal", "dominant_eigenvalue", "skip_connections_normal", "finished_at", "error"),
    "trainings": ("job_id", "level", "rank", "state", "progress", "seconds_left", "genotype_digest", "setting", "seed",
                  "valid_accuracy", "test_accuracy", "attempts", "error", "reason"),
    "failures": ("happened_at", "kind", "subject", "setting", "seed", "error"),
}  # fmt: skip
"""The usual columns of each table; the first one identifies the row."""
LABELS = {
    "search_id": "search",
    "job_id": "job",
    "level": "stage",
    "genotype_digest": "cell",
    "seconds_left": "time left",
    "progress": "epochs",
    "valid_accuracy": "valid. acc. %",
    "test_accuracy": "test acc. %",
    "train_loss": "train loss",
    "valid_loss": "valid. loss",
    "train_accuracy": "train acc. %",
    "alpha_entropy_normal": "entropy, normal",
    "alpha_entropy_reduce": "entropy, reduction",
    "dominant_eigenvalue": "eigenvalue",
    "skip_connections_normal": "skips, normal",
    "skip_connections_reduce": "skips, reduction",
    "finished_at": "finished",
    "started_at": "started",
    "happened_at": "when",
}
"""Headings of columns whose names are too long or too plain."""
STATES = {
    "searches": ("running", "stale", "waiting", "completed", "stopped", "failed", "canceled"),
    "trainings": ("running", "stale", "queued", "done", "failed", "dropped"),
    "failures": ("trial", "storage", "driver", "training"),
}
"""The states that a table can be filtered by."""
SEARCHED = ("setting", "seed", "error", "reason", "genotype_digest", "subject")
"""Columns that the filter looks through, besides the id."""
UNKNOWN = "unknown"
"""Setting of a search that is neither in the configuration nor in the table `searches`."""
LIGHT = ("setting", "seed", "epochs", "status", "error", "epochs_trained", "genotype_digest", "started_at",
         "finished_at", *MEASURES[:-1])  # fmt: skip
"""Columns of the table `searches` that every view needs; the others are added for the rows that are shown."""
MOST_MADE = 16
"""Tables of a snapshot that are kept."""
ORDER = {"rung": 0, "final": 1, "published": 2, "recipe": 3}


def search_rows(snapshot: Snapshot, at_epoch: str = "result") -> pd.DataFrame:
    """All searches, planned ones included: the columns of the table `searches`, state and progress.

    The measures are of the chosen epoch, of the last or best one, or of an epoch with a number, see `View.at`.
    """
    return _once(snapshot, ("searches", at_epoch), lambda: _search_rows(snapshot, at_epoch))


def training_rows(snapshot: Snapshot) -> pd.DataFrame:
    """All retraining jobs in the order of the queue, with their results."""
    return _once(snapshot, "trainings", lambda: _training_rows(snapshot))


def failure_rows(snapshot: Snapshot) -> pd.DataFrame:
    """All failures, the latest first: of searches, storage and driver, and of trainings."""
    return _once(snapshot, "failures", lambda: _failure_rows(snapshot))


def _once(snapshot: Snapshot, key: Any, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    found = snapshot.made.get(key)
    if found is None:
        found = make()
        while len(snapshot.made) >= MOST_MADE:  # any epoch can be asked for
            snapshot.made.pop(next(iter(snapshot.made)), None)
        snapshot.made[key] = found
    return found


def _search_rows(snapshot: Snapshot, at_epoch: str) -> pd.DataFrame:
    planned, running, stored = snapshot.planned, snapshot.running, snapshot.searches
    found = pd.Index(stored["search_id"].to_numpy(object))
    ids = list(dict.fromkeys([*planned, *found, *snapshot.grid.place]))
    index = pd.Index(ids, dtype=object)
    place = found.get_indexer(index) if len(found) else np.full(len(ids), -1)
    finished = place >= 0
    columns: dict[str, Any] = {"search_id": index.to_numpy()}
    columns |= {name: _taken(stored[name], place) for name in LIGHT}
    plan = [planned.get(search) for search in ids]
    for name in ("setting", "seed", "epochs"):
        known = np.array([getattr(each, name) if each else None for each in plan], object)
        columns[name] = np.where(finished, columns[name], known)
    columns["setting"] = np.array([UNKNOWN if name is None else name for name in columns["setting"]], object)
    columns["seed"] = columns["seed"].astype(float)
    columns["epochs"] = epochs = np.nan_to_num(columns["epochs"].astype(float)).astype(int)
    places = snapshot.grid.places(ids)
    reported = snapshot.grid.done(places)
    done = np.where(reported > 0, reported, np.nan_to_num(columns["epochs_trained"]).astype(int))
    columns["epochs_done"] = done
    live = [running.get(search) for search in ids]
    states = [
        status if ended and not (trial and status == "failed") else _search_state(snapshot, trial, int(count))
        for ended, status, trial, count in zip(finished, columns["status"], live, done, strict=True)
    ]
    columns["state"] = np.array(states, object)
    columns["progress"] = np.divide(done, epochs, out=np.full(len(ids), np.nan), where=epochs > 0)
    columns["seconds_left"] = _seconds_left(snapshot, columns, live, places)
    best = best_epochs(snapshot.grid.values(BEST_BY, places)) if at_epoch == "best" else None
    for name in MEASURES[:-1]:
        values = snapshot.grid.values(name, places)
        columns[name] = _measure(values, columns[name], at_epoch) if best is None else at_each(values, best)
    # Without a dtype, pandas would turn texts into Arrow's.
    return pd.DataFrame({name: pd.Series(values, index, dtype=values.dtype) for name, values in columns.items()})


def _training_rows(snapshot: Snapshot) -> pd.DataFrame:
    queue = snapshot.queue
    frame = pd.DataFrame({name: _taken(queue[name]) for name in queue.columns}, index=queue["job_id"].to_numpy(object))
    results = snapshot.retrains.sort_values("attempt").drop_duplicates("job_id", keep="last").set_index("job_id")
    completed = chosen(results[results["status"] == "completed"])
    running = snapshot.running
    live = [running.get(job) for job in frame.index]
    frame["one_shot_accuracy"] = frame["valid_accuracy"]
    for name, values in (
        ("valid_accuracy", completed["valid_accuracy"]),
        ("test_accuracy", completed["test_accuracy"]),
        ("seed", results["seed"]),
        ("finished_at", results["finished_at"]),
        ("started_at", results["started_at"]),
        ("seconds", results["seconds"]),
    ):
        frame[name] = _taken(values.reindex(frame.index))
    done = frame["epochs_done"].fillna(0)
    frame["epochs_done"] = [trial.epoch if trial else int(count) for trial, count in zip(live, done, strict=True)]
    frame["seed"] = [trial.seed if trial else seed for trial, seed in zip(live, frame["seed"], strict=True)]
    frame["epochs"] = frame["epochs_planned"].fillna(0).astype(int)
    frame["progress"] = frame["epochs_done"] / frame["epochs"].where(frame["epochs"] > 0, np.nan)
    left = pd.Series([trial.seconds_left if trial else None for trial in live], index=frame.index, dtype=float)
    frame["seconds_left"] = left.fillna(frame["seconds_left"]).clip(lower=0)
    frame["level"] = [
        f"rung {int(rung)}" if stage == "rung" else stage
        for stage, rung in zip(frame["stage"], frame["rung"].fillna(0), strict=True)
    ]
    dead = snapshot.driver != "running"
    frame["state"] = [
        "stale" if state == "running" and (dead or (trial and _is_silent(trial, snapshot.now))) else state
        for state, trial in zip(frame["state"], live, strict=True)
    ]
    settings = pd.Series(_taken(snapshot.searches["setting"]), index=snapshot.searches["search_id"].to_numpy(object))
    firsts = [origins[0] if len(origins) else "" for origins in frame["origins"]]
    frame["setting"] = settings[~settings.index.duplicated()].reindex(firsts).fillna("").to_numpy(object)
    place = frame["stage"].map(ORDER).fillna(9)
    return frame.assign(_dropped=frame["state"] == "dropped", _place=place).sort_values(
        ["_dropped", "_place", "rung", "rank", "job_id"], na_position="first"
    )


def _failure_rows(snapshot: Snapshot) -> pd.DataFrame:
    trainings = snapshot.retrains[snapshot.retrains["status"] == "failed"]
    others = pd.DataFrame(
        {
            "failure_id": trainings["job_id"] + "-" + trainings["attempt"].astype(str),
            "happened_at": trainings["finished_at"],
            "kind": "training",
            "subject": trainings["job_id"],
            "error": trainings["error"],
        }
    )
    frame = (
        pd.concat([snapshot.failures, others.astype(object)], ignore_index=True) if len(others) else snapshot.failures
    )
    found = snapshot.searches.drop_duplicates("search_id").set_index("search_id")[["setting", "seed"]]
    frame = frame.assign(
        setting=frame["subject"].map(found["setting"]).fillna(frame["subject"].map(_planned(snapshot, "setting"))),
        seed=frame["subject"].map(found["seed"]).fillna(frame["subject"].map(_planned(snapshot, "seed"))),
    )
    return (
        frame.set_index("failure_id", drop=False)
        .rename_axis(None)
        .sort_values("happened_at", ascending=False, na_position="last")
    )


def with_columns(frame: pd.DataFrame, snapshot: Snapshot, table: str, names: Iterable[str]) -> pd.DataFrame:
    """The rows with more columns of the table `searches`.  Raises ValueError for unknown columns."""
    missing = [name for name in names if name not in frame.columns]
    if table == "searches" and missing:
        stored = snapshot.searches
        require_columns(table, missing, stored)
        place = pd.Index(stored["search_id"].to_numpy(object)).get_indexer(frame.index)
        frame = frame.assign(**{name: _taken(stored[name], place) for name in missing})
    require_columns(table, list(names), frame)
    return frame


def _taken(values: "pd.Series[Any]", places: "np.ndarray[Any, Any] | None" = None) -> Any:
    """A column as an array of numbers or of Python objects, at some places; missing where the place is -1."""
    if pd.api.types.is_bool_dtype(values) or not pd.api.types.is_numeric_dtype(values):
        found = values.to_numpy(object)
        if places is None:
            return found
        return np.where(places >= 0, found[places], None) if len(found) else np.full(len(places), None, object)
    numbers = values.to_numpy(float, na_value=np.nan)
    if places is None:
        return numbers
    return np.where(places >= 0, numbers[places], np.nan) if len(numbers) else np.full(len(places), np.nan)


def _planned(snapshot: Snapshot, name: str) -> Callable[[str], Any]:
    return lambda search: getattr(snapshot.planned[search], name) if search in snapshot.planned else None


ROWS: dict[str, Callable[[Snapshot, View], pd.DataFrame]] = {
    "searches": lambda snapshot, view: search_rows(snapshot, view.at),
    "trainings": lambda snapshot, view: training_rows(snapshot),
    "failures": lambda snapshot, view: failure_rows(snapshot),
}
"""What makes the rows of each table."""


def selected(frame: pd.DataFrame, view: View) -> pd.DataFrame:
    """The rows of the chosen setting and seed."""
    if view.setting:
        frame = frame[frame["setting"] == view.setting]
    if view.seed:
        frame = frame[pd.to_numeric(frame["seed"]) == int(view.seed)]
    return frame


def shown(snapshot: Snapshot, table: str, view: View) -> pd.DataFrame:
    """The rows that a view keeps, sorted, of all pages.  Raises ValueError for unknown columns."""
    frame = selected(ROWS[table](snapshot, view), view)
    if view.state:
        frame = frame[frame["kind" if table == "failures" else "state"] == view.state]
    if view.q:
        found = np.zeros(len(frame), bool)
        for texts in (frame.index.to_series(), *(frame[name] for name in SEARCHED if name in frame)):
            words = texts.astype(object).where(texts.notna(), "").astype(str)
            found |= words.str.contains(view.q, case=False, regex=False).to_numpy(bool)
        frame = frame[found]
    if name := view.sort.lstrip("-"):
        values = with_columns(frame, snapshot, table, [name])[name]
        key = values if pd.api.types.is_numeric_dtype(values) else _sort_key(values)
        order = key.sort_values(ascending=not view.sort.startswith("-"), kind="stable", na_position="last").index
        frame = frame.loc[order]
    return frame


def require_columns(table: str, names: list[str], frame: pd.DataFrame) -> None:
    """Raise ValueError unless the table has these columns."""
    unknown = [name for name in names if name not in frame.columns or name.startswith("_")]
    if unknown:
        raise ValueError(f"the table {table} has no column {', '.join(unknown)}; choose one of its list")


def column_names(table: str, view: View) -> list[str]:
    """The columns that a view shows."""
    names = view.column_names or list(COLUMNS[table])
    first = COLUMNS[table][0]
    return names if first in names else [first, *names]


def all_columns(table: str) -> dict[str, str]:
    """Every column that can be chosen, with its description."""
    own = {
        "setting": "Label of the setting of the search.",
        "seed": "Seed.",
        "state": "State; stale: without a sign of life.",
        "progress": "Share of the epochs that are done.",
        "epochs_done": "Epochs that are done.",
        "seconds_left": "Expected time to the end, from the pace so far; seconds.",
        "level": "Stage of the training, with the rung of the race.",
    }
    tables = {"searches": (SEARCHES,), "trainings": (QUEUE, RETRAINS), "failures": (FAILURES,)}[table]
    described = {column.name: column.description for each in tables for column in each.columns}
    if table == "trainings":
        results = ("valid_accuracy", "test_accuracy", "seed", "started_at", "finished_at", "seconds")
        named = [*QUEUE.schema.names, *results, "epochs_done", "epochs"]
        described = {name: described[name] for name in named if name in described}
        described["one_shot_accuracy"] = "Best accuracy of the searches that found the cell; percent."
        described["valid_accuracy"] = "Validation accuracy of the trained network; percent."
        described["origins"] = described.pop("origins")
    names = list(dict.fromkeys([*COLUMNS[table], *described]))
    return {name: described.get(name) or own.get(name, "") for name in names}


def _search_state(snapshot: Snapshot, trial: RunningTrial | None, epochs: int) -> str:
    if trial:
        return "stale" if _is_silent(trial, snapshot.now) else "running"
    if snapshot.driver == "running":
        # Without the driver's own list, a search with epochs is taken for a running one.
        return "running" if epochs and snapshot.live is None else "waiting"
    return "stale" if epochs else "waiting"


def _is_silent(trial: RunningTrial, now: float) -> bool:
    """Whether a trial has not reported for much longer than an epoch takes."""
    if trial.reported_at is None or not trial.epoch:
        return False
    age = now - datetime.fromisoformat(trial.reported_at).timestamp()
    pace = (datetime.fromisoformat(trial.reported_at) - datetime.fromisoformat(trial.started_at)).total_seconds()
    return age > SILENT_SECONDS and age > 5 * pace / trial.epoch


def _seconds_left(
    snapshot: Snapshot, columns: Mapping[str, Any], live: list[RunningTrial | None], places: "np.ndarray[Any, Any]"
) -> "np.ndarray[Any, Any]":
    """As the driver says; without its file from the median epoch of the search.  Never negative."""
    left = np.array([trial.seconds_left if trial else None for trial in live], float)
    runs = (columns["state"] == "running") & np.isnan(left)
    if runs.any():
        missing = columns["epochs"][runs] - columns["epochs_done"][runs]
        left[runs] = missing * medians(snapshot.grid.values("seconds", places[runs]))
    return np.maximum(left, 0)


def _measure(values: "np.ndarray[Any, Any]", result: "np.ndarray[Any, Any]", at_epoch: str) -> "np.ndarray[Any, Any]":
    if at_epoch == "result":
        found = result.copy()
        missing = np.isnan(found)
        found[missing] = last(values)[missing]
        return found
    return last(values) if at_epoch == "last" else at(values, int(at_epoch))


def time_text(seconds: float) -> str:
    """A time in ISO 8601."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _sort_key(values: "pd.Series[Any]") -> "pd.Series[Any]":
    """Numbers as numbers, and all else as text."""
    numbers = pd.to_numeric(values, errors="coerce")
    return numbers if numbers.notna().sum() == values.notna().sum() else values.astype(str).where(values.notna())
