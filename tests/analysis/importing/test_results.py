"""Rows of the tables made of rows of a file."""

import json

import pytest

from analysis.importing.fields import Sources
from analysis.importing.results import read_results, write_results
from analysis.store import ResultStore
from analysis.tables import QUEUE, RETRAINS, SEARCHES
from pcdarts.genotype import PUBLISHED
from pcdarts.presets import RECIPES

CELLS = [str(PUBLISHED[name]) for name in ("PC_DARTS_cifar", "PC_DARTS_image", "DARTS_V2")]
COLUMNS = {"genotype": "cell", "valid_accuracy": "one_shot", "test_accuracy": "final", "seed": "run", "k": "K"}
VALUES = {"dataset": "cifar10", "method": "pcdarts"}
SOURCES = Sources(columns=COLUMNS, values=VALUES, unit="percent")


def row(cell=0, one_shot=86.0, final=97.0, run=0, **others):
    return {"cell": CELLS[cell], "one_shot": one_shot, "final": final, "run": run, "K": 4} | others


def read(rows, sources=SOURCES, **options):
    return read_results(rows, "old.csv", sources, study="old", **options)


def test_a_row_becomes_a_search_a_job_and_a_retraining(tmp_path):
    results = read([row(), row(1, 87.0, None, 1), row(2, 85.0, 97.5, 0, K=8)])
    write_results(results, str(tmp_path / "old"))
    write_results(results, str(tmp_path / "old"))  # replaces the first
    store = ResultStore(str(tmp_path / "old"))
    searches, queue, retrains = (store.read(table) for table in (SEARCHES, QUEUE, RETRAINS))
    assert list(searches["setting"]) == ["k=4", "k=4", "k=8"] and list(searches["seed"]) == [0, 1, 0]
    assert list(searches["sampling_rate"]) == [0.25, 0.25, 0.125] and list(searches["valid_accuracy"]) == [86, 87, 85]
    assert list(searches["genotype"]) == CELLS and set(searches["status"]) == {"completed"}
    assert searches["epochs"].isna().all() and searches["network_macs"].isna().all()
    assert list(retrains["test_accuracy"]) == [97.0, 97.5] and set(retrains["stage"]) == {"final"}
    assert set(retrains["dataset"]) == {"cifar10"} and list(retrains["seed"]) == [0, 0]
    assert retrains["epochs"].isna().all() and retrains["valid_accuracy"].isna().all()
    assert list(queue["job_id"]) == list(retrains["job_id"]) and set(queue["state"]) == {"done"}
    assert [list(origins) for origins in queue["origins"]] == [[searches["search_id"][i]] for i in (0, 2)]
    assert list(queue["reason"]) == ["imported from row 1", "imported from row 3"]


def test_rows_of_one_search_are_its_retrainings():
    results = read([row(final=97.0), row(final=97.2), row(1, run=1), row(1, 85.0, run=2)])
    assert len(results.searches) == 3 and len(results.retrains) == 4
    assert [retrain["seed"] for retrain in results.retrains] == [0, 1, 0, 1]  # two searches found the last cell
    assert len({retrain["job_id"] for retrain in results.retrains}) == 4
    best, other = (search["search_id"] for search in results.searches[1:])
    assert [job["origins"] for job in results.queue[2:]] == [[best, other]] * 2
    assert results.text() == "3 searches, 2 distinct cells, 4 retrainings\n  k=4: 3 searches"


def test_without_seeds_no_two_settings_share_one():
    columns = {name: column for name, column in COLUMNS.items() if name != "seed"}
    results = read([row(K=4), row(K=8)], Sources(columns=columns, values=VALUES, unit="percent"))
    assert [search["seed"] for search in results.searches] == [1, 2]
    assert "the row numbers are the seeds" in results.text() and "columns not read: run" in results.text()


def test_settings_are_named_as_in_a_study():
    columns = COLUMNS | {"method": "method", "order": "order"}
    rows = [row(method="pcdarts", order=1), row(1, method="darts", order=2), row(2, method="random", order=None)]
    for other in rows[1:]:
        other["K"] = None
    results = read(rows, Sources(columns=columns, values={"dataset": "cifar10"}, unit="percent"))
    labels = ["method=pcdarts, k=4, order=1", "method=darts, order=2", "method=random"]
    assert [search["setting"] for search in results.searches] == labels
    assert [search["sampling_rate"] for search in results.searches] == [0.25, 1.0, None]
    named = Sources(columns=COLUMNS | {"setting": "name"}, values=VALUES, unit="percent")
    assert read([row(name="ours")], named).searches[0]["setting"] == "ours"


def test_a_recipe_gives_the_fields_of_retrainings_and_sizes():
    values = VALUES | {"retrain.validation_portion": 0}
    sources = Sources(columns=COLUMNS | {"network_macs": "macs"}, values=values, unit="percent")
    rows = [row(macs=None), row(1, run=1, macs=7)]
    results = read(rows, sources, recipe=RECIPES["cifar10"](), size=lambda genotype: (5, 6))
    retrain = results.retrains[0]
    assert retrain["epochs"] == 600 and retrain["validation_portion"] == 0 and retrain["device"] is None
    sizes = [(search["network_parameters"], search["network_macs"]) for search in results.searches]
    assert sizes == [(5, 6), (5, 7)] == [(job["network_parameters"], job["network_macs"]) for job in results.queue]


def test_a_genotype_may_be_an_object_of_a_json_file():
    found = json.loads(PUBLISHED["DARTS_V2"].to_json())
    assert str(read([row() | {"cell": found}]).searches[0]["genotype"]) == CELLS[2]


@pytest.mark.parametrize(
    ("rows", "change", "message"),
    [
        ([row(cell=0), {**row(), "cell": "sep_conv"}], {}, "old.csv, row 2: genotype is 'sep_conv', but must look"),
        ([{**row(), "cell": None}], {}, "old.csv, row 1: genotype is missing, but every row needs it"),
        ([row(run=None)], {}, "row 1: seed is missing"),
        ([row(K=None)], {}, "row 1: k is missing, but a search by pcdarts needs it; give --k"),
        ([row(), row(1)], {}, "row 2: setting k=4 and seed 0 are those of row 1, but genotype is "),
        ([row(), row(final=None)], {}, "and nothing was retrained; remove one row"),
        ([row(n=3), row(run=1, n=3)], {"retrain.seed": "n"}, "row 2: the cell was retrained with seed 3 in row 1"),
    ],
)
def test_a_row_that_does_not_fit_is_named(rows, change, message):
    with pytest.raises(ValueError) as caught:
        read(rows, Sources(columns=COLUMNS | change, values=VALUES, unit="percent"))
    assert message in str(caught.value)


def test_what_every_search_needs_has_a_source():
    for name in ("genotype", "dataset", "method"):
        columns = {key: column for key, column in COLUMNS.items() if key != name}
        values = {key: value for key, value in VALUES.items() if key != name}
        with pytest.raises(ValueError, match=f"{name} has no source, but every search needs it; give --"):
            read([row()], Sources(columns=columns, values=values, unit="percent"))


def test_another_study_is_not_overwritten(tmp_path):
    store = ResultStore(str(tmp_path))
    store.write_text("study.json", "{}")
    with pytest.raises(ValueError, match="holds another study; give another name"):
        write_results(read([row()]), str(tmp_path))
