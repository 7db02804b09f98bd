"""Rows of a study in Parquet parts that any reader can read while they are written.

    store = ResultStore("studies/demo")
    store.append(SEARCHES, [SEARCHES.row(...)], part=search_id)
    searches = store.read(SEARCHES)      # or, without this project: pd.read_parquet("studies/demo/searches")

A part is written whole and then put in place, and its name is the id of what it holds: writing it again replaces it.
"""

import errno
import os
import re
import uuid
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from analysis.tables import Table

SUFFIX = ".parquet"
Condition = tuple[str, Sequence[Any]]
"""A column, and the values of which a row must have one in it."""


class ResultStore:
    """The tables and files of one study.

    `root` is a local folder, or a URI that pyarrow.fs understands, such as s3://bucket/studies/demo.
    Raises ValueError for a URI of an unknown kind.
    """

    def __init__(self, root: str) -> None:
        self.root = str(root)
        self._broken: dict[str, str] = {}
        try:
            self._files, path = (
                fs.FileSystem.from_uri(self.root)
                if "://" in self.root
                else (fs.LocalFileSystem(), os.path.abspath(self.root))
            )
        except (pa.ArrowException, OSError) as error:
            raise ValueError(
                f"study folder {self.root!r} is neither a path nor a URI that can be opened: {error}"
            ) from None
        self._path = str(path).rstrip("/")
        self._is_local = isinstance(self._files, fs.LocalFileSystem)

    @property
    def broken(self) -> list[str]:
        """The parts that the last read of their table left out, each as "path: reason"."""
        return [f"{path}: {reason}" for path, reason in sorted(self._broken.items())]

    def append(self, table: Table, rows: Iterable[Mapping[str, Any]], part: str) -> None:
        """Write one part, replacing one of the same name.  Raises ValueError for rows that do not fit the table."""
        path = self._part_path(table, part)
        try:
            data = table.to_arrow(rows)
        except ValueError as error:
            raise ValueError(f"part {part}: {error}") from None
        buffer = pa.BufferOutputStream()
        pq.write_table(data, buffer, write_page_checksum=True)
        self._write(path, buffer.getvalue().to_pybytes())

    def read(self, table: Table, columns: Sequence[str] | None = None, where: Condition | None = None) -> pd.DataFrame:
        """All rows, part after part in the order of their names.  Broken parts are left out, see `broken`.

        `columns` reads those columns alone, in this order, and `where` = (column, values) the rows with one of the
        values in it: alphas are most of a large study.  Integers turn into floats where one is missing, as in
        pd.read_parquet.  Raises ValueError for a column that the table lacks.
        """
        names = table.schema.names if columns is None else list(columns)
        unknown = [name for name in (*names, *(where or ())[:1]) if name not in table.schema.names]
        if unknown:
            raise ValueError(f"table {table.name} has no column {', '.join(unknown)}; see `python -m analysis columns`")
        folder = f"{self._path}/{table.name}/"
        if where is None:  # another read of a few rows does not see every damage
            self._broken = {path: reason for path, reason in self._broken.items() if not path.startswith(folder)}
        whole = columns is None and where is None
        found = [
            self._load(table, part) if whole else self._load_columns(table, part, names, where)
            for part in self.parts(table)
        ]
        empty = _fitted(table, table.schema.empty_table()).select(names)
        data = pa.concat_tables([empty, *(data for data in found if data is not None)])
        del found
        frame: pd.DataFrame = data.to_pandas(split_blocks=True, self_destruct=True)  # half the memory
        return frame

    def read_part(self, table: Table, part: str) -> list[dict[str, Any]] | None:
        """The rows of one part; None where it is absent or broken."""
        self._part_path(table, part)
        data = self._load(table, part)
        return None if data is None else data.to_pylist()

    def parts(self, table: Table) -> list[str]:
        """Names of a table's parts, sorted."""
        folder = fs.FileSelector(f"{self._path}/{table.name}", allow_not_found=True)
        names = [info.base_name for info in self._files.get_file_info(folder) if info.type == fs.FileType.File]
        # As pd.read_parquet does, skip what starts with a dot or an underscore.
        return sorted(name.removesuffix(SUFFIX) for name in names if name.endswith(SUFFIX) and name[0] not in "._")

    def delete_part(self, table: Table, part: str) -> None:
        """Remove a part; nothing happens where it is absent."""
        path = self._part_path(table, part)
        try:
            self._files.delete_file(path)
        except FileNotFoundError:
            pass
        self._broken.pop(path, None)

    def read_text(self, name: str) -> str | None:
        """The text of a file in the study's folder, UTF-8; None where it is absent."""
        try:
            return self._read(f"{self._path}/{_checked(name)}").decode(errors="replace")
        except FileNotFoundError:
            return None

    def write_text(self, name: str, text: str) -> None:
        """Write a text file into the study's folder whole, UTF-8."""
        self._write(f"{self._path}/{_checked(name)}", text.encode())

    def create_text(self, name: str, text: str) -> bool | None:
        """Write a text file that must be new: True if it was, False where it exists, None where nobody can tell.

        Of several writers at once, one gets True.  pyarrow's object stores, and disks without hard links, offer no
        such thing: nothing is written then.
        """
        if not self._is_local:
            return None
        path = Path(self._path, _checked(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{name}.{uuid.uuid4().hex}")
        try:
            with draft.open("w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.link(draft, path)  # as a rename, but refused where the name is taken
            return True
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno in (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS):
                return None
            raise
        finally:
            draft.unlink(missing_ok=True)

    def names(self) -> list[str]:
        """Names of the files in the study's folder, sorted; hidden ones are left out."""
        found = self._files.get_file_info(fs.FileSelector(self._path, allow_not_found=True))
        return sorted(i.base_name for i in found if i.type == fs.FileType.File and i.base_name[0] not in "._")

    def delete_text(self, name: str) -> None:
        """Remove a text file; nothing happens where it is absent."""
        try:
            self._files.delete_file(f"{self._path}/{_checked(name)}")
        except FileNotFoundError:
            pass

    def write_texts(self, folder: str, texts: Mapping[str, str]) -> None:
        """Write text files, by name, into a folder of the study, and remove all others of that folder."""
        path = f"{self._path}/{_checked(folder)}"
        for name, text in texts.items():
            self._write(f"{path}/{_checked(name)}", text.encode())
        for info in self._files.get_file_info(fs.FileSelector(path, allow_not_found=True)):
            if info.type == fs.FileType.File and info.base_name not in texts:
                self._files.delete_file(info.path)

    def _part_path(self, table: Table, part: str) -> str:
        return f"{self._path}/{table.name}/{_checked(part)}{SUFFIX}"

    def _load(self, table: Table, part: str) -> pa.Table | None:
        path = f"{self._path}/{table.name}/{part}{SUFFIX}"
        self._broken.pop(path, None)
        try:
            content = self._read(path)  # a network that fails raises: the part is not broken
        except FileNotFoundError:  # deleted since it was listed
            return None
        try:
            file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
            data = _fitted(table, file.read())
            data.validate(full=True)  # damaged text would fail later, in pandas
            return data
        except (pa.ArrowException, OSError, ValueError) as error:
            self._broken[path] = str(error).splitlines()[0] if str(error) else type(error).__name__
            warnings.warn(f"left out the broken part {path}: {self._broken[path]}", stacklevel=3)
            return None

    def _load_columns(self, table: Table, part: str, names: Sequence[str], where: Condition | None) -> pa.Table | None:
        path = f"{self._path}/{table.name}/{part}{SUFFIX}"
        try:
            with self._files.open_input_file(path) as stream:
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
                data = _fitted(table, rows)
        except FileNotFoundError:  # deleted since it was listed
            return None
        except (pa.ArrowException, OSError, ValueError):
            data = self._load(table, part)  # read whole, it shows whether the part is broken or the network fails
            if data is None:
                return None
        if where is not None:
            data = data.filter(_is_in(data[where[0]], where))
        return data.select(names)

    def _read(self, path: str) -> bytes:
        with self._files.open_input_file(path) as file:
            return bytes(file.read())

    def _write(self, path: str, data: bytes) -> None:
        folder, name = path.rsplit("/", 1)
        self._files.create_dir(folder, recursive=True)
        if not self._is_local:  # object stores show an object only once it is complete
            with self._files.open_output_stream(path) as stream:
                stream.write(data)
            return
        draft = Path(folder, f".{name}.{uuid.uuid4().hex}")  # two writers of one part must not share a draft
        try:
            with draft.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)


def _is_in(column: pa.ChunkedArray, where: Condition) -> pa.ChunkedArray:
    return pc.is_in(column, pa.array(where[1], column.type))


def _fitted(table: Table, data: pa.Table) -> pa.Table:
    """A part with all of the table's columns; those that older code did not write yet are filled with nulls."""
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


def _checked(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9-][A-Za-z0-9._-]{0,199}", name):
        raise ValueError(
            f"name is {name!r}, but must be 1 to 200 of the characters A-Z a-z 0-9 . _ - and start with no . or _, "
            "which readers skip"
        )
    return name
