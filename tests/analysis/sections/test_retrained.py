"""The section of retrained networks."""

import pytest

from analysis.sections import retrained
from analysis.sections.wording import MISSING
from analysis.tables import RETRAINS
from tests.analysis.conclusions.tables import ALL_IMAGES, SHORT, Tables, digest, settings_with
from tests.analysis.sections.studies import column, figures, made_up, rows_of, study, table_of, texts, write_imported
from tests.analysis.synthetic import queue_row, retrain_row, search_row


@pytest.fixture
def tables():
    """Two cells of which the first went on from a race of three, and was trained on all images."""
    found = Tables()
    for cell, error in enumerate((4.0, 5.0, 6.0)):
        found.search("k=4", cell, cell)
        found.train(cell, [error], validated=[error], stage="rung", rung=1, recipe=SHORT)
    found.train(0, [2.6, 2.8], validated=[2.5, 2.7])
    found.train(1, [2.9, 3.1], validated=[3.0, 3.2])
    found.train(0, [2.4], stage="published", recipe=ALL_IMAGES)
    return found


def test_every_training_says_how_many_images_it_saw_and_what_picked_its_epoch(tmp_path, tables):
    section = retrained.section(made_up(tmp_path, tables))
    shown = [tuple(row.values())[1:] for row in rows_of(table_of(section, "levels"))]
    assert shown == [
        ("1", "1", "50,000", "none: the last epoch", "10,000"),
        ("2", "4", "45,000", "5,000 validation images", "10,000"),
        ("3", "3", "45,000", "5,000 validation images", "10,000"),
    ]


def test_a_cell_has_two_uncertainties(tmp_path, tables):
    table = table_of(retrained.section(made_up(tmp_path, tables)), "retrained-cells")
    rows = [row for row in rows_of(table) if "final" in row["training"]]
    assert [row["cell"] for row in rows] == [digest(0), digest(1)]
    assert rows[0]["test error mean ± std"] == "2.70 ± 0.14"
    assert rows[0]["test images alone [95 %]"] == "[2.40, 3.04]"  # Wilson: 270 of 10,000
    assert rows[0]["validation accuracy"] == "97.40" and rows[0]["trainings"] == "2"
    assert "top-5 error" not in table.headings


def test_the_race_says_who_went_on_and_why(tmp_path, tables):
    section = retrained.section(made_up(tmp_path, tables))
    rows = rows_of(table_of(section, "race"))
    assert [(row["cell"], row["went on"], row["reason"]) for row in rows] == [
        (digest(0), "yes", "made up"),
        (digest(1), "yes", "made up"),
        (digest(2), "no", ""),
    ]
    (saved,) = (text for text in texts(section) if text.startswith("The rungs took"))
    assert saved == (
        "The rungs took 3.5 days of training, and the final trainings of 2 cells 4.6 days. Final trainings of all 3 "
        "cells would have taken 6.9 days at the same time per cell."
    )


def test_a_race_that_runs_has_not_decided(tmp_path):
    tables = Tables()
    for cell in range(2):
        tables.search("k=4", cell, cell)
    tables.train(0, [4.0], validated=[4.0], stage="rung", rung=1, recipe=SHORT)
    tables.wait(1, stage="rung")
    tables.queue[-1] |= {"rung": 1}
    section = retrained.section(made_up(tmp_path, tables))
    assert [(row["trainings"], row["went on"]) for row in rows_of(table_of(section, "race"))] == [
        ("1 of 1", "not decided"),
        ("0 of 1", "not decided"),
    ]
    assert not any("rungs took" in text for text in texts(section))


def test_no_correlation_comes_from_fewer_than_six_cells(tmp_path):
    tables = settings_with({"k=4": [3.0, 3.1, 3.2, 3.3, 3.4]})
    for row in tables.searches:
        row |= {"valid_accuracy": 80.0 + row["seed"]}
    section = retrained.section(made_up(tmp_path, tables))
    (row,) = rows_of(table_of(section, "rank-correlation"))
    assert (row["measure"], row["cells"], row["correlation [95 %]"]) == ("one-shot accuracy", "5", MISSING)
    assert row["same order"].startswith("not known") and figures(section) == []


def test_six_cells_are_drawn_against_their_one_shot_accuracy(tmp_path):
    tables = settings_with({"k=4": [3.0 + seed / 10 for seed in range(6)]})
    for row in tables.searches:
        row |= {"valid_accuracy": 80.0 + row["seed"]}
    (figure,) = figures(retrained.section(made_up(tmp_path, tables)))
    assert len(figure.frame) == 6 and figure.caption.startswith("k=4: test error")


def test_published_results_say_where_their_protocol_differs(tmp_path, tables):
    table = table_of(retrained.section(made_up(tmp_path, tables)), "published")
    assert "for orientation" in table.caption and set(column(table, "protocol of this study")) == {"official recipe"}
    short = settings_with({"k=4": [3.0]})
    table = table_of(retrained.section(made_up(tmp_path / "short", short)), "published")
    assert set(column(table, "protocol of this study")) == {"differs"}
    found = "this study, 600 epochs on cifar10 (final training), differ from the official recipe of PC-DARTS: 10 % of "
    assert found in table.note


def test_sizes_come_from_the_job_where_a_training_has_none(tmp_path):
    tables = settings_with({"k=4": [3.0]})
    tables.retrains[0] |= dict.fromkeys(("network_parameters", "network_macs"))
    write_imported(tmp_path, RETRAINS, tables.retrains)
    data = study(tmp_path, searches=tables.searches, queue=tables.queue)
    (row,) = rows_of(table_of(retrained.section(data), "retrained-cells"))
    assert (row["parameters (M)"], row["multiply-adds (M)"]) == ("3.00", "500") and "training" not in row


def test_sizes_are_those_of_the_training(tmp_path, tables):
    for row in tables.retrains:
        row["network_parameters"] = 1_000_000 if row["stage"] == "rung" else 4_000_000
    shown = rows_of(table_of(retrained.section(made_up(tmp_path, tables)), "retrained-cells"))
    assert {row["parameters (M)"] for row in shown} == {"4.00"}


def test_equal_cells_come_in_the_order_of_the_race(tmp_path):
    tables = Tables()
    for cell in range(2):
        tables.search("k=4", cell, cell)
        tables.train(cell, [3.0], validated=[3.0])
        tables.train(cell, [5.0], validated=[5.0], stage="rung", rung=1, recipe=SHORT)
    smaller = max(digest(0), digest(1))  # the later one by name
    for row in tables.retrains:
        row["network_macs"] = 400_000_000 if row["genotype_digest"] == smaller else 500_000_000
    section = retrained.section(made_up(tmp_path, tables))
    assert [column(table_of(section, name), "cell")[0] for name in ("retrained-cells", "race")] == [smaller, smaller]


def test_every_training_is_listed_with_its_state(tmp_path):
    search = search_row(4, 0, 80.0)
    job = queue_row(search, 1, "done")
    waiting = queue_row(search, 2) | {"job_id": "waits", "epochs_planned": 600}
    lone = retrain_row(queue_row(search_row(4, 1, 80.0, cell="DARTS_V2"), 2), None)
    average = {"chosen_weights": "ema", "ema_valid_accuracy": 98.0, "ema_test_accuracy": 97.0}
    data = study(
        tmp_path,
        searches=[search],
        queue=[job, waiting],
        retrains=[retrain_row(job, 96.0, attempt=1) | average, retrain_row(job, None, attempt=2), lone],
    )
    table = retrained.trainings_table(data)
    rows = [(row["epochs"], row["validation accuracy"], row["test error"], row["state"]) for row in rows_of(table)]
    assert rows == [
        ("600", "98.00 (EMA)", "3.00 (EMA)", "done"),
        ("600", MISSING, MISSING, "queued"),
        ("600", MISSING, MISSING, "failed: node lost"),
    ]
    assert table.folded and "exponential moving average" in table.note


def test_retrainings_without_queue_searches_or_images_are_reported(tmp_path):
    row = retrain_row(queue_row(search_row(4, 0, 80.0), 1), 96.0)
    write_imported(tmp_path, RETRAINS, [row | dict.fromkeys(("seconds", "training_images", "device_name"))])
    section = retrained.section(study(tmp_path))
    (level,) = rows_of(table_of(section, "levels"))
    assert level["trained on (images)"] == MISSING and level["epoch picked by"] == "not recorded"
    assert rows_of(table_of(section, "retrained-cells"))[0]["test images alone [95 %]"] == MISSING


def test_without_retraining_there_is_no_test_accuracy(tmp_path):
    section = retrained.section(study(tmp_path, searches=[search_row(4, 0, 80.0)]))
    assert texts(section) == ["No retraining has finished yet, so this study has no test accuracy."]
