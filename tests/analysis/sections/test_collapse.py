"""The section of collapse rules."""

import pytest

from analysis.sections import collapse
from analysis.tables import SEARCHES
from tests.analysis.sections.studies import rows_of, study, table_of, texts, write_imported
from tests.analysis.synthetic import epoch_rows, search_row

QUIET = {"warnings": "", "early_stop_epoch": None}


def test_a_rule_that_fired_is_counted(tmp_path):
    rows = [
        search_row(4, 0, 80.0) | QUIET | {"warnings": "epoch 8: skip rule: the normal cell has 5 skip connections"},
        search_row(4, 1, 80.0) | QUIET | {"status": "stopped", "stop_reason": "eigenvalue rule: it grew"},
        search_row(4, 2, 80.0) | QUIET,
    ]
    section = collapse.section(study(tmp_path, searches=rows))
    assert texts(section) == ["A rule fired in 2 of 3 searches and stopped 1 of them."]
    (row,) = rows_of(table_of(section, "collapse"))
    assert (row["skip connections"], row["eigenvalue"]) == ("fired in 1 of 3", "fired in 1 of 3")
    assert (row["not finite"], row["frozen cell"]) == ("did not fire", "off")


def test_a_search_stopped_by_hand_is_no_evidence_of_a_rule(tmp_path):
    by_hand = {"status": "stopped", "stop_reason": "stopped by hand"}
    rows = [search_row(4, seed, 80.0) | QUIET | by_hand for seed in (0, 1)]
    section = collapse.section(study(tmp_path, searches=[*rows, search_row(4, 3, 80.0) | QUIET]))
    assert texts(section) == [
        "No rule fired in 3 searches. The table shows which rules could have fired. 2 searches were stopped by hand, "
        "not by a rule."
    ]
    assert "fired in" not in str(rows_of(table_of(section, "collapse")))


def test_a_rule_that_could_not_fire_says_what_it_lacks(tmp_path):
    search = search_row(4, 0, 80.0) | QUIET
    section = collapse.section(study(tmp_path, searches=[search], epochs=epoch_rows(search)))
    assert texts(section) == ["No rule fired in 1 search. The table shows which rules could have fired."]
    (row,) = rows_of(table_of(section, "collapse"))
    assert row["eigenvalue"] == "could not fire: needs 9 measurements with trained alpha, has 3"


def test_without_epochs_the_configuration_tells_what_a_rule_lacks(tmp_path):
    rows = [search_row(4, 0, 80.0) | QUIET | {"epochs": 50, "eigenvalue_every": every} for every in (2, 10)]
    states = [
        rows_of(table_of(collapse.section(study(tmp_path / str(i), searches=[row])), "collapse"))[0]["eigenvalue"]
        for i, row in enumerate(rows)
    ]
    assert states == ["did not fire", "could not fire: needs 9 measurements with trained alpha, has 5"]


@pytest.mark.parametrize(
    ("early_stop_epoch", "says"),
    [
        (None, "and too few eigenvalues were measured for the eigenvalue rule."),
        (12, "By the measured eigenvalues, the eigenvalue rule would have stopped 1 of 1."),
    ],
)
def test_rules_of_imports_are_not_spoken_for(tmp_path, early_stop_epoch, says):
    row = search_row(4, 0, 80.0) | {"warnings": None, "stop_reason": None, "early_stop_epoch": early_stop_epoch}
    write_imported(tmp_path, SEARCHES, [row])
    (text,) = texts(collapse.section(study(tmp_path)))
    assert text.startswith("Collapse rules were not recorded for 1 search") and text.endswith(says)


def test_random_cells_have_no_rules(tmp_path):
    section = collapse.section(study(tmp_path, searches=[search_row(4, 0, 80.0) | {"method": "random"}]))
    assert texts(section) == ["No search with a super-network has a result, so there is nothing to check."]
