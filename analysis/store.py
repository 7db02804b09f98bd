"""The tables of a study as folders of Parquet parts, which any reader can read while they are written.

    store = ResultStore("studies/demo")
    store.append(SEARCHES, [SEARCHES.row(...)], part=search_id)
    searches = store.read(SEARCHES)      # or, without this project: pd.read_parquet("studies/demo/searches")

A part is written atomically, and its name is the id of its content: writing it again replaces it.  `compact` moves the
parts of large studies into few files (packs), see `analysis.storage.compaction`.  A table's folder holds nothing that a
reader must skip, and all of its files have the same columns.
"""

import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from analysis.storage import compaction
from analysis.storage.storage_retry import StorageError, first_line
from analysis.storage.study_files import Stamp, StudyFiles, checked
from analysis.tables import Table

SUFFIX = ".parquet"
ASIDE = "damaged"
"""Folder of a study with the damaged files of its tables: polars and duckdb read all that a table's folder holds."""
EARLIER_ASIDE = "_damaged-"
"""Prefix by which earlier versions marked damaged files, which they left in the table's folder."""
LOOKS = 100
"""Attempts to read a table while files vanish because their parts are being packed."""
AT_ONCE = 16
"""Files whose columns are looked up at once: in an object store each takes a while."""
T = TypeVar("T")
Condition = tuple[str, Sequence[Any]]
"""A column name and its accepted values."""


class ResultStore(StudyFiles):
    """The tables and files of one study, in a folder as for StudyFiles."""

    def __init__(self, root: str, patience: float = 0.0) -> None:
        super().__init__(root, patience)
        self._broken: dict[str, str] = {}
        self._lengths: dict[str, dict[str, int]] = {}
        """Parts and their numbers of rows of each known pack, by path."""
        self._packs: dict[str, set[str]] = {}
        """Names of each table's packs at the last listing."""
        self._uniform: set[str] = set()
        """Tables whose files all have the same columns."""

    @property
    def broken(self) -> list[str]:
        """The files that the last read of their table left out, each as "path: reason"."""
        return [f"{path}: {reason}" for path, reason in sorted(self._broken.items())]

    def append(self, table: Table, rows: Iterable[Mapping[str, Any]], part: str) -> None:
        """Write one part, replacing one with the same name.  Raises ValueError for rows that do not fit the table."""
        try:
            data = table.to_arrow(rows)
        except ValueError as error:
            raise ValueError(f"part {part}: {error}") from None
        self.append_arrow(table, data, part)

    def append_arrow(self, table: Table, data: pa.Table, part: str) -> None:
        """Write one part as `append` does, from rows that `Table.to_arrow` has checked."""
        path = self._part_path(table, part)
        self._make_uniform(table)
        held = self._holding(table, {part})
        if held:
            self._mark(table)
        self._put(path, data)
        if held:
            self._replace(table, [], held, left_out=[part])

    def append_packs(self, table: Table, packs: Sequence[Mapping[str, pa.Table]], replaced: str = "") -> list[str]:
        """Write many parts as packs and return their names; all earlier copies of the parts are removed.

        `replaced` is a pack whose parts are all among these: it is removed without being read.  Only the process that
        writes the table may call this.
        """
        self._make_uniform(table)
        parts = set().union(*packs)
        held = {name: lengths for name, lengths in self._holding(table, parts).items() if name != replaced}
        old = sorted(self._names(table) & (parts | {replaced}))
        self._mark(table)
        names = [self._put_pack(table, pack) for pack in packs]
        for name in old:
            self._remove(self._file_path(table, name))
            self._packs[table.name].discard(name)
        self._replace(table, [], held, left_out=parts)
        return names

    def read(self, table: Table, columns: Sequence[str] | None = None, where: Condition | None = None) -> pd.DataFrame:
        """All rows, sorted by the names of their parts.  Damaged files are left out, see `broken`.

        `columns` selects columns, in this order, and `where` = (column, values) the rows with one of the values.
        Integer columns with missing values become floats, as in pd.read_parquet.  Raises ValueError for an unknown
        column.
        """
        names = table.schema.names if columns is None else list(columns)
        unknown = [name for name in (*names, *(where or ())[:1]) if name not in table.schema.names]
        if unknown:
            raise ValueError(f"table {table.name} has no column {', '.join(unknown)}; see `pcdarts columns`")
        folder = f"{self._path}/{table.name}/"
        if where is None:  # another read of a few rows does not see every damage
            self._broken = {path: reason for path, reason in self._broken.items() if not path.startswith(folder)}
        data, order = self._settled(lambda: self._gather(table, None if columns is None else names, where))
        frame: pd.DataFrame = data.to_pandas(split_blocks=True, self_destruct=True)  # half the memory
        return frame if order is None else frame.take(order).reset_index(drop=True)

    def rows(self, table: Table) -> list[dict[str, Any]]:
        """All rows as dictionaries, sorted by the names of their parts."""
        data, order = self._settled(lambda: self._gather(table, None, None))
        rows = data.to_pylist()
        return rows if order is None else [rows[index] for index in order]

    def read_part(self, table: Table, part: str) -> list[dict[str, Any]] | None:
        """The rows of one part; None if it is missing or damaged."""
        self._part_path(table, part)
        data = self._settled(lambda: self._find(table, part))
        return None if data is None else data.to_pylist()

    def stamps(self, table: Table) -> dict[str, Stamp]:
        """Size and time of each file of a table, by name, for readers that keep what they have read."""
        found = self.file_stamps(table.name)
        names = {name.removesuffix(SUFFIX): stamp for name, stamp in found.items() if name.endswith(SUFFIX)}
        return {name: stamp for name, stamp in names.items() if name != compaction.MARKER}

    def read_file(self, table: Table, name: str, columns: Sequence[str]) -> tuple[pa.Table, dict[str, int]]:
        """Some columns of a file of `stamps`, and the number of rows of each part in it, in order.

        Raises FileNotFoundError if it is missing, and ValueError if it is damaged.
        """
        content = self._read(self._file_path(table, name))
        try:
            file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
            _fitted(table, file.schema_arrow.empty_table())
            stored = [column for column in file.schema_arrow.names if column in {*columns, *table.key}]
            data = _fitted(table, file.read(columns=stored)).select(list(columns))
            data.validate(full=True)
            return data, compaction.lengths_of(file) if compaction.is_pack(name) else {name: len(data)}
        except (pa.ArrowException, OSError, ValueError) as error:
            raise ValueError(first_line(error)) from None

    def parts(self, table: Table) -> list[str]:
        """Names of a table's parts, sorted."""
        loose, packed = self._settled(lambda: self._list(table))
        return sorted(loose.union(*packed.values()))

    def compact(self, table: Table, parts: Collection[str] | None = None) -> int:
        """Move these parts, or all, into packs; returns by how many files the table shrank.

        Only the process that writes the table may call this.  With fewer than `compaction.LEAST` separate files it only
        completes a compaction that was interrupted.  Files of earlier versions get the columns that they lack.
        """
        self._make_uniform(table)
        loose, packed = self._settled(lambda: self._list(table))
        before = len(loose) + len(packed)
        counts = Counter(chain(loose, *packed.values()))
        twice = {part for part, count in counts.items() if count > 1}
        self._replace(table, sorted(loose & twice), {name: ls for name, ls in packed.items() if twice & ls.keys()})
        movable = sorted(self._settled(lambda: self._list(table))[0].intersection(loose if parts is None else parts))
        if len(movable) >= compaction.LEAST:
            for start in range(0, len(movable), compaction.SIZE):
                self._replace(table, movable[start : start + compaction.SIZE], {})
        loose, packed = self._settled(lambda: self._list(table))
        return before - len(loose) - len(packed)

    def set_aside(self, table: Table) -> dict[str, str]:
        """Move the damaged files of a table into the folder ASIDE; returns their new names and the reasons.

        Only the process that writes the table may call this.  Each file is read again first; none is deleted.
        """
        moved, folder = {}, f"{self._path}/{table.name}"
        for path in [path for path in self._broken if path.startswith(f"{folder}/")]:
            name = path.removeprefix(f"{folder}/").removesuffix(SUFFIX)
            aside = f"{uuid.uuid4().hex[:8]}-{name}{SUFFIX}"  # unique: a rewritten part may be damaged again
            try:
                if not self._is_broken(table, name):
                    continue
                moved[self._move_aside(table, path, aside)] = self._broken[path]
            except FileNotFoundError:  # taken out by hand meanwhile
                pass
            self._broken.pop(path, None)
            self._packs.get(table.name, set()).discard(name)
        return moved

    def _is_broken(self, table: Table, name: str) -> bool:
        """Whether a file is damaged when read again.  Raises FileNotFoundError if it is missing."""
        self._lengths.pop(self._file_path(table, name), None)
        return self._load(table, name) is None or (compaction.is_pack(name) and not self._pack_lengths(table, name))

    def _move_aside(self, table: Table, path: str, name: str) -> str:
        """Move a file of a table into the folder ASIDE; returns its name from the study's folder on."""
        aside = f"{ASIDE}/{table.name}"
        self._change(lambda: self._files.create_dir(f"{self._path}/{aside}", recursive=True))
        self._change(lambda: self._files.move(path, f"{self._path}/{aside}/{name}"))
        return f"{aside}/{name}"

    def _make_uniform(self, table: Table) -> None:
        """Before the first write, give files of earlier versions the columns that they lack, and move damaged ones.

        Other readers take the columns of one file for those of all.  Until the first write a new column has no values,
        so a reader that comes in between misses none.
        """
        if table.name in self._uniform:
            return
        for file in self._all_infos(f"{self._path}/{table.name}"):
            if file.base_name.startswith(EARLIER_ASIDE):
                self._move_aside(table, file.path, file.base_name.removeprefix(EARLIER_ASIDE))
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(partial(self._complete, table), sorted(self._names(table))))
        self._uniform.add(table.name)

    def _complete(self, table: Table, name: str) -> None:
        """Rewrite a file that lacks columns, or has them in another order; a damaged one stays."""
        path = self._file_path(table, name)
        try:
            if self._columns(path) == table.schema.names or (data := self._load(table, name)) is None:
                return
            if compaction.is_pack(name):
                lengths = self._pack_lengths(table, name)
                if not lengths:
                    return
                data = compaction.packed(compaction.without(data, lengths, ()))
        except FileNotFoundError:  # taken out by hand, or moved by the process that writes the table
            return
        self._put(path, data)

    def _columns(self, path: str) -> list[str]:
        """Names of the columns of a file; empty if they cannot be read, which `_load` looks into."""
        try:
            with self._files.open_input_file(path) as stream:
                return list(pq.ParquetFile(stream).schema_arrow.names)
        except FileNotFoundError:
            raise
        except (pa.ArrowException, OSError, ValueError):
            return []

    def _part_path(self, table: Table, part: str) -> str:
        if part.startswith(compaction.PREFIX):
            raise ValueError(f"name is {part!r}, but {compaction.PREFIX} is the prefix of packs; choose another name")
        return self._file_path(table, checked(part))

    def _file_path(self, table: Table, name: str) -> str:
        return f"{self._path}/{table.name}/{name}{SUFFIX}"

    def _marker(self, table: Table) -> str:
        return self._file_path(table, compaction.MARKER)

    def _settled(self, look: Callable[[], T]) -> T:
        """The result of `look`, repeated while files vanish."""
        for _ in range(LOOKS):
            try:
                return look()
            except FileNotFoundError:
                continue
        raise StorageError(f"{self.root}: files vanish as fast as they are read; read again when fewer change")

    def _names(self, table: Table) -> set[str]:
        names = self._listed(f"{self._path}/{table.name}")
        return {name.removesuffix(SUFFIX) for name in names if name.endswith(SUFFIX)} - {compaction.MARKER}

    def _list(self, table: Table) -> tuple[set[str], dict[str, dict[str, int]]]:
        """Parts in separate files, and packs with the number of rows of each part.

        A listing can miss a pack written meanwhile and also the removed part that moved into it.  If the packs of two
        listings are equal, their union misses no part.
        """
        names = self._names(table)
        while True:
            before, names = names, self._names(table)
            found = set(filter(compaction.is_pack, names))
            if found == set(filter(compaction.is_pack, before)):
                break
        self._packs[table.name] = found
        return (before | names) - found, {name: self._pack_lengths(table, name) for name in sorted(found)}

    def _pack_lengths(self, table: Table, name: str) -> dict[str, int]:
        path = self._file_path(table, name)
        if path not in self._lengths:
            try:
                with self._files.open_input_file(path) as stream:
                    self._lengths[path] = compaction.lengths_of(pq.ParquetFile(stream))
            except FileNotFoundError:
                raise
            except (pa.ArrowException, OSError, ValueError):
                content = self._read(path)  # a network that fails raises, or works again: the pack is not broken
                try:
                    self._lengths[path] = compaction.lengths_of(pq.ParquetFile(pa.BufferReader(content)))
                except (pa.ArrowException, OSError, ValueError) as error:
                    self._leave_out(path, error)
                    return {}
        return self._lengths[path]

    def _gather(
        self, table: Table, names: Sequence[str] | None, where: Condition | None
    ) -> tuple[pa.Table, np.ndarray | None]:
        """Rows and their sort order (None if already sorted)."""
        loose, packed = self._list(table)
        ranks = {part: rank for rank, part in enumerate(sorted(loose.union(*packed.values())))}
        counts = Counter(chain(loose, *packed.values()))
        # A pack that shares parts with other files is read whole: a damaged one must not hide newer rows.
        shared = [name for name, lengths in packed.items() if any(counts[part] > 1 for part in lengths)]
        whole = {name: self._load(table, name) for name in shared}
        packed = {name: lengths for name, lengths in packed.items() if lengths and whole.get(name, True) is not None}
        owner = _longest(packed)
        found, ranked = [], []
        for name in [*sorted(loose), *packed]:
            lengths = packed.get(name)
            wanted = {name} if lengths is None else {part for part in lengths if owner[part] == name} - loose
            if not wanted:
                continue
            data = (
                whole[name]
                if name in whole
                else self._load(table, name)
                if (names is None and where is None) or counts[name] > 1
                else self._load_some(table, name, names or table.schema.names, where)
            )
            if data is None:
                continue
            rank = compaction.owners(lengths or {name: len(data)}, {part: ranks[part] for part in wanted})
            kept = rank >= 0
            if where is not None:
                kept &= _is_in(data[where[0]], where).to_numpy()
            if not kept.all():
                data, rank = data.filter(pa.array(kept)), rank[kept]
            found.append(data if names is None else data.select(names))
            ranked.append(rank)
        empty = _fitted(table, table.schema.empty_table())
        data = pa.concat_tables([empty if names is None else empty.select(names), *found])
        rank = np.concatenate([np.zeros(0, np.int64), *ranked])
        return data, None if (np.diff(rank) >= 0).all() else np.argsort(rank, kind="stable")

    def _find(self, table: Table, part: str) -> pa.Table | None:
        """The rows of one part; None if it is missing or damaged."""
        try:
            return self._load(table, part)
        except FileNotFoundError:
            pass
        loose, packed = self._list(table)
        if part in loose:  # rewritten meanwhile
            return self._load(table, part)
        holding = {name: lengths for name, lengths in packed.items() if part in lengths}
        for name, lengths in sorted(holding.items(), key=lambda item: -item[1][part]):
            if (data := self._load(table, name)) is not None:
                return compaction.without(data, lengths, lengths.keys() - {part})[part]
        return None

    def _holding(self, table: Table, parts: Collection[str]) -> dict[str, dict[str, int]]:
        """The packs that hold any of these parts, listed once, as only this process writes packs."""
        if table.name not in self._packs:
            self._settled(lambda: self._list(table))
        held = {}
        for name in sorted(self._packs[table.name]):
            if self._file_path(table, name) in self._broken:  # cannot be replaced; not read again for every part
                continue
            try:
                lengths = self._pack_lengths(table, name)
            except FileNotFoundError:  # taken out by hand
                continue
            if any(part in lengths for part in parts):
                held[name] = lengths
        return held

    def _replace(
        self,
        table: Table,
        loose: Sequence[str],
        packed: Mapping[str, Mapping[str, int]],
        left_out: Collection[str] = (),
    ) -> None:
        """Move the parts of these files, except `left_out`, into one pack; remove the files and the marker.

        Of a part in several packs the copy with the most rows counts, as in `read`.  Damaged files stay.
        """
        found: dict[str, pa.Table] = {}
        gone = []
        for name in [*packed, *loose]:
            try:
                data = self._load(table, name)
            except FileNotFoundError:
                continue
            if data is not None:
                gone.append(name)
                held = compaction.without(data, packed[name], {*left_out, *loose}) if name in packed else {name: data}
                more = {part for part, rows in held.items() if part not in found or len(rows) > len(found[part])}
                found |= {part: held[part] for part in more}
        if gone:
            self._mark(table)
            if found:
                self._put_pack(table, found)
            for name in gone:
                self._remove(self._file_path(table, name))
                self._packs[table.name].discard(name)
        self._remove(self._marker(table))

    def _put_pack(self, table: Table, parts: Mapping[str, pa.Table]) -> str:
        name = compaction.new_name()
        self._put(self._file_path(table, name), compaction.packed(parts))
        self._packs[table.name].add(name)
        return name

    def _mark(self, table: Table) -> None:
        self._write(self._marker(table), b"Rows move from one file to another at this moment. Read again.\n")

    def _put(self, path: str, data: pa.Table) -> None:
        buffer = pa.BufferOutputStream()
        pq.write_table(data, buffer, write_page_checksum=True)
        self._write(path, buffer.getvalue().to_pybytes())

    def _leave_out(self, path: str, error: Exception) -> None:
        self._broken[path] = first_line(error)
        warnings.warn(f"left out the broken part {path}: {self._broken[path]}", stacklevel=3)

    def _load(self, table: Table, name: str) -> pa.Table | None:
        """The rows of a file; None if it is damaged.  Raises FileNotFoundError if it is missing."""
        path = self._file_path(table, name)
        self._broken.pop(path, None)
        content = self._read(path)  # a network that fails raises: the part is not broken
        try:
            file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
            data = _fitted(table, file.read())
            data.validate(full=True)  # damaged text would fail later, in pandas
            return data
        except (pa.ArrowException, OSError, ValueError) as error:
            self._leave_out(path, error)
            return None

    def _load_some(self, table: Table, name: str, names: Sequence[str], where: Condition | None) -> pa.Table | None:
        """These columns and the one of the condition; None if no row matches or the file is damaged."""
        try:
            with self._files.open_input_file(self._file_path(table, name)) as stream:
                file = pq.ParquetFile(stream, page_checksum_verification=True)
                stored = file.schema_arrow
                _fitted(table, stored.empty_table())
                needed = {table.key[0], *names, *(where or ())[:1]}
                if where is not None and where[0] in stored.names:
                    found = file.read(columns=[where[0]])[where[0]]
                    if not pc.any(_is_in(found, where)).as_py():  # spares the other columns of most parts
                        return None
                rows = file.read(columns=[name for name in stored.names if name in needed])
                rows.validate(full=True)
                return _fitted(table, rows)
        except FileNotFoundError:
            raise
        except (pa.ArrowException, OSError, ValueError):
            return self._load(table, name)  # read whole, it shows whether the part is broken or the network fails


def _longest(packed: Mapping[str, Mapping[str, int]]) -> dict[str, str]:
    """The pack that counts for each part: the one with the most of its rows, as a part only grows.

    A driver that lost its lease in the middle of a change can leave an earlier copy behind.
    """
    owner: dict[str, str] = {}
    for name, lengths in packed.items():
        for part, length in lengths.items():
            if part not in owner or length > packed[owner[part]][part]:
                owner[part] = name
    return owner


def _is_in(column: pa.ChunkedArray, where: Condition) -> pa.ChunkedArray:
    return pc.is_in(column, pa.array(where[1], column.type))


def _fitted(table: Table, data: pa.Table) -> pa.Table:
    """A part with all columns of the table; those that older code did not write are filled with nulls."""
    found = dict(zip(data.column_names, data.columns, strict=True))
    fields = {field.name: field.type for field in table.schema}
    unknown = [name for name in found if name not in fields]
    missing = [name for name in table.key if name not in found]
    if unknown or missing:
        raise ValueError(f"wrong schema: unknown columns {unknown}, missing columns {missing}")
    columns = {name: found[name] if name in found else pa.nulls(len(data), kind) for name, kind in fields.items()}
    for name, column in columns.items():
        if column.type != fields[name]:
            raise ValueError(f"wrong schema: {name} is {column.type}, but must be {fields[name]}")
    return pa.table(columns)
