"""Tests of analysis.store."""

import json
import os
import random
import threading
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.store import ResultStore
from analysis.tables import EPOCHS, QUEUE, SEARCHES, TABLES
from tests.analysis.synthetic import epoch_rows, queue_row, search_row


@pytest.fixture
def store(tmp_path):
    return ResultStore(str(tmp_path / "demo"))


def files(store):
    return {str(path): path.read_bytes() for path in sorted(Path(store.root).rglob("*")) if path.is_file()}


def test_rows_come_back_in_the_order_of_the_parts(store):
    for name in ("b", "a"):
        store.append(SEARCHES, [search_row(4, ord(name), 80.0)], name)
    frame = store.read(SEARCHES)
    assert store.parts(SEARCHES) == ["a", "b"]
    assert frame["seed"].tolist() == [ord("a"), ord("b")]
    assert list(frame.columns) == SEARCHES.schema.names


def test_read_part_gives_the_rows_as_written(store):
    rows = epoch_rows(search_row(4, 0, 80.0), epochs=2)
    store.append(EPOCHS, rows, "x")
    assert store.read_part(EPOCHS, "x") == json.loads(json.dumps(rows))  # tuples as lists
    assert store.read_part(EPOCHS, "absent") is None


def test_writing_twice_changes_nothing(store):
    row = search_row(4, 0, 80.0)
    store.append(SEARCHES, [row], row["search_id"])
    before = files(store)
    store.append(SEARCHES, [row], row["search_id"])
    assert files(store) == before
    assert len(store.read(SEARCHES)) == 1


def test_pandas_alone_reads_the_folder(store):
    for seed, accuracy in enumerate((None, 80.0)):  # the failed one comes first: its empty columns keep their types
        store.append(SEARCHES, [search_row(4, seed, accuracy)], f"part{seed}")
    frame = pd.read_parquet(f"{store.root}/searches")
    pd.testing.assert_frame_equal(frame, store.read(SEARCHES))
    assert frame["valid_accuracy"].dtype == float
    assert frame["genotype"].iloc[1].startswith("Genotype(")


def test_missing_tables_are_empty_frames(store):
    for table in TABLES:
        frame = store.read(table)
        assert frame.empty and list(frame.columns) == table.schema.names
        assert store.parts(table) == []


def test_a_reader_never_sees_half_a_part(store):
    search = search_row(4, 0, 80.0)
    store.append(QUEUE, [queue_row(search, 1)], "first")
    done, problems, reads = threading.Event(), [], []

    def read():
        while not done.is_set() or not reads:
            try:
                reads.append(len(pd.read_parquet(f"{store.root}/queue")))
            except Exception as error:
                problems.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(60):
        rows = [queue_row(search, 1) | {"job_id": f"{number}-{i}"} for i in range(number)]
        store.append(QUEUE, rows, f"part{number % 7}")  # new parts and replaced ones
    done.set()
    reader.join()
    assert problems == [] and min(reads) >= 1
    assert [name for name in os.listdir(f"{store.root}/queue") if name.startswith(".")] == []


def test_a_failed_write_leaves_nothing_behind(store, monkeypatch):
    store.append(SEARCHES, [search_row(4, 0, 80.0)], "a")
    before = files(store)

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        store.append(SEARCHES, [search_row(4, 0, 90.0)], "a")
    assert files(store) == before


def test_broken_parts_are_named_and_left_out(store):
    store.append(SEARCHES, [search_row(4, 0, 80.0)], "good")
    folder = Path(store.root, "searches")
    whole = (folder / "good.parquet").read_bytes()
    (folder / "empty.parquet").write_bytes(b"")
    (folder / "text.parquet").write_text("not Parquet")
    (folder / "truncated.parquet").write_bytes(whole[: len(whole) // 2])
    pq.write_table(pa.table({"a": [1]}), folder / "schema.parquet")
    with pytest.warns(UserWarning, match="left out the broken part"):
        frame = store.read(SEARCHES)
    assert frame["search_id"].tolist() == [search_row(4, 0, 80.0)["search_id"]]
    names = [Path(entry.split(": ")[0]).stem for entry in store.broken]
    assert names == ["empty", "schema", "text", "truncated"]
    assert "unknown columns ['a']" in store.broken[1]
    with pytest.warns(UserWarning):
        assert store.read_part(SEARCHES, "text") is None
    for name in names:
        (folder / f"{name}.parquet").unlink()
    store.read(SEARCHES)
    assert store.broken == []


@pytest.mark.filterwarnings("ignore:left out the broken part")
def test_damaged_parts_never_give_wrong_rows(store):
    row = search_row(4, 0, 80.0)
    store.append(SEARCHES, [row], "a")
    path, rng = Path(store.root, "searches", "a.parquet"), random.Random(0)
    whole = path.read_bytes()
    for _ in range(100):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        assert store.read_part(SEARCHES, "a") in (None, [row])
        assert len(store.read(SEARCHES)) == 1 - len(store.broken)


def test_columns_that_an_older_part_lacks_are_empty(store):
    folder = Path(store.root, "searches")
    folder.mkdir(parents=True)
    older = SEARCHES.to_arrow([search_row(4, 0, 80.0)]).drop_columns(["order", "network_macs"])
    pq.write_table(older, folder / "older.parquet")
    store.append(SEARCHES, [search_row(4, 1, 81.0)], "newer")
    assert store.read(SEARCHES)["order"].isna().tolist() == [False, True]
    assert store.broken == []


@pytest.mark.parametrize("name", ["", ".hidden", "_skipped", "a/b", "..", "a b", "k=4", "x" * 201, "a\n"])
def test_part_names_are_checked(store, name):
    with pytest.raises(ValueError, match="name is"):
        store.append(SEARCHES, [], name)
    with pytest.raises(ValueError, match="name is"):
        store.read_part(SEARCHES, name)


def test_rows_that_do_not_fit_name_their_part(store):
    with pytest.raises(ValueError, match="part a: table searches: search_id is missing"):
        store.append(SEARCHES, [{}], "a")
    assert store.parts(SEARCHES) == []


def test_other_file_systems():
    store = ResultStore("mock:///bucket/demo")
    store.append(SEARCHES, [search_row(4, 0, 80.0)], "a")
    store.write_text("study.json", "{}")
    assert store.read(SEARCHES)["k"].tolist() == [4]
    assert store.parts(SEARCHES) == ["a"] and store.read_text("study.json") == "{}"
    with pytest.raises(ValueError, match="neither a path nor a URI"):
        ResultStore("nowhere://bucket")


def test_file_uris_are_local(tmp_path):
    store = ResultStore((tmp_path / "demo").as_uri())
    store.append(SEARCHES, [search_row(4, 0, 80.0)], "a")
    assert (tmp_path / "demo" / "searches" / "a.parquet").is_file() and store.root == str(tmp_path / "demo")
    assert ResultStore((tmp_path / "with space").as_uri()).below("x").root == str(tmp_path / "with space" / "x")
    with pytest.raises(ValueError, match="file://studies' names no path .*give a path"):
        ResultStore("file://studies")


def test_some_columns_of_some_rows(tmp_path):
    store = ResultStore(str(tmp_path))
    searches = [search_row(4, seed, 80.0) for seed in range(3)]
    for search in searches:
        store.append(EPOCHS, epoch_rows(search, epochs=2), search["search_id"])
    whole = store.read(EPOCHS)
    names = ["epoch", "valid_accuracy", "alphas_normal"]
    assert_same(store.read(EPOCHS, columns=names), whole[names])
    wanted = [searches[2]["search_id"], searches[0]["search_id"], "absent"]
    rows = whole[whole["search_id"].isin(wanted)].reset_index(drop=True)
    assert_same(store.read(EPOCHS, columns=names, where=("search_id", wanted)), rows[names])
    assert_same(store.read(EPOCHS, where=("search_id", wanted)), rows)
    assert len(store.read(EPOCHS, columns=names, where=("search_id", []))) == 0
    assert list(store.read(QUEUE, columns=["rank"])) == ["rank"]


def assert_same(frame, other):
    assert frame.to_json() == other.to_json() and list(frame.dtypes) == list(other.dtypes)


def test_columns_that_older_parts_lack_are_missing(tmp_path):
    store = ResultStore(str(tmp_path))
    search = search_row(4, 0, 80.0)
    store.append(EPOCHS, epoch_rows(search, epochs=2), "new")
    path = tmp_path / "epochs" / "new.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["weight_norm", "warnings"]), path)
    assert store.read(EPOCHS, columns=["weight_norm"])["weight_norm"].isna().tolist() == [True, True]
    assert len(store.read(EPOCHS, columns=["epoch"], where=("warnings", ["x"]))) == 0


@pytest.mark.parametrize("arguments", [{"columns": ["color"]}, {"where": ("color", [])}])
def test_unknown_columns_are_named(tmp_path, arguments):
    with pytest.raises(ValueError, match="table epochs has no column color"):
        ResultStore(str(tmp_path)).read(EPOCHS, **arguments)


def test_broken_parts_are_found_by_their_columns_too(tmp_path):
    store = ResultStore(str(tmp_path))
    store.append(EPOCHS, epoch_rows(search_row(4, 0, 80.0), epochs=2), "good")
    (tmp_path / "epochs" / "half.parquet").write_bytes(b"PAR1")
    with pytest.warns(UserWarning, match="left out the broken part"):
        assert len(store.read(EPOCHS, columns=["epoch"])) == 2
    assert len(store.broken) == 1
    with pytest.warns(UserWarning):
        store.read(EPOCHS, columns=["epoch"], where=("search_id", []))
    assert len(store.broken) == 1
    (tmp_path / "epochs" / "half.parquet").unlink()
    store.read(EPOCHS, columns=["epoch"])
    assert store.broken == []
