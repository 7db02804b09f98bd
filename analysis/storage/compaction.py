"""Packs: files of a table that hold many parts each, so that a large study is read from few files.

A pack is a Parquet file whose metadata say which of its rows belong to which part.  Its name is new and its content
never changes, and this makes moving parts safe without locks:

- A pack is put in place before the files that it replaces are removed.  A part is read from its own file where it has
  one, else from any pack that holds it: whenever a process dies, every part is there, and counts once.
- To write a part anew, its file is written first; then the pack that held it is replaced by one without it.
- Between these steps a file named `MARKER` lies in the folder.  Readers that know nothing of packs, such as
  pd.read_parquet, would see rows twice then; they fail instead, as it is no Parquet file, and its name says why.
- A pack is broken where its bytes, once read, are damaged, or its metadata do not fit its rows; storage that fails is
  no damage.  A broken pack is left out and named; another pack or file with its parts counts instead.  The process
  that writes the table renames it at once, so that all readers skip it, and deletes nothing (`ResultStore.set_aside`).
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
"""Fewer parts than these are left in files of their own."""

_KEY = b"pcdarts.parts"


def new_name() -> str:
    """A name that no pack had before."""
    return f"{PREFIX}{uuid.uuid4().hex}"


def is_pack(name: str) -> bool:
    """Whether a file of this name, without its ending, is a pack."""
    return name.startswith(PREFIX) and name != MARKER


def packed(parts: Mapping[str, pa.Table]) -> pa.Table:
    """The rows of some parts, in the order of their names, with metadata that say whose they are."""
    names = sorted(parts)
    lengths = json.dumps([[name, len(parts[name])] for name in names])
    data = pa.concat_tables([parts[name] for name in names])
    return data.replace_schema_metadata({_KEY: lengths.encode()})


def lengths_of(file: pq.ParquetFile) -> dict[str, int]:
    """The parts of a pack and their numbers of rows, in their order; only the end of the file is read.

    Raises ValueError where that is missing, or does not fit the rows.
    """
    try:
        lengths = {str(name): int(rows) for name, rows in json.loads((file.schema_arrow.metadata or {})[_KEY])}
    except (KeyError, TypeError, ValueError):
        raise ValueError("its metadata do not say which parts it holds") from None
    if sum(lengths.values()) != file.metadata.num_rows:
        raise ValueError(f"its metadata speak of {sum(lengths.values())} rows, but it has {file.metadata.num_rows}")
    return lengths


def owners(lengths: Mapping[str, int], ranks: Mapping[str, int]) -> np.ndarray:
    """For every row of a pack the rank of its part, -1 where that has none."""
    return np.repeat([ranks.get(part, -1) for part in lengths], list(lengths.values())).astype(np.int64)


def without(data: pa.Table, lengths: Mapping[str, int], left_out: Collection[str]) -> dict[str, pa.Table]:
    """The parts of a pack but for some."""
    parts, start = {}, 0
    for part, rows in lengths.items():
        if part not in left_out:
            parts[part] = data.slice(start, rows)
        start += rows
    return parts
