from pathlib import Path

import pytest

from analysis.store import ResultStore
from analysis.tables import EPOCHS, SEARCHES
from orchestrator.watch.reading.table_cache import TableCache
from tests.analysis.synthetic import epoch_rows, search_row

SEARCH = [search_row(4, seed, 80.0 + seed) for seed in range(60)]


@pytest.fixture
def store(tmp_path):
    return ResultStore(str(tmp_path))


def ids(cache):
    return sorted(cache.frame()["search_id"])


def counted_reads(cache):
    reads = []
    read_file = cache.store.read_file
    cache.store.read_file = lambda table, name, columns: reads.append(name) or read_file(table, name, columns)
    return reads


def test_only_new_and_changed_files_are_read(store):
    for search in SEARCH[:3]:
        store.append(SEARCHES, [search], search["search_id"])
    cache = TableCache(store, SEARCHES, ["search_id", "valid_accuracy"])
    reads = counted_reads(cache)
    assert len(cache.refresh().changed) == 3 and len(reads) == 3
    assert not cache.refresh() and len(reads) == 3
    store.append(SEARCHES, [SEARCH[1] | {"valid_accuracy": 12.345}], SEARCH[1]["search_id"])
    assert cache.refresh().changed == (SEARCH[1]["search_id"],)
    assert reads[3:] == [SEARCH[1]["search_id"]]
    assert 12.345 in set(cache.frame()["valid_accuracy"])


def test_rows_survive_their_move_into_a_pack(store):
    for search in SEARCH:
        store.append(SEARCHES, [search], search["search_id"])
    cache = TableCache(store, SEARCHES)
    cache.refresh()
    before = ids(cache)
    assert store.compact(SEARCHES) > 50
    cache.refresh()
    assert ids(cache) == before == ids_of(SEARCH)
    store.append(SEARCHES, [SEARCH[0] | {"error": "again"}], SEARCH[0]["search_id"])
    assert cache.refresh() and ids(cache) == before
    assert "again" in set(cache.frame()["error"])


def ids_of(searches):
    return sorted(search["search_id"] for search in searches)


def test_removed_files_are_forgotten(store, tmp_path):
    for search in SEARCH[:2]:
        store.append(SEARCHES, [search], search["search_id"])
    cache = TableCache(store, SEARCHES)
    cache.refresh()
    (tmp_path / "searches" / f"{SEARCH[0]['search_id']}.parquet").unlink()
    assert cache.refresh().gone == (SEARCH[0]["search_id"],)
    assert ids(cache) == [SEARCH[1]["search_id"]]


def test_damaged_files_are_left_out_and_named(store, tmp_path):
    store.append(SEARCHES, [SEARCH[0]], "good")
    (tmp_path / "searches" / "bad.parquet").write_bytes(b"no parquet")
    cache = TableCache(store, SEARCHES)
    cache.refresh()
    assert len(cache.frame()) == 1 and list(cache.broken) == ["bad"]
    store.append(SEARCHES, [SEARCH[1]], "bad")
    cache.refresh()
    assert len(cache.frame()) == 2 and not cache.broken


def test_rows_need_not_be_kept(store):
    cache = TableCache(store, EPOCHS, ["search_id", "epoch"], keep=False)
    store.append(EPOCHS, epoch_rows(SEARCH[0], 3), "a")
    assert cache.refresh().rows.num_rows == 3
    store.append(EPOCHS, epoch_rows(SEARCH[1], 2), "b")
    assert cache.refresh().rows.num_rows == 2 and len(cache.frame()) == 0


@pytest.mark.parametrize("late", ["pack-0", "pack-z"])
def test_of_a_part_in_two_packs_the_copy_with_the_most_rows_counts(store, late):
    contents = []
    for count in (2, 5):
        store.append_packs(EPOCHS, [{"s": EPOCHS.to_arrow(epoch_rows(SEARCH[0], epochs=count))}])
        (path,) = Path(store.root, "epochs").iterdir()
        contents.append(path.read_bytes())
    (path.parent / f"{late}.parquet").write_bytes(contents[0])
    cache = TableCache(store, EPOCHS)
    cache.refresh()
    assert len(cache.frame()) == 5
