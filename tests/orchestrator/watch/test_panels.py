"""What the page shows: grouped, paged, filtered, and small enough for 10,000 searches."""

import io
import json

import pandas as pd
import pytest

from analysis.statistics.summaries import summarize
from analysis.tables import EPOCHS, SEARCHES
from orchestrator.watch.changes import changes
from orchestrator.watch.downloads import download, end_of
from orchestrator.watch.panels import cells, column_list, panels, tiles
from orchestrator.watch.reading.snapshot import StudyReader
from orchestrator.watch.view import View
from tests.orchestrator.watch.studies import large, report_epochs, simulated

KILOBYTE = 1024


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return simulated(tmp_path_factory.mktemp("study"), searches=4, failed=(3,))


@pytest.fixture(scope="module")
def snapshot(store):
    reader = StudyReader(store.root)
    reader.refresh()
    return reader.snapshot


def size(value):
    return len(json.dumps(value, allow_nan=False))


def test_seeds_are_grouped_with_n_median_and_interval(snapshot):
    found = panels(snapshot, View())["settings"]
    assert found["order"] == ["k=2", "k=4"]
    accuracies = snapshot.searches[snapshot.searches["setting"] == "k=2"]["valid_accuracy"].dropna()
    expected = summarize(accuracies)
    row = found["rows"]["k=2"]
    assert (row["n"], row["counts"]) == (3, {"completed": 3, "failed": 1})
    assert row["median"] == pytest.approx(expected.median, rel=1e-5)
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high), rel=1e-5)


def test_result_last_best_and_at_an_epoch_are_different_values(store, snapshot):
    search = snapshot.searches["search_id"].iloc[0]
    epochs = store.read(EPOCHS, ["search_id", "epoch", "valid_accuracy"], where=("search_id", [search]))
    values = epochs.sort_values("epoch")["valid_accuracy"]

    def shown(at):
        found = panels(snapshot, View(tab="searches", at=at))["table"]
        return found["rows"][search]["valid_accuracy"], found["at"]

    stored = snapshot.searches.set_index("search_id").loc[search, "valid_accuracy"]
    for at, expected in (("result", stored), ("last", values.iloc[-1]), ("best", values.max()), ("1", values.iloc[1])):
        value, name = shown(at)
        assert value == pytest.approx(expected, rel=1e-5) and name
    assert shown("99")[0] is None


def test_one_selection_counts_for_tables_and_curves(snapshot):
    view = View(setting="k=4")
    found = panels(snapshot, view)
    assert found["settings"]["order"] == ["k=4"] and found["curves"]["settings"] == ["k=4"]
    rows = panels(snapshot, View(tab="searches", setting="k=4", seed="1"))["table"]
    assert rows["matching"] == 1 and rows["total"] == 8
    trainings = panels(snapshot, View(tab="trainings", setting="k=8"))["table"]
    assert trainings["matching"] == 0 and trainings["total"] == 2


def test_a_table_is_sorted_filtered_and_paged(snapshot):
    view = View(tab="searches", sort="-valid_accuracy", size=25)
    rows = panels(snapshot, view)["table"]
    values = [rows["rows"][key]["valid_accuracy"] for key in rows["order"]]
    assert values[:6] == sorted(values[:6], reverse=True) and values[6:] == [None, None]
    failed = panels(snapshot, View(tab="searches", state="failed"))["table"]
    assert failed["matching"] == 2
    assert panels(snapshot, View(tab="searches", q="OUT OF MEM"))["table"]["matching"] == 2
    assert panels(snapshot, View(tab="searches", page=99))["table"]["page"] == 1


def test_any_column_can_be_shown(snapshot):
    names = [column["name"] for column in column_list("searches")]
    assert {"gpu_days", "learning_rate", "device_name", "genotype"} <= set(names)
    assert all(column["text"] for column in column_list("searches"))
    found = panels(snapshot, View(tab="searches", columns=",".join(names)))["table"]
    assert found["names"] == names
    for tab in ("trainings", "failures"):
        every = ",".join(column["name"] for column in column_list(tab))
        assert panels(snapshot, View(tab=tab, columns=every))["table"]["names"] == every.split(",")
    with pytest.raises(ValueError, match="no column nonsense"):
        panels(snapshot, View(tab="searches", columns="nonsense"))


def test_details_name_the_error_and_the_values(snapshot):
    failed = snapshot.searches[snapshot.searches["status"] == "failed"]["search_id"].iloc[0]
    detail = panels(snapshot, View(search=failed))["detail"]
    assert detail["state"] == "failed" and "out of memory" in detail["error"]
    done = snapshot.searches["search_id"].iloc[0]
    detail = panels(snapshot, View(search=done))["detail"]
    assert set(detail["values"]["valid_accuracy"]) == {"last", "best", "best_epoch", "result"}
    assert detail["curves"]["valid_accuracy"]["epoch"] == list(range(10))
    job = snapshot.queue["job_id"].iloc[0]
    detail = panels(snapshot, View(job=job))["detail"]
    assert detail["state"] == "done" and detail["attempts"][0]["status"] == "completed"
    assert panels(snapshot, View(search="nobody"))["detail"]["missing"]


def test_few_searches_are_lines_and_many_are_bands(snapshot):
    lines = panels(snapshot, View())["curves"]
    assert lines["lines"] and len(lines["measures"]["valid_accuracy"]) == 6
    bands = panels(snapshot, View(lines="no"))["curves"]["measures"]["valid_accuracy"]
    assert list(bands) == ["k=2", "k=4"] and bands["k=2"]["n"] == [3] * 10
    chosen = next(iter(lines["measures"]["valid_accuracy"].values()))["search"]
    assert f"search {chosen}" in panels(snapshot, View(lines="no", search=chosen))["curves"]["measures"]["train_loss"]


@pytest.mark.parametrize("table", ["searches", "trainings", "failures", "settings", "curves"])
def test_what_is_shown_can_be_downloaded(snapshot, table):
    view = View(tab="searches", setting="k=4")
    text = download(snapshot, table, "csv", view).decode()
    parquet = pd.read_parquet(io.BytesIO(download(snapshot, table, "parquet", view)))
    assert len(parquet) == len(text.splitlines()) - 1
    if table == "searches":
        assert set(parquet["setting"]) == {"k=4"} and len(parquet) == 4
    if table == "curves":
        assert {"measure", "search", "epoch", "value"} <= set(parquet.columns)


def test_the_chart_of_a_measure_can_be_downloaded(snapshot):
    svg = download(snapshot, "valid_accuracy", "svg", View(setting="k=4", lines="no")).decode()
    assert "one-shot validation accuracy, %" in svg and "k=4" in svg and "k=2" not in svg
    assert download(snapshot, "train_loss", "pdf", View()).startswith(b"%PDF-")
    with pytest.raises(ValueError, match="format is 'csv', but must be one of pdf, svg, png"):
        download(snapshot, "train_loss", "csv", View())
    with pytest.raises(ValueError, match="no values of 'train_loss' yet"):
        download(snapshot, "train_loss", "pdf", View(setting="k=9"))


def test_the_end_of_a_traceback_says_what_it_leaves_out():
    assert end_of("a\nb\nc", 2) == "... 1 earlier lines are left out\nb\nc"
    assert end_of("a\nb", 2) == "a\nb"


def test_ten_thousand_searches_stay_small(tmp_path):
    store = large(tmp_path, 10_000)
    reader = StudyReader(store.root)
    reader.refresh()
    views = [View(), View(tab="searches"), View(tab="searches", page=150)]
    before = [panels(reader.snapshot, view) for view in views]
    assert [found["tiles"]["searches"]["completed"] for found in before] == [10_000] * 3
    assert all(size(found) < 60 * KILOBYTE for found in before)
    (search,) = store.read(SEARCHES, where=("search_id", ["search-00000"])).to_dict("records")
    report_epochs(store, search, 11)
    assert reader.refresh()
    after = [panels(reader.snapshot, view) for view in views]
    deltas = [size(changes(old, new)) for old, new in zip(before, after, strict=True)]
    assert all(delta < 3 * KILOBYTE for delta in deltas), deltas


def searches_and_trainings():
    searches = pd.DataFrame(
        {
            "state": ["completed"] * 3,
            "setting": ["k=4", "k=2", "k=2"],
            "seed": [0, 0, 1],
            "genotype_digest": ["a", "b", "c"],
            "valid_accuracy": [90.0, 80.0, 70.0],
        }
    )
    trainings = pd.DataFrame(
        {
            "stage": ["final", "final", "published", "rung"],
            "state": ["done"] * 4,
            "genotype_digest": ["b", "c", "a", "a"],
            "valid_accuracy": [60.0, 61.0, 99.0, 99.0],
            "test_accuracy": [70.0, 50.0, 99.0, 99.0],
        }
    )
    return searches, trainings


def test_cells_are_ranked_by_validation_in_the_full_training_alone():
    searches, trainings = searches_and_trainings()
    found = cells(searches, trainings)
    assert [cell["digest"] for cell in found["best"]] == ["c", "b"] and (found["trained"], found["total"]) == (2, 3)
    assert found["best"][0] | {"one_shot": None} == {
        "digest": "c", "searches": 1, "setting": "k=2", "one_shot": None, "valid": 61.0, "test": 50.0, "trainings": 1
    }  # fmt: skip


def test_cells_are_not_ranked_before_one_is_trained_in_full():
    searches, trainings = searches_and_trainings()
    found = cells(searches, trainings[trainings["stage"] == "rung"])
    assert found["trained"] == 0 and [cell["setting"] for cell in found["best"]] == ["k=2", "k=2", "k=4"]
    assert all(cell["valid"] is None for cell in found["best"])


def test_the_test_accuracy_shown_first_is_of_the_cell_that_validation_chose(snapshot):
    searches, trainings = searches_and_trainings()
    assert tiles(snapshot, searches, trainings)["best_cell"] == {"digest": "c", "test": 50.0, "n": 2}
    assert tiles(snapshot, searches, trainings[:0])["best_cell"] is None
