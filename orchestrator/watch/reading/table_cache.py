"""The rows of a growing table in memory: a refresh reads only files that are new or have changed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from analysis.storage.study_files import Stamp
from analysis.store import ResultStore
from analysis.tables import Table

PART = "_part"
"""Column of the cached rows with the name of their part."""
ATTEMPTS = 20
"""Attempts to list and read a table while its files move."""


@dataclass(frozen=True, kw_only=True)
class Refresh:
    """What a refresh found."""

    changed: tuple[str, ...] = ()
    """Parts with new rows."""
    gone: tuple[str, ...] = ()
    """Parts that no longer exist."""
    rows: pa.Table | None = None
    """The rows of the changed parts, without `_part`."""

    def __bool__(self) -> bool:
        return bool(self.changed or self.gone)


class TableCache:
    """The rows of one table with some of its columns.

    With `keep=False` it only says what has changed, for readers with a form of their own.
    """

    def __init__(
        self, store: ResultStore, table: Table, columns: Sequence[str] | None = None, *, keep: bool = True
    ) -> None:
        self.store, self.table, self.keep = store, table, keep
        self.columns = list(columns or table.schema.names)
        fields = [table.schema.field(name) for name in self.columns]
        self.rows: pa.Table = pa.schema([*fields, pa.field(PART, pa.string())]).empty_table()
        self.written_at = 0.0
        """When the newest file was written, seconds since 1970."""
        self.broken: dict[str, str] = {}
        """Damaged files that were left out, and why."""
        self._stamps: dict[str, Stamp] = {}
        self._holders: dict[str, dict[str, int]] = {}
        """The parts of each file, with their numbers of rows."""
        self._owner: dict[str, str] = {}
        """The file that each part is read from."""

    def refresh(self) -> Refresh:
        """Read what is new."""
        for attempt in range(ATTEMPTS):
            stamps = self.store.stamps(self.table)
            try:
                # A listing can miss both a pack written meanwhile and the removed parts that moved into it.
                return self._refresh(stamps, may_lose=attempt > 0)
            except FileNotFoundError:
                continue
        return Refresh()

    def frame(self) -> pd.DataFrame:
        """The rows, without `_part`."""
        return self.rows.drop_columns([PART]).to_pandas()

    def _refresh(self, stamps: dict[str, Stamp], may_lose: bool) -> Refresh:
        """Raises FileNotFoundError if rows move from one file to another at this moment."""
        new = [name for name, stamp in stamps.items() if self._stamps.get(name) != stamp]
        if not new and len(stamps) == len(self._stamps):
            return Refresh()
        read, holders = {}, {name: parts for name, parts in self._holders.items() if name in stamps}
        for name in new:
            try:
                read[name], holders[name] = self.store.read_file(self.table, name, self.columns)
                self.broken.pop(name, None)
            except ValueError as error:
                self.broken[name] = str(error)
                holders[name] = {}
        owner: dict[str, str] = {}
        for name in sorted(holders, key=lambda name: (name not in holders[name], name)):  # loose files come first
            for part, length in holders[name].items():
                if part not in owner or (owner[part] != part and length > holders[owner[part]][part]):
                    owner[part] = name  # as ResultStore chooses
        changed = tuple(part for part, name in owner.items() if name in read or self._owner.get(part) != name)
        gone = tuple(part for part in self._owner if part not in owner)
        if gone and not may_lose:
            raise FileNotFoundError(f"{self.table.name}: {gone[0]} moves")
        # A part whose file vanished may be in a pack that was read long ago: read that again.
        for name in {owner[part] for part in changed} - read.keys():
            read[name], _ = self.store.read_file(self.table, name, self.columns)
        rows = self._found(read, holders, owner)
        if self.keep:
            self._take(rows, drop={*changed, *gone})
        self._stamps, self._holders, self._owner = stamps, holders, owner
        self.broken = {name: reason for name, reason in self.broken.items() if name in stamps}
        self.written_at = max([self.written_at, *(stamp.written_at for stamp in stamps.values())])
        return Refresh(changed=changed, gone=gone, rows=rows.drop_columns([PART]))

    def _found(self, read: dict[str, pa.Table], holders: dict[str, dict[str, int]], owner: dict[str, str]) -> pa.Table:
        """The rows that were read, without parts that another file holds."""
        pieces = [self.rows.slice(0, 0)]
        for name, data in read.items():
            parts = holders[name]
            names = pa.array(np.repeat(np.array(list(parts), object), list(parts.values())), pa.string())
            data = data.append_column(PART, names)
            if others := [part for part in parts if owner[part] != name]:
                data = data.filter(pc.invert(pc.is_in(data[PART], pa.array(others, pa.string()))))
            pieces.append(data)
        return pa.concat_tables([piece.cast(self.rows.schema) for piece in pieces])

    def _take(self, rows: pa.Table, drop: set[str]) -> None:
        """Replace parts by the rows that were read."""
        kept = self.rows
        if drop and len(kept):
            kept = kept.filter(pc.invert(pc.is_in(kept[PART], pa.array(sorted(drop), pa.string()))))
        self.rows = pa.concat_tables([kept, rows]).combine_chunks()
