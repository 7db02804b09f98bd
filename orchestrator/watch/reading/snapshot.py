"""What the folder of a study holds at one moment, read again where it has changed; needs neither Ray nor the driver."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import pandas as pd

from analysis.storage.study_files import Stamp
from analysis.store import ResultStore
from analysis.tables import EPOCHS, FAILURES, QUEUE, RETRAIN_EPOCHS, RETRAINS, SEARCHES, SETTINGS, Table
from orchestrator.config import StudyConfig
from orchestrator.more_seeds import with_added_seeds
from orchestrator.storage.lease import LeaseReader, Term
from orchestrator.storage.live_status import ENDED, LIVE_FILE, LiveStatus, RunningTrial, read_live_status
from orchestrator.storage.steering_log import Answer, Request, SteeringLog
from orchestrator.watch.reading.epoch_grid import MEASURES, EpochGrid
from orchestrator.watch.reading.table_cache import TableCache

STUDY_FILE = "study.json"
"""As in `orchestrator.storage.study_folder`, which needs PyTorch; the page does not."""
SILENT_SECONDS = 300.0
"""A running trial without a report for so long, and for five epochs, counts as stale."""
HEAVY = frozenset({"test_correct"})
"""Columns that no table of the page shows."""
TRAINING_MEASURES = ("valid_accuracy", "train_accuracy", "valid_loss", "train_loss", "seconds")
"""Columns of the table `retrain_epochs` that are kept."""
OFTEN = ("search_id", "setting", "status", "error", "genotype_digest", "started_at", "finished_at")
"""Columns that every view goes through."""

DriverState = Literal["running", "stale", "finished", "interrupted", "failed", "none"]
"""stale: it died, or cannot reach the storage; none: no driver has this study, and none has said how it ended."""


@dataclass(frozen=True, kw_only=True)
class PlannedSearch:
    """A search of the study's configuration."""

    setting: str
    """Label of its setting."""
    seed: int
    """Its seed."""
    epochs: int
    """Its epochs."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A study at one moment."""

    root: str
    """Its folder."""
    name: str
    """Its name."""
    description: dict[str, Any] = field(default_factory=dict)
    """Content of study.json; empty if it is missing or broken."""
    planned: dict[str, PlannedSearch] = field(default_factory=dict)
    """The searches of its configuration by id; empty if that is unknown."""
    live: LiveStatus | None = None
    """What the driver last wrote about itself."""
    lease: Term | None = None
    """Who holds the study."""
    searches: pd.DataFrame
    """The table `searches`."""
    grid: EpochGrid
    """The table `epochs`."""
    training_grid: EpochGrid
    """The table `retrain_epochs`."""
    requests: tuple[tuple[Request, Answer | None], ...] = ()
    """What the driver was asked for, and its answers, the earliest first."""
    queue: pd.DataFrame
    """The table `queue`."""
    retrains: pd.DataFrame
    """The table `retrains`."""
    failures: pd.DataFrame
    """The table `failures`."""
    settings: pd.DataFrame
    """The table `settings`."""
    problems: tuple[str, ...] = ()
    """What could not be read, and why."""
    written_at: float = 0.0
    """When the newest file was written, seconds since 1970; 0 if there are none."""
    now: float = 0.0
    """The moment, seconds since 1970."""
    revision: int = 0
    """Counts the changes since the server started."""
    made: dict[Any, pd.DataFrame] = field(default_factory=dict)
    """Rows that were made of it, so that all views share them."""

    @property
    def driver(self) -> DriverState:
        """The state of the driver."""
        return driver_state(self.live, self.lease, self.now)

    @property
    def running(self) -> dict[str, RunningTrial]:
        """The trials that the driver runs now, by key; empty unless it runs."""
        return {trial.key: trial for trial in self.live.running} if self.live and self.driver == "running" else {}

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show yet."""
        return not (self.planned or len(self.searches) or len(self.grid) or len(self.queue) or len(self.retrains))


def driver_state(live: LiveStatus | None, lease: Term | None, now: float) -> DriverState:
    """What the driver's file and the lease say about it."""
    if live is None:
        return "running" if lease else "none"
    since = datetime.fromisoformat(live.written_at).timestamp()
    if lease and lease.since > since:  # a new driver has not written yet
        return "running"
    if live.driver.phase in ENDED:
        return live.driver.phase  # type: ignore[return-value]
    return "stale" if live.stale(datetime.fromtimestamp(now, UTC)) else "running"


def _with_objects(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame with OFTEN as Python objects, which are faster to go through than Arrow's texts."""
    return frame.assign(**{name: frame[name].astype(object) for name in OFTEN if name in frame})


class StudyReader:
    """Reads one study again and again.  Not safe for several threads at once."""

    def __init__(self, root: str, clock: Callable[[], float] = time.time) -> None:
        self.store, self.clock = ResultStore(root), clock
        self._lease_reader = LeaseReader(self.store.below("study-lease"))
        self._steering = SteeringLog(self.store.below("steering"))
        self._requests: tuple[tuple[Request, Answer | None], ...] = ()
        self._study: StudyConfig | None = None
        tables = (SEARCHES, EPOCHS, RETRAIN_EPOCHS, QUEUE, RETRAINS, FAILURES, SETTINGS)
        self._caches = {table.name: self._cache(table) for table in tables}
        self._frames = {name: cache.frame() for name, cache in self._caches.items() if cache.keep}
        self._grids = {table.name: self._grid(table) for table in (EPOCHS, RETRAIN_EPOCHS)}
        self._stamps: dict[str, Stamp | None] = {}
        self._description: dict[str, Any] = {}
        self._planned: dict[str, PlannedSearch] = {}
        self._live: LiveStatus | None = None
        self._problems: dict[str, str] = {}
        self._signature: Any = None
        self._changed = False
        """Whether something was read that the snapshot lacks: an error may have come between."""
        self.snapshot = self._make(0)

    def refresh(self) -> bool:
        """Read what is new; returns whether anything a page shows has changed.

        Raises OSError while the storage cannot be reached.
        """
        if self._is_new(STUDY_FILE):
            with self._read_again_after_errors(STUDY_FILE):
                self._read_description()
        if self._is_new(LIVE_FILE):
            with self._read_again_after_errors(LIVE_FILE):
                self._live = read_live_status(self.store)
        for name, cache in list(self._caches.items()):
            found = cache.refresh()
            if found:
                self._changed = True
                if cache.keep:
                    self._frames[name] = _with_objects(cache.frame())
                    continue
                if found.gone:  # someone has removed rows by hand
                    self._grids[name], self._caches[name] = self._grid(cache.table), self._cache(cache.table)
                    found = self._caches[name].refresh()
                if found.rows is not None:
                    self._grids[name].update(found.rows.to_pandas())
        requests = tuple(self._steering.read())
        if requests != self._requests:
            self._changed = True
            self._requests = requests
            self._plan()
        lease = self._lease()
        now = self.clock()
        problems = tuple(f"{name}.parquet of {table}: {why}" for table, name, why in self._broken())
        signature = (driver_state(self._live, lease, now), lease and lease.who, problems)
        if self._changed or signature != self._signature:
            self._signature = signature
            self.snapshot = self._make(self.snapshot.revision + 1, lease)
            self._changed = False
            return True
        return False

    def _make(self, revision: int, lease: Term | None = None) -> Snapshot:
        name = self._description.get("name")
        times = [cache.written_at for cache in self._caches.values()]
        times += [stamp.written_at for stamp in self._stamps.values() if stamp]
        return Snapshot(
            root=self.store.root,
            name=name if isinstance(name, str) and name else self.store.root.rstrip("/").rsplit("/", 1)[-1],
            description=self._description,
            planned=self._planned,
            live=self._live,
            lease=lease,
            searches=self._frames[SEARCHES.name],
            grid=self._grids[EPOCHS.name],
            training_grid=self._grids[RETRAIN_EPOCHS.name],
            requests=self._requests,
            queue=self._frames[QUEUE.name],
            retrains=self._frames[RETRAINS.name],
            failures=self._frames[FAILURES.name],
            settings=self._frames[SETTINGS.name],
            problems=(
                *self._problems.values(),
                *(f"{table}/{name}.parquet: {why}" for table, name, why in self._broken()),
            ),
            written_at=max(times, default=0.0),
            now=self.clock(),
            revision=revision,
        )

    def _broken(self) -> list[tuple[str, str, str]]:
        return [(table, name, why) for table, cache in self._caches.items() for name, why in cache.broken.items()]

    def _cache(self, table: Table) -> TableCache:
        if table is EPOCHS:
            return TableCache(self.store, table, ["search_id", "epoch", *MEASURES], keep=False)
        if table is RETRAIN_EPOCHS:
            return TableCache(self.store, table, ["job_id", "epoch", *TRAINING_MEASURES], keep=False)
        return TableCache(self.store, table, [name for name in table.schema.names if name not in HEAVY])

    def _grid(self, table: Table) -> EpochGrid:
        return EpochGrid() if table is EPOCHS else EpochGrid(TRAINING_MEASURES, "job_id")

    @contextlib.contextmanager
    def _read_again_after_errors(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError:
            self._stamps.pop(name, None)
            raise
        self._changed = True

    def _is_new(self, name: str) -> bool:
        before, self._stamps[name] = self._stamps.get(name), self.store.stamp(name)
        return before != self._stamps[name]

    def _read_description(self) -> None:
        self._problems.pop(STUDY_FILE, None)
        self._study = None
        try:
            found = json.loads(self.store.read_text(STUDY_FILE) or "{}")
            self._description = found if isinstance(found, dict) else {}
            if "config" in self._description:
                self._study = StudyConfig.from_dict(self._description["config"])
        except (ValueError, KeyError, TypeError) as error:
            self._problems[STUDY_FILE] = f"{STUDY_FILE}: {error}"
        self._plan()

    def _plan(self) -> None:
        """The searches that the study needs, those with added seeds too."""
        self._planned = {}
        if self._study is None:
            return
        study = with_added_seeds(self._study, self._steering.added_seeds())
        for search in study.searches():
            epochs = 0 if search.method == "random" else search.epochs
            plan = PlannedSearch(setting=study.setting(search), seed=search.seed, epochs=epochs)
            self._planned[search.search_id] = plan

    def _lease(self) -> Term | None:
        """Who holds the study's lease; a broken one counts as none."""
        try:
            holder = self._lease_reader.look(self.clock)
        except ValueError:
            return None
        return holder.term if holder else None
