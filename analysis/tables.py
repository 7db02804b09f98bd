"""The tables of a study: their columns, types and descriptions.

A table has the fields of a few record dataclasses as its columns; a column's type is the field's annotation, and its
description is the docstring under the field.
"""

import dataclasses
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import pyarrow as pa

from analysis.records import (
    Candidate,
    DerivedNetwork,
    EpochIdentity,
    Failure,
    JobIdentity,
    JobProgress,
    Provenance,
    RetrainEpochIdentity,
    RetrainIdentity,
    SearchIdentity,
    SearchMemory,
    SearchSetting,
    SettingSeeds,
)
from analysis.storage.storage_retry import first_line
from pcdarts.config import RetrainConfig, SearchConfig
from pcdarts.config.fields import field_docs
from pcdarts.genotype import Genotype
from pcdarts.results import EpochRecord, RetrainEpoch, RetrainResult, SearchResult


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a table."""

    name: str
    """Name in the Parquet files and data frames."""
    annotation: Any
    """Python type, without None."""
    nullable: bool
    """Whether the value can be missing."""
    description: str
    """What the value means, with its unit."""

    @cached_property
    def choices(self) -> tuple[Any, ...]:
        """Values of a Literal; empty for other types."""
        return typing.get_args(self.annotation) if typing.get_origin(self.annotation) is Literal else ()

    @property
    def type_text(self) -> str:
        """The type in words."""
        *others, last = map(str, self.choices or (_type_text(_arrow_type(self.annotation)),))
        text = f"{', '.join(others)} or {last}" if others else last
        return f"{text}; can be missing" if self.nullable else text


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of a study, stored as a folder of Parquet files."""

    name: str
    """Name of the folder."""
    key: tuple[str, ...]
    """Columns that identify a row."""
    description: str
    """What one row stands for."""
    records: tuple[type, ...]
    """Record dataclasses whose fields are the columns, in this order; their names must differ."""
    optional: tuple[type, ...] = ()
    """Those of `records` whose columns can be missing, such as the result of a failed search, or what the logs of an
    imported search do not contain."""
    required: tuple[str, ...] = ()
    """Columns of optional records that every row needs nevertheless, in addition to the key."""

    @cached_property
    def columns(self) -> list[Column]:
        """The columns in their order.  Raises ValueError if two records have a field of the same name."""
        columns: dict[str, Column] = {}
        for record in self.records:
            docs, hints = field_docs(record), typing.get_type_hints(record)
            for field in dataclasses.fields(record):
                if field.name in columns:
                    raise ValueError(
                        f"table {self.name}: {field.name} is a field of two records, but must be a field of one"
                    )
                annotation, nullable = _without_none(hints[field.name])
                columns[field.name] = Column(
                    name=field.name,
                    annotation=annotation,
                    nullable=nullable or (record in self.optional and field.name not in (*self.key, *self.required)),
                    description=docs[field.name],
                )
        return list(columns.values())

    @cached_property
    def schema(self) -> pa.Schema:
        """Arrow schema of every stored part."""
        return pa.schema([pa.field(c.name, _arrow_type(c.annotation), nullable=c.nullable) for c in self.columns])

    def row(self, *records: Any, **values: Any) -> dict[str, Any]:
        """A row with every column, None by default; later records and values override earlier ones.

        Records are dataclass instances or mappings; genotypes become text.  Raises ValueError for an unknown column.
        """
        row: dict[str, Any] = dict.fromkeys(self.schema.names)
        for record in (*records, values):
            given = record if isinstance(record, Mapping) else _fields(record)
            unknown = [name for name in given if name not in row]
            if unknown:
                raise ValueError(f"table {self.name} has no column {', '.join(unknown)}; see `pcdarts columns`")
            row.update((name, str(value) if isinstance(value, Genotype) else value) for name, value in given.items())
        return row

    def to_arrow(self, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
        """Rows as an Arrow table of exactly this schema.

        Raises ValueError for unknown columns, missing or mistyped values, and duplicate keys.
        """
        complete = [self.row(row) for row in rows]
        for row in complete:
            for column in self.columns:
                self._check(column, row[column.name])
        arrays = [self._array(column, [row[column.name] for row in complete]) for column in self.columns]
        seen = set()
        for row in complete:
            key = tuple(row[name] for name in self.key)
            if key in seen:
                raise ValueError(
                    f"table {self.name}: two rows have the {', '.join(self.key)} {key}, but it must be unique; keep one"
                )
            seen.add(key)
        return pa.Table.from_arrays(arrays, schema=self.schema)

    def _check(self, column: Column, value: Any) -> None:
        if value is None and not column.nullable:
            raise ValueError(f"table {self.name}: {column.name} is missing, but every row needs it")
        if column.choices and value is not None and value not in column.choices:
            choices = ", ".join(map(str, column.choices))
            raise ValueError(f"table {self.name}: {column.name} is {value!r}, but must be one of {choices}")
        if column.annotation is int and isinstance(value, float) and not value.is_integer():  # Arrow would cut it off
            raise ValueError(f"table {self.name}: {column.name} is {value!r}, but must be {column.type_text}")

    def _array(self, column: Column, values: list[Any]) -> pa.Array:
        try:
            return pa.array(values, type=_arrow_type(column.annotation))
        except (pa.ArrowException, TypeError, OverflowError) as error:
            raise ValueError(
                f"table {self.name}: {column.name} must be {column.type_text}: {first_line(error)}"
            ) from None


def _fields(record: Any) -> dict[str, Any]:
    return {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}


def _without_none(annotation: Any) -> tuple[Any, bool]:
    if typing.get_origin(annotation) not in (types.UnionType, typing.Union):
        return annotation, False
    (inner,) = (kind for kind in typing.get_args(annotation) if kind is not type(None))
    return inner, True


_ARROW_TYPES = {
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    bytes: pa.binary(),
    Genotype: pa.string(),
}
_TYPE_TEXTS = {
    pa.bool_(): "true or false",
    pa.int64(): "integer",
    pa.float64(): "number",
    pa.string(): "text",
    pa.binary(): "bytes",
}


def _arrow_type(annotation: Any) -> pa.DataType:
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is Literal:
        (kind,) = {type(value) for value in arguments}
        return _ARROW_TYPES[kind]
    if typing.get_origin(annotation) is tuple:  # tuple[X, ...]
        return pa.list_(_arrow_type(arguments[0]))
    return _ARROW_TYPES[annotation]


def _type_text(kind: pa.DataType) -> str:
    if not pa.types.is_list(kind):
        return _TYPE_TEXTS[kind]
    inner = _type_text(kind.value_type)
    return "list of " + (
        inner.replace("list", "lists", 1) if inner.startswith("list") else inner.removesuffix("s") + "s"
    )


SEARCHES = Table(
    name="searches",
    key=("search_id",),
    description="One row per finished search, including failed ones.",
    records=(SearchIdentity, SearchSetting, SearchConfig, SearchResult, SearchMemory, DerivedNetwork, Provenance),
    optional=(SearchConfig, SearchResult),
    required=("k", "seed"),
)
EPOCHS = Table(
    name="epochs",
    key=("search_id", "epoch"),
    description="One row per search and epoch.",
    records=(EpochIdentity, EpochRecord),
    optional=(EpochRecord,),
)
SETTINGS = Table(
    name="settings",
    key=("setting",),
    description="One row per setting of a study that adds seeds until a target half-width is reached.",
    records=(SettingSeeds,),
)
QUEUE = Table(
    name="queue",
    key=("job_id",),
    description="One row per retraining job: a distinct cell, its rank and its state.",
    records=(JobIdentity, Candidate, JobProgress),
    optional=(Candidate,),
    required=("genotype", "origins", "reason"),
)
RETRAINS = Table(
    name="retrains",
    key=("job_id", "attempt"),
    description="One row per finished attempt to retrain a cell, including failed ones.",
    records=(RetrainIdentity, RetrainConfig, RetrainResult, Provenance),
    optional=(RetrainConfig, RetrainResult),
    required=("dataset", "seed"),
)
RETRAIN_EPOCHS = Table(
    name="retrain_epochs",
    key=("job_id", "epoch"),
    description="One row per retraining job and epoch, of jobs that run too.",
    records=(RetrainEpochIdentity, RetrainEpoch),
)
FAILURES = Table(
    name="failures",
    key=("failure_id",),
    description="One row per failure during the searches, resolved by a retry or not; failed retrainings are in "
    "`retrains`.",
    records=(Failure,),
)
TABLES = (SEARCHES, EPOCHS, SETTINGS, QUEUE, RETRAINS, RETRAIN_EPOCHS, FAILURES)
"""All tables of a study."""


def column_reference() -> str:
    """The page "What every column means" in Markdown: name, type and meaning of the columns of each table."""
    lines = [
        "# What every column means",
        "",
        'Each table is a folder of Parquet files in the study folder: `pd.read_parquet("studies/demo/searches")`.',
        "`pcdarts columns` prints this page.",
    ]
    for table in TABLES:
        key = ", ".join(f"`{name}`" for name in table.key)
        lines += ["", f"## {table.name}", "", f"{table.description} Key: {key}.", ""]
        lines += ["| column | type | meaning |", "|---|---|---|"]
        lines += [
            f"| `{c.name}` | {c.type_text} | {c.description.replace('|', chr(92) + '|')} |" for c in table.columns
        ]
    return "\n".join(lines) + "\n"
