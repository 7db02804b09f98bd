"""Batches in the background: when they are written, in which order, as which files, and what stops them."""

import threading
from concurrent.futures import Executor, Future

import pandas as pd
import pytest

from analysis.storage import compaction
from analysis.storage.storage_retry import StorageError
from analysis.store import ResultStore
from analysis.tables import EPOCHS, FAILURES
from orchestrator.storage import table_writer
from orchestrator.storage.lease import LeaseLostError
from orchestrator.storage.table_writer import INTERVAL, TableWriter


class Held(Executor):
    """Runs what is submitted when the test says so."""

    def __init__(self):
        self.waiting = []

    def submit(self, function, *arguments):
        future = Future()
        self.waiting.append((future, function, arguments))
        return future

    def run(self):
        future, function, arguments = self.waiting.pop()
        try:
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)


class Immediate(Executor):
    def submit(self, function, *arguments):
        held = Held()
        future = held.submit(function, *arguments)
        held.run()
        return future


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def store(tmp_path):
    return ResultStore(str(tmp_path))


def make(store, executor=None, **options):
    clock = Clock()
    tables = (EPOCHS, FAILURES)
    return TableWriter(store, tables, clock=clock, executor=executor or Immediate(), **options), clock


def row(search, epoch, loss=1.0):
    return EPOCHS.row(search_id=search, study="s", epoch=epoch, train_loss=loss)


def failure(name):
    return FAILURES.row(failure_id=name, study="s", happened_at="", kind="trial", subject="", error="")


def stored(store):
    return [(r["search_id"], r["epoch"], r["train_loss"]) for r in store.rows(EPOCHS)]


def files(store, table=EPOCHS):
    return sorted(store._names(table))


def test_the_first_rows_are_written_at_once_and_later_ones_when_they_are_due(store):
    writer, clock = make(store)
    writer.add(EPOCHS, "a", row("a", 0))
    writer.tick()
    writer.add(EPOCHS, "a", row("a", 1))
    writer.tick()
    assert stored(store) == [("a", 0, 1.0)]
    clock.now += INTERVAL
    writer.tick()
    assert stored(store) == [("a", 0, 1.0), ("a", 1, 1.0)]


def test_a_writer_with_nothing_to_write_starts_nothing(store):
    held = Held()
    writer, clock = make(store, held)
    for _ in range(3):
        clock.now += INTERVAL
        writer.tick()
    assert held.waiting == []


def test_one_batch_is_written_at_a_time_and_the_caller_does_not_wait(store):
    held = Held()
    writer, clock = make(store, held)
    writer.add(EPOCHS, "a", row("a", 0))
    writer.tick()
    writer.add(EPOCHS, "b", row("b", 0))
    clock.now += INTERVAL
    writer.tick()
    assert len(held.waiting) == 1 and stored(store) == []
    held.run()
    writer.tick()
    held.run()
    assert [search for search, *_ in stored(store)] == ["a", "b"]


def test_a_part_counts_as_stored_once_it_is(store):
    held, done = Held(), []
    writer, _ = make(store, held)
    writer.add(EPOCHS, "a", row("a", 0))
    writer.finish(EPOCHS, "a", then=lambda: done.append(len(stored(store))))
    writer.tick()
    writer.tick()
    assert done == [] and (writer.waiting, writer.written_at) == (1, None)
    held.run()
    assert done == []  # called by the thread that ticks
    writer.tick()
    assert done == [1] and writer.waiting == 0 and writer.written_at


def test_tables_are_written_in_order(store, monkeypatch):
    written = []
    monkeypatch.setattr(store, "append_arrow", lambda table, data, part: written.append((table.name, part)))
    writer, _ = make(store)
    writer.add(FAILURES, "f", failure("f"))
    writer.add(EPOCHS, "a", row("a", 0))
    writer.flush()
    assert written == [("epochs", "a"), ("failures", "f")]


def test_a_repeated_row_replaces_the_one_with_its_key(store):
    writer, _ = make(store)
    for epoch in range(3):
        writer.add(EPOCHS, "a", row("a", epoch))
    writer.flush()
    writer.add(EPOCHS, "a", row("a", 0, loss=2.0))
    writer.add(EPOCHS, "a", row("a", 1, loss=2.0))
    writer.add(EPOCHS, "a", row("a", 1, loss=3.0))
    writer.flush()
    assert stored(store) == [("a", 0, 2.0), ("a", 1, 3.0), ("a", 2, 1.0)]


def test_few_changed_parts_have_files_and_many_are_one_pack(store, monkeypatch):
    monkeypatch.setattr(table_writer, "LEAST_CHANGED", 3)
    writer, _ = make(store)
    for search in "ab":
        writer.add(EPOCHS, search, row(search, 0))
    writer.flush()
    assert files(store) == ["a", "b"]
    for search in "abc":
        writer.add(EPOCHS, search, row(search, 1))
    writer.flush()
    (first,) = files(store)
    writer.add(EPOCHS, "c", row("c", 2))
    writer.flush()
    (second,) = files(store)
    assert compaction.is_pack(first) and compaction.is_pack(second) and first != second
    expected = [("a", 0), ("a", 1), ("b", 0), ("b", 1), ("c", 1), ("c", 2)]
    assert [found[:2] for found in stored(store)] == expected
    assert len(pd.read_parquet(f"{store.root}/epochs")) == len(expected)


@pytest.mark.parametrize("least", [2, 100])
def test_complete_parts_move_into_packs_that_stay(store, monkeypatch, least):
    monkeypatch.setattr(table_writer, "LEAST_CHANGED", least)
    monkeypatch.setattr(compaction, "SIZE", 3)
    writer, _ = make(store)
    for search in "abcdefg":
        writer.add(EPOCHS, search, row(search, 0))
        writer.finish(EPOCHS, search)
        if search in "adg":
            writer.add(EPOCHS, "running", row("running", ord(search)))
            writer.flush()
    writer.add(EPOCHS, "h", row("h", 0))
    writer.add(EPOCHS, "i", row("i", 0))
    writer.finish(EPOCHS, "h")
    writer.finish(EPOCHS, "i")
    writer.flush()
    packs = sorted(sorted(lengths) for lengths in store._list(EPOCHS)[1].values())
    if least == 2:
        assert packs == [["a", "b", "c", "d"], ["e", "f", "g"], ["h", "i", "running"]]
    else:
        assert packs == [["a", "b", "c", "d"], ["e", "f", "g"]]
        assert sorted(store._list(EPOCHS)[0]) == ["h", "i", "running"]
    assert len(pd.read_parquet(f"{store.root}/epochs")) == len(stored(store)) == 12


def test_a_pack_of_a_driver_that_was_killed_gives_its_parts_back(store, monkeypatch):
    monkeypatch.setattr(table_writer, "LEAST_CHANGED", 2)
    killed, _ = make(store)
    for search in "ab":
        killed.add(EPOCHS, search, row(search, 0))
    killed.flush()
    writer, _ = make(ResultStore(store.root))
    for epoch in range(2):  # a search that resumes repeats its epochs
        writer.add(EPOCHS, "b", row("b", epoch))
    writer.flush()
    assert stored(store) == [("a", 0, 1.0), ("b", 0, 1.0), ("b", 1, 1.0)]
    assert len(pd.read_parquet(f"{store.root}/epochs")) == 3


def test_a_failed_write_is_raised_once_and_nothing_more_is_written(store, monkeypatch):
    def fail(*arguments):
        raise StorageError("the storage failed: No space left on device")

    monkeypatch.setattr(store, "append_arrow", fail)
    writer, _ = make(store)
    with pytest.raises(StorageError, match="No space left"), writer:
        writer.add(EPOCHS, "a", row("a", 0))
        writer.tick()
        monkeypatch.undo()
        writer.tick()
    assert stored(store) == []


def test_a_lost_lease_stops_the_writer(store):
    def lost():
        raise LeaseLostError("lost")

    writer, _ = make(store)
    with store.guarded(lost), pytest.raises(LeaseLostError), writer:
        writer.add(EPOCHS, "a", row("a", 0))
    assert stored(store) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_was_added_is_written_when_the_run_is_interrupted(store, error):
    with pytest.raises(error), TableWriter(store, (EPOCHS,)) as writer:
        writer.add(EPOCHS, "a", row("a", 0))
        writer.tick()
        writer.add(EPOCHS, "a", row("a", 1))
        raise error
    assert len(stored(store)) == 2
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("table writer")]
