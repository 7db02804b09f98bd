"""Tests of analysis.tables."""

import dataclasses

import pyarrow as pa
import pytest

from analysis.tables import EPOCHS, QUEUE, RETRAINS, SEARCHES, TABLES, column_reference
from pcdarts.config import RetrainConfig, SearchConfig
from pcdarts.results import EpochRecord, RetrainResult, SearchResult
from tests.analysis.synthetic import epoch_rows, search_row


@pytest.mark.parametrize(
    ("table", "records"),
    [
        (SEARCHES, (SearchConfig, SearchResult)),
        (EPOCHS, (EpochRecord,)),
        (QUEUE, ()),
        (RETRAINS, (RetrainConfig, RetrainResult)),
    ],
)
def test_schema_covers_every_field_once(table, records):
    expected = {field.name for record in (*records, *table.records) for field in dataclasses.fields(record)}
    assert set(table.schema.names) == expected
    assert len(table.schema.names) == len(expected) == sum(len(dataclasses.fields(part)) for part in table.records)
    assert set(table.key) <= expected


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_column_is_described(table):
    assert table.description
    assert all(column.description and column.type_text for column in table.columns)


def test_types_follow_the_annotations():
    types = {name: SEARCHES.schema.field(name).type for name in SEARCHES.schema.names}
    assert types["k"] == pa.int64()
    assert types["sampling_rate"] == pa.float64()
    assert types["edge_normalization"] == pa.bool_()
    assert types["dataset"] == types["setting"] == pa.string()
    assert types["spatial_stride"] == pa.int64()
    assert EPOCHS.schema.field("betas_normal").type == pa.list_(pa.float64())
    assert EPOCHS.schema.field("alphas_normal").type == pa.list_(pa.list_(pa.float64()))
    assert QUEUE.schema.field("origins").type == pa.list_(pa.string())


def test_results_and_optional_values_can_be_missing():
    nullable = {field.name: field.nullable for field in SEARCHES.schema}
    assert nullable["valid_accuracy"] and nullable["network_macs"] and nullable["git_revision"]
    assert not nullable["search_id"] and not nullable["k"] and not nullable["seed"]


def test_imported_rows_can_lack_what_their_logs_do_not_tell_but_no_key():
    assert all(SEARCHES.schema.field(name).nullable for name in ("threads", "dataset", "device_name"))
    assert all(EPOCHS.schema.field(name).nullable for name in ("alphas_normal", "genotype", "peak_memory_bytes"))
    assert not any(EPOCHS.schema.field(name).nullable for name in EPOCHS.key)


def test_row_has_every_column_and_later_values_win():
    row = EPOCHS.row({"search_id": "a", "epoch": 1}, {"epoch": 2}, study="s")
    assert list(row) == EPOCHS.schema.names
    assert (row["search_id"], row["epoch"], row["study"], row["valid_loss"]) == ("a", 2, "s", None)


def test_unknown_columns_are_refused():
    with pytest.raises(ValueError, match="table epochs has no column epoc;"):
        EPOCHS.row(epoc=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"status": "done"}, "status is 'done', but must be one of completed, failed, stopped, canceled"),
        ({"search_id": None}, "search_id is missing"),
        ({"k": "four"}, "k must be integer"),
        ({"seconds": "long"}, "seconds must be number"),
    ],
)
def test_rows_that_do_not_fit_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        SEARCHES.to_arrow([search_row(4, 0, 80.0) | change])


def test_two_rows_of_one_key_are_refused():
    with pytest.raises(ValueError, match="two rows have the search_id, epoch"):
        EPOCHS.to_arrow(epoch_rows(search_row(4, 0, 80.0), epochs=1) * 2)


def test_failed_and_completed_searches_have_one_schema():
    failed, completed = (SEARCHES.to_arrow([search_row(4, 0, accuracy)]) for accuracy in (None, 80.0))
    assert failed.schema == completed.schema == SEARCHES.schema
    assert failed["valid_accuracy"].to_pylist() == [None]


def test_column_reference_names_every_column():
    lines = column_reference().splitlines()
    for table in TABLES:
        start = lines.index(f"## {table.name}")
        rows = [line for line in lines[start:] if line.startswith("| `")][: len(table.columns)]
        assert [row.split("`")[1] for row in rows] == table.schema.names
    assert "| `alphas_normal` | list of lists of numbers; can be missing |" in column_reference()
    assert "| `valid_accuracy` | number; can be missing |" in column_reference()
