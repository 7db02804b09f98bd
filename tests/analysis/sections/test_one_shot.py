"""The section of one-shot accuracies."""

import pytest

from analysis.sections import one_shot
from analysis.statistics.summaries import summarize_settings
from analysis.tables import SEARCHES, SETTINGS
from tests.analysis.sections.studies import column, figures, rows_of, study, table_of, texts
from tests.analysis.synthetic import search_row


def test_super_networks_of_another_k_have_panels_of_their_own_and_a_reason(tmp_path):
    data = study(tmp_path, searches=[search_row(k, seed, 80.0 + k) for k in (8, 2, 4) for seed in range(2)])
    section = one_shot.section(data)
    assert [figure.caption for figure in figures(section)] == ["k=2.", "k=4.", "k=8."]
    assert any("differ in k" in text for text in texts(section))
    assert column(table_of(section, "one-shot"), "setting") == ["k=2", "k=4", "k=8"]  # not the best first


def test_one_super_network_has_one_panel_and_no_reason(tmp_path):
    section = one_shot.section(study(tmp_path, searches=[search_row(4, seed, 80.0) for seed in range(2)]))
    assert len(figures(section)) == 1 and texts(section)[0] == one_shot.ONE_SHOT and len(texts(section)) == 2


def test_a_row_holds_all_statistics():
    searches = [search_row(4, seed, 80.0 + seed) for seed in range(5)] + [search_row(4, 5, None)]
    table = one_shot.statistics_table(summarize_settings(SEARCHES.to_arrow(searches).to_pandas()))
    (row,) = rows_of(table)
    assert (row["n"], row["mean ± std"], row["median"], row["quartiles"], row["IQM"]) == (
        "5",
        "82.00 ± 1.58",
        "82.00",
        "81.00 to 83.00",
        "82.00",
    )
    assert (row["worst"], row["best"]) == ("80.00 (seed 0)", "84.00")
    assert row["95 % CI of the mean"] == "[80.04, 83.96] (a)" and "(a) Student's t (n < 20)." in table.note
    interval = table.rows[0][table.headings.index("95 % CI of the mean")]
    assert interval.values == pytest.approx((80.04, 83.96), abs=0.01)  # t(0.975, 4) = 2.776 times 1.58 / sqrt(5)


def test_equal_values_have_no_worst_seed(tmp_path):
    data = study(tmp_path, searches=[search_row(4, seed, 80.0) for seed in range(3)])
    assert column(one_shot.statistics_table(data.summaries), "worst") == ["80.00"]


def test_searches_are_listed_by_setting_and_seed(tmp_path):
    data = study(tmp_path, searches=[search_row(k, seed, 90.0 - seed) for k in (16, 2) for seed in (1, 0)])
    assert [row[:2] for row in one_shot.seeds_table(data).rows] == [
        ("k=2", "0"),
        ("k=2", "1"),
        ("k=16", "0"),
        ("k=16", "1"),
    ]


@pytest.mark.parametrize(("corrected", "words"), [(False, "is optimistic"), (True, "Bonferroni-corrected")])
def test_seeds_that_were_added_are_explained(tmp_path, corrected, words):
    row = SETTINGS.row(
        setting="k=4",
        study="demo",
        target_halfwidth=0.2,
        max_seeds=20,
        corrected_interval=corrected,
        seeds_run=7,
        seeds_with_result=6,
        mean=81.0,
        halfwidth=0.19,
        reason="half-width 0.19 of 6 values is within the target 0.2",
    )
    data = study(tmp_path, searches=[search_row(4, 0, 80.0)])
    data.store.append(SETTINGS, [row], "settings")
    table = table_of(one_shot.section(data), "seeds-needed")
    assert rows_of(table)[0]["half-width"] == "0.19" and words in table.note


def test_without_one_shot_accuracy_it_says_so(tmp_path):
    section = one_shot.section(study(tmp_path, searches=[search_row(4, 0, 80.0) | {"valid_accuracy": None}]))
    assert texts(section) == ["No search has a one-shot accuracy."]


def test_panels_of_many_super_networks_are_cut(tmp_path):
    rows = [
        search_row(4, 0, 80.0) | {"setting": f"epochs={e}", "epochs": e, "search_id": str(e)} for e in range(10, 24)
    ]
    section = one_shot.section(study(tmp_path, searches=rows))
    assert len(figures(section)) == 12 and len(table_of(section, "one-shot").rows) == 14
    assert "Panels show the first 12 of 14 super-networks; the tables list all." in texts(section)
