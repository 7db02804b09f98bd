"""Packs: files of a table that hold many parts each, so that a large study is read from few files.

A pack is a Parquet file whose metadata map its rows to parts.  Its name is unique and its content never changes, which
makes moving parts safe without locks:

- A pack is written before the files that it replaces are removed.  A part is read from its own file if it has one, else
  from any pack that holds it: whenever a process dies, every part exists and counts once.
- To rewrite a part, its file is written first; then the pack that held it is replaced by one without it.
- Between these steps the folder holds a file named `MARKER`.  Readers that do not know packs, such as pandas, polars or
  duckdb, would see rows twice then; they fail instead, as it is not a Parquet file, and its name says why.
- A pack is broken if its bytes are damaged or its metadata do not match its rows; storage that fails is no damage.  A
  broken pack is skipped and reported; another pack or file with its parts counts instead.  The process that writes the
  table moves it out of the table's folder, and deletes nothing (`ResultStore.set_aside`).
"""

import json
import uuid
from collections.abc import Collection, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

PREFIX = "pack-"
MARKER = f"{PREFIX}under-way--read-again-in-a-moment"
SIZE = 250
"""Parts that are moved into one pack."""
LEAST = 50
"""Fewer parts than these stay in their own files."""

_KEY = b"pcdarts.parts"


def new_name() -> str:
    """A unique name for a pack."""
    return f"{PREFIX}{uuid.uuid4().hex}"


def is_pack(name: str) -> bool:
    """Whether a file name, without its suffix, is that of a pack."""
    return name.startswith(PREFIX) and name != MARKER


def packed(parts: Mapping[str, pa.Table]) -> pa.Table:
    """The rows of some parts, sorted by the parts' names, with metadata that map rows to parts."""
    names = sorted(parts)
    lengths = json.dumps([[name, len(parts[name])] for name in names])
    data = pa.concat_tables([parts[name] for name in names])
    return data.replace_schema_metadata({_KEY: lengths.encode()})


def lengths_of(file: pq.ParquetFile) -> dict[str, int]:
    """The parts of a pack and their numbers of rows, in order; reads only the end of the file.

    Raises ValueError if that is missing or does not match the rows.
    """
    try:
        lengths = {str(name): int(rows) for name, rows in json.loads((file.schema_arrow.metadata or {})[_KEY])}
    except (KeyError, TypeError, ValueError):
        raise ValueError("its metadata do not say which parts it holds") from None
    if sum(lengths.values()) != file.metadata.num_rows:
        raise ValueError(f"its metadata name {sum(lengths.values())} rows, but it has {file.metadata.num_rows}")
    return lengths


def owners(lengths: Mapping[str, int], ranks: Mapping[str, int]) -> np.ndarray:
    """For every row of a pack the rank of its part, -1 if it has none."""
    return np.repeat([ranks.get(part, -1) for part in lengths], list(lengths.values())).astype(np.int64)


def without(data: pa.Table, lengths: Mapping[str, int], left_out: Collection[str]) -> dict[str, pa.Table]:
    """The parts of a pack, except those `left_out`."""
    parts, start = {}, 0
    for part, rows in lengths.items():
        if part not in left_out:
            parts[part] = data.slice(start, rows)
        start += rows
    return parts
