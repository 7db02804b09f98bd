"""The report in all of its forms where a study lacks something: no column, value or table is taken for granted."""

import dataclasses

import pytest

from analysis.figures import vega_script
from analysis.report.build import build, csv_files, markdown, page
from analysis.report.formats import FORMATS
from analysis.store import ResultStore
from analysis.study_data import StudyData
from analysis.tables import EPOCHS, SEARCHES
from pcdarts.results import EpochRecord, SearchResult
from tests.analysis.synthetic import epoch_rows, search_row

LISTS = ("alphas_normal", "alphas_reduce", "betas_normal", "betas_reduce")


def without(row, record):
    """A row without the measures that a record may lack."""
    optional = [field.name for field in dataclasses.fields(record) if field.default is None]
    return row | {name: None for name in optional if name in row}


def no_measures():
    searches = [search_row(k, seed, 80.0 + seed) for k in (2, 4) for seed in range(2)]
    epochs = [without(row, EpochRecord) for search in searches for row in epoch_rows(search)]
    return [without(row, SearchResult) for row in searches], epochs


def random_cells():
    unknown = dict.fromkeys(("valid_accuracy", "valid_loss", "train_accuracy", "train_loss", "seconds"))
    cells = ("DARTS_V1", "DARTS_V2")
    rows = [search_row(4, seed, 80.0, cell=cell) | unknown | {"epochs_trained": 0} for seed, cell in enumerate(cells)]
    return [row | {"setting": "method=random"} for row in rows] + [search_row(2, 0, 80.0)], []


def imported_logs():
    searches, epochs = no_measures()
    lists = {name: [] for name in LISTS}
    nothing = dict.fromkeys(("git_revision", "python_version", "torch_version", "ray_version", "device_name"))
    return [row | nothing for row in searches], [row | lists | {"learning_rate": 0.1} for row in epochs]


def one_seed():
    search = search_row(4, 0, 80.0)
    return [search], epoch_rows(search)


def stopped():
    row = search_row(4, 0, 80.0) | {"status": "stopped", "stop_reason": "eigenvalue | rule", "epochs_trained": 4}
    return [row, search_row(4, 1, 81.0)], epoch_rows(row, epochs=4)


CASES = {
    "empty": ([], []),
    "no measures": no_measures(),
    "random cells": random_cells(),
    "imported logs": imported_logs(),
    "one seed": one_seed(),
    "all failed": ([search_row(4, seed, None) for seed in range(3)], []),
    "only epochs": ([], one_seed()[1]),
    "stopped": stopped(),
    "no accuracy at all": ([row | {"valid_accuracy": None} for row in no_measures()[0]], []),
    "equal seeds": ([search_row(k, seed, 80.0) for k in (1, 2, 4) for seed in range(5)], []),
}


@pytest.mark.parametrize("case", CASES)
def test_every_form_is_there(tmp_path, case):
    store = ResultStore(str(tmp_path / "demo"))
    for table, rows in zip((SEARCHES, EPOCHS), CASES[case], strict=True):
        if rows:
            store.append(table, rows, "part")
    report = build(StudyData(store=store))
    html = page(report).replace(vega_script(), "")
    texts = {"html": html, "md": markdown(report), "csv": "\n".join(csv_files(report).values())}
    assert set(texts) == set(FORMATS)
    for text in texts.values():
        words = set(text.replace("<", " ").replace(">", " ").replace(",", " ").split())
        assert not words & {"nan", "NaN", "None", "inf", "-inf", "<NA>"}
    assert store.broken == []


def test_the_same_tables_build_the_same_report(tmp_path):
    store = ResultStore(str(tmp_path / "demo"))
    store.append(SEARCHES, no_measures()[0], "part")
    assert build(StudyData(store=store)) == build(StudyData(store=ResultStore(store.root)))
