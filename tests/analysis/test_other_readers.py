"""pandas, polars and duckdb alone read what ResultStore reads: at work, after a repair, after an upgrade."""

import random
import threading
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.storage import compaction as packs
from analysis.store import ResultStore
from analysis.tables import EPOCHS, FAILURES, QUEUE, RETRAIN_EPOCHS, RETRAINS, SEARCHES, SETTINGS, TABLES, Table
from tests.analysis.synthetic import epoch_rows, retrain_row, search_row, write_study

NEWEST = ["warnings", "weight_norm"]
"""Columns of `epochs` that stand for those that came later."""
READERS = {
    "pandas": lambda folder: pa.Table.from_pandas(pd.read_parquet(folder, dtype_backend="pyarrow")),
    "polars": lambda folder: pl.read_parquet(folder).to_arrow(),
    "polars, by pattern": lambda folder: pl.scan_parquet(f"{folder}/*.parquet").collect().to_arrow(),
    "duckdb": lambda folder: duckdb.connect().read_parquet(f"{folder}/*.parquet").to_arrow_table(),
}
each_reader = pytest.mark.parametrize("reader", READERS)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(packs, "SIZE", 4)
    monkeypatch.setattr(packs, "LEAST", 3)


def found(reader, store: ResultStore, table: Table) -> list:
    """The rows, sorted by their key; the columns must be those of the table, in their order and of their type."""
    data = READERS[reader](f"{store.root}/{table.name}")
    assert data.column_names == table.schema.names
    types = pa.schema([(field.name, field.type) for field in table.schema])  # text may be large text there
    return in_order(data.cast(types).to_pylist(), table)


def in_order(rows, table: Table) -> list:
    return sorted(rows, key=lambda row: [row[name] for name in table.key])


def expected(store: ResultStore, table: Table) -> list:
    rows = store.rows(table)
    assert rows and store.broken == []
    return in_order(rows, table)


def row(number, accuracy=80.0):
    return search_row(4, number, accuracy) | {"search_id": f"s{number:02}"}


def whole_study(root) -> ResultStore:
    """A study with rows in all tables; one part of `epochs` is empty."""
    store = write_study(str(root))
    store.append(EPOCHS, [], "empty")
    setting = SETTINGS.row(
        setting="k=4", study="demo", target_halfwidth=0.2, max_seeds=20, corrected_interval=True, seeds_run=3,
        seeds_with_result=3, mean=80.0, halfwidth=0.1, reason="narrow enough",
    )  # fmt: skip
    store.append(SETTINGS, [setting], "settings")
    failure = FAILURES.row(
        failure_id="f", study="demo", happened_at="2026-01-01T10:00:00+00:00", kind="trial", subject="s", error="lost"
    )
    store.append(FAILURES, [failure], "f")
    (job, *_) = store.rows(QUEUE)
    values = {column.name: _value(column) for column in RETRAIN_EPOCHS.columns}
    store.append(RETRAIN_EPOCHS, [values | {"job_id": job["job_id"], "epoch": epoch} for epoch in range(3)], "job")
    store.append(RETRAINS, [retrain_row(job, 97.0) | {"test_correct": bytes(range(256)), "attempt": 2}], "bits")
    return store


def _value(column):
    return {str: "x", int: 1, float: 0.5, bool: True}[column.annotation]


@each_reader
def test_every_table_is_read_alike(tmp_path, reader):
    store = whole_study(tmp_path)
    for _ in range(2):
        for table in TABLES:
            assert found(reader, store, table) == expected(store, table)
            store.compact(table)
    assert any(packs.is_pack(path.stem) for path in (tmp_path / "epochs").iterdir())


@each_reader
def test_a_reader_of_a_study_that_runs_is_right_or_fails(tmp_path, reader):
    store = ResultStore(str(tmp_path))
    for number in random.Random(0).sample(range(20), 20):
        store.append(SEARCHES, [row(number)], f"s{number:02}")
    ids, done, wrong, reads = [f"s{number:02}" for number in range(20)], threading.Event(), [], []

    def read():
        while not done.is_set() or not reads:
            try:
                rows = found(reader, store, SEARCHES)
            except (OSError, ValueError, pl.exceptions.PolarsError, duckdb.Error):
                continue
            whole = [row(number, each["valid_accuracy"]) for number, each in enumerate(rows)]
            if [each["search_id"] for each in rows] != ids or rows != whole:
                wrong.append(rows)
            reads.append(len(rows))

    thread = threading.Thread(target=read)
    thread.start()
    try:
        for turn in range(4):
            store.compact(SEARCHES)
            for number in range(turn, 20, 3):
                store.append(SEARCHES, [row(number, 80.0 + turn)], f"s{number:02}")
    finally:
        done.set()
        thread.join()
    assert wrong == [] and reads
    assert found(reader, store, SEARCHES) == expected(store, SEARCHES)


@each_reader
@pytest.mark.filterwarnings("ignore:left out the broken part")
def test_after_a_repair(tmp_path, reader):
    store = ResultStore(str(tmp_path))
    for number in range(8):
        store.append(SEARCHES, [row(number)], f"s{number:02}")
    store.compact(SEARCHES, [f"s{number:02}" for number in range(4)])
    (pack,) = (tmp_path / "searches").glob("pack-*")
    kept = pack.read_bytes()
    for path in (pack, tmp_path / "searches" / "s05.parquet"):
        path.write_bytes(path.read_bytes()[:-8] + b"xxxxxxxx")
    store.read(SEARCHES)
    assert len(store.set_aside(SEARCHES)) == 2
    assert found(reader, store, SEARCHES) == expected(store, SEARCHES)
    assert [each["search_id"] for each in expected(store, SEARCHES)] == ["s04", "s06", "s07"]
    pack.write_bytes(kept)  # as if it had been whole, and were moved back
    assert len(found(reader, store, SEARCHES)) == 7


@each_reader
def test_what_a_killed_writer_leaves_behind_is_skipped(tmp_path, reader):
    store = ResultStore(str(tmp_path))
    store.append(SEARCHES, [row(1)], "s01")

    def die(*_):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.replace", die)
        patch.setattr(Path, "unlink", lambda *_, **__: None)
        with pytest.raises(KeyboardInterrupt):
            store.append(SEARCHES, [row(2)], "s02")
    assert found(reader, store, SEARCHES) == expected(store, SEARCHES) == [row(1)]


def written_before(root) -> None:
    """Tables as an earlier version left them: without the NEWEST columns, a damaged file among the parts."""
    store = ResultStore(str(root))
    for number in range(6):
        store.append(EPOCHS, epoch_rows(row(number), epochs=2), f"s{number:02}")
    store.compact(EPOCHS, [f"s{number:02}" for number in range(4)])
    folder = Path(root, "epochs")
    for path in folder.iterdir():
        pq.write_table(pq.read_table(path).drop_columns(NEWEST), path, write_page_checksum=True)
    (folder / "_damaged-12345678-s09.parquet").write_bytes(b"PAR1")


@each_reader
@pytest.mark.parametrize("packed", [False, True])
def test_columns_that_came_later_are_in_every_file(tmp_path, reader, packed):
    written_before(tmp_path)
    store, newer = ResultStore(str(tmp_path)), [each | {"weight_norm": 7.0} for each in epoch_rows(row(9), epochs=2)]
    if packed:
        store.append_packs(EPOCHS, [{"s09": EPOCHS.to_arrow(newer)}])
    else:
        store.append(EPOCHS, newer, "s09")
    rows = found(reader, store, EPOCHS)
    assert rows == expected(store, EPOCHS) and len(rows) == 14
    assert [each["weight_norm"] for each in rows] == [None] * 12 + [7.0] * 2
    assert store.parts(EPOCHS) == [f"s{number:02}" for number in (*range(6), 9)]
    assert (tmp_path / "damaged" / "epochs" / "12345678-s09.parquet").read_bytes() == b"PAR1"


def test_a_table_is_brought_up_to_date_once(tmp_path, monkeypatch):
    written_before(tmp_path)
    store, looked = ResultStore(str(tmp_path)), []
    monkeypatch.setattr(store, "_columns", lambda path: looked.append(path) or ResultStore._columns(store, path))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "epochs").glob("*.parquet")}
    store.compact(EPOCHS, ())
    store.append(EPOCHS, epoch_rows(row(9), epochs=2), "s09")
    assert len(looked) == 3 and all(path.stat().st_mtime_ns > before[path] for path in map(Path, looked))
    again = ResultStore(store.root)
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "epochs").glob("*.parquet")}
    again.compact(EPOCHS, ())
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "epochs").glob("*.parquet")} == after
