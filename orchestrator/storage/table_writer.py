"""Writes rows to the tables of a study in batches, on a thread of its own, so that the driver never waits for storage.

A cluster of 1,000 GPUs reports more than a hundred epochs a second.  One file per search and epoch would take longer to
write than to compute, so a batch with many changed parts is one pack (see `analysis.storage.compaction`): it holds all
parts that may still change, and each batch replaces it.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import pyarrow as pa

from analysis.storage import compaction
from analysis.storage.storage_retry import StorageError
from analysis.store import ResultStore
from analysis.tables import Table
from orchestrator.storage.lease import LeaseError
from orchestrator.storage.provenance import now

INTERVAL = 2.5
"""Seconds from one batch to the next; with the time that a batch takes, tables lag by at most 5 s."""
LEAST_CHANGED = 10
"""Changed parts from which a batch is written as a pack."""


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """What was added since the last batch."""

    table: Table
    part: str
    row: Mapping[str, Any] | None
    then: Callable[[], None] | None


class TableWriter:
    """Collects rows, and writes them in the background.  Use as a context manager: its end writes what is left.

    Each batch writes the tables in this order, so that a row of a later table is never stored before the rows of an
    earlier one that were added before it.
    """

    def __init__(
        self,
        store: ResultStore,
        tables: Sequence[Table],
        *,
        clock: Callable[[], float] = time.monotonic,
        executor: Executor | None = None,
    ) -> None:
        self.store, self.clock = store, clock
        self._tables = {table.name: _Parts(store, table) for table in tables}
        self._executor = executor or ThreadPoolExecutor(max_workers=1, thread_name_prefix="table writer")
        self._queue: list[_Entry] = []
        self._written: list[_Entry] = []
        """The batch that is being written."""
        self._running: Future[None] | None = None
        self._started_at = float("-inf")
        self._failed = False
        self.written_at: str | None = None
        """When a batch was last written, ISO 8601 in UTC; None if none was."""
        self.waiting = 0
        """Rows that are not written yet."""

    def add(self, table: Table, part: str, row: Mapping[str, Any]) -> None:
        """Add a row to a part, or replace the one with its key."""
        self._queue.append(_Entry(table=table, part=part, row=row, then=None))
        self.waiting += 1

    def finish(self, table: Table, part: str, then: Callable[[], None] | None = None) -> None:
        """State that a part is complete; `then` is called in this thread once the part is stored."""
        self._queue.append(_Entry(table=table, part=part, row=None, then=then))

    def tick(self) -> None:
        """Start the next batch if it is due, without waiting; raises the error of one that failed."""
        if self._running and self._running.done():
            self._complete()
        if self._queue and not self._running and self.clock() - self._started_at >= INTERVAL:
            self._start()

    def flush(self) -> None:
        """Write all that was added, and wait for it."""
        if self._running:
            self._complete()
        if self._queue:
            self._start()
            self._complete()

    def __enter__(self) -> "TableWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if not self._failed and not isinstance(error, (StorageError, LeaseError)):
                self.flush()
        finally:
            self._executor.shutdown()

    def _start(self) -> None:
        self._written, self._queue = self._queue, []
        self._started_at = self.clock()
        self._running = self._executor.submit(self._write, self._written)

    def _complete(self) -> None:
        assert self._running
        try:
            self._running.result()
        except Exception:
            self._failed = True
            raise
        self._running, self.written_at = None, now()
        self.waiting -= sum(entry.row is not None for entry in self._written)
        for entry in self._written:
            if entry.then:
                entry.then()
        self._written = []

    def _write(self, batch: Sequence[_Entry]) -> None:
        for name, parts in self._tables.items():
            parts.write([entry for entry in batch if entry.table.name == name])


class _Parts:
    """The parts of one table that may still change, and complete ones that are not yet in a pack that stays."""

    def __init__(self, store: ResultStore, table: Table) -> None:
        self.store, self.table = store, table
        self.data: dict[str, pa.Table] = {}
        self.complete: set[str] = set()
        self.pack = ""
        """The pack that holds all of `data`; empty if each part has its own file."""

    def write(self, batch: Sequence[_Entry]) -> None:
        """Write what changed.  Once many parts are complete they move into a pack that stays."""
        changed: dict[str, dict[tuple[Any, ...], Mapping[str, Any]]] = {}
        for entry in batch:
            if entry.row is not None:
                key = tuple(entry.row[name] for name in self.table.key)
                changed.setdefault(entry.part, {})[key] = entry.row
            elif entry.part in self.data or entry.part in changed:
                self.complete.add(entry.part)
        new, start = self.table.to_arrow(row for rows in changed.values() for row in rows.values()), 0
        for part, rows in changed.items():
            self._merge(part, rows.keys(), new.slice(start, len(rows)))
            start += len(rows)
        settled: dict[str, pa.Table] = {}
        if len(self.complete) >= compaction.SIZE:
            settled = {part: self.data.pop(part) for part in self.complete}
            self.complete = set()
        together = self.data if self.pack or len(changed) >= LEAST_CHANGED else {}
        if settled or (changed and together):
            names = self.store.append_packs(self.table, [p for p in (settled, together) if p], replaced=self.pack)
            self.pack = names[-1] if together else ""
        if not self.pack:
            for part in changed.keys() - settled.keys():
                self.store.append_arrow(self.table, self.data[part], part)

    def _merge(self, part: str, keys: Collection[tuple[Any, ...]], new: pa.Table) -> None:
        """Add rows with these keys to a part, in place of rows with the same keys."""
        old = self.data.get(part, new.slice(0, 0))
        names = list(self.table.key)
        kept = [tuple(row.values()) not in keys for row in old.select(names).to_pylist()]
        if all(kept):
            self.data[part] = pa.concat_tables([old, new]).combine_chunks()
        else:
            merged = pa.concat_tables([old.filter(pa.array(kept)), new])
            self.data[part] = merged.sort_by([(name, "ascending") for name in names])
