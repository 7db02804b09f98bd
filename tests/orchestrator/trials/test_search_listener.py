"""Which searches run again, and what is stored of those that fail."""

import dataclasses

import pytest

from analysis.store import ResultStore
from analysis.tables import EPOCHS, FAILURES, SEARCHES
from orchestrator.presets import smoke
from orchestrator.storage.lease import Lease
from orchestrator.storage.table_writer import TableWriter
from orchestrator.trials.failures import classify
from orchestrator.trials.progress import Progress
from orchestrator.trials.search_listener import SearchListener
from orchestrator.trials.tune_trials import TrialSpec
from pcdarts.results import EpochRecord, SearchResult
from tests.analysis.synthetic import epoch_rows, search_row

MONITOR = "1 worker(s) were killed due to the node running low on memory."
ERROR = "RuntimeError: once"


@pytest.fixture
def spec():
    config = smoke().searches()[0]
    return TrialSpec(key=config.search_id, root="", config=config)


@pytest.fixture
def listener(tmp_path, spec):
    progress = Progress("searches", {spec.key: spec.config.epochs})
    with TableWriter(ResultStore(str(tmp_path)), (EPOCHS, SEARCHES)) as writer:
        yield SearchListener(smoke(), writer, Lease(f"{tmp_path}/lease"), progress, max_failures=2)


def epoch(listener, spec, number):
    row = epoch_rows(search_row(4, 0, 84.0), epochs=number + 1)[number]
    names = {f.name for f in dataclasses.fields(EpochRecord)}
    listener.reported(spec, {"kind": "epoch", "content": {name: row[name] for name in names}})


def rows(listener, table):
    listener.writer.flush()
    return listener.writer.store.rows(table)


def test_a_search_runs_again_until_it_failed_once_too_often_without_a_new_epoch(listener, spec):
    listener.started(spec)
    assert [listener.failed(spec, classify(ERROR)) for _ in range(2)] == [True, True]
    epoch(listener, spec, 0)
    assert listener.failed(spec, classify(ERROR))
    epoch(listener, spec, 0)  # again, as its checkpoint was older
    assert [listener.failed(spec, classify(ERROR)) for _ in range(2)] == [True, False]
    (row,) = rows(listener, SEARCHES)
    assert (row["status"], row["error"]) == ("failed", ERROR)
    kinds = sorted(failure["error"] for failure in rows(listener, FAILURES))
    assert kinds == [f"given up: {ERROR}", *[f"retried: {ERROR}"] * 4]


@pytest.mark.parametrize("text", [MONITOR, "MemoryError"])
def test_a_search_out_of_memory_is_left_for_a_second_run_and_then_given_up(listener, spec, text):
    assert not listener.failed(spec, classify(text))
    assert rows(listener, SEARCHES) == [] and list(listener.out_of_memory) == [spec.key]
    assert not listener.failed(spec, classify(text))
    (row,) = rows(listener, SEARCHES)
    assert (row["status"], row["error"]) == ("failed", classify(text).message)


def test_a_search_is_done_once_its_row_is_stored(listener, spec):
    listener.started(spec)
    epoch(listener, spec, 0)
    assert listener.failed(spec, classify(ERROR))
    epoch(listener, spec, 0)
    epoch(listener, spec, 1)
    result = search_row(4, 0, 84.0)
    content = {field.name: result[field.name] for field in dataclasses.fields(SearchResult)}
    listener.reported(spec, {"kind": "result", "content": content})
    assert listener.progress.done == 0
    (row,) = rows(listener, SEARCHES)
    assert (row["search_id"], row["status"]) == (spec.key, "completed")
    assert [row["epoch"] for row in rows(listener, EPOCHS)] == [0, 1]
    assert listener.progress.done == 1
